"""External delegates: a real one compiled here, and what is wrong with a library -> exact message."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HERE, Command
from test_timing import chain

from tflite_ptq.errors import MeasurementError, ModelError
from tflite_ptq.model.delegation import Placement
from tflite_ptq.model.opening import External
from tflite_ptq.model.timed_model import TimedModel


def compiled(folder: Path, source: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (cc, gcc) to make a delegate with")
    library = folder / "libtiny.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("delegate") / "with space"
    folder.mkdir()
    return compiled(folder, HERE / "tiny_delegate.c")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return chain(tmp_path / "chain.tflite", 5)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Placement(0, 5, {"NEG": 5})),
        ({"take": "3"}, Placement(3, 5, {"NEG": 2})),
        ({"take": "9"}, Placement(5, 5, {})),
    ],
)
def test_what_it_takes_and_leaves(options: dict[str, str], expected: Placement, library: Path, model: Path) -> None:
    timed = TimedModel(model, External(str(library), options), 1)
    timed.fill(0)
    timed.first()
    assert timed.operators() == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"refuse": "1"},
            "{library}: the delegate could not be made (Failed to load delegate from {library} no device was found); "
            "check its options and its device",
        ),
        (
            {"unfit": "1"},
            "{model}: the delegate {library} does not take this model (no operator of this model is known",
        ),
    ],
)
def test_it_refuses(options: dict[str, str], message: str, library: Path, model: Path) -> None:
    with pytest.raises(MeasurementError) as caught:
        TimedModel(model, External(str(library), options), 1)
    assert str(caught.value).startswith(message.format(library=library, model=model))


def test_a_model_that_is_broken_is_not_the_delegates_fault(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"no model" * 100)
    with pytest.raises(ModelError, match=r"not a \.tflite file, or a truncated one"):
        TimedModel(path, External(str(library), {}), 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # LiteRT's Delegate.__del__
def test_libraries_that_are_none(tmp_path: Path, model: Path) -> None:
    missing, text, foreign = tmp_path / "gone.so", tmp_path / "text.so", tmp_path / "foreign.c"
    text.write_text("not a library", encoding="ascii")
    foreign.write_text("int unrelated(void) { return 0; }", encoding="ascii")
    other = compiled(tmp_path, foreign)
    for library, message in (
        (str(missing), f"{missing}: no such file; give the path of the delegate's shared library"),
        (str(text), f"{text}: cannot be loaded ("),
        ("libnowhere-tflite.so.9", "libnowhere-tflite.so.9: cannot be loaded ("),
        (str(other), f"{other}: not a TensorFlow Lite delegate ("),
    ):
        with pytest.raises(MeasurementError) as caught:
            TimedModel(model, External(library, {}), 1)
        assert str(caught.value).startswith(message)
        assert "; give " in str(caught.value)


def test_in_a_recipe(
    library: Path, relu: Path, run: Command, tmp_path: Path, write_recipe: Callable[..., Path]
) -> None:
    """Beside the built-in ones, by a path relative to the recipe; one that crashes costs itself alone."""
    shutil.copy(library, tmp_path / "libtiny.so")
    delegates = [
        "cpu",
        {"library": "libtiny.so", "options": {"take": 1}},
        {"library": "./libtiny.so", "options": {"crash": 1, "take": 1}},
    ]
    latency = {"delegates": delegates, "precision": 0.9, "runs": 5, "warmup": 0}
    gate = {"float32": {"latency": {"delegate": "libtiny.so(take=1)", "max_median_ms": 1000}}}
    ended = run("convert", write_recipe(relu, benchmark={"latency": latency}, gate=gate), "--json", "--output", "out")
    assert ended.code == 4
    found = json.loads(ended.out)
    (variant,) = found["variants"]
    assert [one["delegate"] for one in variant["latency"]] == ["cpu", "libtiny.so(take=1)"]
    cpu, tiny = variant["latency"]
    assert (cpu["left_ops"], cpu["delegated_ops"]) == (None, 0)
    assert (tiny["left_ops"], tiny["delegated_ops"], tiny["total_ops"]) == ({}, 1, 1)
    assert re.match(
        r"latency of float32 \(libtiny\.so\(crash=1,take=1\), 1 threads\), tried again: "
        r"the process was killed by SIGABRT",
        variant["error"],
    )
    assert [(check["check"], check["passed"]) for check in found["gate"]] == [
        ("latency.max_median_ms[libtiny.so(take=1),1]", True)
    ]


def test_on_the_command_line(library: Path, model: Path, run: Command) -> None:
    short = ["--runs", 5, "--warmup", 0, "--precision", 0.9, "--json"]
    ended = run("benchmark", model, "--delegate", library, "--delegate-option", "take=2", *short)
    assert ended.code == 0, ended.err
    (timing,) = json.loads(ended.out)[0]["latency"]
    assert (timing["delegate"], timing["delegated_ops"], timing["left_ops"]) == ("libtiny.so(take=2)", 2, {"NEG": 3})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--delegate", "xnpack"],
            "--delegate xnpack: neither a name nor a shared library; did you mean 'xnnpack'? "
            "(cpu, xnnpack, compiled, or a path such as ./libdelegate.so)",
        ),
        (
            ["--delegate", "cpu", "--delegate-option", "a=1"],
            "--delegate-option is for external delegates; give one with --delegate LIBRARY",
        ),
        (
            ["--delegate", "lib.so", "--delegate-option", "=1"],
            "--delegate-option =1: expected KEY=VALUE, for example --delegate-option device=0",
        ),
    ],
)
def test_wrong_options(arguments: list[str], message: str, model: Path, run: Command) -> None:
    ended = run("benchmark", model, *arguments)
    assert (ended.code, ended.message) == (2, message)
