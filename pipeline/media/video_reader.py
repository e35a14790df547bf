"""Reading videos: what is in a file, its frames with exact times, and whether it is whole.

See `pipeline.media` for the conventions.
"""

import itertools
from collections.abc import Callable, Generator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from ..errors import InputError
from .animations import Animation
from .frame_index import FrameIndex
from .image_file import ANIMATED_SUFFIXES
from .images import play_count
from .video_container import LONGEST_STEP_SECONDS, DecodedFrame, OpenVideo
from .video_info import VideoFrame, VideoInfo, VideoScan

SCAN_WIDTH = 320
"""Frames that `scan` hands out are reduced to at most this many pixels across."""


def _ignore() -> None:
    pass


def _nothing() -> str | None:
    return None


def probe(path: Path, alive: Callable[[], None] = _ignore, stream: int | None = None) -> VideoInfo:
    """What a video says of itself: its header, and its first frame, as rotation and colours may be in that alone.

    The video is the stream of pictures that players show, or the one with the index `stream`. Raises `InputError` when
    the file is missing, is no video, has no frame that can be decoded, or claims frames of more than
    `MAX_PIXELS`. `alive` is called with every packet that is read, so that the caller knows that the decoder works.
    """
    with _source(path, alive, stream=stream) as source:
        return source.info


def read_frames(
    path: Path,
    start: int = 0,
    stop: int | None = None,
    *,
    accept_damage: bool = False,
    index: FrameIndex | None = None,
    alive: Callable[[], None] = _ignore,
    stream: int | None = None,
) -> Generator[VideoFrame, None, None]:
    """The frames `[start, stop)` of a video in presentation order, each once; `stop` None means to the end.

    Frames are upright, have the size that `probe` says (pixels that are not square are stretched to be)
    and are converted with the matrix and range of the file, or where it says none with BT.709 from 720
    lines on and BT.601 below, limited range. High dynamic range is reduced to standard, see `hdr.to_standard`, and
    interlaced frames are deinterlaced (bwdif), one for one. A frame without a time stamp follows the one before at the
    average rate. Memory stays flat, and the file is closed however the iteration ends.

    Frames before `start` are decoded and dropped: exact for every file, though not free. With an `index`, which `scan`
    makes, decoding begins at a key frame shortly before `start` instead, and gives the same frames to the bit: each
    is compared with what the index says of it, and where one differs all from there on are decoded from the beginning.
    What the index does not know is not given. There is no index, so no seek, of files whose frames are not identified
    by their times (AVI has none, and neither have some streams), of interlaced ones, whose filter looks at the frames
    around, and of animated images; and none is used where damage is to be raised, as that before `start` would not be
    met. `alive`: see `probe`.

    A file that is cut off or broken in the middle gives all its good frames first; then `InputError`
    says what is missing, unless `accept_damage` (or unless `stop` came before). `scan` says the same beforehand.
    Raises `InputError` for what `probe` refuses and for a range that begins after the last frame.
    """
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"frames [{start}, {stop}) are no range")
    if index is not None and accept_damage and start < index.frame_count:
        stop = index.frame_count if stop is None else min(stop, index.frame_count)
        start = yield from _read_by_index(path, start, stop, index, alive, stream)
        if start >= stop:
            return
    with _source(path, alive, stream=stream) as source:
        count = 0
        for position, ticks, picture in source.frames():
            if stop is not None and position >= stop:
                return
            count = position + 1
            if position >= start:
                yield VideoFrame(position, ticks * source.time_base, picture.rgb(), picture.alpha())
        if source.damage and not accept_damage:
            raise InputError(
                f"video {path} is damaged: {source.damage_summary(count)}; get it again, or accept what is left"
            )
        if count <= start and start > 0:
            raise InputError(f"video {path} has {count} frames, and frame {start} was asked for (they count from 0)")


