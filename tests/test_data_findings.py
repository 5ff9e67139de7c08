"""What a census counts, against numpy on the whole set, and what is said about good and bad calibration sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from tflite_ptq.data.census import Census, census
from tflite_ptq.data.finding import Finding
from tflite_ptq.data.findings import findings
from tflite_ptq.data.index import SampleRef

Arrays = Sequence[np.ndarray]
RNG = np.random.default_rng(3)


def refs(count: int, root: str = "cal", labels: Sequence[int | float | None] | None = None) -> list[SampleRef]:
    return [SampleRef(Path(root) / f"{i}.npy", None, labels[i] if labels else None, Path(root)) for i in range(count)]


def taken(arrays: Arrays, root: str = "cal", labels: Sequence[int | float | None] | None = None) -> Census:
    return census((ref, {"x": a}) for ref, a in zip(refs(len(arrays), root, labels), arrays, strict=True))


def images(count: int, low: float = 0, high: float = 255, seed: int = 0) -> list[np.ndarray]:
    """Float images ``(1, 6, 5, 3)`` that each reach from low to high exactly."""
    made = np.random.default_rng(seed).uniform(low, high, (count, 1, 6, 5, 3)).astype(np.float32)
    made[:, 0, 0, 0, 0], made[:, 0, 0, 0, 1], made[:, 0, 0, 0, 2] = low, high, low
    return list(made)


def texts(found: Sequence[Finding]) -> list[str]:
    return [f"{item.severity}: {item.text}" for item in found]


@pytest.mark.parametrize(
    ("shape", "dtype"), [((1, 4, 5, 3), "float32"), ((1, 40), "int8"), ((1, 7, 2), "bool"), ((1,), "int64")]
)
def test_counts_are_those_of_the_whole_set(shape: tuple[int, ...], dtype: str) -> None:
    stack = RNG.integers(0, 2 if dtype == "bool" else 100, (9, *shape)).astype(dtype)
    (found,) = taken(list(stack)).inputs
    assert (found.name, found.dtype, found.rank) == ("x", dtype, len(shape))
    assert (found.min, found.max) == (float(stack.min()), float(stack.max()))
    if len(shape) == 1:
        assert found.channel_min is found.channel_mean is None
        return
    rows = stack.reshape(-1, shape[-1]).astype(np.float64)
    np.testing.assert_array_equal(found.channel_min, rows.min(0))
    np.testing.assert_array_equal(found.channel_max, rows.max(0))
    np.testing.assert_allclose(found.channel_mean, rows.mean(0), rtol=1e-12)


@pytest.mark.parametrize("channels", [3, 40])
def test_nan_and_infinity_are_counted_and_left_out(channels: int) -> None:
    values = np.arange(4 * channels, dtype=np.float32).reshape(1, 4, channels)
    values[0, 0, 1], values[0, 1, 1], values[0, :, 2] = np.nan, np.inf, -np.inf
    got = taken([values, np.full_like(values, np.nan)])
    first, second = got.samples
    assert (first.inputs[0].non_finite, second.inputs[0].non_finite) == (6, 4 * channels)
    assert (first.inputs[0].min, first.inputs[0].max) == (0, 4 * channels - 1 if channels > 3 else 10)
    assert second.inputs[0].min is None
    (found,) = got.inputs
    assert found.channel_mean is not None and found.channel_min is not None
    assert found.channel_mean[0] == 1.5 * channels and found.channel_mean[1] == 2.5 * channels + 1
    assert math.isnan(found.channel_mean[2]) and math.isnan(found.channel_min[2])
    (finding,) = [item for item in findings(got, None, None, None) if "NaN" in item.text]
    assert finding.text.startswith("input 'x': NaN or infinity in 2 of 2 calibration samples (")
    assert finding.where == ("0.npy", "1.npy")


def test_samples_are_told_apart_by_content_shape_and_dtype() -> None:
    zero = np.zeros((1, 2, 3), np.float32)
    different = [zero, zero.reshape(1, 3, 2), zero.astype(np.int32), zero + 1]
    assert len({sample.digest for sample in taken(different).samples}) == 4
    same = [zero, zero.copy(), np.asfortranarray(zero)]
    assert len({sample.digest for sample in taken(same).samples}) == 1
    assert [(s.inputs[0].constant, s.inputs[0].all_zero) for s in taken([zero, zero + 1]).samples] == [
        (True, True),
        (True, False),
    ]


def test_two_inputs_and_one_of_them_a_single_number() -> None:
    ref = refs(1)[0]
    flat: Mapping[str, np.ndarray] = {"b": np.ones((1, 4)), "a": np.ones((1, 1))}
    got = census([(ref, flat), (ref, {"b": np.arange(4.0)[None], "a": np.ones((1, 1))})])
    assert [item.name for item in got.inputs] == ["a", "b"]
    assert [sample.constant for sample in got.samples] == [True, False]
    with pytest.raises(ValueError, match=r"inputs \['b'\] after samples of \['a', 'b'\]"):
        census([(ref, flat), (ref, {"b": np.ones((1, 4))})])


def test_open_dimensions_have_no_channels() -> None:
    (found,) = taken([np.ones((1, 4)), np.zeros((1, 5))]).inputs
    assert found.channel_min is None and (found.min, found.max) == (0, 1)


def test_a_good_set_has_no_findings() -> None:
    names = ("cat", "dog")
    calibration = taken(images(24), labels=[0, 1] * 12)
    evaluation = taken(images(30, seed=1), "eval", [0, 1] * 15)
    assert findings(calibration, evaluation, names, True) == ()
    assert findings(calibration, None, None, None) == ()


BLACK = np.zeros((1, 6, 5, 3), np.float32)
GOOD = images(24)


@pytest.mark.parametrize(
    ("calibration", "evaluation", "rescaling", "expected"),
    [
        (
            GOOD[:7],
            None,
            None,
            ["warning: only 7 calibration samples: the ranges of activations depend on each of them"],
        ),
        (
            [*GOOD, GOOD[3], GOOD[3]],
            None,
            None,
            ["warning: 2 of 26 calibration samples have the content of another one"],
        ),
        (
            [*GOOD, BLACK, BLACK, BLACK + 7],
            None,
            None,
            ["warning: one value throughout in 3 of 27 calibration samples, 2 of them zero"],
        ),
        (
            GOOD,
            [*images(20, seed=1), GOOD[5]],
            None,
            ["warning: 1 of 21 evaluation samples have the content of a calibration sample"],
        ),
        (
            images(24, 0, 100),
            [*images(20, 0, 100, 1), *images(2, -5, 120, 2)],
            None,
            [
                "warning: input 'x': values beyond the calibration range in 2 of the 22 evaluation samples, "
                "by up to 20.0% of its width (calibration 0..100, evaluation -5..120); such values are clipped"
            ],
        ),
        (
            images(24, 0, 100),
            images(20, 0, 102, 1),
            None,
            [
                "info: input 'x': values beyond the calibration range in 20 of the 20 evaluation samples, "
                "by up to 2.0% of its width (calibration 0..100, evaluation 0..102); such values are clipped"
            ],
        ),
        (images(24, 0, 100), images(20, 0, 100.5, 1), None, []),
        (
            [*images(24, -3, 3), *images(1, -10, 8, 5)],
            images(20, -3, 3, 1),
            None,
            [
                "warning: input 'x': the calibration range is 3 times as wide as the evaluation samples' (calibration "
                "-10..8, evaluation -3..3), because of 1 sample; a quantization step grows with it"
            ],
        ),
        (
            images(24, 0, 1),
            images(20, -1, 1, 1),
            None,
            ["warning: input 'x': calibration samples hold 0..1 where evaluation samples hold -1..1"],
        ),
        (
            images(24, -1, 1),
            None,
            True,
            [
                "warning: input 'x': the samples hold -1..1, but the model takes larger numbers (it begins with a "
                "Rescaling or Normalization of its own, or with weights made for them), so they would be scaled twice"
            ],
        ),
        (images(24, -1, 1), None, False, []),
        (images(24, -1, 1), None, None, []),
        (
            GOOD,
            None,
            False,
            [
                "info: input 'x': the samples hold 0..255, and neither the model's first layers nor their weights look "
                "made for such numbers"
            ],
        ),
        ([array.reshape(1, -1) for array in GOOD], None, False, []),  # features, not pixels
        (
            [np.array([[place, 30]]) for place in range(24)],
            [np.array([[place + 1, 49]]) for place in range(24)],
            None,
            [
                "info: input 'x': values beyond the calibration range in 24 of the 24 evaluation samples, by up to "
                "63.3% of its width (calibration 0..30, evaluation 1..49); calibration never met such values"
            ],
        ),
        (
            [np.full((1, 3), 2, np.float32) for _ in range(20)],
            [np.array([[0, 2, place]], np.float32) for place in range(3, 24)],
            None,
            [
                "warning: one value throughout in 20 of 20 calibration samples, 0 of them zero",
                "warning: input 'x': values beyond the calibration range in 21 of the 21 evaluation samples, which has "
                "no width (calibration 2..2, evaluation 0..23); such values are clipped",
            ],
        ),
        (
            [*GOOD, *images(2, 0, 1, 4)],
            None,
            True,
            ["warning: input 'x': 2 of 26 calibration samples hold 0..1 where the others hold 0..255"],
        ),
        (
            [image * np.array([1, 0, 1], np.float32) + np.array([0, 4, 0], np.float32) for image in images(24, 1, 9)],
            None,
            None,
            ["warning: input 'x': no change over the calibration set in 1 channel of 3"],
        ),
    ],
)
def test_findings(calibration: Arrays, evaluation: Arrays | None, rescaling: bool | None, expected: list[str]) -> None:
    there = None if evaluation is None else taken(evaluation, "eval")
    found = findings(taken(calibration), there, None, rescaling)
    assert texts(found) == expected
    assert all(len(item.where) <= 5 and item.next_step for item in found)


def test_where_names_the_samples() -> None:
    (finding,) = findings(taken([*GOOD, GOOD[3]]), None, None, None)
    assert str(finding) == (
        "1 of 25 calibration samples have the content of another one (24.npy = 3.npy); remove the copies: they teach "
        "calibration nothing new"
    )
    (finding,) = findings(taken(images(24, 0, 100)), taken([*images(20, 0, 90, 1), *images(1, 0, 130, 2)]), None, None)
    assert finding.where == ("20.npy",)


def test_a_sample_that_the_recipe_put_into_both_sets_is_no_leak() -> None:
    assert findings(taken(GOOD), taken(GOOD), None, None) == ()


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([0, 1] * 12, ("cat", "dog", "cow"), ["warning: 1 of 3 classes have no calibration sample: cow"]),
        (
            [0, 1] * 12,
            tuple(f"c{i}" for i in range(30)),
            ["info: 28 of 30 classes have no calibration sample: c2, c3, c4, c5, c6, ..."],
        ),
        ([0] * 24, None, ["warning: 1 of 2 classes have no calibration sample: 1"]),
        ([None] * 24, ("cat", "dog"), []),
        ([0.5] * 24, ("cat", "dog"), []),
    ],
)
def test_classes_missing_from_the_set(
    labels: list[int | float | None], classes: tuple[str, ...] | None, expected: list[str]
) -> None:
    evaluation = taken(images(24, seed=1), "eval", [0, 1] * 12)
    assert texts(findings(taken(GOOD, labels=labels), evaluation, classes, None)) == expected


def test_what_is_said_of_some_samples_for_all() -> None:
    """Every fourth of 96 is looked at; the classes are those of all."""
    chosen = refs(96, labels=[place % 4 for place in range(96)])
    some = [*images(23, seed=2), images(1, seed=2)[0]]
    calibration = census(((ref, {"x": one}) for ref, one in zip(chosen[::4], some, strict=True)), chosen)
    assert (calibration.total, calibration.classes) == (96, (0, 1, 2, 3))
    assert texts(findings(calibration, None, ("a", "b", "c", "d"), None)) == [
        "warning: 1 of 24 calibration samples looked at have the content of another one"
    ]
