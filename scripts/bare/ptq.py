"""The script that a TensorFlow user writes from the post-training quantization guide, for three MLPerf Tiny models.

    python ptq.py MODEL SAMPLES.json OUT_DIR VARIANT...    convert each variant and evaluate it
    python ptq.py MODEL SAMPLES.json --evaluate FILE       evaluate a file that was made before

SAMPLES.json: {"model": path, "calibration": [file, ...], "evaluation": [[file, label or null], ...]}.
Prints one JSON line: {"seconds": {variant: seconds of the evaluation alone}, "score": {variant: value}}; the score is
top-1, or without labels the share of samples with the same class as the Keras model (float32 where it was made).
"""

import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image


def image(path):
    """A CIFAR image as ResNet-8 takes it: 0..255, (1, 32, 32, 3) float32."""
    return np.asarray(Image.open(path).convert("RGB"), np.float32)[np.newaxis]


def resized_image(path):
    """An image as the visual-wake-words MobileNet takes it: 0..1, (1, 96, 96, 3) float32."""
    picture = Image.open(path).convert("RGB").resize((96, 96), Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)[np.newaxis] / 255


def features(path):
    """MFCC features, (1, 49, 10, 1) float32."""
    return ((np.fromfile(path, np.int8).astype(np.float32) - 83) * 0.5847029).reshape(1, 49, 10, 1)


PASSES = 5  # of --evaluate: a pass is over in a fraction of a second
READ = {"ic": image, "kws": features, "vww": resized_image}


def convert(model, variant, calibration, read):
    """The bytes of one variant."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if variant != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if variant == "int8":

        def representative_dataset():
            for path in calibration:
                yield [read(path)]

        converter.representative_dataset = representative_dataset
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    return converter.convert()


def predict(path, samples, read):
    """The class of each sample, one interpreter, one sample at a time."""
    interpreter = tf.lite.Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    input_details = interpreter.get_input_details()[0]
    output_details = interpreter.get_output_details()[0]
    scale, zero_point = input_details["quantization"]
    predicted = []
    for file, _ in samples:
        x = read(file)
        if input_details["dtype"] == np.int8:
            x = np.clip(np.round(x / scale + zero_point), -128, 127).astype(np.int8)
        interpreter.set_tensor(input_details["index"], x)
        interpreter.invoke()
        predicted.append(int(np.argmax(interpreter.get_tensor(output_details["index"])[0])))
    return predicted


def main():
    """Does what the arguments say."""
    name, samples_file, target, *variants = sys.argv[1:]
    samples = json.loads(Path(samples_file).read_text(encoding="utf-8"))
    read, evaluation = READ[name], samples["evaluation"]
    expected = [label for _, label in evaluation]
    files = {}
    if target == "--evaluate":
        files = {"int8": variants[0]}
    else:
        import tf_keras  # Keras 3 cannot open these Keras 2 models

        model = tf_keras.models.load_model(samples["model"], compile=False)
        for variant in variants:
            files[variant] = Path(target) / f"{variant}.tflite"
            files[variant].write_bytes(convert(model, variant, samples["calibration"], read))
        if expected[0] is None and "float32" not in variants:
            batch = np.concatenate([read(file) for file, _ in evaluation])
            expected = model.predict(batch, verbose=0).argmax(axis=1).tolist()
    seconds, score = {}, {}
    for variant, file in files.items():
        passes = []
        for _ in range(PASSES if target == "--evaluate" else 1):
            started = time.perf_counter()
            predicted = predict(file, evaluation, read)
            passes.append(time.perf_counter() - started)
        seconds[variant] = statistics.median(passes)
        if expected[0] is None and variant == "float32":
            expected = predicted
        score[variant] = float(np.mean(np.equal(predicted, expected))) if expected[0] is not None else None
    print(json.dumps({"seconds": seconds, "score": score}))


if __name__ == "__main__":
    main()
