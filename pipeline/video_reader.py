"""Reading videos: what is in a file, its frames with exact times, and whether it is whole.

See `pipeline.media` for the conventions.
"""

import contextlib
import itertools
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream
from PIL import Image

from pipeline import hdr, images
from pipeline.errors import InputError
from pipeline.frame_index import FrameIndex
from pipeline.media import MAX_PIXELS, Timing, VideoColor, open_container, reason_of, too_large, video_stream
from pipeline.truncation import missing_end

SCAN_WIDTH = 320
"""Frames that `scan` hands out are reduced to at most this many pixels across."""

_END_TOLERANCE_SECONDS = Fraction(1, 4)
"""A file that ends this much before its header says is cut off; by a frame or a block of sound, headers are wrong."""

_ANIMATION_TICK = Fraction(1, 120_000)
"""Seconds; of these, milliseconds, all usual rates and 1001/30000 s are multiples."""

_LONGEST_STEP_SECONDS = 3600
"""Frames that come more seldom have no rate: encoders count the ticks between two at a constant rate in 31 bits."""

_ASPECT_LIMIT = 8
"""Pixels more oblong than this are a mistake in the file."""

# --- colour -----------------------------------------------------------------------------------------------------------

_MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    14: "ictcp",
}
_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "jedec-p22",
}
_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_RANGES = {1: "tv", 2: "pc"}
"""The numbers of ITU-T H.273, as the decoders give them, and the names of ffmpeg."""

_SWSCALE_MATRICES = {
    "bt709": Colorspace.ITU709,
    "fcc": Colorspace.FCC,
    "bt470bg": Colorspace.ITU601,
    "smpte170m": Colorspace.ITU601,
    "smpte240m": Colorspace.SMPTE240M,
    "bt2020nc": Colorspace.BT2020,
    "bt2020c": Colorspace.BT2020,
}

_INTERPOLATION = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)
"""Exact rounding and full chroma: the same frame gives the same pixels on every processor."""


# --- what is in a file ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says of itself; `scan` says what is true."""

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
    """Degrees by which the stored picture is turned clockwise to be upright: 0, 90, 180 or 270."""

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
    """Its place in presentation order, from 0 for the first frame of the file."""

    time: Fraction
    """When it is shown, in seconds on the file's clock, exactly."""

    image: np.ndarray
    """`H×W×3` uint8 RGB, upright, with square pixels."""

    alpha: np.ndarray | None = None
    """`H×W` uint8, 255 is opaque; None where all is."""


@dataclass(frozen=True)
class VideoScan:
    """What decoding a video from end to end has shown."""

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

    interlaced_count: int
    """Frames of two fields, from two moments, which were made one."""

    index: FrameIndex | None = None
    """By what its frames are known again after a seek; None where they cannot be, or there is no key frame to seek."""

    @property
    def frame_count(self) -> int:
        """Frames that can be read."""
        return len(self.times)

    @cached_property
    def timing(self) -> Timing:
        """The timing to write these frames with.

        Where the rate is constant, times are multiples of it: time stamps that the container rounded
        (Matroska keeps milliseconds) become exact again.
        """
        if self.rate is not None:
            return Timing.constant(self.rate, self.frame_count, self.times[0] * self.time_base)
        return Timing(self.time_base, self.times, None, self.last_duration)


def _ignore() -> None:
    pass


def _nothing() -> str | None:
    return None


def probe(path: Path, alive: Callable[[], None] = _ignore) -> VideoInfo:
    """What a video says of itself: its header, and its first frame, as rotation and colours may be in that alone.

    The video is the first stream of pictures that is no attached cover image. Raises `InputError` when
    the file is missing, is no video, has no frame that can be decoded, or claims frames of more than
    `MAX_PIXELS`. `alive` is called with every packet that is read: a sign of life for whoever waits.
    """
    with _source(path, alive) as source:
        return source.info


