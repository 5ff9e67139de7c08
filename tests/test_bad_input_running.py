"""What happens to a run -> exact message, exit code, what is left: crashes, hangs, signals, full disks."""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from conftest import COMMAND, HERE, Command
from tiny_tflite import File, Graph, Op, T

from tflite_ptq.errors import WorkerCrash
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.report import outcome_folder
from tflite_ptq.worker import timing
from tflite_ptq.worker.process import Worker
from tflite_ptq.worker.replies import Done

REPORTS = ("junit.xml", "report.html", "report.json", "report.md")
LATENCY = {"latency": {"delegates": ["cpu"], "threads": [1], "runs": 5, "warmup": 0, "precision": 0.9}}


def environment(tmp_path: Path, **more: str) -> dict[str, str]:
    """Temporary files go where the test can see whether they were removed."""
    (tmp_path / "tmp").mkdir(exist_ok=True)
    path = [str(HERE / "sabotage"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": os.pathsep.join(path), **more}


def convert(tmp_path: Path, recipe: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    env = environment(tmp_path, **more.pop("env", {}))
    command = [*COMMAND, "convert", str(recipe), "--output", str(tmp_path / "out"), "-q"]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path, check=False, **more)


def left(tmp_path: Path) -> list[str]:
    """The files of the output folder but the log; there must be no temporary ones anywhere."""
    assert not list((tmp_path / "tmp").iterdir())
    return sorted(path.name for path in (tmp_path / "out").iterdir() if path.name != "log.txt")


def report(tmp_path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    return loaded


DIED = {
    "SIGABRT": "the process was killed by SIGABRT; TensorFlow or LiteRT gave up inside C++",
    "SIGSEGV": "the process was killed by SIGSEGV; a bug inside TensorFlow or LiteRT, or a broken model file",
    "SIGKILL": "the process was killed by SIGKILL; the system may have run out of memory",
}


@pytest.mark.slow
def test_the_converter_aborts(
    tmp_path: Path, models: Path, images: Path, write_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One variant is lost; those after it are made by a new child."""
    recipe = write_recipe(models / "tiny.keras", variants=["dynamic", "float16"])
    done = convert(tmp_path, recipe, env={"SABOTAGE": "converter:SIGABRT", "SABOTAGE_VARIANT": "dynamic"})
    message = f"conversion of dynamic: {DIED['SIGABRT']} (log: {tmp_path / 'out' / 'log.txt'})"
    assert (done.returncode, done.stderr) == (4, f"error: {message}\n")
    assert left(tmp_path) == sorted(["float16.tflite", "float32.tflite", "manifest.json", *REPORTS])
    found = report(tmp_path)
    assert found["status"] == "error"
    assert [(v["name"], v["error"]) for v in found["variants"]] == [
        ("float32", None),
        ("dynamic", message),
        ("float16", None),
    ]


@pytest.mark.parametrize("name", DIED)
def test_the_timing_crashes(
    name: str, tmp_path: Path, relu: Path, vectors: Path, write_recipe: Callable[..., Path]
) -> None:
    recipe = write_recipe(relu, benchmark=LATENCY)
    done = convert(tmp_path, recipe, env={"SABOTAGE": f"timer:{name}"})
    message = f"latency of float32 (cpu, 1 threads), tried again: {DIED[name]} (log: {tmp_path / 'out' / 'log.txt'})"
    assert (done.returncode, done.stderr) == (4, f"error: {message}\n")
    assert left(tmp_path) == sorted(["float32.tflite", "latency.json", "manifest.json", *REPORTS])
    assert report(tmp_path)["variants"][0]["audit"] is not None


@pytest.mark.parametrize(
    ("turns", "processes", "lost"),
    [
        ("4", [6, 6], False),  # xnnpack in the second round, once: another process takes its place
        ("4,5", [6], True),  # and again: that configuration is lost, the other goes on
        ("4,9", [6], True),  # one that dies in two rounds is not sound either
    ],
)
def test_a_timer_dies_in_the_middle_of_a_round(
    turns: str, processes: list[int], lost: bool, tmp_path: Path, relu: Path, write_recipe: Callable[..., Path]
) -> None:
    """Two configurations, cpu and xnnpack: process 1 is cpu's first, process 4 xnnpack's second."""
    (tmp_path / "count").mkdir()
    latency = {**LATENCY["latency"], "delegates": ["cpu", "xnnpack"], "precision": 0.99, "max_seconds": 0.001}
    recipe = write_recipe(relu, benchmark={"latency": latency})
    env = {"SABOTAGE": "timer:SIGKILL", "SABOTAGE_TURNS": turns, "SABOTAGE_COUNT": str(tmp_path / "count")}
    done = convert(tmp_path, recipe, env=env)
    (float32,) = report(tmp_path)["variants"]
    assert [one["processes"] for one in float32["latency"]] == processes
    assert [one["delegate"] for one in float32["latency"]] == ["cpu", "xnnpack"][: len(processes)]
    raw = json.loads((tmp_path / "out" / "latency.json").read_text(encoding="utf-8"))
    assert [one is None for one in raw["configurations"][0]["processes"]] == [False] * 6
    if lost:
        attempt = ", tried again" if turns == "4,5" else ""
        log = tmp_path / "out" / "log.txt"
        message = f"latency of float32 (xnnpack, 1 threads){attempt}: {DIED['SIGKILL']} (log: {log})"
        assert (done.returncode, done.stderr) == (4, f"error: {message}\n")
        assert float32["error"] == message
    else:
        assert (done.returncode, done.stderr) == (0, "")
        assert "a process died, and another took its place: the log tells more" in float32["latency"][1]["warnings"]
        assert float32["error"] is None


def test_the_runtime_crashes_at_once(tmp_path: Path, relu: Path, write_recipe: Callable[..., Path]) -> None:
    done = convert(tmp_path, write_recipe(relu), env={"SABOTAGE": "runtime:SIGSEGV"})
    message = f"describe the model: {DIED['SIGSEGV']} (log: {tmp_path / 'out' / 'log.txt'})"
    assert (done.returncode, done.stderr) == (4, f"error: {message}\n")
    assert left(tmp_path) == []


def test_a_recipe_that_is_wrong_leaves_no_child(tmp_path: Path) -> None:
    """``convert`` starts one before it reads the recipe."""
    done = convert(tmp_path, tmp_path / "missing.yaml")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "missing.yaml" in done.stderr
    assert not list((tmp_path / "tmp").iterdir()) and not (tmp_path / "out").exists()
    alive = [process.info["cwd"] for process in psutil.process_iter(["cwd"])]
    assert str(tmp_path) not in alive


def test_a_closed_standard_error_changes_nothing(tmp_path: Path, relu: Path, write_recipe: Callable[..., Path]) -> None:
    command = [*COMMAND, "convert", str(write_recipe(relu)), "--output", str(tmp_path / "out"), "--no-cache", "-q"]
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh", *command]
    done = subprocess.run(closed, capture_output=True, env=environment(tmp_path), cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    assert report(tmp_path)["status"] == "passed"


def test_an_import_that_fails_early_is_told_in_the_log(
    tmp_path: Path, relu: Path, write_recipe: Callable[..., Path]
) -> None:
    """Of a broken installation, say."""
    broken = tmp_path / "broken" / "numpy"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("import time; time.sleep(1); raise ImportError('numpy is broken')")
    done = convert(tmp_path, write_recipe(relu), env={"PYTHONPATH": str(tmp_path / "broken")})
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "describe the model: the process ended by itself with exit code 1 (log: " in done.stderr
    assert "ImportError: numpy is broken" in (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert left(tmp_path) == []


def test_what_the_early_child_says_is_in_the_log(tmp_path: Path, relu: Path, write_recipe: Callable[..., Path]) -> None:
    missing = {"format": {"type": "npy"}, "evaluation": {"path": str(tmp_path / "nowhere")}}
    done = convert(tmp_path, write_recipe(relu, missing))
    assert (done.returncode, done.stderr.count("\n")) == (3, 1) and "nowhere" in done.stderr
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert log.startswith("Traceback") and "DataError" in log


@pytest.mark.parametrize(
    ("command", "worker"),
    [
        (["check", "{recipe}"], "runtime"),
        (["init", "{model}", "-o", "new.yaml"], "runtime"),
        (["benchmark", "{model}", "--json"], "timer"),
    ],
)
def test_the_log_of_a_crash_is_kept(
    command: list[str], worker: str, tmp_path: Path, relu: Path, write_recipe: Callable[..., Path]
) -> None:
    env = environment(tmp_path, SABOTAGE=f"{worker}:SIGSEGV")
    arguments = [part.format(recipe=write_recipe(relu), model=relu) for part in command]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, env=env, cwd=tmp_path, check=False)
    assert done.returncode == 4
    log = re.search(r"\(log: ([^)]+)\)", done.stderr + done.stdout)
    assert log is not None and Path(log[1]).is_file()
    assert not (tmp_path / "new.yaml").exists()


def test_a_bug_shows_its_traceback_and_costs_no_results(
    tmp_path: Path, relu: Path, run: Command, write_recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(timing, "Timing", broken)
    ended = run("convert", write_recipe(relu, benchmark=LATENCY), "--output", tmp_path / "out", "-q")
    assert ended.code == 1
    assert "ZeroDivisionError: a bug" in ended.err
    (log,) = (tmp_path / "tmp").iterdir()
    assert ended.err.endswith(f"this is a bug in tflite-ptq; please report it with {log} attached\n")
    assert report(tmp_path)["errors"] == ["stopped by a bug in tflite-ptq; what was finished is kept"]
    assert report(tmp_path)["variants"][0]["audit"] is not None


CRASHES_ON_QUANTIZED = """\
import os, signal
import numpy as np
calls = 0
def metric(outputs, labels):
    global calls
    calls += 1
    if calls > 1:  # float32 is scored first
        os.kill(os.getpid(), signal.SIGSEGV)
    return np.ones(len(next(iter(outputs.values()))))  # one value a sample: called once a model
"""


@pytest.mark.slow
def test_the_evaluation_crashes_on_one_variant(
    tmp_path: Path, models: Path, images: Path, write_recipe: Callable[..., Path]
) -> None:
    (tmp_path / "crashing.py").write_text(CRASHES_ON_QUANTIZED, encoding="utf-8")
    dataset = {"format": {"type": "image"}, "preprocess": [{"color": "gray"}], "evaluation": {"path": str(images)}}
    benchmark = {"accuracy": {"metrics": ["crashing:metric"]}, **LATENCY}
    recipe = write_recipe(models / "tiny.keras", dataset, ["dynamic"], benchmark=benchmark)
    done = convert(tmp_path, recipe)
    message = f"evaluation of dynamic: {DIED['SIGSEGV']} (log: {tmp_path / 'out' / 'log.txt'})"
    assert (done.returncode, done.stderr) == (4, f"error: {message}\n")
    float32, dynamic = report(tmp_path)["variants"]
    assert float32["accuracy"]["crashing:metric"]["value"] == 1.0
    assert float32["error"] is None and len(float32["latency"]) == 1
    assert dynamic["error"] == message and dynamic["audit"] is not None and dynamic["latency"] is None


def test_a_hang(tmp_path: Path, relu: Path, vectors: Path, write_recipe: Callable[..., Path]) -> None:
    hangs = "import time\ndef metric(outputs, labels): time.sleep(600)\n"
    (tmp_path / "hanging.py").write_text(hangs, encoding="utf-8")
    dataset = {"format": {"type": "npy"}, "evaluation": {"path": str(vectors)}}
    benchmark = {"accuracy": {"metrics": ["hanging:metric"]}, "latency": None}
    recipe = write_recipe(relu, dataset, benchmark=benchmark, timeout_s=10)
    done = convert(tmp_path, recipe)
    message = (
        "evaluation of float32: no sign of life for 10 s, so it was ended; if it is only slow, raise timeout_s in the "
        f"recipe (log: {tmp_path / 'out' / 'log.txt'})"
    )
    assert (done.returncode, done.stderr) == (4, f"error: {message}\n")
    assert left(tmp_path) == sorted(["float32.tflite", *REPORTS])


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_signals(number: int, code: int, tmp_path: Path, models: Path, write_recipe: Callable[..., Path]) -> None:
    """Sent while float16 is being converted, with int16x8 and others still to come."""
    recipe = write_recipe(models / "tiny.keras", variants=["dynamic", "float16", {"scheme": "dynamic", "name": "more"}])
    process = subprocess.Popen(
        [*COMMAND, "convert", str(recipe), "--output", str(tmp_path / "out"), "-q"],
        env=environment(tmp_path, SABOTAGE="converter:sleep", SABOTAGE_VARIANT="float16"),
        stderr=subprocess.PIPE,
        text=True,
        # A suite run in the background of a shell inherits SIGINT as ignored, and Python then keeps it so.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    wait_for(tmp_path / "out" / "dynamic.tflite", process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    _, alive = psutil.wait_procs(children, timeout=5)
    assert not alive
    made = ["dynamic.tflite", "float32.tflite"]
    if number == signal.SIGKILL:
        assert sorted(path.name for path in (tmp_path / "out").glob("[!.]*.tflite")) == made
        outcome_folder.prepare(tmp_path / "out")  # what could not be removed is, by the next run
        assert not list((tmp_path / "out").glob("*.part"))
        return
    assert err.strip() == "interrupted; what was finished is kept"
    assert left(tmp_path) == sorted([*made, *REPORTS])
    found = report(tmp_path)
    assert found["status"] == "error" and found["errors"] == ["interrupted; what was finished is kept"]
    assert [v["file"] for v in found["variants"]] == ["float32.tflite", "dynamic.tflite", None, None]


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("place", ["file/out", "file"])
def test_an_output_folder_that_cannot_be(
    place: str, tmp_path: Path, relu: Path, run: Command, write_recipe: Callable[..., Path]
) -> None:
    recipe = write_recipe(relu)
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    ended = run("convert", recipe, "--output", tmp_path / place)
    message = (
        f"{tmp_path / place}: cannot be written (a file lies where a folder is needed); choose another folder with "
        "--output DIR"
    )
    assert (ended.code, ended.err) == (2, f"error: {message}\n")
    assert (tmp_path / "file").read_text(encoding="utf-8") == "not a folder"


def large(path: Path, bytes_: int) -> Path:
    """A float .tflite with so many bytes of weights."""
    weights = T("w", shape=(1, bytes_ // 4), data=bytes(bytes_))
    graph = Graph(
        [T("x", shape=(1, bytes_ // 4)), weights, T("y", shape=(1, bytes_ // 4))],
        ["x"],
        ["y"],
        [Op("SUB", ("x", "w"), ("y",))],
    )
    return File([graph]).write(path)


def test_a_file_larger_than_what_is_left(tmp_path: Path, write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(large(tmp_path / "large.tflite", 400_000))
    done = convert(tmp_path, recipe, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    message = (
        f"{tmp_path / 'out' / 'float32.tflite'}: no space left on the disk while writing; free some space or choose "
        "--output DIR"
    )
    assert (done.returncode, done.stderr) == (4, f"error: {message}\n")
    assert left(tmp_path) == []


@pytest.mark.slow
def test_no_room_for_temporary_files(tmp_path: Path, models: Path, write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(models / "tiny.keras", variants=["dynamic"])
    done = convert(tmp_path, recipe, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)))
    assert done.returncode == 4
    assert re.fullmatch(
        rf"error: {tmp_path / 'tmp'}/.+: the model cannot be written to the temporary folder: .+; free some space "
        r"there, or set TMPDIR to a folder with more\n",
        done.stderr,
    )
    assert left(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "out"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=28k", "none", str(folder)]
    if sys.platform != "linux" or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk(small_disk: Path, tmp_path: Path, models: Path, write_recipe: Callable[..., Path]) -> None:
    many = [{"scheme": "dynamic", "name": f"v{i}"} for i in range(8)]
    done = convert(tmp_path, write_recipe(models / "tiny.keras", variants=many))
    assert done.returncode == 4
    assert "no space left on the disk while writing" in done.stderr
    assert "Traceback" not in done.stderr
    names = left(tmp_path)
    assert not [name for name in names if name.endswith(".part")]
    made = [name for name in names if name.endswith(".tflite")]
    assert "float32.tflite" in made and len(made) < 9
    assert all(describe(small_disk / name).outputs for name in made)


def test_a_run_that_cannot_begin_keeps_the_results_of_the_one_before(
    tmp_path: Path, relu: Path, vectors: Path, run: Command, write_recipe: Callable[..., Path]
) -> None:
    recipe = write_recipe(relu)
    assert run("convert", recipe, "--output", tmp_path / "out", "-q").code == 0
    before = (tmp_path / "out" / "report.json").read_bytes()
    dataset = {"format": {"type": "npy"}, "evaluation": {"path": str(tmp_path / "gone")}}
    assert run("convert", write_recipe(relu, dataset), "--output", tmp_path / "out", "-q").code == 3
    assert (tmp_path / "out" / "report.json").read_bytes() == before
    assert (tmp_path / "out" / "float32.tflite").is_file()


@pytest.mark.slow
def test_odd_places(tmp_path: Path, models: Path, write_recipe: Callable[..., Path]) -> None:
    """Spaces and Unicode in every path; files in the current folder that are named as packages are."""
    here = tmp_path / "mein Ordner 模型"
    (here / "Prüf lauf").mkdir(parents=True)
    for name in ("numpy", "tensorflow", "PIL", "ai_edge_litert", "keras", "yaml", "json"):
        (here / f"{name}.py").write_text("raise SystemExit('the wrong module')\n", encoding="utf-8")
    (here / "tiny model.keras").write_bytes((models / "tiny.keras").read_bytes())
    for i in range(4):
        np.save(here / "Prüf lauf" / f"größe {i} 猫.npy", np.full((8, 8, 1), i / 4, np.float32))
    subset = {"path": "Prüf lauf", "samples": 2}
    dataset = {"format": {"type": "npy"}, "calibration": subset, "evaluation": {"path": "Prüf lauf"}}
    recipe = write_recipe("tiny model.keras", dataset, ["int8"], benchmark=LATENCY).rename(here / "rezept ñ.yaml")
    for command in (["check", recipe.name], ["convert", recipe.name, "--output", "aus gabe"]):
        done = subprocess.run([*COMMAND, *command], cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert {path.name for path in (here / "aus gabe").iterdir()} == {
        "float32.tflite",
        "int8.tflite",
        "latency.json",
        "log.txt",
        "manifest.json",
        *REPORTS,
    }


def test_a_child_that_died_before_it_was_asked_leaves_nothing_to_complain_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 writes what a pipe still holds when it lets go of it, and tells the terminal that it cannot."""
    complaints: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    worker = Worker("tflite_ptq.no_such_module", tmp_path / "log.txt", 60)
    worker.start()
    assert worker._process is not None
    worker._process.wait()
    monkeypatch.setattr(worker, "warm_up", lambda: None)
    with pytest.raises(WorkerCrash, match="latency: the process ended by itself with exit code 1"):
        worker.ask(Done(result=""), Done, "latency")
    worker._process = None
    gc.collect()
    assert complaints == []
