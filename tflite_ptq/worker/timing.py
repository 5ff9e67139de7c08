"""The parent's side of timing: rounds of fresh processes, each of which imports only the interpreter.

A round times every configuration once, one after the other (A B C, A B C, ...), so that a noisy neighbour hits all
alike and round i of one can be paired with round i of another. Rounds go on until every median is known to the asked
precision or its configuration's time is up.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Union

from tflite_ptq.errors import UserError, WorkerCrash
from tflite_ptq.measure.environment import cores
from tflite_ptq.measure.machine import Machine, warnings
from tflite_ptq.measure.process_medians import LEAST
from tflite_ptq.measure.timing import against, summarize
from tflite_ptq.recipe.latency import DelegateName, ExternalDelegate, LatencySettings, label
from tflite_ptq.result import Frozen, Latency
from tflite_ptq.timing_result import RawTimings, TimedConfiguration, TimedProcess
from tflite_ptq.worker.process import Worker

_REPLACED = "a process died, and another took its place: the log tells more"


class Library(Frozen):
    """An external delegate: path and options."""

    library: str
    options: dict[str, str]


class TimeFile(Frozen):
    """Time single inferences of ``model`` (a path) in one process. The keys are those of ``timer.Request``."""

    model: str
    delegate: Union[DelegateName, Library]
    threads: int
    warmup: int
    runs: int
    seconds: float


@dataclass(eq=False)
class _Configuration:
    """One model, delegate and number of threads, with what was timed so far; ``processes`` has one entry a round."""

    name: str
    model: Path
    delegate: DelegateName | ExternalDelegate
    threads: int
    processes: list[TimedProcess | None] = field(default_factory=list)
    spent_s: float = 0.0
    died: bool = False
    error: UserError | None = None

    @property
    def group(self) -> tuple[str, int]:
        """What is compared with each other."""
        return label(self.delegate), self.threads

    def timed(self) -> TimedConfiguration:
        return TimedConfiguration(
            variant=self.name, delegate=label(self.delegate), threads=self.threads, processes=tuple(self.processes)
        )


class Timing:
    """Times models side by side. What was found can be asked for at any moment, also after an interruption."""

    def __init__(
        self, models: Mapping[str, Path], yardstick: str, settings: LatencySettings, log: Path, timeout_s: float
    ) -> None:
        """``models`` are files by name, ``yardstick`` names the one that the others are compared with. ``log`` takes
        what LiteRT prints; a process that is silent for ``timeout_s`` is ended."""
        self._settings, self._log, self._timeout_s = settings, log, timeout_s
        self._yardstick = yardstick
        self._configurations = [
            _Configuration(name, path, delegate, threads)
            for delegate in settings.delegates
            for threads in dict.fromkeys(settings.threads)
            for name, path in models.items()
        ]
        self._before = Machine.now()
        self._after = self._before

    def run(self, progress: Callable[[int, int], None]) -> None:
        """All rounds; ``progress`` is told how many processes are done and how many there will be at least."""
        self._before = Machine.now()
        done, total = 0, LEAST * len(self._configurations)
        for number in itertools.count():
            active = self._active(number)
            if not active:
                break
            for configuration in self._configurations:
                progress(done, max(total, done + 1))
                configuration.processes.append(self._time(configuration) if configuration in active else None)
                done += configuration in active
            self._after = Machine.now()

    def outcomes(self) -> Iterator[tuple[str, Latency | UserError]]:
        """By model's name, in the order of delegates, threads and models; what was not begun is left out."""
        latencies = {one: self._summary(one) for one in self._configurations}
        references = {one.group: one for one in self._configurations if one.name == self._yardstick and not one.error}
        for one, latency in latencies.items():
            if one.error is not None:
                yield one.name, one.error
            elif latency is not None:
                if one.died:
                    latency = latency.model_copy(update={"warnings": (*latency.warnings, _REPLACED)})
                reference = references.get(one.group, one)
                yardstick = latencies[reference]
                if reference is not one and yardstick is not None:
                    latency = against(latency, one.timed(), yardstick, reference.timed())
                yield one.name, latency

    def raw(self) -> RawTimings:
        """Every counted inference of every process."""
        return RawTimings(configurations=tuple(one.timed() for one in self._configurations))

    def warnings(self) -> tuple[str, ...]:
        """What the machine did meanwhile that makes all figures doubtful."""
        return warnings(self._before, self._after, max(self._settings.threads))

    def _active(self, number: int) -> list[_Configuration]:
        """Who takes part in round ``number``: all at first, then those not known well enough and, for the pairs, what
        they are compared with."""
        alive = [one for one in self._configurations if one.error is None]
        if number < LEAST:
            return alive
        alive = [one for one in alive if one.spent_s < self._settings.max_seconds]
        wanted = [one for one in alive if not self._precise(one)]
        compared = {one.group for one in wanted}
        return [one for one in alive if one in wanted or (one.name == self._yardstick and one.group in compared)]

    def _precise(self, configuration: _Configuration) -> bool:
        latency = self._summary(configuration)
        return latency is not None and latency.precise is True

    def _summary(self, configuration: _Configuration) -> Latency | None:
        return summarize(configuration.timed(), self._settings.precision, cores())

    def _time(self, configuration: _Configuration) -> TimedProcess | None:
        """One process of one configuration; another where it died, once. ``None``: it is given up."""
        started = time.monotonic()
        try:
            try:
                return self._ask(configuration, "")
            except WorkerCrash:
                hung = time.monotonic() - started >= self._timeout_s
                if hung or configuration.died:
                    raise
                configuration.died = True
                return self._ask(configuration, ", tried again")
        except UserError as error:
            configuration.error = error
            return None
        finally:
            configuration.spent_s += time.monotonic() - started

    def _ask(self, configuration: _Configuration, attempt: str) -> TimedProcess:
        delegate, settings = configuration.delegate, self._settings
        request = TimeFile(
            model=str(configuration.model),
            delegate=delegate
            if isinstance(delegate, str)
            else Library(library=delegate.library, options=delegate.texts),
            threads=configuration.threads,
            warmup=settings.warmup,
            runs=settings.runs,
            seconds=settings.max_seconds / LEAST,
        )
        worker = Worker("tflite_ptq.worker.timer", self._log, self._timeout_s)
        try:
            what = f"latency of {configuration.name} ({label(delegate)}, {configuration.threads} threads){attempt}"
            return worker.ask(request, TimedProcess, what)
        finally:
            worker.kill()
