"""The time code of a film: hours, minutes, seconds and frames by which its first frame is named (SMPTE ST 12-1)."""

import re
from dataclasses import dataclass
from fractions import Fraction

from .timing import Timing

_MOST_FRAMES = 255
"""A second, of which MP4 and MOV keep the number in a byte."""

_HOURS_A_DAY = 24


@dataclass(frozen=True)
class TimeCode:
    """A time code and the frame that it names."""

    text: str
    """`01:00:58:20`; a semicolon or a point before the frames says that some numbers are skipped (drop frame)."""

    start_seconds: Fraction
    """When the frame that it names is shown, on the file's clock."""

    def of_first(self, timing: Timing) -> str | None:
        """The time code of the first frame of a part; None where that is not known or no container holds it."""
        if timing.rate is None:
            return None
        return later(self.text, round((timing.start_seconds - self.start_seconds) * timing.rate), timing.rate)

    def loss(self, suffix: str, timing: Timing) -> str | None:
        """A line where a video with this ending does not keep it, or without one a folder."""
        if suffix in ("", ".gif"):
            return f"the time code ({self.text}) is left out: a {'GIF' if suffix else 'folder of PNG'} holds none"
        if timing.rate is None:
            return f"the time code ({self.text}) is left out: the frames of the video come at no constant rate"
        if self.of_first(timing) is None:
            return f"the time code ({self.text}) is left out: it does not fit {float(timing.rate):g} frames a second"
        return None


def later(text: str, frames: int, rate: Fraction) -> str | None:
    """The time code so many frames after another; None for what is none at this rate.

    With dropped frames, the first numbers of each minute but every tenth do not occur: two at 30000/1001 frames a
    second, four at 60000/1001.
    """
    found = re.fullmatch(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d+)", text)
    names = round(rate)
    if found is None or not 1 <= names <= _MOST_FRAMES or int(found[5]) >= names:
        return None
    hours, minutes, seconds, number = (int(found[group]) for group in (1, 2, 3, 5))
    dropped = 0 if found[4] == ":" else names // 15
    if dropped and names % 30:
        return None
    past = 60 * hours + minutes
    count = (60 * past + seconds) * names + number - dropped * (past - past // 10)
    a_minute = 60 * names - dropped
    ten_minutes = 10 * a_minute + dropped
    count = (count + frames) % (6 * _HOURS_A_DAY * ten_minutes)
    tens, rest = divmod(count, ten_minutes)
    # Only the first of ten minutes has all of its numbers.
    count += dropped * (9 * tens + max(0, rest - dropped) // a_minute)
    seconds, number = divmod(count, names)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{found[4]}{number:02}"
