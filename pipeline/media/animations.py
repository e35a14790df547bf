"""Animated images (WebP, PNG), read as videos with Pillow."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from ..errors import InputError
from .color import VideoColor
from .containers import MAX_PIXELS, too_large
from .images import AnimationFrame, read_animation
from .video_info import VideoInfo, frame_count_text

_ANIMATION_TICK = Fraction(1, 120_000)
"""Seconds; of these, milliseconds, all usual rates and 1001/30000 s are multiples."""


class Animation:
    """An animated image that is open for reading; a context manager with the same public members as `OpenVideo`."""

    time_base = _ANIMATION_TICK
    jump_count = 0
    has_unique_times = False
    stores_durations = True
    last_end_ticks: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []

    def __enter__(self) -> Self:
        self._pictures = read_animation(self.path)
        self._first = next(self._pictures)
        height, width = self._first.image.shape[:2]
        if width * height > MAX_PIXELS:
            raise too_large(self.path, width, height)
        self.info = VideoInfo(
            path=self.path,
            size=(height, width),
            rate=1 / self._first.seconds,
            time_base=self.time_base,
            frame_count_declared=None,
            duration_seconds_declared=None,
            start_seconds_declared=Fraction(0),
            rotation=0,
            mirrored=False,
            has_audio=False,
            color=VideoColor("bt709", "tv", "bt709", "bt709"),
            hdr=None,
            sample_aspect=Fraction(1),
            codec="webp" if self.path.suffix.lower() == ".webp" else "apng",
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._pictures.close()

    def frames(self) -> Iterator[tuple[int, int, "_AnimationPicture"]]:
        time, picture = Fraction(0), self._first
        for index in itertools.count():
            ends = time + picture.seconds
            ticks, end_ticks = (round(moment / self.time_base) for moment in (time, ends))
            yield index, ticks, _AnimationPicture(picture, end_ticks - ticks)
            time = ends
            try:
                picture = next(self._pictures)
            except StopIteration:
                return
            except InputError as error:
                self.damage.append(f"the next one cannot be decoded ({error})")
                return

    def not_kept(self) -> Iterator[str]:
        """A line for everything that reading the pictures could not keep as it is."""
        return iter(())

    def damage_summary(self, frame_count: int) -> str:
        return f"{frame_count_text(frame_count)} can be read, and {self.damage[0]}"


@dataclass(frozen=True)
class _AnimationPicture:
    picture: AnimationFrame
    duration: int | None

    def rgb(self, max_width: int | None = None) -> np.ndarray:
        image = self.picture.image
        height, width = image.shape[:2]
        if max_width is None or width <= max_width:
            return image
        size = max_width, max(1, round(height * max_width / width))
        return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))

    def alpha(self) -> np.ndarray | None:
        return self.picture.alpha