def read_frames(
    path: Path,
    start: int = 0,
    stop: int | None = None,
    *,
    accept_damage: bool = False,
    index: FrameIndex | None = None,
    alive: Callable[[], None] = _ignore,
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
        start = yield from _read_by_index(path, start, stop, index, alive)
        if start >= stop:
            return
    with _source(path, alive) as source:
        count = 0
        for place, ticks, picture in source.frames():
            if stop is not None and place >= stop:
                return
            count = place + 1
            if place >= start:
                yield VideoFrame(place, ticks * source.time_base, picture.rgb(), picture.alpha())
        if source.damage and not accept_damage:
            raise InputError(
                f"video {path} is damaged: {source.damage_summary(count)}; get it again, or accept what is left"
            )
        if count <= start and start > 0:
            raise InputError(f"video {path} has {count} frames, and frame {start} was asked for (they count from 0)")


def _read_by_index(
    path: Path, start: int, stop: int, index: FrameIndex, alive: Callable[[], None]
) -> Generator[VideoFrame, None, int]:
    """The frames from `start` on, as long as they are those of the index; returns the first that it could not give."""
    points = list(index.points(start))
    if not points or start >= stop:
        return start
    with _source(path, alive) as source:
        if isinstance(source, _Animation):
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
) -> VideoScan:
    """Decodes a video once from end to end: exact count and times of its frames, and whether it is whole.

    `consumer` is called as `consumer(index, image)` with every frame in order, upright, `H×W×3` uint8
    RGB, reduced to at most `SCAN_WIDTH` pixels across; `CutDetector.feed` is one. Apart from three numbers
    a frame, memory stays flat. Damage is not raised but reported in the result.
    Raises `InputError` for what `probe` refuses. `alive`: see there. `reported` gives what the decoder has complained
    about since it was last called: where all else seems well, that is the damage.
    """
    with _source(path, alive, reported) as source:
        times: list[int] = []
        last_duration: int | None = None
        has_alpha = False
        frame_index = FrameIndex()
        for index, ticks, picture in source.frames():
            times.append(ticks)
            if source.is_known_by_times and isinstance(source, _Container) and isinstance(picture, _Decoded):
                frame_index.add(ticks, picture.checksum(), is_key=ticks in source.key_times)
            has_alpha = has_alpha or picture.alpha() is not None
            last_duration = picture.duration
            if consumer is not None:
                consumer(index, picture.rgb(SCAN_WIDTH))
        if times and source.stays_until is not None:
            last_duration = max(last_duration or 0, source.stays_until - times[-1]) or None
        return VideoScan(
            info=source.info,
            time_base=source.time_base,
            times=tuple(times),
            rate=_constant_rate(times, source.time_base, source.info.rate),
            last_duration=last_duration,
            damage=source.damage_summary(len(times)) if source.damage else None,
            has_alpha=has_alpha,
            interlaced_count=source.interlaced_count,
            index=frame_index if source.is_known_by_times and any(frame_index.keys) else None,
        )


def _constant_rate(times: Sequence[int], time_base: Fraction, declared: Fraction) -> Fraction | None:
    """The rate at which `times` follow each other evenly, up to the rounding of their time base; None if they vary.

    A rounded clock is only trusted where its tick is small beside a frame: on a coarse one, a tick more
    is a frame that really comes late.
    """
    if len(times) < 2:
        return declared if declared * _LONGEST_STEP_SECONDS >= 1 else None
    step = times[1] - times[0]
    if step * time_base > _LONGEST_STEP_SECONDS:
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


class _Extent:
    """How far the packets of a file reach in time."""

    def __init__(self) -> None:
        self.end_seconds = Fraction(0)
        self._last_seconds: dict[int, Fraction] = {}
        self._longest_gap_seconds: dict[int, Fraction] = {}

    def add(self, packet: "av.Packet[Any]") -> None:
        if packet.pts is None or not packet.time_base:
            return
        begin, stream = packet.pts * packet.time_base, packet.stream.index
        gap = max(self.longest_gap_seconds(stream), abs(begin - self._last_seconds.get(stream, begin)))
        self._longest_gap_seconds[stream] = gap
        self._last_seconds[stream] = begin
        # A packet that does not say how long it lasts may last as long as any before it.
        lasts = packet.duration * packet.time_base if packet.duration else gap
        self.end_seconds = max(self.end_seconds, begin + lasts)

    def longest_gap_seconds(self, stream: int) -> Fraction:
        """The longest time between two packets of a stream that follow each other."""
        return self._longest_gap_seconds.get(stream, Fraction(0))


class _Picture(Protocol):
    """A picture of a source."""

    @property
    def duration(self) -> int | None:
        """Ticks that it is shown; None where unknown."""

    def rgb(self, max_width: int | None = None) -> np.ndarray:
        """`H×W×3` uint8 RGB, upright, of the size displayed, or reduced to `max_width` across."""

    def alpha(self) -> np.ndarray | None:
        """`H×W` uint8, upright, of the size displayed; None where all is opaque."""


