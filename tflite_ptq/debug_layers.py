"""What each layer costs: the outputs with it alone quantized, and with it alone spared."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from tflite_ptq.debug_result import Closeness, LayerDebug
from tflite_ptq.debug_trials import Trials
from tflite_ptq.recipe.schema import Variant
from tflite_ptq.remaking import ITS_OWN
from tflite_ptq.report.debug_advice import gain_db
from tflite_ptq.worker.debug_messages import ComparedLayer, QuantizeParts
from tflite_ptq.worker.messages import Converted


def sensitivity(
    trials: Trials, layers: Sequence[ComparedLayer], computed: Sequence[str], excluded: Sequence[str], most: int
) -> tuple[LayerDebug, ...]:
    """All layers, ranked by the noise that each brings to the outputs when it alone is quantized; first those that
    make them NaN or infinite.

    ``computed``: output tensors of all operators; ``excluded``: those that the recipe leaves in float. Only the
    ``most`` suspicious layers are tried; those not tried come last.
    """
    by_suspicion = sorted(layers, key=lambda one: -one.suspicion)
    trying = [one for one in by_suspicion if one.layer.skipped is None][:most]
    tried: dict[str, LayerDebug] = {}
    with ThreadPoolExecutor(max_workers=1) as converting:

        def start(one: ComparedLayer) -> tuple[Future[Closeness | None], ...]:
            others = tuple(name for name in computed if name not in one.outputs)
            return (
                # Float inputs and outputs: what they lose is not this layer's.
                converting.submit(_part, trials, "alone", others, trials.variant.model_copy(update={"io": "float32"})),
                converting.submit(_part, trials, "spared", (*excluded, *one.outputs), trials.variant),
            )

        try:
            # The next layer is converted while this one is compared; their files take turns.
            ahead = start(trying[0]) if trying else ()
            for done, one in enumerate(trying):
                trials.observer.stage("trying each layer", done, len(trying))
                failed = [future.result() for future in ahead]
                files = {name: trials.file(f"{name}-compared") for name in ("alone", "spared")}
                for (name, file), failure in zip(files.items(), failed, strict=True):
                    if failure is None:
                        trials.file(name).replace(file)
                if done + 1 < len(trying):
                    ahead = start(trying[done + 1])
                good = [name for name, failure in zip(files, failed, strict=True) if failure is None]
                found = trials.compare({name: files[name] for name in good}, f"layer {one.layer.name}")
                alone, spared = (failure or found[name] for name, failure in zip(files, failed, strict=True))
                tried[one.layer.name] = one.layer.model_copy(
                    update={"alone": alone, "spared": spared, "gain_db": gain_db(spared, trials.whole)}
                )
        except BaseException:
            # The converting thread waits for the child's answer; without the child it ends.
            converting.shutdown(wait=False, cancel_futures=True)
            trials.children.converter.kill()
            raise
    untried = f"not among the {most} most suspicious layers; raise --layers"
    rest = [one.layer for one in by_suspicion if one.layer.name not in tried]
    return (
        *_ranked(list(tried.values())),
        *(layer.model_copy(update={"skipped": layer.skipped or untried}) for layer in rest),
    )


def _part(trials: Trials, name: str, excluded: tuple[str, ...], variant: Variant) -> Closeness | None:
    request = QuantizeParts(
        calibrated=str(trials.calibrated), variant=variant, excluded=excluded, target=str(trials.file(name))
    )
    try:
        trials.children.converter.ask(request, Converted, f"conversion with one layer {name}")
    except ITS_OWN as error:
        return Closeness(error=str(error))
    return None


def _ranked(layers: list[LayerDebug]) -> list[LayerDebug]:
    total = sum((layer.alone.noise or 0.0) if layer.alone else 0.0 for layer in layers)

    def noise(layer: LayerDebug) -> float | None:
        return layer.alone.noise if layer.alone else None

    shared = [
        layer.model_copy(update={"error_share": found / total})
        if (found := noise(layer)) is not None and total > 0
        else layer
        for layer in layers
    ]
    return sorted(shared, key=lambda layer: (not layer.breaks, -(layer.error_share or 0.0), -(layer.gain_db or 0.0)))
