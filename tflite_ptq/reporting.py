"""How a run writes its report: what that takes is loaded while the run waits for its children."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tflite_ptq.cache import drawings
from tflite_ptq.cache.place import Place
from tflite_ptq.cache.session import Cache
from tflite_ptq.journal import Journal
from tflite_ptq.report import files
from tflite_ptq.report.html.svg import vega_lite
from tflite_ptq.result import Report


class Reporting:
    """The report of what ``journal`` holds. Plots that an earlier run drew come from the cache at ``place``."""

    def __init__(self, journal: Journal, place: Place | None) -> None:
        self._journal = journal
        self._cache = Cache(place, lambda _: None, journal.warn)
        self._loading: dict[Callable[[], None], threading.Thread] = {}

    def load_pages(self) -> None:
        """Begins to load the templates."""
        self._load_aside(files.load_pages)

    def load_plots(self) -> None:
        """Begins to start the engine of the plots: some are likely to be new."""
        self._load_aside(files.load_plots)

    def wait(self) -> None:
        """Nothing is being loaded any more."""
        for thread in self._loading.values():
            thread.join()

    def write(self, folder: Path) -> Report:
        """Writes the report; where the cache had trouble with the plots, it tells of that too.

        Raises what ``files.write`` raises.
        """
        self.wait()  # else the same would be loaded twice
        engine = drawings.through(self._cache, vega_lite)
        report = self._journal.report()
        files.write(report, folder, engine)
        self._cache.close()
        told = self._journal.report()
        if told != report:
            files.write(told, folder, engine)
        return told

    def _load_aside(self, load: Callable[[], None]) -> None:
        if load not in self._loading:
            self._loading[load] = threading.Thread(target=load)
            self._loading[load].start()
