"""Runs the float model over the calibration samples and gathers the statistics of every activation.

XNNPACK does the arithmetic where it runs the model, else LiteRT's plain kernels. Samples are cut into parts, the same
for any number of threads; threads take parts, each thread with its own interpreter, and what was seen of them is put
together in order: the result does not depend on how many threads there were.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

from tflite_ptq.errors import DataError
from tflite_ptq.model.editing import Editable
from tflite_ptq.model.reductions import reducible
from tflite_ptq.quantize.calibration.limits import limits_way
from tflite_ptq.quantize.calibration.observe import Array, Observer, SeenT, Way
from tflite_ptq.quantize.calibration.parts import Parts
from tflite_ptq.quantize.calibration.settling import Growth
from tflite_ptq.quantize.calibration.statistics import Gather, TensorStatistics
from tflite_ptq.quantize.calibration.values import values_way

Sample: TypeAlias = Mapping[str, Array]
RefT = TypeVar("RefT")

# A second thread has to pay for its interpreter, and the two wait for each other between samples.
_WORTH_THREADS_S = 0.02
_LEAST_S_A_VALUE = 1e-9  # no model makes values faster


def collect(
    model: Editable,
    names: Sequence[str],
    refs: Sequence[RefT],
    stream: Callable[[Sequence[RefT]], Iterator[Sample]],
    gather: Gather,
    threads: int,
    progress: Callable[[int, int], None],
    refused: Callable[[str], None] = lambda reason: None,
) -> tuple[dict[int, TensorStatistics], Growth]:
    """Statistics of every activation of a float model, by tensor index, and how their ranges grew with the samples.

    ``names``: the inputs' names in the order of the model's inputs. ``stream`` yields the samples of some refs, keyed
    by input name, shapes with the batch; it is called once a part, from several threads, and may skip samples.
    ``threads`` are used where the number of values, or the time of the first part, says that they are worth their
    cost. ``progress(done, total)`` is never called twice at once. ``refused`` is told why, once, where plain kernels do
    the arithmetic. Raises what ``stream`` raises, the first part's first.
    """
    watched = model.activations()
    shapes = [model.shape(tensor) for tensor in watched]
    least_s = len(refs) * sum(map(math.prod, shapes)) * _LEAST_S_A_VALUE
    counter = _Counter(len(refs), progress)

    def samples(part: range) -> Iterator[Sequence[Array]]:
        for sample in stream(refs[part.start : part.stop]):
            yield [sample[name] for name in names]
            counter.step()

    # Where nothing but limits is asked for, the model finds them itself; a scalar or an empty tensor among those
    # watched is looked at from outside, with all the others.
    if gather == Gather() and watched and all(map(reducible, shapes)):
        found, growth = _seen(limits_way(model, watched, len(refs)), samples, threads, least_s, refused)
    else:
        found, growth = _seen(values_way(model, watched, gather, len(refs)), samples, threads, least_s, refused)
    if not found or not found[0].samples:
        raise DataError(f"none of the {len(refs)} calibration samples could be used; see the skipped ones in the log")
    return dict(zip(watched, found, strict=True)), growth


def _seen(
    way: Way[SeenT],
    samples: Callable[[range], Iterable[Sequence[Array]]],
    threads: int,
    least_s: float,
    refused: Callable[[str], None],
) -> tuple[Sequence[TensorStatistics], Growth]:
    parts = Parts(way.parts, way.whole.add)

    def observe(observer: Observer[SeenT], most: int | None = None) -> None:
        parts.take(lambda part: observer.see(part, samples(part)), most)

    helping: list[Future[None]] = []
    with ThreadPoolExecutor(max(1, threads - 1)) as pool:

        def get_help() -> None:
            helpers = min(threads, parts.left) - 1
            helping.extend(pool.submit(lambda: observe(way.observer())) for _ in range(helpers))

        if least_s > _WORTH_THREADS_S:
            get_help()
        first = way.observer()
        if first.refused is not None:
            refused(first.refused)
        if not helping:
            started = time.perf_counter()
            observe(first, 1)
            if (time.perf_counter() - started) * parts.samples_left > _WORTH_THREADS_S * len(way.parts[0]):
                get_help()
        observe(first)
    for one in helping:
        one.result()
    parts.check()
    return way.whole.result()


class _Counter:
    """Counts samples over all threads."""

    def __init__(self, total: int, progress: Callable[[int, int], None]) -> None:
        self._lock = threading.Lock()
        self._total, self._done, self._progress = total, 0, progress

    def step(self) -> None:
        with self._lock:
            self._done += 1
            self._progress(self._done, self._total)
