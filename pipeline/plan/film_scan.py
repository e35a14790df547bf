"""TODO: plan.film_scan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ..errors import InputError
from ..media import decoding
from ..media.content import Content, ContentKind
from ..media.frame_index import FrameIndex
from ..media.timing import Timing
from ..media.video_info import VideoInfo
from ..paint.colors import ColorStatistics, ColorSums
from ..shots.boundaries import Shot, shots_from_cuts
from ..shots.detector import CutDetector

DEFAULT_SEQUENCE_RATE = Fraction(24)
"""Frames a second of a video that is made from single images, unless it is said."""


@dataclass(frozen=True)
class ContentScan:
    """What reading a film once has shown.

    `size` is (height, width) of its frames, `timing` when each is shown, `shots` where it is cut, all for
    the frames asked for: `first` is the index in the content of the first of them.
    """

    size: tuple[int, int]
    timing: Timing
    shots: tuple[Shot, ...]
    first: int
    is_partial: bool
    damage: str | None
    has_alpha: bool
    interlaced_count: int
    info: VideoInfo | None
    colors: ColorStatistics
    """Of the whole content."""
    index: FrameIndex | None = None
    """By what the frames of a video, all of them, are known again where it can be sought."""


def scan_film(
    content: Content,
    frame_range: Callable[[int], range],
    cuts: Sequence[int] | None,
    rate: Fraction | None,
    on_progress: Callable[[int, int | None], None],
) -> ContentScan:
    """Reads a video or sequence once from end to end: its frames, their times and its cuts.

    `frame_range` gives the indices wanted out of so many frames. `rate`: frames a second of a sequence,
    `DEFAULT_SEQUENCE_RATE` where it is None. `cuts` are first frames of new shots, known beforehand; None looks for
    them.
    `on_progress` is called with the frames read and, where the file says it, how many there will be.
    """
    detector, colors = CutDetector(), ColorSums()
    if content.kind is ContentKind.VIDEO:
        path = content.files[0].path
        declared = decoding.probe(path).frame_count_declared

        def consume(index: int, image: np.ndarray) -> None:
            if cuts is None:
                detector.feed(index, image)
            colors.add(image)
            on_progress(index + 1, declared)

        scan = decoding.scan(path, consume)
        size, timing, damage, info = scan.info.size, scan.timing, scan.damage, scan.info
        has_alpha, interlaced, frame_index = scan.has_alpha, scan.interlaced_count, scan.index
    else:
        size, has_alpha = decoding.image_size(content.files[0].path), False
        for index, file in enumerate(content.files):
            own = decoding.image_size(file.path)
            if own != size:
                raise InputError(
                    f"frame {file.path} is {own[1]}×{own[0]} pixels and the first of the sequence {size[1]}×{size[0]}: "
                    "frames of one film have one size; for independent pictures use `mode='photos'`"
                )
            image, alpha = decoding.read_image_and_alpha(file.path)
            has_alpha |= alpha is not None
            if cuts is None:
                detector.feed(index, image)
            colors.add(image)
            on_progress(index + 1, len(content.files))
        timing, damage, info = Timing.constant(rate or DEFAULT_SEQUENCE_RATE, len(content.files)), None, None
        interlaced, frame_index = 0, None

    wanted = frame_range(timing.frame_count)
    if not wanted:
        raise InputError(f"the frames asked for are none of the {timing.frame_count} that {content.files[0].path} has")
    return ContentScan(
        size=size,
        timing=timing.part(wanted.start, wanted.stop),
        shots=tuple(shots_from_cuts(timing.frame_count, detector.finish() if cuts is None else cuts, wanted)),
        first=wanted.start,
        is_partial=len(wanted) < timing.frame_count,
        damage=damage,
        has_alpha=has_alpha,
        interlaced_count=interlaced,
        info=info,
        colors=colors.statistics(),
        index=frame_index,
    )
