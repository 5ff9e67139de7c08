"""COCO's mean average precision, and the same over resamples of the images. pycocotools (extra ``detection``).

mAP as on cocodataset.org: the mean over categories, over IoU thresholds 0.50 to 0.95 and over 101 recalls of the
interpolated precision, boxes of all areas, at most 100 detections an image.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tflite_ptq.data.targets import Boxes
from tflite_ptq.errors import DataError, MeasurementError
from tflite_ptq.measure.detections import COLUMNS
from tflite_ptq.measure.resampling import Statistic
from tflite_ptq.recipe.metric import Metric

Reals = NDArray[np.float64]
_MOST_DETECTIONS = 100
_BATCH = 2_000_000
"""Weights of detections in memory at once."""


@dataclass(frozen=True)
class _Category:
    """One category's detections in the order of their scores: the sample of each (M,), whether it is right or wrong at
    each of T thresholds (T, M); and how many boxes each sample has to be found (N,)."""

    samples: NDArray[np.int64]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]
    wanted: Reals


@dataclass(frozen=True)
class _Outcome:
    value: float
    categories: tuple[_Category, ...]
    recalls: Reals


def mean_average_precision(metric: Metric, scores: Reals, boxes: Sequence[Boxes]) -> float:
    """mAP of ``scores`` (N, D, 6), rows as ``detections`` gives them, on N images of one annotation file.

    Raises ``MeasurementError`` where no box is annotated, ``DataError`` for classes that are no category.
    """
    return _outcome_of(metric, scores, boxes).value


def statistic(metric: Metric, scores: Reals, boxes: Sequence[Boxes]) -> Statistic:
    """``mean_average_precision`` as a function of resamples of the images."""
    outcome = _outcome_of(metric, scores, boxes)

    def of(counts: Reals) -> Reals:
        precisions = np.stack([_average_precision(one, outcome.recalls, counts) for one in outcome.categories], 1)
        known = np.isfinite(precisions)
        total = np.where(known, precisions, 0).sum(1)
        return np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)

    return Statistic(of, work=10 * scores.shape[1])


def _average_precision(category: _Category, recalls: Reals, counts: Reals) -> Reals:
    """The mean over thresholds and recalls in R resamples, (R,): each detection counts as often as its image."""
    most = max(1, _BATCH // max(1, len(category.samples)))
    if len(counts) > most:
        parts = (counts[start : start + most] for start in range(0, len(counts), most))
        return np.concatenate([_average_precision(category, recalls, part) for part in parts])
    weights = counts[:, category.samples]
    wanted = counts @ category.wanted
    total = np.zeros(len(counts))
    for right, wrong in zip(category.right, category.wrong, strict=True):
        hits, misses = np.cumsum(weights * right, axis=1), np.cumsum(weights * wrong, axis=1)
        precision = hits / (hits + misses + np.spacing(1))
        # Interpolated: the best precision at this recall or a higher one.
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        best = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
        for row in np.flatnonzero(wanted > 0):
            total[row] += best[row, np.searchsorted(hits[row] / wanted[row], recalls, side="left")].mean()
    return np.where(wanted > 0, total / len(category.right), np.nan)


def _outcome_of(metric: Metric, scores: Reals, boxes: Sequence[Boxes]) -> _Outcome:
    images = tuple(one.image_id for one in boxes)
    return _outcome(boxes[0].annotations, images, metric.class_offset, scores.tobytes())


@functools.lru_cache(maxsize=8)  # a figure and its resamples are asked for one after the other, model by model
def _outcome(annotations: Path, images: tuple[int, ...], class_offset: int | None, detections: bytes) -> _Outcome:
    from pycocotools.cocoeval import COCOeval

    scores = np.frombuffer(detections, np.float64).reshape(len(images), -1, COLUMNS)
    truth = _truth(annotations, images)
    found = _found(scores, images, truth, class_offset, annotations)
    # It tells its progress on the standard output.
    with contextlib.redirect_stdout(io.StringIO()):
        truth_index = _indexed(truth)
        evaluation: Any = COCOeval(truth_index, _indexed({**truth, "annotations": found}), "bbox")
        evaluation.params.imgIds = list(images)
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [_MOST_DETECTIONS]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]
    if not (precision > -1).any():
        raise MeasurementError(
            f"metric coco_map: {annotations} has no box on the {len(images)} images that were evaluated"
        )
    value = float(precision[precision > -1].mean())
    return _Outcome(value, _by_category(evaluation, images), np.asarray(evaluation.params.recThrs, np.float64))


def _truth(annotations: Path, images: tuple[int, ...]) -> dict[str, list[dict[str, Any]]]:
    """The annotation file, with what COCO's code needs and other tools leave out, for these images."""
    data = json.loads(annotations.read_text(encoding="utf-8"))
    wanted = set(images)
    kept = [one for one in data["annotations"] if one["image_id"] in wanted]
    return {
        "images": [one for one in data["images"] if one["id"] in wanted],
        "categories": data["categories"],
        # Numbered anew from 1: to COCO's code a match with id 0 is none.
        "annotations": [
            {"area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0, **one, "id": number}
            for number, one in enumerate(kept, 1)
        ],
    }


def _category_ids(truth: Mapping[str, Sequence[Mapping[str, Any]]], class_offset: int | None) -> dict[int, int]:
    """The model's class to COCO's category id."""
    ids = sorted(int(one["id"]) for one in truth["categories"])
    return dict(enumerate(ids)) if class_offset is None else {one - class_offset: one for one in ids}


def _found(
    scores: Reals, images: tuple[int, ...], truth: Mapping[str, Any], class_offset: int | None, annotations: Path
) -> list[dict[str, Any]]:
    categories = _category_ids(truth, class_offset)
    found: list[dict[str, Any]] = []
    strange: set[int] = set()
    for image, rows in zip(images, scores, strict=True):
        for x, y, width, height, score, value in rows[np.isfinite(rows[:, 4])].tolist():
            category = categories.get(int(value))
            if category is None:
                strange.add(int(value))
                continue
            box = {"bbox": [x, y, width, height], "area": width * height, "iscrowd": 0, "score": score}
            found.append({"id": len(found) + 1, "image_id": image, "category_id": category, **box})
    # With an offset the model may know classes that the file leaves out; without one, the two have nothing in common.
    if strange and class_offset is None:
        raise DataError(
            f"{annotations}: the model puts out class {min(strange)}, but the file has {len(categories)} categories, "
            f"the classes 0 to {len(categories) - 1}; set class_offset of coco_map (category id minus class)"
        )
    return found


def _indexed(data: Mapping[str, Any]) -> Any:
    from pycocotools.coco import COCO

    made = COCO()
    made.dataset = dict(data)
    made.createIndex()
    return made


def _by_category(evaluation: Any, images: tuple[int, ...]) -> tuple[_Category, ...]:
    place = {image: sample for sample, image in enumerate(images)}
    per_category = np.array(evaluation.evalImgs, dtype=object).reshape(-1, len(evaluation.params.imgIds))
    made: list[_Category] = []
    for results in per_category:
        known = [one for one in results if one is not None]
        wanted = np.zeros(len(images))
        for one in known:
            wanted[place[one["image_id"]]] = np.count_nonzero(one["gtIgnore"] == 0)
        if not wanted.any():
            continue
        scores = np.concatenate([one["dtScores"] for one in known])
        order = np.argsort(-scores, kind="mergesort")
        matched = np.concatenate([one["dtMatches"] for one in known], axis=1)[:, order] > 0
        counts = ~np.concatenate([one["dtIgnore"] for one in known], axis=1)[:, order].astype(np.bool_)
        of = np.concatenate([np.full(len(one["dtScores"]), place[one["image_id"]], np.int64) for one in known])[order]
        made.append(_Category(of, matched & counts, ~matched & counts, wanted))
    return tuple(made)
