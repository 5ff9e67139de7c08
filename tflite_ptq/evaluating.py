"""The figures of all variants on the evaluation samples: from the cache those that are there, the others measured.

Fidelity and paired tests need float32's outputs on every sample. Keeping those would take more room than the models
(a segmentation model puts out megabytes a sample), so float32 runs again beside the variants that are new: that costs
one inference a sample, no decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tflite_ptq.cache.key import Key
from tflite_ptq.cache.metric_source import functions_sha256
from tflite_ptq.errors import WorkerCrash
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.schema import FLOAT32
from tflite_ptq.result import TensorInfo
from tflite_ptq.run_context import RunContext
from tflite_ptq.worker.messages import Evaluate, Evaluation


@dataclass(frozen=True)
class Evaluating:
    """Evaluates the usable variants of a run."""

    run: RunContext
    dataset: Dataset
    inputs: tuple[TensorInfo, ...]

    def evaluate(self) -> None:
        """Tells the journal every figure; a variant that takes the process down costs itself."""
        keys = self._keys()
        kept = {
            name: found
            for name, key in keys.items()
            if (found := self.run.cache.look(key, Evaluation, f"evaluation of {name}")) is not None
        }
        missing = [name for name in keys if name not in kept]
        if not missing:
            self.run.journal.evaluated(_joined(kept))
            return
        request = Evaluate(
            models={name: str(self.run.file(name)) for name in dict.fromkeys((FLOAT32, *missing))},
            inputs=self.inputs,
            dataset=self.dataset,
            metrics=self.run.journal.metrics(),
            recipe_folder=str(self._recipe_folder),
        )
        try:
            self.run.journal.evaluated(_joined(kept, self._measured(request, keys, "all variants")))
        except WorkerCrash:
            self.run.journal.evaluated(_joined(kept))
            for name, pair in request.one_by_one().items():
                with self.run.journal.guarding(name, fatal=name == FLOAT32):
                    self.run.journal.evaluated(self._measured(pair, keys, name))

    @property
    def _recipe_folder(self) -> Path:
        return self.run.loaded.path.parent

    def _keys(self) -> dict[str, Key | None]:
        """By usable variant; ``None`` where the cache must not be asked."""
        names, metrics = self.run.journal.usable, self.run.journal.metrics()
        functions = functions_sha256(metrics, (self._recipe_folder, Path.cwd()))
        if functions is None:
            return dict.fromkeys(names)
        yardstick = self.run.journal.file_sha256(FLOAT32)
        return {
            name: self.run.keys.evaluation(
                yardstick,
                self.run.journal.file_sha256(name) if name != FLOAT32 else None,
                self.run.journal.samples,
                metrics,
                functions,
            )
            for name in names
        }

    def _measured(self, request: Evaluate, keys: Mapping[str, Key | None], what: str) -> Evaluation:
        """Asks the runtime; what has all its figures is kept, each model for itself."""
        evaluation = self.run.children.runtime.ask(
            request, Evaluation, f"evaluation of {what}", self.run.progress("evaluating")
        )
        for name, found in evaluation.models.items():
            if found.error is None and not found.failed:
                self.run.cache.keep(keys[name], evaluation.model_copy(update={"models": {name: found}}))
        return evaluation


def _joined(kept: Mapping[str, Evaluation], fresh: Evaluation | None = None) -> Evaluation:
    """All in one; an entry may have been made under another name."""
    models = {name: next(iter(one.models.values())) for name, one in kept.items()}
    skipped = dict.fromkeys(sample for one in (*kept.values(), fresh) if one is not None for sample in one.skipped)
    return Evaluation(models={**models, **(fresh.models if fresh is not None else {})}, skipped=tuple(skipped))
