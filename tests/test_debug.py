"""``tflite-ptq debug``: advice and files from made-up reports; the command on models with one bad layer."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from conftest import HERE, Command
from float_chain import NONE, RELU, Chain, Dense, Plain, uneven_pair
from pydantic import JsonValue
from rich.console import Console

from tflite_ptq.debug_result import (
    Closeness,
    CorrectionTrial,
    DebugReport,
    ExclusionTrial,
    LayerDebug,
    MethodTrial,
    TensorError,
    WeightsTrial,
)
from tflite_ptq.measure.environment import environment
from tflite_ptq.model.editing import Editable
from tflite_ptq.report import debug_files
from tflite_ptq.report.debug_advice import advise, best_exclusion, gain_db
from tflite_ptq.report.debug_tables import render
from tflite_ptq.result import RecipeInfo


def db(value: float) -> Closeness:
    return Closeness(sqnr_db=value)


def layer(name: str, **more: Any) -> LayerDebug:
    output = TensorError(tensor=name, closeness=db(30), mean_error=0.0, **more.pop("output", {}))
    given = {"op": "CONV_2D", "exclude": name, "alone": db(25), "spared": db(21), "gain_db": 1.0, "error_share": 0.5}
    return LayerDebug.model_validate({"name": name, "output": output, **given, **more})


def report(**more: Any) -> DebugReport:
    made: dict[str, Any] = {
        "recipe": RecipeInfo(name="t", path="t.yaml", sha256="0"),
        "environment": environment(),
        "model": "m.keras",
        "variant": "int8",
        "entry": {"scheme": "int8"},
        "samples": 8,
        "subset": "evaluation",
        "method": "minmax",
        "whole": db(20),
        "inputs": (),
        "layers": (layer("a"), layer("b")),
        "correction": CorrectionTrial(setting="auto", method=None, closeness=db(20)),
        "methods": (),
        "exclusions": (),
        "duration_s": 1.0,
    }
    return DebugReport.model_validate({**made, **more})


@pytest.mark.parametrize(
    ("closeness", "whole", "expected"),
    [(db(25), db(20), 5.0), (db(18), db(20), -2.0), (None, db(20), None), (Closeness(exact=True), db(20), None)],
)
def test_gain(closeness: Closeness | None, whole: Closeness, expected: float | None) -> None:
    assert gain_db(closeness, whole) == expected


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([20.2, 20.9], None),  # not worth it
        ([25.0, 25.4, 25.2], 1),  # the second layer adds nothing worth its place
        ([20.1, 26.0, 26.1], 2),  # both ends of a bad tensor
        ([20.5, 22.0, 29.0], 3),
        ([24.0, None, 25.0], 1),
        ([None, 24.0], 2),  # one that failed
        ([29.0, 33.0, 38.0], 1),  # more is better still, but not for two layers in float
    ],
)
def test_the_smallest_set_of_layers_that_helps(levels: list[float | None], expected: int | None) -> None:
    trials = [
        ExclusionTrial(exclude=tuple("abc"[: i + 1]), closeness=db(x) if x else Closeness(error="no"))
        for i, x in enumerate(levels)
    ]
    best = best_exclusion(trials, db(20))
    assert (len(best.exclude) if best else None) == expected


def test_float_itself_is_the_best_there_is() -> None:
    trials = [ExclusionTrial(exclude=("a",), closeness=Closeness(exact=True))]
    assert best_exclusion(trials, db(20)) == trials[0]


def balanced(sqnr_db: float) -> WeightsTrial:
    weights: dict[str, JsonValue] = {"rounding": "compensated", "equalize": True}
    return WeightsTrial(way="equalized and compensated", weights=weights, closeness=db(sqnr_db))


def rounded(sqnr_db: float) -> WeightsTrial:
    return WeightsTrial(way="compensated", weights={"rounding": "compensated"}, closeness=db(sqnr_db))


@pytest.mark.parametrize(
    ("more", "texts", "pasted"),
    [
        ({}, ["exclude nothing: no few layers", "bias correction does not bring the outputs of these "], []),
        (
            {
                "entry": {"scheme": "int8", "io": "uint8", "name": "small", "exclude": [{"op": "SOFTMAX"}]},
                "exclusions": (ExclusionTrial(exclude=("t[[]0]", "ä: b"), closeness=db(30)),),
            },
            ["leave 2 layers in float: 20.0 dB become 30.0 dB", "bias correction does not bring the outputs of these "],
            [
                {
                    "variants": [
                        {
                            "scheme": "int8",
                            "io": "uint8",
                            "name": "small",
                            "exclude": [{"op": "SOFTMAX"}, "t[[]0]", "ä: b"],
                        }
                    ]
                }
            ],
        ),
        (
            {"methods": (MethodTrial(method="{percentile: 99.99}", closeness=db(24)),), "whole": db(20)},
            ["exclude nothing", "choose activation ranges by {percentile: 99.99} instead of minmax: +4.0 dB"],
            [{"dataset": {"calibration": {"method": {"percentile": 99.99}}}}],
        ),
        (
            {"methods": (MethodTrial(method="mse", closeness=db(24)),), "auto_tried": ("minmax", "mse")},
            ["exclude nothing", "activation ranges by mse come closer than by minmax here: +4.0 dB"],
            [],
        ),
        (
            {"methods": (MethodTrial(method="entropy", closeness=db(24)),), "auto_tried": ("minmax", "mse")},
            ["exclude nothing", "choose activation ranges by entropy instead of minmax"],
            [{"dataset": {"calibration": {"method": "entropy"}}}],
        ),
        (
            {"methods": (MethodTrial(method="mse", closeness=db(20.4)),)},
            ["exclude nothing", "keep calibration method minmax"],
            [],
        ),
        (
            {
                "weights": (balanced(23), rounded(22)),
                "entry": {"scheme": "int8", "correction": "one-pass"},
                "correction": CorrectionTrial(setting="one-pass", unserved="reasons"),
            },
            ["exclude nothing", "have weights equalized and compensated: +3.0 dB at no cost when the model runs"],
            [
                {
                    "variants": [
                        {
                            "scheme": "int8",
                            "correction": "one-pass",
                            "weights": {"rounding": "compensated", "equalize": True},
                        }
                    ]
                }
            ],
        ),
        (
            {
                "weights": (balanced(19), rounded(22)),
                "entry": {"scheme": "int8", "weights": {"rounding": "compensated"}},
            },
            ["exclude nothing", "keep weights compensated: +2.0 dB"],
            [],
        ),
        (
            {"weights": (balanced(19), rounded(22)), "correction": CorrectionTrial(setting="auto", unserved="so")},
            [
                "exclude nothing",
                "weights compensated come closer: +2.0 dB without bias correction; `correction: auto` ",
            ],
            [],
        ),
        (
            {"weights": (balanced(19), rounded(20.9))},
            ["exclude nothing", "leave weights to the converter: no other way with them gains 1 dB"],
            [],
        ),
        (
            {"layers": (layer("a", output={"clipped_below": 0.0, "clipped_above": 0.02}),)},
            ["exclude nothing", "clipped at the int8 limits: more than 0.1 % of the values of 1 activation"],
            [],
        ),
        (
            {"layers": (layer("a", op="SOFTMAX", output={"clipped_below": 0.0, "clipped_above": 0.02}),)},
            ["exclude nothing", "bias correction does not bring"],  # its scale is fixed: nothing to do about it
            [],
        ),
        (
            {"layers": (layer("a", output={"crest_factor": 50.0}),)},
            ["exclude nothing", "outliers: the largest value of 'a' is 50 times its root mean square"],
            [{"dataset": {"calibration": {"overrides": {"a": "mse"}}}}],
        ),
        (
            {"correction": CorrectionTrial(setting="none", method="one-pass", closeness=db(23))},
            ["exclude nothing", "switch bias correction on: one-pass gains +3.0 dB"],
            [{"variants": [{"scheme": "int8", "correction": "auto"}]}],
        ),
        (
            {"correction": CorrectionTrial(setting="auto", unserved="reasons")},
            ["exclude nothing", "bias correction cannot be tried: reasons"],
            [],
        ),
    ],
)
def test_advice(more: dict[str, Any], texts: list[str], pasted: list[Any]) -> None:
    advice = advise(report(**more))
    for text, one in zip(texts, advice, strict=False):
        assert one.text.startswith(text), one.text
    assert [yaml.safe_load(one.yaml) for one in advice if one.yaml is not None] == pasted


def test_figures_of_next_to_nothing_are_readable() -> None:
    tiny = layer(
        "a",
        gain_db=-0.04,
        alone=db(-0.01),
        error_share=0.004,
        output={"clipped_below": 0.0, "clipped_above": 9.5e-07},
    )
    text = StringIO()
    trials = (MethodTrial(method="mse", closeness=db(19.97)),)
    render(report(layers=(tiny,), methods=trials), Console(file=text, width=80), "out", ())
    row = next(line for line in text.getvalue().splitlines() if line.startswith("1  a"))
    assert row.split()[2:] == ["0.40", "%", "0.0", "0.0", "30.0", "–", "<", "0.01", "%"]
    (method,) = [line.split() for line in text.getvalue().splitlines() if line.startswith("calibration method mse")]
    assert method[-2:] == ["20.0", "0.0"]
    assert "-0.0" not in text.getvalue() and "e-" not in text.getvalue()


def test_files_and_model_explorers_node_data(tmp_path: Path) -> None:
    made = report(layers=(layer("a", error_share=0.9), layer("b", error_share=None)))
    assert debug_files.write(made, tmp_path)[0] == "debug.json"
    read = json.loads((tmp_path / "debug.json").read_text(encoding="utf-8"))
    assert DebugReport.model_validate(read) == made and read["format"] == "tflite-ptq-debug/1"
    shares = json.loads((tmp_path / debug_files.SHARE_NAME).read_text(encoding="utf-8"))
    assert shares["results"] == {"a": {"value": 90.0}}
    limits = [threshold["value"] for threshold in shares["thresholds"]]
    assert limits == sorted(limits) and all(threshold["bgColor"] for threshold in shares["thresholds"])
    sqnr = json.loads((tmp_path / debug_files.SQNR_NAME).read_text(encoding="utf-8"))
    assert sqnr["results"] == {"a": {"value": 30.0}, "b": {"value": 30.0}}


def test_the_table_fits_80_columns() -> None:
    long = "model/a_rather_long_name_of_a_block/with_a_layer_inside/Conv2D"
    layers = tuple(layer(f"{long}_{i}", output={"clipped_below": 0.1, "clipped_above": 0.0}) for i in range(25))
    text = StringIO()
    render(report(layers=layers), Console(file=text, width=80), "out", ("debug.json",))
    lines = text.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in text.getvalue() and "and 5 layers more, in debug.json" in lines


@pytest.mark.parametrize(
    ("variants", "arguments", "message"),
    [
        (["dynamic"], (), "debug: recipe 't' has no variant of scheme int8; add int8 to its variants"),
        (
            ["int8"],
            ("--variant", "int9"),
            "--variant int9: the recipe has no such variant; its int8 variants are: int8",
        ),
        (
            ["int8", "dynamic"],
            ("--variant", "dynamic"),
            "--variant dynamic: is of scheme dynamic, and single layers stay float in int8 models only; "
            "int8 variants of the recipe: int8",
        ),
    ],
)
def test_variants_that_cannot_be_debugged(
    run: Command,
    write_recipe: Callable[..., Path],
    relu: Path,
    vectors: Path,
    variants: list[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    dataset = {"format": {"type": "npy"}, "calibration": {"path": str(vectors)}}
    ended = run("debug", write_recipe(relu, dataset, variants), *arguments)
    assert (ended.code, ended.message) == (2, message)


@pytest.fixture
def bad_layer(tmp_path: Path) -> Path:
    """Four dense layers. The weights of t1 upon t0[0], which is always 0, are a thousand times the others: they make
    nothing of the output and all of the scale, so that the others of t1 round to 0."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.5, (8, 8)).astype(np.float32) for _ in range(4)]
    weights[0][0] = 0
    weights[1][:, 0] = 1000
    layers = [Dense(w, np.full(8, 0.1, np.float32), (1, 8), RELU if i < 3 else NONE) for i, w in enumerate(weights)]
    layers[0].bias[0] = 0  # type: ignore[index]
    (tmp_path / "bad.tflite").write_bytes(Chain((1, 8), list(layers)).build(tmp_path).to_bytes())
    (tmp_path / "samples").mkdir()
    for i in range(60):
        np.save(tmp_path / "samples" / f"{i:02}.npy", rng.normal(0, 1, 8).astype(np.float32))
    return tmp_path / "bad.tflite"


