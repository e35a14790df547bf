"""A video or sequence read once from end to end: size, times, shots, colours, and what is unusual about it."""

import itertools
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
from ..pictures import Size
from ..shots.boundaries import Shot, shots_from_cuts
from ..shots.detector import CutDetector

DEFAULT_SEQUENCE_RATE = Fraction(24)
"""Frames a second of a video made from single images, where the request names no rate."""


@dataclass(frozen=True)
class ContentScan:
    """What a scan of a film found. `timing` and `shots` concern the painted frames, all else the whole film."""

    size: Size
    """(height, width) of a frame."""

    timing: Timing
    """When each painted frame is shown."""

    shots: tuple[Shot, ...]
    """The shots of the painted frames, ascending."""

    first: int
    """Index of the first painted frame."""

    is_partial: bool
    """Whether some frames are not painted."""

    damage: str | None
    """What is damaged in a video, in words."""

    has_alpha: bool
    """Whether any frame has transparent pixels."""

    not_kept: tuple[str, ...]
    """A line for everything that reading the pictures of a video could not keep as it is."""

    plays: int
    """How often an animation is played, 0 for ever."""

    has_jumps: bool
    """Whether the clock of a video jumps."""

    info: VideoInfo | None
    """What the file of a video declares; None for a sequence."""

    colors: ColorStatistics
    """Mean and covariance of the colours."""

    index: FrameIndex | None = None
    """Times and checksums of all frames of a video, by which a frame is recognised after a seek."""


Consume = Callable[[np.ndarray, int | None], None]
"""Called with each frame in order, H×W×3 uint8, and the number of frames where it is declared."""


def scan_film(
    content: Content,
    frame_range: Callable[[int], range],
    cuts: Sequence[int] | None,
    rate: Fraction | None,
    on_progress: Callable[[int, int | None], None],
) -> ContentScan:
    """Scans a film. Raises `InputError` for frames that cannot be read, are of several sizes, or are none.

    `frame_range` returns the indices to paint out of so many frames. `cuts` are the first frames of new shots where
    they are known, None to detect them. `rate`: frames a second of a sequence, `DEFAULT_SEQUENCE_RATE` for None.
    `on_progress` is called with the number of frames read and, where the file declares it, the number there will be.
    """
    detector, colors, read = CutDetector(), ColorSums(), itertools.count()

    def consume(image: np.ndarray, declared: int | None) -> None:
        index = next(read)
        if cuts is None:
            detector.feed(index, image)
        colors.add(image)
        on_progress(index + 1, declared)

    if content.kind is ContentKind.VIDEO:
        scan = _scan_video(content, consume)
    else:
        scan = _scan_sequence(content, rate or DEFAULT_SEQUENCE_RATE, consume)
    count = scan.timing.frame_count
    wanted = frame_range(count)
    if not wanted:
        raise InputError(f"the frames to paint are none of the {count} that {content.files[0].path} has")
    return ContentScan(
        size=scan.size,
        timing=scan.timing.part(wanted.start, wanted.stop),
        shots=tuple(shots_from_cuts(count, detector.finish() if cuts is None else cuts, wanted)),
        first=wanted.start,
        is_partial=len(wanted) < count,
        damage=scan.damage,
        has_alpha=scan.has_alpha,
        not_kept=scan.not_kept,
        plays=scan.plays,
        has_jumps=scan.has_jumps,
        info=scan.info,
        colors=colors.statistics(),
        index=scan.index,
    )


@dataclass(frozen=True)
class _FileScan:
    """What the files of a film show without a look at its pictures; see `ContentScan`."""

    size: Size
    timing: Timing
    has_alpha: bool
    damage: str | None = None
    not_kept: tuple[str, ...] = ()
    plays: int = 0
    has_jumps: bool = False
    info: VideoInfo | None = None
    index: FrameIndex | None = None


def _scan_video(content: Content, consume: Consume) -> _FileScan:
    path, stream = content.files[0].path, content.video_stream
    declared = decoding.probe(path, stream).frame_count_declared
    scan = decoding.scan(path, lambda _, image: consume(image, declared), stream)
    return _FileScan(
        size=scan.info.size,
        timing=scan.timing,
        has_alpha=scan.has_alpha,
        damage=scan.damage,
        not_kept=scan.not_kept,
        plays=scan.plays,
        has_jumps=scan.has_jumps,
        info=scan.info,
        index=scan.index,
    )


def _scan_sequence(content: Content, rate: Fraction, consume: Consume) -> _FileScan:
    size, has_alpha = decoding.image_size(content.files[0].path), False
    for file in content.files:
        own = decoding.image_size(file.path)
        if own != size:
            raise InputError(
                f"frame {file.path} is {own[1]}×{own[0]} pixels and the first of the sequence {size[1]}×{size[0]}: "
                "frames of one film have one size; for independent pictures use `mode='photos'`"
            )
        image, alpha = decoding.read_image_and_alpha(file.path)
        has_alpha |= alpha is not None
        consume(image, len(content.files))
    return _FileScan(size, Timing.constant(rate, len(content.files)), has_alpha)
