"""When one way to make a variant counts as closer to float32 than another: by paired differences, beyond chance."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tflite_ptq.errors import ConversionError, MeasurementError
from tflite_ptq.improving import Improving
from tflite_ptq.quantize.correction.closer import closest, surely_closer
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.remaking import Remaking
from tflite_ptq.report.notes import notes_on
from tflite_ptq.result import Correction, Fidelity, Frozen, LayerCorrection, VariantResult
from tflite_ptq.worker.calibration_messages import Correct, Corrected, Prepare, Prepared
from tflite_ptq.worker.children import Children
from tflite_ptq.worker.messages import Converted, Quantize


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


class Quiet:
    def stage(self, what: str, done: int, total: int | None) -> None: ...


class Answering:
    """A child that answers what it is told to, and remembers what it was asked."""

    def __init__(self, *, prepared: Prepared | MeasurementError, closer_by_db: float = 0.0) -> None:
        self.asked: list[Frozen] = []
        self._prepared, self._closer_by_db = prepared, closer_by_db

    def ask(self, request: Frozen, *_: object) -> Frozen:
        self.asked.append(request)
        if isinstance(request, Prepare):
            if isinstance(self._prepared, MeasurementError):
                raise self._prepared
            return self._prepared
        if isinstance(request, Correct):
            # Of 20 samples each fifth is held back in its turn; weights are made without the first fifth.
            db = tuple(float(30 + place % 3) for place in range(20))
            held = db if request.in_turn else tuple(one + self._closer_by_db for one in db[:4])
            return Corrected(correction=corrected(held), closeness_db=held)
        Path(request.target).write_bytes(b"made")  # type: ignore[attr-defined]
        return Converted()


LEFT_ALONE = "weights left to the converter: no layer of the model can be changed so"
ROUNDED = LayerCorrection(layer="a", op="CONV_2D", status="kept", reason="compensated rounding, range max")
LEFT = LayerCorrection(layer="a", op="CONV_2D", status="skipped", reason="its weights are computed by the model")


def corrected(held: tuple[float, ...]) -> Correction:
    mean = sum(held) / len(held)
    return Correction(
        method="one-pass",
        sqnr_before_db=20.0,
        sqnr_after_db=mean,
        held_back_samples=len(held),
        held_back=True,
        layers=(),
    )


def improving(folder: Path, child: Answering, converting: ThreadPoolExecutor) -> Improving:
    dataset = Dataset.model_validate({"format": {"type": "npy"}, "calibration": {"path": "x", "method": "minmax"}})
    children = cast(Children, SimpleNamespace(runtime=child, converter=child, work=folder))
    return Improving(Remaking((), dataset, folder / "float32.tflite", children, Quiet(), converting))


def improved(folder: Path, child: Answering, variant: dict[str, object]) -> tuple[Corrected | None, tuple[str, ...]]:
    (folder / "int8.tflite").write_bytes(b"plain")
    chosen = Variant.model_validate({"scheme": "int8", **variant})
    with ThreadPoolExecutor(max_workers=1) as converting:
        at_work = improving(folder, child, converting)
        return at_work.improve(chosen, folder / "int8.tflite", ranged=folder / "ranged.tflite")


def test_an_attempt_that_nobody_asked_for_costs_no_variant(tmp_path: Path) -> None:
    found, notes = improved(tmp_path, Answering(prepared=MeasurementError("LiteRT fails")), {})
    assert found is not None and found.closeness_db[:3] == (30, 31, 32)
    assert notes == ("weights left to the converter: LiteRT fails",)
    with pytest.raises(MeasurementError, match="LiteRT fails"):
        improved(tmp_path, Answering(prepared=MeasurementError("LiteRT fails")), {"weights": {"equalize": True}})
    assert (tmp_path / "int8.tflite").read_bytes() == b"plain"


@pytest.mark.parametrize(
    ("pairs", "gain", "kept", "told"),
    [
        (0, 1.0, "made", "weights compensated: {}: the converter's 30.8 dB, compensated 31.8 dB"),
        (0, 0.0, "plain", "weights left to the converter: {}: the converter's 30.8 dB, compensated 30.8 dB"),
        (
            3,
            1.0,
            "made",
            "weights equalized and compensated: {}: the converter's 30.8 dB, equalized and compensated 31.8 dB, "
            "compensated 31.8 dB",
        ),
    ],
)
def test_weights_are_judged_on_the_samples_that_they_were_made_without(
    tmp_path: Path, pairs: int, gain: float, kept: str, told: str
) -> None:
    """Without pairs to equalize both ways are one. 30, 31, 32, 30 are the first four's: 30.75."""
    child = Answering(prepared=Prepared(pairs=pairs, layers=(ROUNDED,)), closer_by_db=gain)
    _, notes = improved(tmp_path, child, {})
    assert notes == (told.format("mean SQNR on 4 calibration samples held back"),)
    assert (tmp_path / "int8.tflite").read_bytes().decode() == kept
    assert sum(isinstance(one, Prepare) for one in child.asked) == (1 if pairs == 0 else 2)


@pytest.mark.parametrize(
    ("layer", "variant", "notes"),
    [
        (LEFT, {}, ()),
        (LEFT, {"weights": {"rounding": "compensated"}}, (LEFT_ALONE,)),
        (ROUNDED, {"weights": {"equalize": True}}, (LEFT_ALONE,)),
    ],
)
def test_nothing_is_made_where_no_weights_change(
    tmp_path: Path, layer: LayerCorrection, variant: dict[str, object], notes: tuple[str, ...]
) -> None:
    """No layer that can be rounded; no pair that can be equalized."""
    child = Answering(prepared=Prepared(layers=(layer,)), closer_by_db=1)
    _, told = improved(tmp_path, child, variant)
    assert told == notes
    assert (tmp_path / "int8.tflite").read_bytes() == b"plain"
    assert not [one for one in child.asked if isinstance(one, Quantize)]


def test_of_two_attempts_one_may_fail(tmp_path: Path) -> None:
    class Once(Answering):
        def ask(self, request: Frozen, *more: object) -> Frozen:
            if isinstance(request, Prepare) and request.weights.equalize:
                raise ConversionError("no such luck")
            return super().ask(request, *more)

    _, (note,) = improved(tmp_path, Once(prepared=Prepared(layers=(ROUNDED,)), closer_by_db=1), {})
    assert note.startswith("weights compensated: ") and "equalized and compensated unknown" in note
    assert (tmp_path / "int8.tflite").read_bytes() == b"made"


def test_variants_whose_weights_lie_on_one_grid_share_what_is_prepared(tmp_path: Path) -> None:
    child = Answering(prepared=Prepared(pairs=1, layers=(ROUNDED,)))
    with ThreadPoolExecutor(max_workers=1) as converting:
        at_work = improving(tmp_path, child, converting)
        for variant, asked in (
            ({"scheme": "int8"}, 2),
            ({"scheme": "int8", "io": "uint8"}, 2),
            ({"scheme": "int16x8"}, 2),
            ({"scheme": "int8", "name": "whole", "per_channel": False}, 4),
            ({"scheme": "int8", "name": "spared", "exclude": ["a"]}, 6),
        ):
            chosen = Variant.model_validate(variant)
            (tmp_path / f"{chosen.name}.tflite").write_bytes(b"plain")
            at_work.improve(chosen, tmp_path / f"{chosen.name}.tflite", ranged=tmp_path / "ranged.tflite")
            assert sum(isinstance(one, Prepare) for one in child.asked) == asked, variant