@pytest.mark.slow
def test_the_bad_layer_comes_first_and_excluding_it_acts(
    run: Command, write_recipe: Callable[..., Path], tmp_path: Path, bad_layer: Path
) -> None:
    samples = {"path": str(tmp_path / "samples")}
    dataset = {"format": {"type": "npy"}, "calibration": {**samples, "samples": 30}, "evaluation": samples}
    ended = run("debug", write_recipe(bad_layer, dataset, ["int8"]), "--json", "--samples", 20)
    assert ended.code == 0, ended.err
    made = DebugReport.model_validate_json(ended.out)
    assert made == DebugReport.model_validate_json((tmp_path / "out/t/debug/debug.json").read_text(encoding="utf-8"))
    worst = made.layers[0]
    assert worst.name == "t1"
    assert worst.error_share is not None and worst.error_share > 0.9
    assert worst.gain_db is not None and worst.gain_db > 10
    assert worst.weight_sqnr_db is not None
    assert {one.name for one in made.layers} == {"t0", "t1", "t2", "t3"}
    assert all(one.alone and one.spared and one.alone.error is None for one in made.layers)
    assert all(one.weight_sqnr_db is not None and one.output.closeness.error is None for one in made.layers)
    assert made.samples == 20 and made.subset == "evaluation"
    assert [trial.method for trial in made.methods] == ["mse", "entropy", "{percentile: 99.99}"]
    advised = next(one for one in made.advice if one.text.startswith("leave 1 layer in float"))
    assert advised.yaml == 'variants: [{scheme: int8, exclude: ["t1"]}]'

    # What it says to paste does what it says.
    pasted = yaml.safe_load(advised.yaml)["variants"]
    ended = run("convert", write_recipe(bad_layer, dataset, pasted), "--no-benchmark", "--output", tmp_path / "pasted")
    assert ended.code == 0, ended.err
    model = Editable((tmp_path / "pasted" / "int8.tflite").read_bytes())
    dense = [node.outputs[0] for node in model.nodes() if node.name == "FULLY_CONNECTED"]
    assert [model.dtype(output) for output in dense] == ["int8", "float32", "int8", "int8"]

    # What is in float already is not tried, and stays so; --layers bounds what is.
    ended = run("debug", write_recipe(bad_layer, dataset, pasted), "--json", "--layers", 2)
    again = DebugReport.model_validate_json(ended.out)
    by_name = {one.name: one for one in again.layers}
    assert by_name["t1"].skipped == "it is in float already"
    assert sum(one.alone is not None for one in again.layers) == 2
    assert any("most suspicious" in (one.skipped or "") for one in again.layers)
    assert worst.spared is not None and again.whole.sqnr_db is not None
    assert again.samples == 30 and again.whole.sqnr_db > made.whole.sqnr_db + 10  # type: ignore[operator]


