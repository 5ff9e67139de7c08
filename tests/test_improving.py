"""When one way to make a variant counts as closer to float32 than another: by paired differences, beyond chance."""

import pytest

from tflite_ptq.quantize.correction.closer import closest, surely_closer
from tflite_ptq.report.notes import notes_on
from tflite_ptq.result import Correction, Fidelity, LayerCorrection, VariantResult


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((31, 32, 33), (30, 31, 32), True),  # the same gain everywhere: no doubt
        ((31, 32, 33), (31, 32, 33), False),
        ((30, 31, 32), (31, 32, 33), False),
        # gains 5, -4, 5, -4: mean 0.5, standard deviation sqrt(27), standard error 2.6
        ((35, 26, 35, 26), (30, 30, 30, 30), False),
        # gains 5, 3, 5, 3: mean 4, standard error 0.58; of three degrees of freedom t is 3.18
        ((35, 33, 35, 33), (30, 30, 30, 30), True),
        # gains 2, 1, 0: mean 1, standard deviation 1, standard error 0.577; two of them are more than the mean
        ((32, 31, 30), (30, 30, 30), False),
        # gains 3, 1.5, 1: mean 1.83, standard error 0.60: three of them, where two degrees of freedom ask for 4.3
        ((33, 31.5, 31), (30, 30, 30), False),
        ((35, 31), (30, 30), False),  # gains 5 and 1: mean 3, standard error 2; one degree asks for 12.7
        ((33,) * 30 + (21,), (30,) * 31, True),  # 30 gain 3: mean 2.6, standard error 0.39; noise 0.0230 of 0.0310
        ((33,) * 30 + (10,), (30,) * 31, False),  # the one alone is 0.1
        ((32,), (30,), False),  # one sample proves nothing
        ((), (), False),
        ((32, 33), (30, 31, 32), False),  # not the same samples
    ],
)
def test_surely_closer(one: tuple[float, ...], other: tuple[float, ...], expected: bool) -> None:
    assert surely_closer(one, other) is expected


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], None),
        ([(30, 31, 32)], None),
        # gains 1, 1, 1 and 2, 3, 2.5: both are sure, the second more on average, though not surely more than 2, 2, 2
        ([(31, 32, 33), (32, 34, 34.5)], 1),
        ([(32, 33, 34), (32, 34, 34.5)], 1),
        ([(32, 33, 34), (50, 31, 32)], 0),  # gains 20, 0, 0 are not sure, whatever their mean
    ],
)
def test_the_closest_of_several(others: list[tuple[float, ...]], expected: int | None) -> None:
    assert closest((30, 31, 32), others) == expected


@pytest.mark.parametrize(
    ("method", "db", "held", "statuses", "expected"),
    [
        (
            "one-pass",
            (31.26, 37.14),
            (12, True),
            ("kept", "skipped", "kept"),
            "bias correction (one-pass): 2 layers kept, 1 skipped; mean SQNR 31.3 dB before, 37.1 dB after, on 12 "
            "calibration samples held back",
        ),
        (
            None,
            (31.26, 31.26),
            (1, False),
            ("refused",),
            "bias correction: 1 layer refused; mean SQNR 31.3 dB on 1 calibration sample, too few to hold any back, "
            "not surely closer with it",
        ),
        # Nothing was tried, and nothing is lost.
        (
            None,
            (None, None),
            (40, True),
            ("skipped",),
            "bias correction: 1 layer skipped; mean SQNR identical on 40 calibration samples held back",
        ),
    ],
)
def test_the_note_on_a_correction(
    method: str | None, db: tuple[float, float], held: tuple[int, bool], statuses: tuple[str, ...], expected: str
) -> None:
    layers = [LayerCorrection.model_validate({"layer": "a", "op": "X", "status": s, "reason": ""}) for s in statuses]
    correction = Correction.model_validate(
        {
            "method": method,
            "sqnr_before_db": db[0],
            "sqnr_after_db": db[1],
            "held_back_samples": held[0],
            "held_back": held[1],
            "layers": layers,
        }
    )
    variant = VariantResult(name="int8", scheme="int8", size_bytes=1, correction=correction)
    assert notes_on(variant) == (expected,)


def test_the_note_on_several_outputs() -> None:
    fidelity = Fidelity(agreement=None, sqnr_db=31.0, samples=9, outputs_sqnr_db={"boxes": 31.26, "scores": None})
    variant = VariantResult(name="int8", scheme="int8", size_bytes=1, fidelity=fidelity)
    assert notes_on(variant) == (
        "SQNR by output (in the table's, large values weigh most): boxes 31.3 dB, scores identical",
    )
