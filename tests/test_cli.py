"""Commands and their options -> exit code, what is printed, what is written."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import COMMAND, Command
from tiny_tflite import int8_dense

COMMANDS = ["convert", "check", "init", "inspect", "benchmark", "demo", "verify", "cache", "schema", "completion"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], *([name, "--help"] for name in COMMANDS)])
def test_help(arguments: list[str], run: Command) -> None:
    ended = run(*arguments)
    assert ended.code == 0 and not ended.err
    if len(arguments) == 2:
        assert ended.out.startswith(f"Usage: tflite-ptq {arguments[0]}")
        assert "Example" in ended.out and f"  tflite-ptq {arguments[0]}" in ended.out


def test_the_group_lists_every_command(run: Command) -> None:
    out = run("--help").out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert "Exit codes: 0 done, 2 command line or recipe wrong" in out


# (arguments, the end of what is said)
USAGE = [
    (["convart"], "Error: there is no command 'convart'; did you mean 'convert'?"),
    (["convert"], "Error: Missing argument 'RECIPE'."),
    (["convert", "r.yaml", "--fast"], "Error: No such option"),
    (["convert", "gone.yaml"], "error: gone.yaml: no such recipe; 'tflite-ptq init MODEL' writes one"),
    (["check", "."], "error: .: expected a recipe file, got a folder; name the .yaml file in it"),
    (["benchmark"], "Error: Missing argument 'MODEL.tflite...'."),
    (["benchmark", "m.tflite", "--threads", "0"], "0 is not in the range x>=1."),
    (["benchmark", "m.tflite", "--set", "name=x"], "error: --set changes a recipe; give one with --recipe"),
    (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'."),
]


@pytest.mark.parametrize(("arguments", "said"), USAGE)
def test_wrong_command_lines(arguments: list[str], said: str, run: Command) -> None:
    ended = run(*arguments)
    assert ended.code == 2
    assert said in ended.err, ended.err


def test_a_wrong_recipe_tells_all_faults(run: Command, tmp_path: Path) -> None:
    Path("r.yaml").write_text("version: 2\nname: x\nmodle: {path: m}\nvariants: [int_8]\n", encoding="utf-8")
    ended = run("convert", "r.yaml")
    assert ended.code == 2
    assert ended.err.splitlines() == [
        "error: r.yaml:1: version: expected 1; this tool reads recipes of version 1, got 2",
        "r.yaml:1: model: missing; add it",
        "r.yaml:3: modle: unknown key; did you mean 'model'? (allowed: version, name, model, dataset, variants, "
        "benchmark, gate, output, timeout_s)",
        "r.yaml:4: variants[0]: 'int_8' is not a scheme; did you mean 'int8'? (dynamic, float16, int8, int16x8)",
    ]


def test_yaml_syntax_has_line_and_column(run: Command, tmp_path: Path) -> None:
    Path("r.yaml").write_text("version: 1\nname: x\nmodel: {path: m\nvariants: [int8]\n", encoding="utf-8")
    ended = run("check", "r.yaml")
    assert (ended.code, ended.err) == (
        2,
        "error: r.yaml:4:9: not valid YAML: expected ',' or '}', but got ':'; check indentation, quotes and brackets "
        "here and on the line before\n",
    )


# (arguments, the message)
NO_ARGUMENTS = [
    (["convert", ""], "argument 2 is empty; is a variable of the shell unset?"),
    (["convert", "r.yaml", "--output", ""], "argument 4 is empty; is a variable of the shell unset?"),
    (
        ["check", os.fsdecode(b"caf\xe9.yaml")],
        "argument 2, caf\\xe9.yaml: is not UTF-8; rename the file or folder",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), NO_ARGUMENTS)
def test_arguments_that_are_none(arguments: list[str], message: str, run: Command) -> None:
    ended = run(*arguments)
    assert (ended.code, ended.message, list(Path().iterdir())) == (2, message, [])


def test_schema_and_completion(run: Command) -> None:
    assert json.loads(run("schema").out)["properties"]["version"]
    for shell in ("bash", "zsh", "fish"):
        assert "_TFLITE_PTQ_COMPLETE" in run("completion", shell).out


def test_inspect(run: Command, tmp_path: Path, relu: Path) -> None:
    int8_dense(tmp_path / "q.tflite")
    assert run("inspect", "q.tflite").out.rstrip().endswith("Full integer: yes")
    assert json.loads(run("inspect", relu, "--json").out)["audit"]["float_ops"] == ["RELU (out)"]
    ended = run("inspect", "gone.tflite")
    assert (ended.code, ended.err) == (3, "error: gone.tflite: no such file; give a .tflite file\n")


def test_benchmark(run: Command, tmp_path: Path, relu: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(relu.read_bytes()[:300])
    short = ["--runs", 5, "--warmup", 0, "--delegate", "cpu", "--precision", 0.9]
    ended = run("benchmark", relu, relu, *short, "--raw", "raw.json", "--json")
    assert ended.code == 0, ended.err
    first, second = json.loads(ended.out)
    assert second["name"] == f"{first['name']} (2)"
    (alone,), (paired,) = first["latency"], second["latency"]
    assert (alone["delegate"], alone["processes"]) == ("cpu", len(alone["process_medians_ns"]))
    assert alone["processes"] >= 6 and alone["runs"] == 5 * alone["processes"]
    assert alone["speedup"] is None and alone["speedup_interval"] is None
    assert paired["speedup"] == alone["median_ns"] / paired["median_ns"]
    assert paired["speedup_interval"]["low"] <= paired["speedup"] <= paired["speedup_interval"]["high"]
    raw = json.loads((tmp_path / "raw.json").read_text(encoding="utf-8"))
    assert raw["format"] == "tflite-ptq-latency/1"
    for rows, latency in zip(raw["configurations"], (alone, paired), strict=True):
        medians = [round(statistics.median(one["runs_ns"])) for one in rows["processes"] if one]
        assert medians == latency["process_medians_ns"]
    assert run("benchmark", "broken.tflite", "--no-latency").code == 3
    ended = run("benchmark", relu, "--no-latency")
    assert ended.code == 0 and "relu.tflite" in ended.out


BENCHMARKED = [("ic", "pretrainedResnet_quant.tflite"), ("kws", "kws_ref_model.tflite"), ("vww", "vww_96_int8.tflite")]


@pytest.mark.parametrize(("folder", "name"), BENCHMARKED)
def test_published_models(folder: str, name: str, real_data: Path, run: Command) -> None:
    model = real_data / "mlperf_tiny" / folder / name
    assert run("inspect", model).out.rstrip().splitlines()[-1].startswith("Full integer: yes")
    ended = run("benchmark", model, "--runs", 5, "--warmup", 0, "--json")
    assert ended.code == 0, ended.err
    (found,) = json.loads(ended.out)
    assert found["size_bytes"] == model.stat().st_size and len(found["latency"]) == 2


def test_what_convert_prints(
    tmp_path: Path, relu: Path, vectors: Path, run: Command, write_recipe: Callable[..., Path]
) -> None:
    dataset = {"format": {"type": "npy"}, "evaluation": {"path": str(vectors)}}
    latency = {"latency": {"delegates": ["cpu"], "runs": 5, "warmup": 0, "precision": 0.9}}
    recipe = write_recipe(relu, dataset, benchmark=latency)
    plain = run("convert", recipe)
    assert plain.code == 0 and "float32" in plain.out and not plain.err
    assert (tmp_path / "out" / "t" / "report.json").is_file()
    quiet = run("convert", recipe, "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    as_json = run("convert", recipe, "--json", "--set", "name=other", "--output", "elsewhere")
    found = json.loads(as_json.out)
    assert found["recipe"]["name"] == "other" and found["recipe"]["overrides"] == ["name=other"]
    assert found == json.loads((tmp_path / "elsewhere" / "report.json").read_text(encoding="utf-8"))
    (timing,) = found["variants"][0]["latency"]
    assert timing["runs"] == 5 * timing["processes"] and timing["processes"] >= 6
    assert (tmp_path / "elsewhere" / "latency.json").is_file() and "latency.json" in plain.out
    bare = json.loads(run("convert", recipe, "--json", "--no-benchmark").out)
    assert bare["variants"][0]["latency"] is None and bare["variants"][0]["audit"] is not None
    wrong = run("convert", recipe, "--only", "int9")
    assert (wrong.code, wrong.message) == (2, "--only int9: the recipe has no such variant (float32)")
    wrong = run("convert", recipe, "--set", "nmae=x")
    assert wrong.code == 2 and "did you mean 'name'?" in wrong.err


@pytest.mark.parametrize(("limit", "code"), [(10_000, 0), (100, 5)])
def test_the_gate(limit: int, code: int, relu: Path, run: Command, write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(relu, gate={"float32": {"size": {"max_bytes": limit}}})
    ended = run("convert", recipe, "--json")
    assert ended.code == code
    assert json.loads(ended.out)["status"] == ("failed" if code else "passed")


@pytest.mark.slow
def test_only_and_verbose(
    models: Path, images: Path, tmp_path: Path, run: Command, write_recipe: Callable[..., Path]
) -> None:
    subset = {"path": str(images), "samples": 4}
    dataset = {"format": {"type": "image"}, "preprocess": [{"color": "gray"}], "calibration": subset}
    recipe = write_recipe(models / "tiny.keras", dataset, ["dynamic", "float16", {"scheme": "int8", "io": "uint8"}])
    ended = run("convert", recipe, "--only", "int8-uint8", "-v", "--no-benchmark")
    assert ended.code == 0, ended.err
    assert sorted(path.name for path in (tmp_path / "out" / "t").glob("*.tflite")) == [
        "float32.tflite",
        "int8-uint8.tflite",
    ]
    assert (tmp_path / "out" / "t" / "log.txt").read_text(encoding="utf-8").strip() in ended.err
    assert "\x1b" not in ended.out + ended.err


def test_the_installed_script() -> None:
    script = Path(sys.executable).with_name("tflite-ptq")
    if not script.exists():
        pytest.skip("the console script is not installed beside this Python")
    for command in ([str(script)], COMMAND):
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, env=os.environ)
        assert done.stdout.startswith("tflite-ptq, version ")