@pytest.mark.slow
def test_uneven_channels_are_told_to_be_equalized(
    run: Command, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """Only samples that did not make the weights can tell."""
    rng = np.random.default_rng(1)
    dataset: dict[str, Any] = {"format": {"type": "npy"}}
    for name, count in (("calibration", 120), ("evaluation", 60)):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(count, 6)).astype(np.float32))
        dataset[name] = {"path": str(tmp_path / f"{name}.npy"), **({"samples": count} if count == 120 else {})}
    model, variants = uneven_pair(tmp_path), [{"scheme": "int8", "correction": "one-pass"}]
    calibration_only = {key: value for key, value in dataset.items() if key != "evaluation"}
    ended = run("debug", write_recipe(model, calibration_only, variants), "--json", "--output", tmp_path / "without")
    assert DebugReport.model_validate_json(ended.out).weights == ()
    recipe = write_recipe(model, dataset, variants)
    ended = run("debug", recipe, "--output", tmp_path / "debug")
    assert ended.code == 0, ended.err
    made = DebugReport.model_validate_json((tmp_path / "debug" / "debug.json").read_text(encoding="utf-8"))
    ways = {trial.way: trial.closeness.sqnr_db for trial in made.weights}
    assert list(ways) == ["equalized and compensated", "compensated"]
    assert ways["equalized and compensated"] > made.whole.sqnr_db + 6  # type: ignore[operator]
    (advised,) = [one for one in made.advice if one.text.startswith("have weights equalized and compensated: +")]
    assert yaml.safe_load(advised.yaml or "")["variants"][0]["weights"] == {
        "rounding": "compensated",
        "equalize": True,
    }
    assert "weights equalized and compensated" in " ".join(ended.out.split())


