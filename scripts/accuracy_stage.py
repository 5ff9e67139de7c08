"""Our evaluation stage alone: the time that accuracy takes on files that were made before.

python accuracy_stage.py [--passes N] RECIPE FILE.tflite...: prints {"seconds": {"all": ...}, "score": {file name:
top-1}}; the seconds are the median of N passes (5) over all files at once. A file named float32 is the yardstick of
the others.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from tflite_ptq.data.reader import Reader
from tflite_ptq.data.split import split
from tflite_ptq.errors import UserError
from tflite_ptq.measure.environment import cores
from tflite_ptq.measure.evaluate import evaluate
from tflite_ptq.model.flatbuffer import describe
from tflite_ptq.recipe.loader import load
from tflite_ptq.recipe.metric import Metric


def main() -> None:
    """Evaluates the files on the recipe's evaluation samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--passes", type=int, default=5, help="as in bare/ptq.py")
    asked = parser.parse_args()
    loaded = load(asked.recipe)
    dataset = loaded.recipe.dataset
    assert dataset is not None
    chosen = split(dataset)
    labelled = chosen.evaluation[0].label is not None
    inputs = tuple(info.model_copy(update={"dtype": "float32"}) for info in describe(asked.files[0]).inputs)
    passes = []
    for _ in range(asked.passes):
        started = time.perf_counter()
        outcome = evaluate(
            {file.stem: file for file in asked.files},
            chosen.evaluation,
            Reader(dataset, inputs).pieces,
            (Metric(name="top1"),) if labelled else (),
            threads=cores(),
            on_bad="stop",
            progress=lambda done, total: None,
            recipe_folder=loaded.path.parent,
        )
        passes.append(time.perf_counter() - started)
    score = {}
    for name, result in outcome.results.items():
        if isinstance(result, UserError):
            raise result
        score[name] = dict(result.metrics).get("top1")
    print(json.dumps({"seconds": {"all": statistics.median(passes)}, "score": score}))


if __name__ == "__main__":
    main()
