"""Our evaluation stage alone: the time that accuracy takes on a file that was made before.

python accuracy_stage.py RECIPE FILE.tflite: prints {"seconds": {"int8": ...}, "score": {"int8": ...}}, as
bare/ptq.py does.
"""

import json
import statistics
import sys
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

PASSES = 5  # as in bare/ptq.py


def main() -> None:
    """Evaluates the file on the recipe's evaluation samples."""
    loaded, file = load(Path(sys.argv[1])), Path(sys.argv[2])
    dataset = loaded.recipe.dataset
    assert dataset is not None
    chosen = split(dataset)
    labelled = chosen.evaluation[0].label is not None
    inputs = tuple(info.model_copy(update={"dtype": "float32"}) for info in describe(file).inputs)
    passes = []
    for _ in range(PASSES):
        started = time.perf_counter()
        outcome = evaluate(
            {"int8": file},
            chosen.evaluation,
            Reader(dataset, inputs).pieces,
            (Metric(name="top1"),) if labelled else (),
            threads=cores(),
            on_bad="stop",
            progress=lambda done, total: None,
            recipe_folder=loaded.path.parent,
        )
        passes.append(time.perf_counter() - started)
    result = outcome.results["int8"]
    if isinstance(result, UserError):
        raise result
    print(
        json.dumps(
            {"seconds": {"int8": statistics.median(passes)}, "score": {"int8": dict(result.metrics).get("top1")}}
        )
    )


if __name__ == "__main__":
    main()
