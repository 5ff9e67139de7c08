"""Full-integer quantization as a TensorFlow user does it by hand.

python int8.py MODEL CALIBRATION.npy OUT.tflite: MODEL is a .h5 or a SavedModel of Keras 2; the samples are
(samples, 1, ...) float32.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
import tf_keras


def main():
    """Converts the model."""
    samples = np.load(sys.argv[2])
    model = tf_keras.models.load_model(sys.argv[1], compile=False)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    Path(sys.argv[3]).write_bytes(converter.convert())


if __name__ == "__main__":
    main()
