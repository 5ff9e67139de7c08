"""Detection against COCO's own code and hand counts, alone and in a whole run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command
from PIL import Image
from tiny_tflite import File, Graph, Op, Sig, T
from written_steps import steps

from tflite_ptq.data import preprocess
from tflite_ptq.data.placement import placement
from tflite_ptq.data.targets import Boxes
from tflite_ptq.errors import DataError, MeasurementError
from tflite_ptq.measure import coco_map, extras
from tflite_ptq.measure.aggregates import statistic
from tflite_ptq.measure.detections import detections
from tflite_ptq.recipe.metric import Metric

MAP = Metric(name="coco_map")


def ones(count: int) -> np.ndarray:
    return np.ones((1, count))


@pytest.mark.parametrize(
    "written",
    [
        [{"resize": {"size": [30, 50]}}],
        [{"resize": {"size": [64, 64], "mode": "fit"}}],
        [{"resize": {"size": [32, 32], "mode": "shorter_side"}}, {"center_crop": [30, 24]}],
        [{"center_crop": [40, 60]}, {"resize": {"size": [64, 48], "mode": "fit"}}, {"normalize": "0..1"}],
    ],
)
def test_placement_is_where_a_bright_spot_goes(written: list[dict[str, Any]]) -> None:
    image = np.zeros((60, 90, 3), np.float32)
    image[26:32, 40:48] = 1
    seen = preprocess.preprocess(image, steps(*written))[:, :, 0]
    where = placement((60, 90), steps(*written))
    assert where.size == seen.shape
    weights = seen / seen.sum()
    centre = [(weights.sum(1 - axis) * (np.arange(seen.shape[axis]) + 0.5)).sum() for axis in (0, 1)]
    expected = [scale * old + move for scale, old, move in zip(where.scale, (29, 44), where.offset, strict=True)]
    assert centre == pytest.approx(expected, abs=0.06)


def outputs(corners: Sequence[Sequence[float]], classes: Sequence[int], scores: Sequence[float], count: int) -> dict:
    made = [[corners], [classes], [scores], [count]]
    return {f"out:{i}": np.array(values, np.float32) for i, values in enumerate(made)}


def image_of(file: Path, image_id: int, size: tuple[int, int], *written: dict[str, Any]) -> Boxes:
    return Boxes(file, image_id, *size, steps(*written))


def test_detections_are_carried_back_to_the_image() -> None:
    boxes = image_of(Path("a.json"), 1, (60, 90), {"resize": {"size": [90, 90], "mode": "fit"}})
    found = detections(outputs([[0.5, 0.1, 0.6, 0.3], [0, 0, 1, 1]], [2, 7], [0.9, 0.1], 1), MAP, boxes)
    # 15 rows of padding above: y = 90 * 0.5 - 15 = 30, height 9; x = 9, width 18
    assert found[0] == pytest.approx([9, 30, 18, 9, 0.9, 2], abs=1e-4)
    assert np.isnan(found[1]).all()


def test_which_output_is_what() -> None:
    given = outputs([[0, 0, 1, 1]], [1], [0.5], 1)
    boxes = image_of(Path("a.json"), 1, (1, 1))
    right = detections(given, MAP, boxes)
    shuffled = {"num_detections": given["out:3"], "detection_scores": given["out:2"]}
    shuffled |= {"detection_boxes": given["out:0"], "detection_classes": given["out:1"]}
    assert (detections(shuffled, MAP, boxes) == right).all()
    named = Metric.model_validate({"name": "coco_map", "outputs": {"boxes": "b", "classes": "c", "scores": "s"}})
    assert (detections({"s": given["out:2"], "c": given["out:1"], "b": given["out:0"]}, named, boxes) == right).all()
    with pytest.raises(MeasurementError, match=r"the outputs \(a \(1, 3\)\) are not boxes, classes, scores and count"):
        detections({"a": np.zeros((1, 3))}, MAP, boxes)
    with pytest.raises(MeasurementError, match=r"outputs\.boxes: the model has no output 'b'; its outputs are out:0"):
        detections(given, named, boxes)


def annotated(folder: Path, count: int = 12) -> tuple[Path, list[Boxes], np.ndarray]:
    """Images with two boxes each of three categories, and detections: some exact, some shifted, some false."""
    file = folder / "truth.json"
    images = [{"id": 100 - i, "file_name": f"{i}.png", "height": 100, "width": 100} for i in range(count)]
    truth: list[dict[str, Any]] = []
    rows: list[list[list[float]]] = []
    rng = np.random.default_rng(1)
    for image in images:
        found = []
        for _ in range(2):
            x, y, category = *rng.integers(0, 60, 2), int(rng.integers(0, 3))
            box = [int(x), int(y), 30, 20]
            truth.append({"id": len(truth), "image_id": image["id"], "category_id": 10 * category + 1, "bbox": box})
            shift = float(rng.integers(0, 8))
            found.append([x + shift, y, 30, 20, float(rng.random()), category])
        found.append([1, 1, 9, 9, float(rng.random()), int(rng.integers(0, 3))])
        rows.append(found)
    categories = [{"id": 10 * i + 1, "name": str(i)} for i in range(3)]
    file.write_text(json.dumps({"images": images, "categories": categories, "annotations": truth}), encoding="utf-8")
    boxes = [image_of(file, int(image["id"]), (100, 100)) for image in images]  # type: ignore[call-overload]
    return file, boxes, np.array(rows, np.float64)


def by_coco(file: Path, boxes: Sequence[Boxes], rows: np.ndarray, picked: Sequence[int]) -> float:
    """pycocotools on ``picked`` images, each as an image of its own: drawn twice, it is there twice."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    data = json.loads(file.read_text())
    truth, found = COCO(), COCO()
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number, sample in enumerate(picked):
        for one in data["annotations"]:
            if one["image_id"] == boxes[sample].image_id:
                annotations.append({**one, "id": len(annotations) + 1, "image_id": number, "area": 600, "iscrowd": 0})
        for x, y, w, h, score, category in rows[sample].tolist():
            box = {"bbox": [x, y, w, h], "area": w * h, "score": score, "category_id": 10 * int(category) + 1}
            results.append({"id": len(results) + 1, "image_id": number, "iscrowd": 0, **box})
    images = [{"id": number} for number in range(len(picked))]
    for index, entries in ((truth, annotations), (found, results)):
        index.dataset = {"images": images, "categories": data["categories"], "annotations": entries}
        index.createIndex()
    evaluation = COCOeval(truth, found, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return float(evaluation.stats[0])


def test_map_and_its_resamples_are_pycocotools_own(tmp_path: Path) -> None:
    file, boxes, rows = annotated(tmp_path)
    value = coco_map.mean_average_precision(MAP, rows, boxes)
    assert 0.2 < value < 0.9
    assert value == pytest.approx(by_coco(file, boxes, rows, range(12)))
    resample = statistic(MAP, rows, boxes)
    assert resample.of(ones(12)) == pytest.approx([value])
    drawn = np.random.default_rng(2).integers(0, 12, (3, 12))
    counts = np.array([np.bincount(one, minlength=12) for one in drawn], np.float64)
    assert resample.of(counts) == pytest.approx([by_coco(file, boxes, rows, one.tolist()) for one in drawn])


def test_map_by_hand(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    truth = [{"id": 0, "image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10]}]
    file.write_text(json.dumps({"images": [{"id": 1}], "categories": [{"id": 1}, {"id": 2}], "annotations": truth}))
    boxes = [image_of(file, 1, (100, 100))]
    exact, false = [0, 0, 10, 10, 0.9, 0], [50, 50, 10, 10, 0.95, 0]
    shifted = [0, 0, 10, 8, 0.9, 0]  # IoU 0.8: found at 0.50 to 0.80, seven of ten thresholds
    for rows, value in (([exact], 1.0), ([shifted], 0.7), ([false, exact], 0.5), ([false], 0.0)):
        assert coco_map.mean_average_precision(MAP, np.array([rows], float), boxes) == pytest.approx(value)
    offset = Metric.model_validate({"name": "coco_map", "class_offset": 1})
    assert coco_map.mean_average_precision(offset, np.array([[exact]], float), boxes) == pytest.approx(1)
    with pytest.raises(DataError, match="puts out class 7, but the file has 2 categories, the classes 0 to 1; set"):
        coco_map.mean_average_precision(MAP, np.array([[[0, 0, 1, 1, 0.5, 7]]], float), boxes)


def test_an_extra_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    extras.require([Metric(name="top1")])
    with pytest.raises(MeasurementError) as caught:
        extras.require([Metric(name="top1"), MAP])
    assert str(caught.value) == (
        "metric coco_map needs pycocotools, which is not installed; install it: pip install 'tflite-ptq[detection]'"
    )


def detector(path: Path, corners: np.ndarray, classes: np.ndarray, scores: np.ndarray) -> Path:
    """Puts out the same boxes for any image: constants added to the image's darkness, which is 0."""
    made = {"boxes": corners, "classes": classes, "scores": scores, "count": np.array([len(classes)])}
    tensors = [T("x", shape=(1, 10, 10, 3)), T("zero", shape=(1,)), T("axes", "INT32", (4,), _ints(0, 1, 2, 3))]
    tensors += [T("none", shape=(1,), data=np.zeros(1, np.float32).tobytes()), T("sum", shape=(1,))]
    ops = [Op("SUM", ("x", "axes"), ("sum",)), Op("MUL", ("sum", "none"), ("zero",))]
    for name, values in made.items():
        shape = values.shape if name == "count" else (1, *values.shape)
        data = values.astype(np.float32).tobytes()
        tensors += [T(f"c_{name}", shape=shape, data=data), T(f"o_{name}", shape=shape)]
        ops.append(Op("ADD", (f"c_{name}", "zero"), (f"o_{name}",)))
    graph = Graph(tensors, ["x"], [f"o_{name}" for name in made], ops)
    outputs = {f"detection_{name}" if name != "count" else "num_detections": f"o_{name}" for name in made}
    return File([graph], [Sig("serving_default", {"x": "x"}, outputs)]).write(path)


def _ints(*values: int) -> bytes:
    return np.array(values, np.int32).tobytes()


def test_a_run_with_boxes(tmp_path: Path, run: Command, write_recipe: Callable[..., Path]) -> None:
    """Two images of 20x40; the detector's box is the first one's, at an IoU of 13/16 with the second one's."""
    (tmp_path / "images").mkdir()
    for i in range(2):
        Image.new("RGB", (40, 20)).save(tmp_path / f"images/{i}.png")
    images = [{"id": i + 7, "file_name": f"{i}.png", "height": 20, "width": 40} for i in range(2)]
    truth = [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [4, 5, 16, 10]},
        {"id": 2, "image_id": 8, "category_id": 3, "bbox": [4, 5, 13, 10]},
    ]
    data = {"images": images, "categories": [{"id": 3, "name": "cup"}], "annotations": truth}
    (tmp_path / "truth.json").write_text(json.dumps(data))
    model = detector(tmp_path / "d.tflite", np.array([[0.25, 0.1, 0.75, 0.5]]), np.array([0.0]), np.array([0.5]))
    dataset = {
        "format": {"type": "image"},
        "preprocess": [{"resize": {"size": [10, 10]}}],
        "evaluation": {"path": "images", "labels": {"coco": "truth.json"}},
    }
    recipe = write_recipe(model, dataset, benchmark={"accuracy": {"metrics": ["coco_map"]}, "latency": None})
    ended = run("convert", recipe, "--json")
    assert ended.code == 0, ended.err
    # Both found up to an IoU of 0.80 (seven thresholds); above it one of two, tied with the other: 51 of 101 recalls.
    found = json.loads(ended.out)["variants"][0]["accuracy"]["coco_map"]
    assert found["value"] == pytest.approx((7 + 3 * 51 / 101) / 10)
    (tmp_path / "truth.json").write_text(json.dumps({**data, "images": images[:1]}))
    ended = run("convert", recipe, "--json")
    assert ended.code == 3 and "1 of 2 samples are not among its images, the first '1.png'" in ended.err
    (tmp_path / "truth.json").write_text('{"images": [{"id": 1}]}')
    ended = run("convert", recipe, "--json")
    assert ended.code == 3 and "truth.json: is no COCO annotation file: images.0.file_name: Field required" in ended.err
