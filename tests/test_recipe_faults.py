"""Recipe text that is at fault -> the exact message with its line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from recipe_text import SCHEMES, VALID, faults, settle

from tflite_ptq.errors import RecipeError
from tflite_ptq.recipe.loader import load


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(tmp_path, monkeypatch)


# (text of VALID, its replacement, the faults)
ONE_FAULT = [
    (
        "  - dynamic",
        "  - int_8",
        f"r.yaml:9: variants[0]: 'int_8' is not a scheme; did you mean 'int8'? {SCHEMES}",
    ),
    (
        "scheme: int8,",
        "scheme: int_8,",
        f"r.yaml:10: variants[1].scheme: 'int_8' is not a scheme; did you mean 'int8'? {SCHEMES}",
    ),
    ("{scheme: int8, io: int8}", "{io: int8}", "r.yaml:10: variants[1].scheme: missing; add it"),
    (
        "{scheme: int8, io: int8}",
        "{scheme: int8, io: int16}",
        "r.yaml:10: variants[1].io: int16 is not possible with scheme int8 (float32, int8, uint8)",
    ),
    (
        "  calibration:",
        "  calibraton:",
        "r.yaml:6: dataset.calibraton: unknown key; did you mean 'calibration'? "
        "(allowed: format, preprocess, classes, calibration, evaluation, on_bad_sample)",
    ),
    ("version: 1\n", "", "r.yaml:1: version: missing; add 'version: 1' at the top"),
    ("version: 1", 'version: "1"', "r.yaml:1: version: expected 1 without quotes, got '1'"),
    ("version: 1", "version: 2", "r.yaml:1: version: expected 1; this tool reads recipes of version 1, got 2"),
    ("name: kws", "name: 1", "r.yaml:2: name: expected text, got 1; put it in quotes"),
    ("name: kws", "name: true", "r.yaml:2: name: expected text, got true; put it in quotes"),
    (
        "name: kws",
        "name: a/b",
        "r.yaml:2: name: expected a name of at most 100 letters, digits, '.', '_' and '-' "
        "that starts with a letter or digit, got 'a/b'",
    ),
    (
        "model: {path: model.keras}",
        "model: model.keras",
        "r.yaml:3: model: expected a mapping (key: value lines), got 'model.keras'",
    ),
    (
        "{path: model.keras}",
        "{path: m, trust: yes}",
        "r.yaml:3: model.trust: expected true or false, got 'yes'; write true without quotes",
    ),
    (
        "{path: model.keras}",
        "{path: '${NO_SUCH_DIR}/m'}",
        "r.yaml:3: model.path: the environment variable NO_SUCH_DIR is not set; set it first: export NO_SUCH_DIR=...",
    ),
    (
        "{path: model.keras}",
        "{path: '${EMPTY_DIR}/m'}",
        "r.yaml:3: model.path: the environment variable EMPTY_DIR is empty; set it first: export EMPTY_DIR=...",
    ),
    (
        "{path: model.keras}",
        "{path: '${HERE_DIR'}",
        "r.yaml:3: model.path: '${' without its '}'; write ${NAME}, or $$ for a plain $",
    ),
    ("{path: model.keras}", "{path: ''}", "r.yaml:3: model.path: expected a path, got an empty text"),
    (
        "{type: image}",
        "{type: imag}",
        "r.yaml:5: dataset.format.type: 'imag' is not a format; did you mean 'image'? (image, npy, npz, raw)",
    ),
    ("{type: image}", "{}", "r.yaml:5: dataset.format.type: missing; add it (image, npy, npz, raw)"),
    (
        "{type: image}",
        "{type: raw, dtype: int8, shape: [2, x]}",
        "r.yaml:5: dataset.format.shape[1]: expected a whole number, got 'x'",
    ),
    (
        "{type: image}",
        "{type: raw, dtype: int8, shape: [2], zero_point: 1}",
        "r.yaml:5: dataset.format: zero_point without scale; give both: real = scale * (stored - zero_point)",
    ),
    (
        "  calibration: {path: images}",
        "  calibration: {path: images, samples: abc}",
        "r.yaml:6: dataset.calibration.samples: expected a whole number, got 'abc'",
    ),
    (
        "  calibration: {path: images}",
        "  calibration: {path: images, samples: '5'}",
        "r.yaml:6: dataset.calibration.samples: expected a whole number, got '5'; write it without quotes",
    ),
    (
        "  calibration: {path: images}",
        "  calibration: {path: images, samples: 0}",
        "r.yaml:6: dataset.calibration.samples: expected a number greater than 0, got 0",
    ),
    (
        "  calibration: {path: images}",
        "  calibration: {path: images, labels: {csv: a, file_column: [1]}}",
        "r.yaml:6: dataset.calibration.labels.file_column: expected a whole number or text, got a list",
    ),
    (
        "  calibration: {path: images}",
        "  preprocess: [{resize: {size: [1]}}]\n  calibration: {path: images}",
        "r.yaml:6: dataset.preprocess[0].resize.size: expected 2 entries: [height, width]; got 1",
    ),
    (
        "  calibration: {path: images}",
        "  preprocess: [{normalize: torc}]\n  calibration: {path: images}",
        "r.yaml:6: dataset.preprocess[0].normalize: 'torc' is not a normalization preset; did you mean 'torch'? "
        "(raw, 0..1, -1..1, torch, caffe)",
    ),
    (
        "[top1]",
        "[top_1]",
        "r.yaml:12: benchmark.accuracy.metrics[0]: 'top_1' is not a metric; did you mean 'top1'? (top1, top5, f1, "
        "balanced_accuracy, roc_auc, mae, mse, rmse, reconstruction_mae, reconstruction_mse, mean_iou, coco_map, wer, "
        "or module:function)",
    ),
    (
        "[cpu]",
        "[cpu, xnn]",
        "r.yaml:13: benchmark.latency.delegates[1]: 'xnn' is not a delegate; did you mean 'xnnpack'? (cpu, xnnpack, "
        "compiled)",
    ),
    (
        "[cpu]",
        "[cpu, {library: x.so, option: 1}]",
        "r.yaml:13: benchmark.latency.delegates[1].option: unknown key; did you mean 'options'? (allowed: library, "
        "options)",
    ),
    (
        "[cpu]",
        "[{library: ./a/x.so}, {library: ./b/x.so}]",
        "r.yaml:13: benchmark.latency.delegates[1]: 'x.so' is already delegates[0]; remove one of them, or give one "
        "an option to tell them apart",
    ),
    (
        "[cpu]",
        "[cpu, {library: '${NOWHERE_SET}/x.so'}]",
        "r.yaml:13: benchmark.latency.delegates[1].library: the environment variable NOWHERE_SET is not set; set it "
        "first: export NOWHERE_SET=...",
    ),
    (
        "threads: 1}",
        "threads: 1, precision: 2}",
        "r.yaml:13: benchmark.latency.precision: expected a number less than 1.0, got 2",
    ),
    (
        "{max_drop: 1e-2}",
        "{max_drop: 1e-2, confidence: 0.9}",
        "r.yaml:15: gate.int8.accuracy.confidence: intervals are measured at 0.95; write 0.95, or leave it out for "
        "the value",
    ),
    ("1e-2", ".nan", "r.yaml:15: gate.int8.accuracy.max_drop: expected a finite number, got nan"),
    # between fields
    (
        "  - dynamic",
        "  - int8",
        "r.yaml:10: variants[1]: the name 'int8' is taken by variants[0]; give one of them another name",
    ),
    (
        "  calibration: {path: images}\n",
        "",
        "r.yaml:9: variants[1]: scheme int8 needs a representative dataset; add dataset.calibration",
    ),
    (
        "  int8: {acc",
        "  int_8: {acc",
        "r.yaml:15: gate.int_8: 'int_8' is not a variant; did you mean 'int8'? (dynamic, int8, float32)",
    ),
    (
        "  int8: {accuracy: {max_drop: 1e-2}, ",
        "  dynamic: {",
        "r.yaml:15: gate.dynamic.fully_integer: scheme dynamic computes in floating point; "
        "gate an int8 or int16x8 variant",
    ),
    (
        "{max_drop: 1e-2}",
        "{metric: top5}",
        "r.yaml:15: gate.int8.accuracy.metric: 'top5' is not measured; did you mean 'top1'? (measured: top1); "
        "add it to benchmark.accuracy.metrics",
    ),
    (
        "fully_integer: true",
        "latency: {delegate: xnnpack}",
        "r.yaml:15: gate.int8.latency.delegate: 'xnnpack' is not measured (measured: cpu); "
        "add it to benchmark.latency.delegates",
    ),
    (
        "fully_integer: true",
        "latency: {threads: 4}",
        "r.yaml:15: gate.int8.latency.threads: 4 threads are not measured (measured: 1); "
        "add them to benchmark.latency.threads",
    ),
    (
        "[top1]",
        "[top1, top1]",
        "r.yaml:12: benchmark.accuracy.metrics[1]: top1 of the same output is already metrics[0]; remove one of them",
    ),
    (
        "labels: folders",
        "labels: none",
        "r.yaml:12: benchmark.accuracy.metrics[0]: top1 needs labels, but dataset.evaluation.labels is 'none'; "
        "give labels",
    ),
    (
        "[top1]",
        "[wer]",
        "r.yaml:12: benchmark.accuracy.metrics[0]: wer needs alphabet: the characters of the output's classes in "
        "order, without the blank",
    ),
    (
        "[top1]",
        "[{name: f1, class_offset: 1}]",
        "r.yaml:12: benchmark.accuracy.metrics[0]: class_offset is a setting of coco_map, not of f1",
    ),
    (
        "[top1]",
        "[mean_iou]",
        "r.yaml:12: benchmark.accuracy.metrics[0]: mean_iou is held against labels of its own; set "
        "dataset.evaluation.labels to {masks: <folder>}",
    ),
    (
        "labels: folders",
        "labels: {masks: m}",
        "r.yaml:12: benchmark.accuracy.metrics[0]: top1 needs a class or number a sample, but the labels are those of "
        "mean_iou; use that",
    ),
    (
        "  calibration: {path: images}",
        "  calibration: {path: images, labels: {coco: a.json}, select: stratified}",
        "r.yaml:6: dataset.calibration.select: stratified needs labels, but these are no classes; "
        "give labels, or select: random",
    ),
    (
        "  calibration: {path: images}",
        "  calibration: {path: images, labels: {masks: m, ignored: 255}}",
        "r.yaml:6: dataset.calibration.labels.ignored: unknown key; did you mean 'ignore'? (allowed: masks, ignore)",
    ),
    (
        "  calibration: {path: images}",
        "  calibration: {path: images, labels: none, select: stratified}",
        "r.yaml:6: dataset.calibration.select: stratified needs labels, but labels is 'none'; "
        "give labels, or select: random",
    ),
    (
        "{type: image}",
        "{type: npy}\n  preprocess: [{color: gray}]",
        "r.yaml:6: dataset.preprocess[0].color: is for images, but dataset.format.type is npy; remove this step",
    ),
    # YAML
    ("name: kws", "name: kws\nname: b", "r.yaml:3: name: the key is already on line 2; keep one of them"),
    (
        "name: kws",
        "name: !!python/name:os.system kws",
        "r.yaml:2: name: the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed; write a plain value",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), ONE_FAULT, ids=[case[2][:60] for case in ONE_FAULT])
def test_one_fault(old: str, new: str, message: str) -> None:
    assert old in VALID
    assert message in faults(VALID.replace(old, new, 1))
    if "tag" not in message:
        assert len(faults(VALID.replace(old, new, 1))) == 1


def test_all_faults_at_once_in_the_order_of_lines() -> None:
    text = VALID.replace("kws", "1").replace("type: image", "type: imag").replace("- dynamic", "- dynami")
    assert [re.match(r"r\.yaml:\d+: [\w.\[\]]+", line)[0] for line in faults(text)] == [  # type: ignore[index]
        "r.yaml:2: name",
        "r.yaml:5: dataset.format.type",
        "r.yaml:9: variants[0]",
    ]


def test_list_expected() -> None:
    text = re.sub(r"variants:\n.*\n.*\n", "variants: int8\n", VALID)
    assert faults(text) == ["r.yaml:8: variants: expected a list, got 'int8'; write [int8]"]


def test_evaluation_missing() -> None:
    text = VALID.replace("  evaluation: {path: images, labels: folders}\n", "")
    missing = "but the recipe has no evaluation samples; add dataset.evaluation"
    assert faults(text) == [
        f"r.yaml:11: benchmark.accuracy.metrics[0]: top1 is measured on evaluation samples, {missing}",
        f"r.yaml:14: gate.int8.accuracy: accuracy is measured on evaluation samples, {missing}",
    ]


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30))

# (bytes of the file, the start of the message)
UNREADABLE = [
    (b"", "r.yaml: the recipe is empty; 'tflite-ptq init MODEL' writes one to start from"),
    (b"# only this\n", "r.yaml: the recipe is empty; 'tflite-ptq init MODEL' writes one to start from"),
    (b"- a\n", "r.yaml:1: expected a mapping with the keys version, name, model, variants ..., got a list; "),
    (b"hello", "r.yaml:1: expected a mapping with the keys version, name, model, variants ..., got 'hello'; "),
    (b"a: 1\nb: [1, 2\nc: 3\n", "r.yaml:3:2: not valid YAML: expected ',' or ']', but got ':'; check indentation"),
    (b"a: 1\n\tb: 2\n", "r.yaml:2:1: not valid YAML: found character '\\t' that cannot start any token; indent with"),
    (b"a: b: c\n", "r.yaml:1:5: not valid YAML: mapping values are not allowed here; quote a text that holds ': '"),
    (b"a: *b\n", "r.yaml:1:4: not valid YAML: found undefined alias 'b'; quote a text that starts with '*'"),
    (b"a: 1\n---\nb: 2\n", "r.yaml:2:1: not valid YAML: found another document; a recipe is one document"),
    (b"a: 1\nb: \xff\n", "r.yaml:2: not UTF-8 text (byte 0xff); save the recipe as UTF-8"),
    (b"a: 1\nb: \x00\n", "r.yaml:2: not valid YAML: a control character; remove it"),
    (BOMB.encode(), "r.yaml:1: nested too deeply or too large (aliases?); write the values out"),
    (b"a: &a [*a]\n", "r.yaml:1: nested too deeply or too large (aliases?); write the values out"),
    (b"a: " + b"[" * 5000, "r.yaml: nested too deeply; a recipe needs fewer than 50 levels"),
    (b" " * (5 << 20), "r.yaml: larger than 4 MiB, which no recipe is; is this the right file?"),
]


@pytest.mark.parametrize(("data", "message"), UNREADABLE, ids=[case[1][:60] for case in UNREADABLE])
def test_unreadable(data: bytes, message: str) -> None:
    Path("r.yaml").write_bytes(data)
    with pytest.raises(RecipeError) as caught:
        load(Path("r.yaml"))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{percentile: 40}", ".percentile: expected a number greater than 50"),
        ("{percentil: 99}", ".percentil: unknown key; did you mean 'percentile'? (allowed: percentile)"),
        ("mean", ": 'mean' is not a method (auto, minmax, mse, entropy)"),
    ],
)
def test_a_calibration_method_that_is_none(method: str, message: str, tmp_path: Path) -> None:
    text = "version: 1\nname: x\nmodel: {path: m.keras}\nvariants: [{scheme: int8}]\n"
    dataset = f"dataset: {{format: {{type: npy}}, calibration: {{path: ., method: {method}}}}}\n"
    (tmp_path / "r.yaml").write_text(text + dataset, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "r.yaml")
    assert f"dataset.calibration.method{message}" in str(caught.value) and "tagged-union" not in str(caught.value)
