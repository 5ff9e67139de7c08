"""Fixtures that several test files share: small models, small datasets, and the command line with its answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_tflite import File, Graph, Op, Sig, T

from tflite_ptq import checking
from tflite_ptq.cli.main import main
from tflite_ptq.worker.process import Worker

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "tflite_ptq"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What is printed after ``error: ``."""
        return self.err.removeprefix("error: ").strip()


Command = Callable[..., Ended]
Convert = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the tests run in a CI system, the commands they try must not talk to it."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "GITLAB_CI", "CI_PROJECT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _no_cache_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFLITE_PTQ_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TFLITE_PTQ_NO_CACHE", raising=False)
        patch.delenv("TFLITE_PTQ_CACHE_MAX_MIB", raising=False)
        yield


@pytest.fixture(autouse=True)
def cache(
    _no_cache_of_the_user: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A cache of each test's own: what one test made must not be what another one finds."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("TFLITE_PTQ_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("TFLITE_PTQ_REAL_DATA", HERE.parents[1] / "shared" / "data")).absolute()
    if not (folder / "mlperf_tiny").is_dir():
        pytest.skip(f"no real data at {folder}; set TFLITE_PTQ_REAL_DATA")
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of ``make_models``. Made once a worker: three seconds, most of them TensorFlow's import."""
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run(
        [sys.executable, str(HERE / "make_models.py"), str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def relu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float .tflite, y = relu(x), (1, 4): it runs without TensorFlow."""
    graph = Graph([T("in"), T("out")], ["in"], ["out"], [Op("RELU", ("in",), ("out",))])
    return File([graph], [Sig("serving_default", {"x": "in"}, {"y": "out"})]).write(
        tmp_path_factory.mktemp("relu") / "relu.tflite"
    )


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """Twelve .npy samples of shape (4,): sample i has its largest value, i + 1, at i mod 4."""
    folder = tmp_path / "vectors"
    folder.mkdir()
    for i in range(12):
        np.save(folder / f"{i:02}.npy", np.eye(4, dtype=np.float32)[i % 4] * (i + 1))
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Class folders a, b and c with four grey 8x8 PNG files each."""
    rng = np.random.default_rng(0)
    for name in "abc":
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{i}.png")
    return tmp_path / "images"


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe; YAML is a superset of JSON."""

    def write(model: object, dataset: object = None, variants: object = (), **more: object) -> Path:
        data: dict[str, Any] = {"version": 1, "name": "t", "model": {"path": str(model)}, "variants": list(variants)}
        data["benchmark"] = {"latency": None}
        if dataset is not None:
            data["dataset"] = dataset
        path = tmp_path / "recipe.yaml"
        path.write_text(json.dumps({**data, **more}, ensure_ascii=False), encoding="utf-8")
        return path

    return write


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """The command line in this process, working in ``tmp_path``; its children are real."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> Ended:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, out, err)

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs given to children, and the children that were started, in order."""
    jobs: list[str] = []
    ask, start = Worker.ask, Worker.start

    def asking(self: Worker, request: Any, *rest: Any) -> Any:
        jobs.append(getattr(request, "job", type(request).__name__))
        return ask(self, request, *rest)

    def starting(self: Worker) -> None:
        jobs.append(f"start {self._module.rpartition('.')[2]}")
        start(self)

    monkeypatch.setattr(Worker, "ask", asking)
    monkeypatch.setattr(Worker, "start", starting)
    return jobs


@pytest.fixture
def convert(run: Command, tmp_path: Path) -> Convert:
    """Runs the recipe into a new folder; the report, but for durations."""
    count = 0

    def call(recipe: Path, *more: object, code: int = 0) -> dict[str, Any]:
        nonlocal count
        count += 1
        out = tmp_path / f"out{count}"
        ended = run("convert", recipe, "--output", out, *more)
        assert ended.code == code, ended.err
        report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
        del report["durations_s"]
        report["console"] = ended.out
        return report

    return call


def figures(report: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in report.items() if name not in ("cached", "console", "warnings")}


@pytest.fixture(scope="session")
def _runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker("tflite_ptq.worker.runtime", tmp_path_factory.mktemp("log") / "log.txt", 60)
    yield worker
    worker.kill()


@pytest.fixture
def check(run: Command, _runtime: Worker, monkeypatch: pytest.MonkeyPatch) -> Command:
    """``tflite-ptq check``; one child serves all of a worker's tests, which makes a check take milliseconds."""

    @contextmanager
    def shared() -> Iterator[Worker]:
        yield _runtime

    monkeypatch.setattr(checking, "runtime", shared)
    return lambda recipe, *more: run("check", recipe, *more)