def _source(
    path: Path, alive: Callable[[], None], reported: Callable[[], str | None] = _nothing
) -> "_Container | _Animation":
    return _Animation(path) if path.suffix.lower() in images.ANIMATED_SUFFIXES else _Container(path, alive, reported)


class _Animation:
    """An animated image that is open for reading, as a context manager; like `_Container` in all that is public."""

    time_base = _ANIMATION_TICK
    interlaced_count = 0
    is_known_by_times = False
    stays_until: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []

    def __enter__(self) -> Self:
        self._pictures = images.read_animation(self.path)
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

    def damage_summary(self, frame_count: int) -> str:
        return f"{_frames(frame_count)} can be read, and {self.damage[0]}"


@dataclass(frozen=True)
class _AnimationPicture:
    picture: images.AnimationFrame
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


@dataclass(frozen=True)
class _Decoded:
    source: "_Container"
    frame: av.VideoFrame

    @property
    def duration(self) -> int | None:
        return self.frame.duration or None

    def rgb(self, max_width: int | None = None) -> np.ndarray:
        return self.source.to_rgb(self.frame, max_width)

    def alpha(self) -> np.ndarray | None:
        return self.source.alpha(self.frame)

    def checksum(self) -> int:
        """CRC-32 of all that the picture is made of."""
        return self.source.checksum(self.frame)