@pytest.mark.slow
def test_a_last_layer_in_float_has_the_error_of_the_outputs(
    run: Command, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """To follow it the outputs are made integers, which costs what the model itself does not lose."""
    np.save(tmp_path / "rows.npy", np.random.default_rng(1).normal(size=(40, 6)).astype(np.float32))
    dataset = {"format": {"type": "npy"}, "calibration": {"path": str(tmp_path / "rows.npy"), "samples": 40}}
    recipe = write_recipe(uneven_pair(tmp_path), dataset, [{"scheme": "int8", "exclude": ["t1"]}])
    ended = run("debug", recipe, "--output", tmp_path / "debug")
    assert ended.code == 0, ended.err
    made = DebugReport.model_validate_json((tmp_path / "debug" / "debug.json").read_text(encoding="utf-8"))
    last = next(layer for layer in made.layers if layer.name == "t1")
    assert last.skipped == "it is in float already" and last.output.clipped is None
    assert last.output.closeness.sqnr_db == pytest.approx(made.whole.sqnr_db, abs=1e-6)


@pytest.mark.slow
def test_a_layer_that_makes_the_outputs_infinite(
    run: Command, write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """What int8 rounds to zero has no logarithm in float: neither dense layer may stay in int8."""
    rng = np.random.default_rng(2)
    dense = [Dense(np.eye(8, dtype=np.float32) * factor, None, (1, 8)) for factor in (2, 0.5)]
    model = tmp_path / "log.tflite"
    model.write_bytes(Chain((1, 8), [*dense, Plain("LOG")]).build(tmp_path).to_bytes())
    (tmp_path / "samples").mkdir()
    for i in range(60):
        np.save(tmp_path / "samples" / f"{i:02}.npy", np.exp(rng.uniform(-9, 0, 8)).astype(np.float32))
    samples = {"path": str(tmp_path / "samples")}
    dataset = {"format": {"type": "npy"}, "calibration": {**samples, "samples": 30}, "evaluation": samples}
    variant = {"scheme": "int8", "exclude": [{"op": "LOG"}]}
    ended = run("debug", write_recipe(model, dataset, [variant]), "--output", tmp_path / "debug")
    assert ended.code == 0, ended.err
    made = DebugReport.model_validate_json((tmp_path / "debug" / "debug.json").read_text(encoding="utf-8"))
    assert made.whole.non_finite
    assert {one.name for one in made.layers if one.alone and one.alone.non_finite} == {"t0", "t1"}
    assert next(one.skipped for one in made.layers if one.name == "t2") == "it is in float already"
    assert made.exclusions[0].exclude == ("t0", "t1")
    assert made.advice[0].text.startswith("leave 2 layers in float: NaN or infinite outputs become float32's own")
    assert "NaN or infinity in the outputs" in ended.out

    # Correction leaves it alone; the error leads here.
    ended = run("convert", write_recipe(model, dataset, [variant]), "--output", tmp_path / "out")
    assert ended.code == 4
    assert "int8: no bias correction: the outputs hold NaN or infinity on calibration samples" in ended.out
    assert " - int8: output 't2' holds NaN or infinity on " in ended.out and "tflite-ptq debug finds" in ended.out


@pytest.mark.slow
def test_a_real_model(run: Command, real_data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "TFLITE_PTQ_REAL_DATA", str(real_data))
    recipe = HERE.parent / "configs" / "kws.yaml"
    ended = run("debug", recipe, "--output", tmp_path / "debug", "--samples", 32, "--set", "model.trust=true")
    assert ended.code == 0, ended.err
    made = DebugReport.model_validate_json((tmp_path / "debug" / "debug.json").read_text(encoding="utf-8"))
    shares = [one.error_share for one in made.layers if one.error_share is not None]
    assert sum(shares) == pytest.approx(1.0) and shares == sorted(shares, reverse=True)
    assert {"float32.tflite", "int8.tflite", debug_files.SHARE_NAME} <= {p.name for p in (tmp_path / "debug").iterdir()}
    tensors = Editable((tmp_path / "debug" / "float32.tflite").read_bytes()).named()
    shown = json.loads((tmp_path / "debug" / debug_files.SHARE_NAME).read_text(encoding="utf-8"))
    assert set(shown["results"]) <= set(tensors)
    assert "Advice" in ended.out and made.whole.sqnr_db is not None

    # Its ranges are those of the file that convert writes: the recipe says `method: auto`.
    settings = ("--only", "int8", "--no-benchmark", "--set", "model.trust=true", "--set", "gate={}")
    ended = run("convert", recipe, "--output", tmp_path / "run", *settings)
    assert ended.code == 0, ended.err
    shipped, looked_at = (Editable((tmp_path / f"{folder}/int8.tflite").read_bytes()) for folder in ("run", "debug"))
    activations = [name for name, i in shipped.named().items() if not shipped.is_constant(i)]
    for name in activations:
        one, other = (model.affine(model.named()[name]) for model in (shipped, looked_at))
        assert one is not None and other is not None
        np.testing.assert_array_equal(one.scale, other.scale, name)
    note = f"activation ranges by {made.method.strip('{}').replace(':', '')}:"
    assert note in " ".join(ended.out.split())
