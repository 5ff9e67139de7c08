"""The loop that a LiteRT user writes to evaluate files on a folder of JPEGs: each file with an interpreter, one sample
at a time.

python evaluate.py SAMPLES.json FILE...: SAMPLES.json is [[image, label], ...]; the files take (1, 224, 224, 3) in
0..1. Prints {"seconds": {file name: seconds}, "score": {file name: top-1}}.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image


def evaluate(file, samples):
    """Top-1."""
    interpreter = Interpreter(model_path=file)
    interpreter.allocate_tensors()
    input_details = interpreter.get_input_details()[0]
    output_details = interpreter.get_output_details()[0]
    scale, zero_point = input_details["quantization"]
    hits = 0
    for path, label in samples:
        x = np.asarray(Image.open(path).convert("RGB"), np.float32)[np.newaxis] / 255
        if input_details["dtype"] == np.int8:
            x = np.clip(np.round(x / scale + zero_point), -128, 127).astype(np.int8)
        interpreter.set_tensor(input_details["index"], x)
        interpreter.invoke()
        hits += int(np.argmax(interpreter.get_tensor(output_details["index"])[0])) == label
    return hits / len(samples)


def main():
    """Does what the arguments say."""
    samples = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    seconds, score = {}, {}
    for file in sys.argv[2:]:
        started = time.perf_counter()
        score[Path(file).stem] = evaluate(file, samples)
        seconds[Path(file).stem] = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "score": score}))


if __name__ == "__main__":
    main()