def _read_by_index(
    path: Path, start: int, stop: int, index: FrameIndex, alive: Callable[[], None], stream: int | None
) -> Generator[VideoFrame, None, int]:
    """Gives the frames from `start` on while they match the index; returns the first that did not."""
    points = list(index.points(start))
    if not points or start >= stop:
        return start
    with _source(path, alive, stream=stream) as source:
        if isinstance(source, Animation):
            return start
        begin = start
        for point in points:
            for ticks, picture in source.from_key(index.times[point]):
                if ticks is None or ticks < index.times[start]:
                    continue
                if ticks != index.times[start] or picture.checksum() != index.checksums[start]:
                    break
                yield VideoFrame(start, ticks * source.time_base, picture.rgb(), picture.alpha())
                start += 1
                if start == stop:
                    return stop
            if start > begin:
                break
    return start


def scan(
    path: Path,
    consumer: Callable[[int, np.ndarray], None] | None = None,
    alive: Callable[[], None] = _ignore,
    reported: Callable[[], str | None] = _nothing,
    stream: int | None = None,
) -> VideoScan:
    """Decodes a video once from end to end: exact count and times of its frames, and whether it is whole.

    `consumer` is called as `consumer(index, image)` with every frame in order, upright, `H×W×3` uint8
    RGB, reduced to at most `SCAN_WIDTH` pixels across; `CutDetector.feed` is one. Apart from three numbers
    a frame, memory stays flat. Damage is not raised but reported in the result.
    Raises `InputError` for what `probe` refuses. `alive`: see there. `reported` gives what the decoder has complained
    about since it was last called: where all else seems well, that is the damage.
    """
    with _source(path, alive, reported, stream) as source:
        times: list[int] = []
        last_duration: int | None = None
        has_alpha = False
        frame_index = FrameIndex()
        for index, ticks, picture in source.frames():
            times.append(ticks)
            if source.has_unique_times and isinstance(source, OpenVideo) and isinstance(picture, DecodedFrame):
                frame_index.add(ticks, picture.checksum(), is_key=ticks in source.key_times)
            has_alpha = has_alpha or picture.alpha() is not None
            last_duration = picture.duration
            if consumer is not None:
                consumer(index, picture.rgb(SCAN_WIDTH))
        rate = _constant_rate(times, source.time_base, source.info.rate)
        if rate is not None and not source.stores_durations:
            last_duration = None
        if times and source.last_end_ticks is not None:
            last_duration = max(last_duration or 0, source.last_end_ticks - times[-1]) or None
        return VideoScan(
            info=source.info,
            time_base=source.time_base,
            times=tuple(times),
            rate=rate,
            last_duration=last_duration,
            damage=source.damage_summary(len(times)) if source.damage else None,
            has_alpha=has_alpha,
            plays=play_count(path),
            has_jumps=source.jump_count > 0,
            not_kept=tuple(source.not_kept()),
            index=frame_index if source.has_unique_times and any(frame_index.keys) else None,
        )


def _constant_rate(times: Sequence[int], time_base: Fraction, declared: Fraction) -> Fraction | None:
    """The rate at which `times` are evenly spaced, up to the rounding of their time base; None if they vary.

    Rounding is recognised only where a tick is short beside a frame: on a coarse clock, one tick more is a late frame.
    """
    if len(times) < 2:
        return declared if declared * LONGEST_STEP_SECONDS >= 1 else None
    step = times[1] - times[0]
    if step * time_base > LONGEST_STEP_SECONDS:
        return None
    if all(b - a == step for a, b in itertools.pairwise(times)):
        exact = 1 / (step * time_base)
        frame_ticks = 1 / (declared * time_base)
        # Few frames on a rounded clock look even: 33 ms may be 30000/1001 frames a second as the header says.
        return declared if abs(frame_ticks - step) * len(times) <= 1 and frame_ticks >= 4 else exact
    frame_ticks = 1 / (declared * time_base)
    if frame_ticks < 4:
        return None
    return declared if all(abs(t - times[0] - k * frame_ticks) <= 1 for k, t in enumerate(times)) else None


def _source(
    path: Path,
    alive: Callable[[], None],
    reported: Callable[[], str | None] = _nothing,
    stream: int | None = None,
) -> "OpenVideo | Animation":
    if path.suffix.lower() in ANIMATED_SUFFIXES:
        return Animation(path)
    return OpenVideo(path, alive, reported, stream)
