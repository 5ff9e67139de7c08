"""What each step of a run depends on. Pure: a part of the recipe that is not named here does not cost a step.

Steps hang together by content: a variant's key holds the hash of the calibrated file. It holds the method of the
calibration too, by which ranges are measured again where weights are prepared or ``auto`` tries other ranges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from tflite_ptq.cache.key import Key, digest_of
from tflite_ptq.recipe.dataset import Dataset
from tflite_ptq.recipe.labels import KeyLabels
from tflite_ptq.recipe.metric import Metric
from tflite_ptq.recipe.schema import Recipe, Variant
from tflite_ptq.result import Frozen


class SampleHashes(Frozen):
    """SHA-256 of the chosen samples: names, labels, class names and bytes; ``None`` where a subset is not there."""

    calibration: str | None = None
    evaluation: str | None = None


@dataclass(frozen=True)
class Keys:
    """The keys of one run. ``origin`` are the versions and the machine that everything made depends on."""

    origin: Mapping[str, str | None]
    recipe: Recipe
    model_sha256: str

    def source(self) -> Key:
        """The exported source: of the model's bytes and what the recipe says of the model."""
        return self._key("source", model=self.recipe.model.model_dump(mode="json", exclude={"path"}))

    def float32(self) -> Key:
        """The float32 file, made of the exported source alone."""
        return self._key("float32", source=self.source().digest)

    def examination(self, samples: SampleHashes) -> Key:
        """Findings on the samples; the float model is asked whether it rescales its input."""
        return self._of_samples("examination", samples, source=self.source().digest)

    def calibration(self, samples: SampleHashes) -> Key:
        """The float file with its ranges, and findings: some are on the evaluation samples."""
        return self._of_samples("calibration", samples, source=self.source().digest, settings=self._ranges())

    def variant(self, variant: Variant, samples: SampleHashes, calibrated_sha256: str | None) -> Key:
        """A variant's file as it is after its corrections; ``calibrated_sha256`` of the file that was quantized.

        Evaluation samples have no part in it; nor have any samples in what is made without them.
        """
        parts: dict[str, JsonValue] = {
            "source": self.source().digest,
            "variant": variant.model_dump(mode="json", exclude={"name"}),
            "calibrated": calibrated_sha256,
        }
        uses_samples = variant.needs_calibration or (variant.scheme == "dynamic" and variant.correction != "none")
        if not uses_samples or self.recipe.dataset is None or self.recipe.dataset.calibration is None:
            return self._key("variant", **parts)
        parts["ranges"] = self._ranges() if variant.needs_calibration else None
        return self._of_samples("variant", SampleHashes(calibration=samples.calibration), **parts)

    def audit(self, file_sha256: str, variant: Variant | None, samples: SampleHashes) -> Key:
        """The audit of a file, which is also run on a sample."""
        said = variant.model_dump(mode="json", exclude={"name"}) if variant is not None else None
        parts: dict[str, JsonValue] = {"source": self.source().digest, "file": file_sha256, "variant": said}
        if self.recipe.dataset is None:
            return self._key("audit", **parts)
        return self._of_samples("audit", samples, **parts)

    def evaluation(
        self,
        float32_sha256: str,
        variant_sha256: str | None,
        samples: SampleHashes,
        metrics: Sequence[Metric],
        functions_sha256: str,
    ) -> Key:
        """A variant's figures beside float32's, or (``None``) those of float32 itself.

        ``functions_sha256`` is of the files that hold the metrics of the user's own.
        """
        return self._of_samples(
            "evaluation",
            SampleHashes(evaluation=samples.evaluation),
            source=self.source().digest,
            float32=float32_sha256,
            variant=variant_sha256,
            metrics=[metric.model_dump(mode="json") for metric in metrics],
            functions=functions_sha256,
        )

    def _ranges(self) -> JsonValue:
        settings = self._dataset.calibration
        return settings.model_dump(mode="json", include={"engine", "method", "overrides"}) if settings else None

    @property
    def _dataset(self) -> Dataset:
        assert self.recipe.dataset is not None
        return self.recipe.dataset

    def _key(self, kind: str, **parts: JsonValue) -> Key:
        return Key(kind, digest_of({"kind": kind, "origin": dict(self.origin), "source": self.model_sha256, **parts}))

    def _of_samples(self, kind: str, samples: SampleHashes, **parts: JsonValue) -> Key:
        """What reads samples depends on how they are stored, prepared and passed over."""
        dataset = self._dataset
        subsets = [subset for subset in (dataset.calibration, dataset.evaluation) if subset is not None]
        key = self._key(
            kind,
            reading={
                "format": dataset.format.model_dump(mode="json"),
                "preprocess": [step.model_dump(mode="json") for step in dataset.preprocess],
                "on_bad_sample": dataset.on_bad_sample,
                "label_keys": [s.labels.key if isinstance(s.labels, KeyLabels) else None for s in subsets],
            },
            samples=[samples.calibration, samples.evaluation],
            **parts,
        )
        return Key(kind, key.digest, tuple(sorted({subset.path for subset in subsets})))
