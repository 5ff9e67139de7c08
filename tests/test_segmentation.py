"""Segmentation against scikit-learn and hand counts, alone and in a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from identity_model import identity
from PIL import Image
from sklearn.metrics import jaccard_score
from written_steps import steps

from tflite_ptq.data import preprocess
from tflite_ptq.data.index import SampleRef
from tflite_ptq.data.masks import pixels_of
from tflite_ptq.data.targets import Mask
from tflite_ptq.errors import DataError, MeasurementError, UserError
from tflite_ptq.measure.aggregates import aggregate, statistic
from tflite_ptq.measure.segmentation import overlaps
from tflite_ptq.recipe.metric import Metric

RNG = np.random.default_rng(5)
IOU = Metric(name="mean_iou")


def test_mean_iou_is_scikit_learns_jaccard_score() -> None:
    labels = RNG.integers(-1, 3, (6, 5, 7))  # -1: does not count
    scores = RNG.normal(0, 1, (6, 1, 5, 7, 4))  # class 3 is predicted and never right
    rows = np.array([overlaps(one, label, "m.png", "s.png") for one, label in zip(scores, labels, strict=True)])
    wanted, got = labels[labels >= 0], scores.argmax(-1)[:, 0][labels >= 0]
    right = jaccard_score(wanted, got, average="macro")
    assert aggregate(IOU, rows, [None] * 6) == pytest.approx(right)
    counts = np.array([[2, 0, 1, 3, 0, 0]])
    picked = np.repeat(np.arange(6), counts[0])
    drawn = jaccard_score(
        labels[picked][labels[picked] >= 0], scores.argmax(-1)[:, 0][picked][labels[picked] >= 0], average="macro"
    )
    assert statistic(IOU, rows, [None] * 6).of(counts.astype(float)) == pytest.approx([drawn])


def test_forms_of_segmentation_outputs() -> None:
    labels = np.array([[0, 1], [1, -1]])
    probability = np.array([[[[0.2], [0.7]], [[0.5], [0.9]]]], np.float32)
    assert overlaps(probability, labels, "m", "s").tolist() == [1, 1, 2, 2]
    indices = np.array([[[0, 1], [1, 1]]], np.int64)
    both, either = np.split(overlaps(indices, labels, "m", "s"), 2)
    assert (both[:3].tolist(), either[:3].tolist(), both.size) == ([1, 2, 0], [1, 2, 0], 256)


@pytest.mark.parametrize(
    ("output", "labels", "error", "message"),
    [
        (
            np.zeros((1, 4, 5, 2)),
            np.zeros((5, 4), int),
            DataError,
            "m.png: the mask of s.png has 5x4 pixels (height x width) after the preprocessing, the model's output 4x5; "
            "they must be the same",
        ),
        (
            np.zeros((1, 1, 1, 2)),
            np.full((1, 1), 255),
            DataError,
            "m.png: holds class 255, the model has 2 classes (0 to 1); correct the mask, or name the value under "
            "dataset.evaluation.labels.ignore",
        ),
        (
            np.zeros((1, 4)),
            np.zeros((1, 1), int),
            MeasurementError,
            "metric mean_iou: the output has shape (1, 4), not (1, H, W, classes) or (1, H, W); name another output",
        ),
        (
            np.zeros((1, 1, 1), np.float32),
            np.zeros((1, 1), int),
            MeasurementError,
            "metric mean_iou: the output of shape (1, 1, 1) holds float32 values, which are no classes; name an output "
            "of class indices or of scores (1, H, W, classes)",
        ),
    ],
)
def test_what_is_no_segmentation(output: np.ndarray, labels: np.ndarray, error: type[UserError], message: str) -> None:
    with pytest.raises(error) as caught:
        overlaps(output, labels, "m.png", "s.png")
    assert str(caught.value) == message


def test_masks_go_where_their_images_go(tmp_path: Path) -> None:
    """A picture whose pixels are its classes must stay so: nearest scaling of both gives the same picture."""
    classes = RNG.integers(0, 5, (12, 20)).astype(np.uint8)
    Image.fromarray(classes).save(tmp_path / "mask.png")
    Image.fromarray(classes * 50).save(tmp_path / "image.png")
    nearest = {"interpolation": "nearest"}
    for geometry in (
        steps({"resize": {"size": [6, 10], **nearest}}),
        steps({"resize": {"size": [18, 18], "mode": "fit", "pad_value": 250, **nearest}}),
        steps({"resize": {"size": [8, 8], "mode": "shorter_side", **nearest}}, {"center_crop": [8, 8]}),
    ):
        seen = preprocess.preprocess(Image.open(tmp_path / "image.png").convert("RGB"), geometry)[:, :, 0]
        found = pixels_of(Mask(tmp_path / "mask.png", None, geometry), tmp_path / "image.png")
        assert np.where(found < 0, 5, found).tolist() == (seen // 50).tolist()
    ignored = pixels_of(Mask(tmp_path / "mask.png", 3, ()), tmp_path / "image.png")
    assert ((ignored == -1) == (classes == 3)).all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            Image.new("L", (3, 4)),
            "{mask}: expected a mask of 6x5 (height x width), the size of image.png, got 4x3; write the mask in the "
            "image's size, before any preprocessing",
        ),
        (
            Image.new("RGB", (5, 6)),
            "{mask}: expected class indices (a grey or palette PNG), got mode RGB; convert colours to indices",
        ),
        (b"nothing", "{mask}: cannot be read as a PNG"),
    ],
)
def test_masks_that_cannot_be(mask: Image.Image | bytes, message: str, tmp_path: Path) -> None:
    Image.new("RGB", (5, 6)).save(tmp_path / "image.png")
    file = tmp_path / "mask.png"
    if isinstance(mask, bytes):
        file.write_bytes(mask)
    else:
        mask.save(file)
    with pytest.raises(DataError) as caught:
        pixels_of(Mask(file, None, ()), tmp_path / "image.png")
    assert str(caught.value).startswith(message.format(mask=file))


def test_a_run_with_masks(tmp_path: Path, run: Command, write_recipe: Callable[..., Path]) -> None:
    """The image is the score of three classes: where red is brightest the class is 0."""
    classes = RNG.integers(0, 3, (5, 8, 8))
    for folder in ("images/ä", "masks/ä"):
        (tmp_path / folder).mkdir(parents=True)
    for i, one in enumerate(classes):
        Image.fromarray((np.eye(3)[one] * 255).astype(np.uint8)).save(tmp_path / f"images/ä/{i}.x.png")
        wrong = np.where(RNG.random((8, 8)) < 0.2, 0, one).astype(np.uint8)
        wrong[0] = 255
        classes[i] = np.where(wrong == 255, -1, wrong.astype(np.int64))
        Image.fromarray(wrong).save(tmp_path / f"masks/ä/{i}.x.png")
    model = identity(tmp_path / "m.tflite", (1, 8, 8, 3))
    dataset = {
        "format": {"type": "image"},
        "evaluation": {"path": "images", "labels": {"masks": "masks", "ignore": 255}},
    }
    metrics = {"accuracy": {"metrics": ["mean_iou"]}, "latency": None}
    recipe = write_recipe(model, dataset, benchmark=metrics)
    ended = run("convert", recipe, "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)["variants"][0]["accuracy"]["mean_iou"]
    pictures = [np.asarray(Image.open(tmp_path / f"images/ä/{i}.x.png")).argmax(-1) for i in range(5)]
    counted = classes >= 0
    right = jaccard_score(classes[counted], np.array(pictures)[counted], average="macro")
    assert found["value"] == pytest.approx(right)
    assert found["interval"]["low"] < right < found["interval"]["high"]
    checked = run("check", recipe)
    assert checked.code == 0 and "0 for calibration, 5 for evaluation, labelled" in checked.out
    Image.new("L", (4, 4)).save(tmp_path / "masks/ä/0.x.png")
    assert "0.x.png: expected a mask of 8x8" in run("check", recipe).err
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "masks/ä/0.x.png")
    Image.new("L", (4, 4)).save(tmp_path / "masks/ä/3.x.png")
    ended = run("convert", recipe, "--json")
    assert ended.code == 3
    assert "3.x.png: expected a mask of 8x8 (height x width), the size of 3.x.png, got 4x4" in ended.err
    (tmp_path / "masks/ä/3.x.png").unlink()
    ended = run("convert", recipe, "--json")
    assert ended.code == 3 and "1 of 5 samples have no mask, the first 'ä/3.x.png'" in ended.err


def test_a_sample_without_a_target() -> None:
    from tflite_ptq.measure.task_score import task_score

    ref = SampleRef(Path("d/a.png"), None, None, Path("d"))
    with pytest.raises(DataError) as caught:
        task_score(IOU, {"y": np.zeros((1, 2, 2, 2))}, "y", ref)
    assert str(caught.value) == (
        "d/a.png: has nothing that metric mean_iou can be held against; set dataset.evaluation.labels to "
        "{masks: <folder>}"
    )
