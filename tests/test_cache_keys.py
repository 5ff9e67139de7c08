"""Which steps a change costs: from a change of recipe, samples or program to the keys that are other ones then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tflite_ptq.cache.keys import Keys, SampleHashes
from tflite_ptq.cache.metric_source import functions_sha256
from tflite_ptq.cache.origin import origin
from tflite_ptq.measure.environment import environment
from tflite_ptq.recipe.metric import Metric
from tflite_ptq.recipe.schema import Recipe

STEPS = ("source", "float32", "examination", "calibration", "dynamic", "float16", "int8", "audit", "evaluation")
ALL = set(STEPS)
SAMPLED = ALL - {"source", "float32", "float16"}
CALIBRATED = {"examination", "calibration", "dynamic", "int8", "audit"}
EVALUATED = {"examination", "calibration", "audit", "evaluation"}


def recipe(**changes: object) -> Recipe:
    """``changes``: key path with ``__`` for dots -> value."""
    data: dict[str, Any] = {
        "version": 1,
        "name": "t",
        "model": {"path": "/m.keras", "inputs": {"x": {"shape": (1, 4)}}},
        "dataset": {
            "format": {"type": "npy"},
            "preprocess": (),
            "calibration": {"path": "/c", "labels": "/c.csv"},
            "evaluation": {"path": "/e", "labels": "/e.csv"},
        },
        "variants": ("dynamic", "float16", {"scheme": "int8", "io": "int8"}),
        "benchmark": {"accuracy": {"metrics": ("top1",)}},
        "gate": {},
    }
    for path, value in changes.items():
        *folders, last = path.split("__")
        block = data
        for folder in folders:
            block = block.setdefault(folder, {})
        block[last] = value
    return Recipe.model_validate(data)


SAMPLES = SampleHashes(calibration="c" * 64, evaluation="e" * 64)
ORIGIN: dict[str, str | None] = {"tool": "0.1.0", "tensorflow": "2.21.0"}


def digests(
    of: Recipe | None = None,
    samples: SampleHashes = SAMPLES,
    origin_of: dict[str, str | None] = ORIGIN,
    model: str = "m" * 64,
    calibrated: str = "r" * 64,
    files: tuple[str, str] = ("f" * 64, "v" * 64),
    functions: str = "",
) -> dict[str, str]:
    found = of or recipe()
    keys = Keys(origin_of, found, model)
    dynamic, float16, int8 = found.variants
    made = {
        "source": keys.source(),
        "float32": keys.float32(),
        "examination": keys.examination(samples),
        "calibration": keys.calibration(samples),
        "dynamic": keys.variant(dynamic, samples, None),
        "float16": keys.variant(float16, samples, None),
        "int8": keys.variant(int8, samples, calibrated),
        "audit": keys.audit(files[1], int8, samples),
        "evaluation": keys.evaluation(*files, samples, found.benchmark.accuracy.metrics, functions),
    }
    assert len({key.digest for key in made.values()}) == len(STEPS)
    return {step: key.digest for step, key in made.items()}


def int8(**settings: object) -> Recipe:
    return recipe(variants=("dynamic", "float16", {"scheme": "int8", "io": "int8", **settings}))


CHANGES: list[tuple[str, Callable[[], dict[str, str]], set[str]]] = [
    # what has no part in any result
    ("gate limit", lambda: digests(recipe(gate__int8={"size": {"max_ratio": 0.5}})), set()),
    ("recipe name", lambda: digests(recipe(name="other")), set()),
    ("output", lambda: digests(recipe(output="/elsewhere")), set()),
    ("timeout", lambda: digests(recipe(timeout_s=7.0)), set()),
    ("latency", lambda: digests(recipe(benchmark__latency=None)), set()),
    ("variant's name", lambda: digests(int8(name="small")), set()),
    ("moved model", lambda: digests(recipe(model__path="/elsewhere/m.keras")), set()),
    ("moved samples", lambda: digests(recipe(dataset__evaluation__path="/f")), set()),
    ("labels from another file", lambda: digests(recipe(dataset__calibration__labels="/d.csv")), set()),
    ("as many samples by another rule", lambda: digests(recipe(dataset__calibration__select="first")), set()),
    # what all depends on
    ("model bytes", lambda: digests(model="n" * 64), ALL),
    ("model's shape", lambda: digests(recipe(model__inputs={"x": {"shape": (1, 8)}})), ALL),
    ("model's signature", lambda: digests(recipe(model__signature="s")), ALL),
    ("tool's version", lambda: digests(origin_of={**ORIGIN, "tool": "0.2.0"}), ALL),
    ("TensorFlow's version", lambda: digests(origin_of={**ORIGIN, "tensorflow": "2.21.1"}), ALL),
    # what some depend on
    ("calibration samples", lambda: digests(samples=SAMPLES.model_copy(update={"calibration": "d" * 64})), CALIBRATED),
    ("evaluation samples", lambda: digests(samples=SAMPLES.model_copy(update={"evaluation": "d" * 64})), EVALUATED),
    ("preprocessing", lambda: digests(recipe(dataset__preprocess=({"normalize": "0..1"},))), SAMPLED),
    ("format", lambda: digests(recipe(dataset__format={"type": "npy", "shape": (4,), "stride": 1})), SAMPLED),
    ("bad samples", lambda: digests(recipe(dataset__on_bad_sample="skip")), SAMPLED),
    ("calibration method", lambda: digests(recipe(dataset__calibration__method="mse")), {"calibration", "int8"}),
    ("overrides", lambda: digests(recipe(dataset__calibration__overrides={"a*": "mse"})), {"calibration", "int8"}),
    ("ranges", lambda: digests(calibrated="s" * 64), {"int8"}),
    ("variant's setting", lambda: digests(int8(correction="none")), {"int8", "audit"}),
    ("variant's weights", lambda: digests(int8(weights={"range": "mse"})), {"int8", "audit"}),
    ("float32's bytes", lambda: digests(files=("g" * 64, "v" * 64)), {"evaluation"}),
    ("variant's bytes", lambda: digests(files=("f" * 64, "w" * 64)), {"audit", "evaluation"}),
    ("metric", lambda: digests(recipe(benchmark__accuracy__metrics=("top1", "top5"))), {"evaluation"}),
    ("metric's code", lambda: digests(functions="x"), {"evaluation"}),
]


@pytest.mark.parametrize(("change", "cost"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_what_a_change_costs(change: Callable[[], dict[str, str]], cost: set[str]) -> None:
    before, after = digests(), change()
    assert {step for step in STEPS if before[step] != after[step]} == cost


def test_float32_is_not_evaluated_as_a_variant() -> None:
    keys = Keys(ORIGIN, recipe(), "m" * 64)
    metrics = (Metric(name="top1"),)
    alone = keys.evaluation("f" * 64, None, SAMPLES, metrics, "")
    assert alone != keys.evaluation("f" * 64, "f" * 64, SAMPLES, metrics, "")


def test_origin_holds_the_versions_and_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    found = origin(environment())
    assert {"tool", "tensorflow", "ai-edge-litert", "numpy", "pillow", "scikit-learn", "cpu"} <= found.keys()
    assert found["numpy"] and found["tensorflow"] and len(found["code"] or "") == 64
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self) + b"#" * (self.name == "fidelity.py"))
    changed = origin(environment())
    assert {name for name in found if found[name] != changed[name]} == {"code"}


def test_a_metric_of_the_users_counts_with_its_source(tmp_path: Path) -> None:
    beside, working = tmp_path / "recipe", tmp_path / "cwd"
    for folder in (beside, working):
        folder.mkdir()
    metrics = (Metric(name="top1"), Metric(name="quality:score"))

    def now() -> str | None:
        return functions_sha256(metrics, (beside, working))

    assert now() is None  # not found: what it depends on is not known
    assert functions_sha256(metrics[:1], (beside, working)) is not None
    (working / "quality.py").write_text("def score(outputs, labels): return 0.0\n")
    seen = [now()]

    def changed() -> None:
        assert now() is not None and now() not in seen
        seen.append(now())

    (working / "quality.py").write_text(
        "from part import f\nimport tools.deep\nimport numpy\ndef score(*a): return f()\n"
    )
    changed()
    (working / "part.py").write_text("def f(): return 1.0\n")
    changed()
    (working / "part.py").write_text("def f(): return 2.0\n")
    changed()
    (working / "tools").mkdir()
    (working / "tools" / "__init__.py").write_text("X = 1\n")
    changed()
    (working / "tools" / "deep.py").write_text("import quality\n")  # in a circle
    changed()
    (beside / "quality.py").write_text("def score(*a): return 3.0\n")  # the recipe's folder comes first
    changed()
    (beside / "quality.py").write_text("def score(\n")
    assert now() is None
