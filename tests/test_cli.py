"""Commands and their options -> exit code, what is printed, what is written."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import COMMAND, Command
from PIL import Image
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


def quarter_samples(folder: Path, shape: tuple[int, ...], suffix: str) -> None:
    folder.mkdir()
    for i in range(6):
        values = np.full(shape, i / 8, np.float32)
        if suffix == ".npy":
            np.save(folder / f"{i}.npy", values)
        elif suffix == ".npz":
            np.savez(folder / f"{i}.npz", image=values)
        else:
            values.tofile(folder / f"{i}.bin")


@pytest.mark.slow
@pytest.mark.parametrize("data", [None, ".png", ".npy", ".npz", ".bin", "stacked.npy", "one.bin"])
@pytest.mark.parametrize("model", ["tiny.keras", "tiny.h5", "tiny_saved", "tiny.tflite"])
def test_init_writes_what_check_accepts(
    model: str, data: str | None, models: Path, images: Path, tmp_path: Path, run: Command, check: Command
) -> None:
    arguments: list[object] = ["init", models / model]
    if data == ".png":
        arguments += ["--data", images]
    elif data == "stacked.npy":
        np.save(tmp_path / data, np.zeros((6, 8, 8, 1), np.float32))
        arguments += ["--data", data]
    elif data == "one.bin":
        np.zeros((8, 8, 1), np.float32).tofile(tmp_path / data)
        arguments += ["--data", data]
    elif data is not None:
        quarter_samples(tmp_path / "samples", (8, 8, 1), data)
        arguments += ["--data", "samples"]
    ended = run(*arguments)
    assert (ended.code, ended.out) == (0, "wrote recipe.yaml; next: tflite-ptq check recipe.yaml\n"), ended.err
    ended = check("recipe.yaml")
    assert ended.code == 0, ended.err + Path("recipe.yaml").read_text(encoding="utf-8")
    if data is not None:
        assert " for calibration, " in ended.out
    again = run(*arguments)
    assert again.code == 2
    assert again.message == ("recipe.yaml: is there already; choose another with -o FILE or replace it with --force")


@pytest.mark.slow
def test_init_says_which_sizes_it_guessed(models: Path, run: Command, check: Command) -> None:
    assert run("init", models / "open", "-o", "sub folder/o.yaml").code == 0
    text = Path("sub folder/o.yaml").read_text(encoding="utf-8")
    assert "# The model leaves these dimensions open; the sizes here are guesses to correct." in text
    assert "x: {shape: [1, 1, 2]}" in text
    assert check("sub folder/o.yaml").code == 0


@pytest.mark.slow
def test_init_writes_what_it_was_told(models: Path, images: Path, run: Command, check: Command) -> None:
    """(model, options, what stands in the recipe): each is accepted by ``check``."""
    told: list[tuple[str, list[str], list[str]]] = [
        ("lambda.keras", ["--trust"], ["trust: true"]),
        ("sine", ["--signature", "serving_default"], ['signature: "serving_default"']),
        ("tiny.tflite", [], ["variants: []"]),
        ("tiny.tflite", ["--data", str(images)], ["  - {scheme: int8, io: int8} "]),
        (
            "photo.keras",
            ["--data", str(images)],
            ["are those of the samples", "image: {shape: [1, 8, 8, 3]}", "resize: {size: [8, 8], mode: stretch"],
        ),
        ("scaled.keras", ["--data", str(images)], ["- normalize: raw "]),
        ("tiny.keras", ["--data", str(images)], ['- normalize: "0..1" ']),
    ]
    for model, options, wanted in told:
        ended = run("init", models / model, *options, "--force")
        assert ended.code == 0, ended.err
        text = Path("recipe.yaml").read_text(encoding="utf-8")
        assert all(part in text for part in wanted), text
        assert ("\n  - dynamic " in text) == (model != "tiny.tflite"), text
        assert check("recipe.yaml").code == 0, model


@pytest.mark.slow
def test_init_looks_at_the_samples(models: Path, images: Path, tmp_path: Path, run: Command, check: Command) -> None:
    """Sizes that differ are no size; labels beside stacked samples are no sample."""
    Image.new("L", (30, 20)).save(images / "a" / "wide.png")
    assert run("init", models / "photo.keras", "--data", images).code == 0
    text = Path("recipe.yaml").read_text(encoding="utf-8")
    assert "are guesses to correct" in text and "resize: {size: [224, 224], mode: stretch" in text

    (tmp_path / "both").mkdir()
    np.save(tmp_path / "both" / "labels.npy", np.arange(30))
    np.save(tmp_path / "both" / "x.npy", np.zeros((30, 5, 2), np.float32))
    assert run("init", models / "open", "--data", "both", "--force").code == 0
    text = Path("recipe.yaml").read_text(encoding="utf-8")
    assert "x: {shape: [1, 5, 2]}" in text and "# 30 samples in one file" in text and '"both/x.npy"' in text
    assert check("recipe.yaml").code == 0


# (arguments, exit code, the message with {models})
INIT_REFUSES = [
    (["gone.keras"], 3, "gone.keras: no such file or folder; give a trained model"),
    (
        ["{models}/lambda.keras"],
        3,
        "{models}/lambda.keras: the file holds code that would run on this machine (Lambda layer twice); if you trust "
        "where it comes from, say so in the recipe: model: {{trust: true}} (with init: --trust)",
    ),
    (["{models}/sine", "--signature", "predict"], 3, "{models}/sine: has no signature 'predict' (it has: "),
    (["{models}/only.weights.h5"], 3, "{models}/only.weights.h5: holds weights without a model (no model_config)"),
    (["{models}/tiny.keras", "--data", "gone"], 3, "gone: there is no such file or folder; name the folder that holds"),
    (["{models}/tiny.keras", "--data", "."], 3, ".: no samples found among 1 files (looked for .jpg, "),
    (
        ["{models}/tiny.keras", "-o", "notes.txt/r.yaml"],
        2,
        "notes.txt/r.yaml: cannot be written (a file lies where ",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "code", "message"), INIT_REFUSES)
def test_init_refuses(arguments: list[str], code: int, message: str, models: Path, run: Command) -> None:
    Path("notes.txt").write_text("x", encoding="utf-8")
    ended = run("init", *(argument.format(models=models) for argument in arguments))
    assert ended.code == code
    assert ended.message.startswith(message.format(models=models)), ended.err
    assert [path.name for path in Path().iterdir()] == ["notes.txt"]


@pytest.mark.slow
def test_what_init_writes_converts(models: Path, images: Path, tmp_path: Path, run: Command) -> None:
    assert run("init", models / "tiny.keras", "--data", images).code == 0
    ended = run("convert", "recipe.yaml", "--set", "benchmark.latency.runs=5")
    assert ended.code == 0, ended.err
    assert {path.name for path in (tmp_path / "out" / "tiny").iterdir()} >= {"int8.tflite", "report.json"}


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
