"""The evaluation stage against the bare loop per variant: three variants over JPEGs at 224x224, alternating in one run.

    python scripts/bench_evaluation.py [--samples N] [--rounds N]

The JPEGs are made here: random shapes over noise in the class' colour, at quality 90 some 15 KB each, as photographs of
that size are. The net is a MobileNetV1 of width 0.25 with random weights, but for its last layer, which is fitted to
200 of the images: enough to see that both sides find the same top-1. Ours evaluates all variants in one pass, fidelity
against the first included; the bare loop (bare/evaluate.py) decodes for each variant anew. Target: bare / ours >= 2.5
on two cores.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from side_by_side import Bench, Side, alternate, line, median, run
from two_cores import TwoCores

SCRIPTS = Path(__file__).resolve().parent
TARGET = 2.5
SIDE, CLASSES = 224, 10
COLOURS = np.random.default_rng(1).integers(60, 196, (CLASSES, 3))
OURS = [sys.executable, str(SCRIPTS / "accuracy_stage.py"), "--passes", "1"]

RECIPE = """
version: 1
name: evaluation
model: {{path: {folder}/float32.tflite}}
dataset:
  format: {{type: image}}
  preprocess: [{{normalize: 0..1}}]
  evaluation: {{path: {folder}/images}}
variants: []
"""

MAKE_MODELS = """
import sys
from pathlib import Path
import numpy as np, tensorflow as tf
from PIL import Image
folder = Path(sys.argv[1])
tf.keras.utils.set_random_seed(0)
model = tf.keras.applications.MobileNet((224, 224, 3), alpha=0.25, weights=None, classes=10)
files = sorted((folder / "images").rglob("*.jpg"))
files = files[:: max(1, len(files) // 200)]
images = np.stack([np.asarray(Image.open(file), np.float32) for file in files]) / 255
for layer in model.layers:
    if isinstance(layer, tf.keras.layers.BatchNormalization):
        layer.momentum = 0.0
model(images[:64], training=True)  # without it a net of random weights tells all images alike
features = tf.keras.Model(model.input, model.get_layer("global_average_pooling2d").output)
x = features.predict(images, verbose=0).reshape(len(files), -1)
wanted = np.eye(10)[[int(file.parent.name.removeprefix("class")) for file in files]]
mean, spread = x.mean(0), x.std(0) + 1e-9
scaled = (x - mean) / spread
# ridge regression; the factor makes the softmax sure
weights = 20 * np.linalg.solve(scaled.T @ scaled + 10 * np.eye(x.shape[1]), scaled.T @ (wanted - 0.1))
weights /= spread[:, np.newaxis]
model.get_layer("conv_preds").set_weights([weights[np.newaxis, np.newaxis], -mean @ weights])
def samples():
    for image in images[:100]:
        yield [image[np.newaxis]]
for name in ("float32", "dynamic", "int8"):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if name != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if name == "int8":
        converter.representative_dataset = samples
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    (folder / f"{name}.tflite").write_bytes(converter.convert())
"""


def make_images(folder: Path, count: int) -> list[tuple[str, int]]:
    """``count`` JPEGs in class folders; each with its class."""
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        label = number % CLASSES
        grain = rng.normal(COLOURS[label], 16, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
        picture = Image.fromarray(grain)
        draw = ImageDraw.Draw(picture)
        for _ in range(12):
            corners = np.sort(rng.integers(0, SIDE, (2, 2)), axis=0)
            shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
            shape(
                [int(value) for value in corners.ravel()], fill=tuple(int(value) for value in rng.integers(0, 256, 3))
            )
        file = folder / f"class{label}" / f"{number:05}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, quality=90)
        made.append((str(file), label))
    return made


def main() -> None:
    """Makes images and models, measures, and exits with 1 where the target was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000, help="how many JPEGs (1000)")
    parser.add_argument("--rounds", type=int, default=3, help="pairs measured (3)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-evaluation-") as name:
        folder = Path(name)
        samples = make_images(folder / "images", asked.samples)
        run([sys.executable, "-c", MAKE_MODELS, str(folder)])
        (folder / "samples.json").write_text(json.dumps(samples), encoding="utf-8")
        (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder), encoding="utf-8")
        files = [str(folder / f"{variant}.tflite") for variant in ("float32", "dynamic", "int8")]
        bare = [sys.executable, str(SCRIPTS / "bare" / "evaluate.py"), str(folder / "samples.json"), *files]
        bench = Bench(folder, asked.rounds, (), [])
        with TwoCores() as cores:
            ours, theirs = alternate(
                asked.rounds,
                lambda: _side([*OURS, str(folder / "recipe.yaml"), *files]),
                lambda: _side(bare),
                before=cores.measure,
            )
        ratios = [b.seconds / a.seconds for a, b in zip(ours, theirs, strict=True)]
        ratio = median(theirs) / median(ours)
        what = f"three variants, {asked.samples} JPEGs"
        line(bench, what, ours, theirs, "bare/ours", ratio, ratios, f">= {TARGET}", ratio >= TARGET)
        print(f"    {cores.told(ratios)}")
    if bench.missed:
        raise SystemExit(f"missed: {', '.join(bench.missed)}")


def _side(command: list[str]) -> Side:
    answer = json.loads(run(command))
    return Side(sum(answer["seconds"].values()), answer["score"])


if __name__ == "__main__":
    main()
