"""Presentation times of the frames of a video."""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Timing:
    """When each frame of a video is shown."""

    time_base: Fraction
    """Seconds a tick."""

    times: tuple[int, ...]
    """Presentation time of each frame in ticks, strictly ascending."""

    rate: Fraction | None = None
    """Frames a second where it is constant, else None."""

    last_duration: int | None = None
    """Ticks that the last frame stays; None where unknown."""

    def __post_init__(self) -> None:
        if self.time_base <= 0:
            raise ValueError(f"time_base is {self.time_base}: a tick takes some time")
        if any(a >= b for a, b in itertools.pairwise(self.times)):
            raise ValueError("the times of a video ascend strictly")

    @classmethod
    def constant(
        cls,
        rate: Fraction | int,
        frame_count: int,
        start_seconds: Fraction | int = 0,
        last_seconds: Fraction | None = None,
    ) -> "Timing":
        """`frame_count` frames at a constant `rate`, the first at `start_seconds`; the last stays for `last_seconds`,
        by default as long as the others."""
        rate, start = Fraction(rate), Fraction(start_seconds)
        if rate <= 0:
            raise ValueError(f"the rate is {rate} frames a second: it must be positive")
        last = 1 / rate if last_seconds is None else last_seconds
        ticks_a_second = math.lcm(rate.numerator, start.denominator, last.denominator)
        step, first = int(ticks_a_second / rate), int(start * ticks_a_second)
        times = tuple(range(first, first + frame_count * step, step))
        return cls(Fraction(1, ticks_a_second), times, rate, int(last * ticks_a_second))

    @property
    def frame_count(self) -> int:
        return len(self.times)

    @property
    def start_seconds(self) -> Fraction:
        """When the first frame is shown."""
        return self.times[0] * self.time_base

    @property
    def end_seconds(self) -> Fraction:
        """When the last frame ends; where its duration is unknown, it lasts as long as the one before."""
        return (self.times[-1] + self._last_ticks) * self.time_base

    @property
    def last_seconds(self) -> Fraction | None:
        """How long the last frame stays; None where that is unknown."""
        return None if self.last_duration is None else self.last_duration * self.time_base

    @property
    def states_last(self) -> bool:
        """Whether the last frame stays for a time that does not follow from those before it."""
        is_regular = self.rate is not None and self.last_seconds == 1 / self.rate
        return self.last_duration is not None and not is_regular

    @property
    def span_seconds(self) -> tuple[Fraction, Fraction]:
        """`(start_seconds, end_seconds)`: the part of the sound that belongs to these frames."""
        return self.start_seconds, self.end_seconds

    def part(self, start: int, stop: int) -> "Timing":
        """The timing of the frames `[start, stop)`, on the same clock."""
        times = self.times[start:stop]
        if not times:
            raise ValueError(f"frames [{start}, {stop}) of {self.frame_count} are none")
        ends = stop >= self.frame_count
        last = self.last_duration if ends else self.times[stop] - self.times[stop - 1]
        return Timing(self.time_base, times, self.rate, last)

    @property
    def _last_ticks(self) -> int:
        if self.last_duration is not None:
            return self.last_duration
        return self.times[-1] - self.times[-2] if len(self.times) > 1 else 0
