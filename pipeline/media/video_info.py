"""What is known of a video: its header, each frame, and what a scan from end to end finds."""

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from .color import VideoColor
from .frame_index import FrameIndex
from .timing import Timing

_ROUNDED_SECONDS = Fraction(1, 500)
"""By how much containers round the duration of a frame: movie clocks have ticks of a millisecond and more."""


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video file says; `VideoScan` has what decoding it shows."""

    path: Path
    """The file."""

    size: tuple[int, int]
    """(height, width) as displayed: upright, with square pixels. `read_frames` gives frames of this size."""

    rate: Fraction
    """Average frames a second, exactly: 30000/1001, not 29.97."""

    time_base: Fraction
    """Seconds that one tick of a time stamp takes."""

    frame_count_declared: int | None
    """Frames according to the header; None where it does not say."""

    duration_seconds_declared: Fraction | None
    """From the first to the last of picture and sound, according to the header; None where it does not say."""

    start_seconds_declared: Fraction
    """Where the earliest of picture and sound begins on the file's clock."""

    rotation: int
    """Degrees by which the stored picture is rotated clockwise to be upright: 0, 90, 180 or 270."""

    mirrored: bool
    """Whether the picture is mirrored as well."""

    has_audio: bool
    """Whether there is sound."""

    color: VideoColor
    """What the colours of the frames that are given mean: what the file says, but BT.709 where HDR was reduced."""

    hdr: str | None
    """`PQ` or `HLG` where the file is of high dynamic range, and its frames are reduced to standard; else None."""

    sample_aspect: Fraction
    """Width of a stored pixel over its height; frames come with square pixels all the same."""

    codec: str
    """Name of the video codec, as ffmpeg has it."""


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video."""

    index: int
    """Its index in presentation order, from 0 for the first frame of the file."""

    time: Fraction
    """When it is shown, in seconds on the file's clock, exactly."""

    image: np.ndarray
    """`H×W×3` uint8 RGB, upright, with square pixels."""

    alpha: np.ndarray | None = None
    """`H×W` uint8, 255 is opaque; None where all is."""


@dataclass(frozen=True)
class VideoScan:
    """The facts of a video that has been decoded from end to end."""

    info: VideoInfo
    """What the file says of itself."""

    time_base: Fraction
    """Seconds a tick."""

    times: tuple[int, ...]
    """Presentation time of every frame, in ticks."""

    rate: Fraction | None
    """Frames a second if they are constant, else None."""

    last_duration: int | None
    """Ticks that the last frame stays; None where the file does not say."""

    damage: str | None
    """What is wrong with the file, in words, or None. `times` holds the frames that are good."""

    has_alpha: bool
    """Whether any frame is transparent anywhere."""

    not_kept: tuple[str, ...] = ()
    """A line for everything that reading the pictures could not keep as it is."""

    plays: int = 0
    """How often an animation is played, 0 for ever; of other videos 0."""

    has_jumps: bool = False
    """Whether the clock of the file jumps: `times` are on one time line all the same."""

    index: FrameIndex | None = None
    """Identifies its frames after a seek; None where that is not possible, or there is no key frame to seek."""

    @property
    def frame_count(self) -> int:
        """The number of frames that can be read."""
        return len(self.times)

    @cached_property
    def timing(self) -> Timing:
        """The timing to write these frames with.

        Where the rate is constant, times are multiples of it: time stamps that the container rounded
        (Matroska keeps milliseconds) become exact again. A last frame that is held stays as long as in the file.
        """
        if self.rate is not None:
            last = None if self.last_duration is None else self.last_duration * self.time_base
            if last is not None and abs(last - 1 / self.rate) <= max(2 * self.time_base, _ROUNDED_SECONDS):
                last = None
            return Timing.constant(self.rate, self.frame_count, self.times[0] * self.time_base, last)
        return Timing(self.time_base, self.times, None, self.last_duration)


class DecodedPicture(Protocol):
    """A picture of an open video or animation."""

    @property
    def duration(self) -> int | None:
        """Ticks for which it is shown; None where unknown."""

    def rgb(self, max_width: int | None = None) -> np.ndarray:
        """`H×W×3` uint8 RGB, upright, of the displayed size, or reduced to `max_width` pixels across."""

    def alpha(self) -> np.ndarray | None:
        """`H×W` uint8, upright, of the displayed size; None where all is opaque."""


def frame_count_text(count: int, of: str = "") -> str:
    return f"{count}{of} frame{'' if count == 1 and not of else 's'}"
