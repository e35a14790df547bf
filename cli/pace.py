"""How long a running job will still take, estimated from its events."""

import time
from collections.abc import Callable

from ..events import Event, FrameDone, FrameFailed, FrameProgress, FrameStarted, JobStarted

Clock = Callable[[], float]
"""The current time in seconds, from any zero."""


class Pace:
    """Speed and remaining time of a job, from the events so far.

    Time is counted per iteration, not per frame: the first frame of a shot takes many times the iterations of the
    others, and a frame that stops early leaves iterations unused. Those of a smaller scale count for less.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._planned = 0.0
        self._frames_left = 0
        self._in_flight: dict[int, tuple[float, float]] = {}
        """(Planned iterations, finished iterations) of each frame in flight, by its index."""
        self._spent_seconds = 0.0
        self._spent_iterations = 0.0
        self._ticks = 0
        self._last_tick: float | None = None
        self.frame_seconds: float | None = None
        """Mean over the frames that this run has painted."""
        self._frame_count = 0

    def __call__(self, event: Event) -> None:
        now = self._clock()
        match event:
            case JobStarted():
                self._planned = event.iterations_left
                self._frames_left = event.frame_count - event.done_count
                self._last_tick = now
            case FrameStarted():
                self._in_flight[event.index] = event.work, 0
            case FrameProgress():
                planned, done = self._in_flight.get(event.index, (event.iterations, 0))
                # A second try counts its iterations from 1 again.
                self._spent_iterations += max(event.work - done, 0)
                self._in_flight[event.index] = planned, event.work
                self._ticks += 1
                self._tick(now)
            case FrameDone():
                self._end(event.index)
                self._frame_count += 1
                before = self.frame_seconds or 0.0
                self.frame_seconds = before + (event.seconds - before) / self._frame_count
                self._tick(now)
            case FrameFailed():
                self._end(event.index)
            case _:
                pass

    @property
    def seconds_left(self) -> float | None:
        """Estimate for the remaining frames if they use all their iterations; None before the second iteration."""
        if self._ticks < 2 or not self._spent_iterations:
            return None
        done = sum(done for _, done in self._in_flight.values())
        return max(self._planned - done, 0) * self._spent_seconds / self._spent_iterations

    def _end(self, index: int) -> None:
        """Takes a frame out of what is planned."""
        self._frames_left -= 1
        planned, _ = self._in_flight.pop(index, (0, 0))
        # Whole iterations at each scale are worth a little less than what is planned for the frame.
        self._planned = self._planned - planned if self._frames_left else 0.0

    def _tick(self, now: float) -> None:
        if self._last_tick is not None:
            self._spent_seconds += now - self._last_tick
        self._last_tick = now
