"""Full-integer quantization by Google's LiteRT Quantizer with its own recipe, static_wi8_ai8.

python litert_static.py FLOAT.tflite CALIBRATION.npy OUT.tflite: the samples are (samples, 1, ...) float32.
Needs litert-quantizer (the extra ``bench``).
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe


def main():
    """Quantizes the model."""
    model, samples = sys.argv[1], np.load(sys.argv[2])
    (signature,) = Interpreter(model_path=model).get_signature_list().items()
    key, (name,) = signature[0], signature[1]["inputs"]
    made = quantizer.Quantizer(float_model=model, quantization_recipe=recipe.static_wi8_ai8())
    statistics = made.calibrate({key: [{name: sample} for sample in samples]})
    Path(sys.argv[3]).write_bytes(bytes(made.quantize(statistics).quantized_model))


if __name__ == "__main__":
    main()
