"""Is the calibration data any good? What a census of it, and of the evaluation samples, says. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tflite_ptq.data.census import Census, InputCensus, SampleCensus
from tflite_ptq.data.finding import NAMED, Finding, counted

__all__ = ["FEWEST_SAMPLES", "Finding", "findings"]

FEWEST_SAMPLES = 20

# Shares of the width of the calibration range. One int8 step is 0.4 %; what one sample in a set adds is no finding.
_BEYOND_NOTED = 0.01
_BEYOND_BAD = 0.1
_WIDER_NOTED = 1.25  # width of the calibration range over that of the evaluation range
_WIDER_BAD = 2.0
_MOST_CHANNELS = 64  # more of them are features, and an unused feature is nothing odd


def findings(
    calibration: Census, evaluation: Census | None, classes: tuple[str, ...] | None, has_rescaling: bool | None
) -> tuple[Finding, ...]:
    """All that is odd, warnings first.

    ``classes``: their names in the order of label indices, where known. ``has_rescaling``: whether the model scales
    its input itself, ``None`` where that is not known.
    """
    found = [*_few(calibration), *_broken(calibration, "calibration"), *_duplicates(calibration, "calibration")]
    if evaluation is not None:
        found += [*_broken(evaluation, "evaluation"), *_duplicates(evaluation, "evaluation")]
        found += [*_leaked(calibration, evaluation), *_ranges(calibration, evaluation)]
    found += [*_scaled_twice(calibration, has_rescaling), *_not_scaled(calibration, has_rescaling)]
    found += [*_mixed_scales(calibration), *_dead_channels(calibration)]
    found += _missing_classes(calibration, evaluation, classes)
    return tuple(sorted(found, key=lambda finding: finding.severity == "info"))


def _few(census: Census) -> Iterator[Finding]:
    count = len(census.samples)
    if count < FEWEST_SAMPLES:
        yield Finding(
            "warning",
            f"only {counted(count, 'calibration sample')}: the ranges of activations depend on each of them",
            (),
            "calibrate on 100 or more (dataset.calibration.samples)",
        )


def _broken(census: Census, subset: str) -> Iterator[Finding]:
    samples = _samples(census, subset)
    for position, item in enumerate(census.inputs):
        bad = [sample for sample in census.samples if sample.inputs[position].non_finite]
        if bad:
            values = sum(sample.inputs[position].non_finite for sample in bad)
            yield Finding(
                "warning",
                f"input '{item.name}': NaN or infinity in {len(bad)} of {samples} ({values} values)",
                _names(bad),
                "mend or remove them; what is computed from them is no number either",
            )
    constant = [sample for sample in census.samples if sample.constant]
    if constant:
        zero = sum(all(array.all_zero for array in sample.inputs if array.size > 1) for sample in constant)
        yield Finding(
            "warning",
            f"one value throughout in {len(constant)} of {samples}, {zero} of them zero",
            _names(constant),
            "look whether they were stored or decoded wrongly; remove them unless the device meets such input",
        )


def _duplicates(census: Census, subset: str) -> Iterator[Finding]:
    first: dict[bytes, SampleCensus] = {}
    copies: list[tuple[SampleCensus, SampleCensus]] = []
    for sample in census.samples:
        original = first.setdefault(sample.digest, sample)
        if original is not sample and not sample.constant:
            copies.append((sample, original))
    if copies:
        yield Finding(
            "warning" if subset == "calibration" else "info",
            f"{len(copies)} of {_samples(census, subset)} have the content of another one",
            tuple(f"{copy.ref.name} = {original.ref.name}" for copy, original in copies[:NAMED]),
            "remove the copies: they teach calibration nothing new"
            if subset == "calibration"
            else "remove the copies: they count twice in the accuracy",
        )


def _leaked(calibration: Census, evaluation: Census) -> Iterator[Finding]:
    known = {sample.digest: sample for sample in calibration.samples if not sample.constant}
    # The very same file is in both sets only where the recipe asks for it (include_calibration).
    same = {sample.ref.place for sample in calibration.samples}
    pairs = [
        (sample, known[sample.digest])
        for sample in evaluation.samples
        if sample.digest in known and sample.ref.place not in same
    ]
    if pairs:
        yield Finding(
            "warning",
            f"{len(pairs)} of {_samples(evaluation, 'evaluation')} have the content of a calibration sample",
            tuple(f"{sample.ref.name} = {other.ref.name}" for sample, other in pairs[:NAMED]),
            "remove the copies from one of the sets: accuracy is to be measured on samples that calibration never saw",
        )


def _ranges(calibration: Census, evaluation: Census) -> Iterator[Finding]:
    there = {item.name: (position, item) for position, item in enumerate(evaluation.inputs)}
    for here, item in enumerate(calibration.inputs):
        if item.name not in there:
            continue
        position, other = there[item.name]
        if item.min is None or item.max is None or other.min is None or other.max is None:
            continue
        scales = _scale(item), _scale(other)
        if None not in scales and scales[0] != scales[1]:
            yield Finding(
                "warning",
                f"input '{item.name}': calibration samples hold {scales[0]} where evaluation samples hold {scales[1]}",
                (),
                "bring both to the scale that the model was trained with",
            )
            continue
        width, other_width = item.max - item.min, other.max - other.min
        spans = f"calibration {_span(item.min, item.max)}, evaluation {_span(other.min, other.max)}"
        beyond = max(item.min - other.min, other.max - item.max)
        share = beyond / width if width else float("inf")
        if share > _BEYOND_NOTED and beyond > 0:
            outside = _outside(evaluation, position, item.min, item.max)
            far = f"by up to {share:.1%} of its width" if width else "which has no width"
            quantized = "float" in item.dtype  # integers (indices, tokens) are not
            then = "such values are clipped" if quantized else "calibration never met such values"
            yield Finding(
                "warning" if share > _BEYOND_BAD and quantized else "info",
                f"input '{item.name}': values beyond the calibration range in {len(outside)} of the "
                f"{_samples(evaluation, 'evaluation')}, {far} ({spans}); {then}",
                _names(outside),
                "calibrate on more samples or on samples like these",
            )
        if other_width and width > _WIDER_NOTED * other_width:
            outside = _outside(calibration, here, other.min, other.max)
            yield Finding(
                "warning" if width > _WIDER_BAD * other_width else "info",
                f"input '{item.name}': the calibration range is {width / other_width:.3g} times as wide as the "
                f"evaluation samples' ({spans}), because of {counted(len(outside), 'sample')}; a quantization step "
                "grows with it",
                _names(outside),
                "look whether these samples are what the device meets",
            )


def _scaled_twice(census: Census, has_rescaling: bool | None) -> Iterator[Finding]:
    scales = [_scale(item) for item in census.inputs]
    # With several inputs nothing says which of them the model scales, unless all of them look scaled already.
    if not has_rescaling or not scales or any(scale not in ("0..1", "-1..1") for scale in scales):
        return
    names = ", ".join(f"'{item.name}'" for item in census.inputs)
    yield Finding(
        "warning",
        f"input {names}: the samples hold {scales[0]}, but the model takes larger numbers (it begins with a "
        "Rescaling or Normalization of its own, or with weights made for them), so they would be scaled twice",
        (),
        "feed the values unscaled (normalize: raw, or no normalize step)",
    )


def _not_scaled(census: Census, has_rescaling: bool | None) -> Iterator[Finding]:
    for item in census.inputs:
        pixels = item.rank == 4 and item.channel_min is not None and len(item.channel_min) in (1, 3, 4)
        if has_rescaling is False and pixels and "float" in item.dtype and _scale(item) == "0..255":
            yield Finding(
                "info",
                f"input '{item.name}': the samples hold 0..255, and neither the model's first layers nor their weights "
                "look made for such numbers",
                (),
                'where it was trained on smaller ones, scale alike: {normalize: "0..1"}, "-1..1" or {mean, std}',
            )


def _mixed_scales(census: Census) -> Iterator[Finding]:
    for position, item in enumerate(census.inputs):
        if _scale(item) != "0..255":
            continue
        small = [
            sample
            for sample in census.samples
            if (top := sample.inputs[position].max) is not None
            and 0 < top <= 1
            and not sample.inputs[position].constant
        ]
        if small:
            yield Finding(
                "warning",
                f"input '{item.name}': {len(small)} of {_samples(census, 'calibration')} hold 0..1 where the others "
                "hold 0..255",
                _names(small),
                "store them in one scale, or remove them if they are black",
            )


def _dead_channels(census: Census) -> Iterator[Finding]:
    for item in census.inputs:
        low, high = item.channel_min, item.channel_max
        if item.rank < 3 or low is None or high is None or not 1 < len(low) <= _MOST_CHANNELS:
            continue
        dead = np.flatnonzero(low == high).tolist()
        if dead and len(dead) < len(low):
            yield Finding(
                "warning",
                f"input '{item.name}': no change over the calibration set in "
                f"{counted(len(dead), 'channel')} of {len(low)}",
                tuple(f"channel {channel} = {low[channel]:.4g}" for channel in dead[:NAMED]),
                "look at the channel order and at how the samples were stored",
            )


def _missing_classes(
    calibration: Census, evaluation: Census | None, classes: tuple[str, ...] | None
) -> Iterator[Finding]:
    if not calibration.classes:
        return
    known = range(len(classes)) if classes is not None else evaluation.classes if evaluation is not None else ()
    missing = sorted(set(known) - set(calibration.classes))
    if missing:
        named = [classes[index] if classes is not None else str(index) for index in missing[:NAMED]]
        more = ", ..." if len(missing) > NAMED else ""
        yield Finding(
            "warning" if calibration.total >= len(known) else "info",
            f"{len(missing)} of {len(known)} classes have no calibration sample: {', '.join(named)}{more}",
            (),
            f"use select: stratified with {len(known)} samples or more, from a path that holds all classes",
        )


def _scale(item: InputCensus) -> str | None:
    """The usual scale of images that the range of a set speaks for, ``None`` where it speaks for none."""
    if item.min is None or item.max is None or item.min == item.max:
        return None
    if item.min >= 0:
        return "0..1" if 0.5 < item.max <= 1 else "0..255" if 32 < item.max <= 255 else None
    return "-1..1" if -1 <= item.min < -0.5 and 0.5 < item.max <= 1 else None


def _outside(census: Census, position: int, low: float, high: float) -> list[SampleCensus]:
    """The samples whose input leaves ``[low, high]``, the farthest first."""

    def beyond(sample: SampleCensus) -> float:
        array = sample.inputs[position]
        return 0.0 if array.min is None or array.max is None else max(low - array.min, array.max - high)

    return sorted((sample for sample in census.samples if beyond(sample) > 0), key=beyond, reverse=True)


def _samples(census: Census, subset: str) -> str:
    looked_at = " looked at" if len(census.samples) < census.total else ""
    return f"{len(census.samples)} {subset} samples{looked_at}"


def _names(samples: Sequence[SampleCensus]) -> tuple[str, ...]:
    return tuple(sample.ref.name for sample in samples[:NAMED])


def _span(low: float, high: float) -> str:
    return f"{low:.4g}..{high:.4g}"
