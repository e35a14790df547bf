"""Where the time of a run goes: painting, or waiting for flow, for reading or for saving."""

import contextlib
import time
from collections.abc import Callable, Iterator

from ..events import TimeUse


class TimeKeeper:
    """Adds up the time of a run from now on, in addition to that of the runs `before`."""

    def __init__(self, before: TimeUse, clock: Callable[[], float] = time.monotonic) -> None:
        self._before = before
        self._clock = clock
        self._began = clock()
        self._painting = self._flow = self._reading = self._saving = 0.0

    @contextlib.contextmanager
    def painting(self) -> Iterator[None]:
        """Counts the time of the block, in which workers paint."""
        began = self._clock()
        try:
            yield
        finally:
            self._split(began, 0.0)

    @contextlib.contextmanager
    def saving(self, idle_share: float = 1.0) -> Iterator[None]:
        """Counts the time of the block, in which paintings are saved and a share of the workers has nothing to do."""
        began = self._clock()
        try:
            yield
        finally:
            self._saving += self._split(began, idle_share)

    def now(self) -> float:
        """The time of the clock, for `waited`."""
        return self._clock()

    def waited(self, since: float, idle_share: float, reading_share: float) -> None:
        """Counts the time since then, in which a share of the workers had nothing to do until a frame was there.

        `reading_share` of it goes to reading and the rest to flow and masks.
        """
        seconds = self._split(since, idle_share)
        self._reading += seconds * reading_share
        self._flow += seconds * (1 - reading_share)

    def _split(self, since: float, idle_share: float) -> float:
        """The part of the time since then that the idle workers waited; in the rest the others painted."""
        seconds = self._clock() - since
        self._painting += seconds * (1 - idle_share)
        return seconds * idle_share

    @property
    def total(self) -> TimeUse:
        """The time of all runs."""
        before = self._before
        return TimeUse(
            seconds=before.seconds + self._clock() - self._began,
            painting=before.painting + self._painting,
            flow=before.flow + self._flow,
            reading=before.reading + self._reading,
            saving=before.saving + self._saving,
        )