class _Container:
    """A video that is open for reading, as a context manager."""

    def __init__(self, path: Path, alive: Callable[[], None], reported: Callable[[], str | None]) -> None:
        self.path = path
        self._alive = alive
        self._reported = reported
        self.damage: list[str] = []
        self.interlaced_count = 0
        self.is_known_by_times = True
        """Whether each frame so far came as it was decoded, with a time of its own, after that of the one before."""
        self.key_times: set[int] = set()
        """When the frames are shown that the container calls key frames, in ticks."""
        self.stays_until: int | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._reported()  # What an earlier file gave cause for.
            self._container = open_container(self.path)
            stack.callback(self._container.close)
            self._stream = video_stream(self._container, self.path)
            self.time_base = self._time_base()
            self._alpha_decoder = _alpha_decoder(self._stream)
            self._decoded = self._deinterlaced(self._decode())
            stack.callback(self._stop_decoding)
            try:
                self._first: tuple[int | None, av.VideoFrame] | None = next(self._decoded)
            except StopIteration:
                reason = f" ({self.damage[0]})" if self.damage else ""
                raise InputError(
                    f"cannot read video {self.path}: not one of its frames can be decoded{reason}; get it again"
                ) from None
            self._matrix = _display_matrix(self._first[1])
            self.info = self._describe(self._first[1])
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def frames(self) -> Iterator[tuple[int, int, _Picture]]:
        """(index, time in ticks, picture), in presentation order, with strictly ascending times."""
        step = max(1, round(1 / (self.info.rate * self.time_base)))
        index, last = 0, None
        timed, self._first = self._first, None
        while timed is not None:
            ticks, frame = timed
            self.is_known_by_times &= ticks is not None and (last is None or ticks > last) and not self.interlaced_count
            if ticks is None:
                ticks = 0 if last is None else last + step
            elif last is not None and ticks <= last:
                ticks = last + 1  # Two frames at one time are still two frames, and no container holds them so.
            yield index, ticks, _Decoded(self, frame)
            index, last = index + 1, ticks
            timed = next(self._decoded, None)

    def from_key(self, ticks: int) -> Iterator[tuple[int | None, _Decoded]]:
        """(Time in ticks or None, picture) of what is decoded after a seek to the key frame at `ticks`: that may begin
        earlier or later, and first give pictures that lack what they refer to. Ends with one of two fields."""
        self._stop_decoding()
        try:
            self._container.seek(ticks, stream=self._stream)
        except av.error.FFmpegError:
            return
        self._alpha_decoder = _alpha_decoder(self._stream)
        self._decoded = self._decode()
        for timed, frame in self._decoded:
            if frame.interlaced_frame:
                return
            yield timed, _Decoded(self, frame)

    def _stop_decoding(self) -> None:
        self._decoded.close()

    def checksum(self, frame: av.VideoFrame) -> int:
        """CRC-32 of a decoded frame: its samples, and what they mean."""
        form = frame.format
        what = (form.name, frame.width, frame.height, *vars(_color_of(frame, self._stream)).values())
        crc = zlib.crc32(repr(what).encode())
        planes = {component.plane: (component.bits + 7) // 8 for component in form.components}
        plain = len(planes) == len(form.components) == len(frame.planes)
        if not plain or any(plane.line_size <= 0 for plane in frame.planes):
            # Samples of several kinds side by side: rather what is made of them.
            alpha = self.alpha(frame)
            return zlib.crc32(b"" if alpha is None else alpha.data, zlib.crc32(self.to_rgb(frame).data, crc))
        for place, plane in enumerate(frame.planes):
            rows = np.frombuffer(cast(Any, plane), np.uint8).reshape(-1, plane.line_size)
            # Beyond the width lies whatever was there before.
            crc = zlib.crc32(np.ascontiguousarray(rows[: plane.height, : plane.width * planes[place]]).data, crc)
        return crc

    def damage_summary(self, frame_count: int) -> str:
        declared = self.info.frame_count_declared
        of = f" of {declared}" if declared and declared > frame_count else ""
        more = f", and {len(self.damage) - 1} more such errors" if len(self.damage) > 1 else ""
        return f"{_frames(frame_count, of)} can be read, and {self.damage[0]}{more}"

    def to_rgb(self, frame: av.VideoFrame, max_width: int | None = None) -> np.ndarray:
        """A decoded frame as an upright `H×W×3` uint8 RGB array of the size displayed, or reduced to `max_width`."""
        height, width = self.info.size
        interpolation = _INTERPOLATION
        if max_width is not None and width > max_width:
            height, width = max(1, round(height * max_width / width)), max_width
            interpolation = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
        if _swaps_sides(self._matrix):
            height, width = width, height
        color = _color_of(frame, self._stream)
        reduced = _hdr_transfer(color)
        # swscale takes untagged video for BT.601 whatever its size, so the matrix is always said.
        converted = frame.reformat(
            width=width,
            height=height,
            format="rgb48le" if reduced else "rgb24",
            src_colorspace=None if frame.format.is_rgb else _SWSCALE_MATRICES[color.matrix_for(self.info.size[0])],
            src_color_range=ColorRange.JPEG if color.range == "pc" else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=interpolation,
        )
        image = converted.to_ndarray()
        return _upright(hdr.to_standard(image, reduced) if reduced else image, self._matrix)

    def alpha(self, frame: av.VideoFrame) -> np.ndarray | None:
        """The alpha of a decoded frame, `H×W` uint8 as `to_rgb` gives the colours; None where all is opaque."""
        if not any(component.is_alpha for component in frame.format.components):
            return None
        height, width = self.info.size
        if _swaps_sides(self._matrix):
            height, width = width, height
        converted = frame.reformat(width=width, height=height, format="rgba", interpolation=_INTERPOLATION)
        alpha = _upright(converted.to_ndarray()[..., 3], self._matrix)
        return None if alpha.min() == 255 else alpha

    def _deinterlaced(
        self, decoded: Generator[tuple[int | None, av.VideoFrame], None, None]
    ) -> Generator[tuple[int | None, av.VideoFrame], None, None]:
        """The frames with those of two fields made one, one for one; the filter looks one frame ahead."""
        graph: av.filter.Graph | None = None
        waiting: deque[int | None] = deque()
        with contextlib.closing(decoded):
            for ticks, frame in decoded:
                self.interlaced_count += bool(frame.interlaced_frame)
                if graph is None and not frame.interlaced_frame:
                    yield ticks, frame
                    continue
                if graph is None:
                    graph = self._deinterlacer(frame)
                waiting.append(ticks)
                # By its own count: a frame without a time stamp is one all the same.
                frame.pts, frame.time_base = len(waiting), self.time_base
                graph.push(frame)
                yield from self._ready(graph, waiting)
        if graph is not None:
            graph.push(None)
            yield from self._ready(graph, waiting)

    def _deinterlacer(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph = av.filter.Graph()
        source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=self.time_base)
        bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
        sink = graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        graph.configure()
        return graph

    def _ready(
        self, graph: av.filter.Graph, waiting: deque[int | None]
    ) -> Generator[tuple[int | None, av.VideoFrame], None, None]:
        while waiting:
            try:
                frame = graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            yield waiting.popleft(), cast(av.VideoFrame, frame)

    def _decode(self) -> Generator[tuple[int | None, av.VideoFrame], None, None]:
        """(time in ticks or None, frame) for every frame that is whole; notes in `damage` what is not."""
        # AVI has no presentation times: its packets come at regular ones, in the order of decoding. The frames, put in
        # the order of presentation, take these one by one; guessing from the codec's reordering skips one.
        without_times = self._container.format.name == "avi"
        self.is_known_by_times &= not without_times
        arrivals: deque[int] = deque()
        extent = _Extent()
        packets = 0
        try:
            for packet in self._container.demux():
                self._alive()
                extent.add(packet)
                if packet.stream.index != self._stream.index:
                    continue
                packets += packet.size > 0
                if packet.is_keyframe and packet.pts is not None:
                    self.key_times.add(packet.pts)
                if not packet.size and packet.pts is not None:
                    # In Theora: the picture before stays.
                    self.stays_until = packet.pts + (packet.duration or 0)
                    continue
                if without_times and packet.dts is not None and packet.size:
                    arrivals.append(packet.dts)
                if packet.is_corrupt:
                    self._note(f"the file ends or breaks inside the frame at {_seconds(packet)}")
                    continue
                try:
                    frames = packet.decode() if self._alpha_decoder is None else self._alpha_decoder.decode(packet)
                except av.error.FFmpegError as error:
                    if not isinstance(error, av.error.EOFError):
                        self._note(f"the frame at {_seconds(packet)} cannot be decoded ({reason_of(error)})")
                    continue
                for frame in cast(list[av.VideoFrame], frames):
                    ticks = arrivals.popleft() if arrivals else frame.pts
                    if frame.is_corrupt:
                        self._note(f"the frame at {_seconds(frame)} is incomplete")
                        continue
                    yield ticks, frame
        except av.error.FFmpegError as error:
            self._note(f"the file cannot be read on after {float(extent.end_seconds):.3f} s ({reason_of(error)})")
        self._note_what_is_missing(packets, extent)

    def _note_what_is_missing(self, packets: int, extent: "_Extent") -> None:
        """Compares what came with what the header promised; a file that is cut between two frames breaks nowhere."""
        # MP4 lists every packet, so there even one that is missing shows; a list without edits that were cut away.
        listed = len(self._stream.index_entries) if self._container.format.name.startswith("mov") else 0
        if packets < listed and not self.damage:
            self._note(f"{listed - packets} of its {listed} frames are missing at the end of the file")
        declared, end = _declared_end(self._container), extent.end_seconds
        tolerance = max(_END_TOLERANCE_SECONDS, extent.longest_gap_seconds(self._stream.index))
        if declared is not None and end < declared - tolerance:
            self._note(f"the file ends at {float(end):.3f} s where its header says {float(declared):.3f} s")
        if not self.damage and (what := missing_end(self.path)):
            self._note(what)
        if (report := self._reported()) and not self.damage:
            self._note(f"its decoder reports: {report}")

    def _note(self, what: str) -> None:
        if len(self.damage) < 1000:
            self.damage.append(what)

    def _time_base(self) -> Fraction:
        if not self._stream.time_base:
            raise InputError(f"cannot read video {self.path}: its clock is missing; write it anew with ffmpeg")
        return self._stream.time_base

    def _describe(self, first: av.VideoFrame) -> VideoInfo:
        stream, container = self._stream, self._container
        height, width = first.height, first.width
        aspect = _sample_aspect(stream)
        if aspect > 1:
            width = round(width * aspect)
        elif aspect < 1:
            height = round(height / aspect)
        if width * height > MAX_PIXELS:
            raise too_large(self.path, width, height)
        a, b, c, d = self._matrix
        rotation = 0 if (a, d) == (1, 1) else 180 if (a, d) == (-1, -1) else 90 if (b, c) == (1, -1) else 270
        mirrored = a * d - b * c < 0
        if mirrored:  # Counted as mirrored left to right first, then turned.
            rotation = {(-1, 0): 0, (1, 0): 180, (0, 1): 270, (0, -1): 90}[(a, c)]
        rate = stream.average_rate or stream.guessed_rate or stream.base_rate
        duration = None if container.duration is None else Fraction(container.duration, av.time_base)
        color = _color_of(first, stream)
        reduced = _hdr_transfer(color)
        return VideoInfo(
            path=self.path,
            size=(width, height) if _swaps_sides(self._matrix) else (height, width),
            rate=Fraction(rate) if rate else Fraction(25),
            time_base=self.time_base,
            frame_count_declared=stream.frames or None,
            duration_seconds_declared=duration,
            start_seconds_declared=Fraction(container.start_time or 0, av.time_base),
            rotation=rotation,
            mirrored=mirrored,
            has_audio=len(container.streams.audio) > 0,
            color=VideoColor("bt709", "tv", "bt709", "bt709") if reduced else color,
            hdr=hdr.TRANSFERS[reduced] if reduced else None,
            sample_aspect=aspect,
            codec=stream.codec_context.codec.canonical_name,
        )


def _frames(count: int, of: str = "") -> str:
    return f"{count}{of} frame{'' if count == 1 and not of else 's'}"


def _seconds(item: Any) -> str:
    return "an unknown time" if item.pts is None else f"{float(item.pts * item.time_base):.3f} s"


def _alpha_decoder(stream: VideoStream) -> VideoCodecContext | None:
    """The decoder that reads the alpha of VP9, which lies beside the pictures; None for what the usual one reads."""
    if stream.codec_context.codec.canonical_name != "vp9" or stream.metadata.get("alpha_mode") != "1":
        return None
    return av.CodecContext.create("libvpx-vp9", "r")


def _declared_end(container: InputContainer) -> Fraction | None:
    if not container.duration or container.duration <= 0:
        return None
    start = container.start_time or 0
    if container.format.name.startswith("matroska"):
        start = min(start, 0)  # Programs differ in whether they count from the first picture or from zero.
    return Fraction(container.duration + start, av.time_base)


def _sample_aspect(stream: VideoStream) -> Fraction:
    """Width over height of a stored pixel; 1 where the file does not say or says nonsense."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    if not aspect or not Fraction(1, _ASPECT_LIMIT) <= aspect <= _ASPECT_LIMIT:
        return Fraction(1)
    return Fraction(aspect)


def _color_of(frame: av.VideoFrame, stream: VideoStream) -> VideoColor:
    """What a frame says of its colours, or else its stream; formats that are RGB or full range by definition say so."""
    context = stream.codec_context
    tagged_range = _RANGES.get(int(frame.color_range)) or _RANGES.get(int(context.color_range))
    full = frame.format.is_rgb or frame.format.name.startswith(("yuvj", "pal8"))
    return VideoColor(
        matrix="gbr" if frame.format.is_rgb else _first_named(_MATRICES, frame.colorspace, context.colorspace),
        range="pc" if full else tagged_range,
        primaries=_first_named(_PRIMARIES, frame.color_primaries, context.color_primaries),
        transfer=_first_named(_TRANSFERS, frame.color_trc, context.color_trc),
    )


def _hdr_transfer(color: VideoColor) -> str | None:
    """The transfer function of a picture that is to be reduced to standard range, or None."""
    return color.transfer if color.transfer in hdr.TRANSFERS else None


def _first_named(names: dict[int, str], *numbers: int) -> str | None:
    return next((names[int(number)] for number in numbers if int(number) in names), None)


_TURNED = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))
"""Display matrices by quarters counterclockwise."""


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The signs (a, b, c, d) of the display matrix, made right-angled: pixel (x, y) is shown at (ax + cy, bx + dy)."""
    try:
        data: Any = frame.side_data.get("DISPLAYMATRIX")
    except ValueError:
        # Beside it lies something that PyAV has no name for, as EXIF; it tells the angle all the same.
        return _TURNED[round(frame.rotation / 90) % 4]
    if data is None:
        return 1, 0, 0, 1
    values = np.frombuffer(bytes(data), dtype=np.int32).astype(float)
    a, b, c, d = values[0], values[1], values[3], values[4]
    signs = [1 if value >= 0 else -1 for value in (a, b, c, d)]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return signs[0], 0, 0, signs[3]
    return 0, signs[1], signs[2], 0


def _swaps_sides(matrix: tuple[int, int, int, int]) -> bool:
    return matrix[0] == 0


def _upright(image: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """The stored picture as it is shown: the display matrix applied, which a player would do."""
    a, b, c, d = matrix
    if _swaps_sides(matrix):
        image = image.swapaxes(0, 1)
    if a + c < 0:
        image = image[:, ::-1]
    if b + d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)
