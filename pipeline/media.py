"""Video files: what is in them, their frames with exact times, and writing them with the same times.

Conventions: images are `H×W×3` uint8 RGB, sizes `(height, width)`, rates and times `Fraction`, and a
time stamp is an integer that counts ticks of a `time_base`, in seconds. All times of a file are on one
clock, that of its time stamps; a file does not have to begin at zero, nor its sound with its picture.

Reading is done by PyAV, which knows exact time stamps; writing by the ffmpeg program that
imageio-ffmpeg brings along. Names reach both as `file:` and an absolute path, and only containers that
hold pictures themselves are opened, never a playlist that points elsewhere.
"""

import contextlib
import itertools
import math
import os
import re
import signal
import stat
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.stream import Disposition
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from av.video.stream import VideoStream

from pipeline import hdr
from pipeline.errors import InputError, MediaError, OutputError, StorageError
from pipeline.storage import atomic_file

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".wmv"}
    | {".flv", ".ogv", ".3gp", ".gif"}
)
"""Endings, in lower case, of the files that are read as video."""

OUTPUT_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".gif")
"""Endings of the videos that can be written."""

MAX_PIXELS = 1 << 27
"""A video whose frames claim more pixels than this (16384×8192) is refused before one is decoded."""

SCAN_WIDTH = 320
"""Frames that `scan` hands out are reduced to at most this many pixels across."""

_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,asf,flv,live_flv,ogg,gif,mxf,nut,ivf,dv,rm,"
    "h264,hevc,av1,obu,yuv4mpegpipe,apng"
)
"""The containers that are opened: those that hold their pictures themselves. Playlists are not among them."""

_PROTOCOLS = "file,pipe"

_END_TOLERANCE_SECONDS = Fraction(1, 4)
"""A file that ends this much before its header says is cut off; by a frame or a block of sound, headers are wrong."""

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
    4: "gamma22",
    5: "gamma28",
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


@dataclass(frozen=True)
class VideoColor:
    """How the numbers in a video mean colours, in ffmpeg's words; None where the file does not say."""

    matrix: str | None = None
    """From RGB to luma and chroma: `bt709`, `smpte170m`, `bt2020nc` ..."""

    range: str | None = None
    """`tv`: black is 16 and white 235; `pc`: 0 and 255."""

    primaries: str | None = None
    """What red, green and blue are: `bt709`, `smpte170m`, `bt2020`, `smpte432` (Display P3) ..."""

    transfer: str | None = None
    """From light to numbers: `bt709`, `iec61966-2-1` (sRGB), `smpte2084` (PQ), `arib-std-b67` (HLG) ..."""

    def matrix_for(self, height: int) -> str:
        """The matrix to convert with: the one in the file, or what players assume for a picture of this height."""
        return self.matrix if self.matrix in _SWSCALE_MATRICES else "bt709" if height >= 720 else "smpte170m"


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
    def constant(cls, rate: Fraction | int, frame_count: int, start_seconds: Fraction | int = 0) -> "Timing":
        """`frame_count` frames at a constant `rate`, of which the first is shown at `start_seconds`."""
        rate, start = Fraction(rate), Fraction(start_seconds)
        if rate <= 0:
            raise ValueError(f"the rate is {rate} frames a second: it must be positive")
        ticks_a_second = math.lcm(rate.numerator, start.denominator)
        step, first = int(ticks_a_second / rate), int(start * ticks_a_second)
        times = tuple(range(first, first + frame_count * step, step))
        return cls(Fraction(1, ticks_a_second), times, rate, step)

    @property
    def frame_count(self) -> int:
        return len(self.times)

    @property
    def start_seconds(self) -> Fraction:
        """When the first frame is shown."""
        return self.times[0] * self.time_base

    @property
    def end_seconds(self) -> Fraction:
        """When the last frame ends; where that is unknown it stays as long as the one before."""
        return (self.times[-1] + self._last_ticks) * self.time_base

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


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video."""

    index: int
    """Its place in presentation order, from 0 for the first frame of the file."""

    time: Fraction
    """When it is shown, in seconds on the file's clock, exactly."""

    image: np.ndarray
    """`H×W×3` uint8 RGB, upright, with square pixels."""


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

    interlaced_count: int
    """Frames of two fields, from two moments, which were made one."""

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


def is_video_name(path: Path) -> bool:
    """Whether the ending of `path` is that of a video (a GIF counts as one); the file itself is not looked at."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def probe(path: Path) -> VideoInfo:
    """What a video says of itself: its header, and its first frame, as rotation and colours may be in that alone.

    The video is the first stream of pictures that is no attached cover image. Raises `InputError` when
    the file is missing, is no video, has no frame that can be decoded, or claims frames of more than
    `MAX_PIXELS`.
    """
    with _Source(path) as source:
        return source.info


def read_frames(
    path: Path, start: int = 0, stop: int | None = None, *, accept_damage: bool = False
) -> Generator[VideoFrame, None, None]:
    """The frames `[start, stop)` of a video in presentation order, each once; `stop` None means to the end.

    Frames are upright, have the size that `probe` says (pixels that are not square are stretched to be)
    and are converted with the matrix and range of the file, or where it says none with BT.709 from 720
    lines on and BT.601 below, limited range. High dynamic range is reduced to standard, see `hdr.to_standard`, and
    interlaced frames are deinterlaced (bwdif), one for one. A frame without a time stamp follows the one before at the
    average rate. Memory stays flat, and the file is closed however the iteration ends.

    Frames before `start` are decoded and dropped: exact for every file, though not free.

    A file that is cut off or broken in the middle gives all its good frames first; then `InputError`
    says what is missing, unless `accept_damage` (or unless `stop` came before). `scan` says the same beforehand.
    Raises `InputError` for what `probe` refuses and for a range that begins after the last frame.
    """
    if start < 0 or (stop is not None and stop < start):
        raise ValueError(f"frames [{start}, {stop}) are no range")
    with _Source(path) as source:
        count = 0
        for index, ticks, frame in source.frames():
            if stop is not None and index >= stop:
                return
            count = index + 1
            if index >= start:
                yield VideoFrame(index, ticks * source.time_base, source.to_rgb(frame))
        if source.damage and not accept_damage:
            raise InputError(
                f"video {path} is damaged: {source.damage_summary(count)}; get it again, or accept what is left"
            )
        if count <= start and start > 0:
            raise InputError(f"video {path} has {count} frames, and frame {start} was asked for (they count from 0)")


def scan(path: Path, consumer: Callable[[int, np.ndarray], None] | None = None) -> VideoScan:
    """Decodes a video once from end to end: exact count and times of its frames, and whether it is whole.

    `consumer` is called as `consumer(index, image)` with every frame in order, upright, `H×W×3` uint8
    RGB, reduced to at most `SCAN_WIDTH` pixels across; `CutDetector.feed` is one. Apart from one integer
    a frame, memory stays flat. Damage is not raised but reported in the result.
    Raises `InputError` for what `probe` refuses.
    """
    with _Source(path) as source:
        times: list[int] = []
        last_duration: int | None = None
        for index, ticks, frame in source.frames():
            times.append(ticks)
            last_duration = frame.duration or None
            if consumer is not None:
                consumer(index, source.to_rgb(frame, SCAN_WIDTH))
        return VideoScan(
            info=source.info,
            time_base=source.time_base,
            times=tuple(times),
            rate=_constant_rate(times, source.time_base, source.info.rate),
            last_duration=last_duration,
            damage=source.damage_summary(len(times)) if source.damage else None,
            interlaced_count=source.interlaced_count,
        )


def _constant_rate(times: Sequence[int], time_base: Fraction, declared: Fraction) -> Fraction | None:
    """The rate at which `times` follow each other evenly, up to the rounding of their time base; None if they vary.

    A rounded clock is only trusted where its tick is small beside a frame: on a coarse one, a tick more
    is a frame that really comes late.
    """
    if len(times) < 2:
        return declared
    step = times[1] - times[0]
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


class _Source:
    """A video that is open for reading, as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage: list[str] = []
        self.interlaced_count = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._container = open_container(self.path)
            stack.callback(self._container.close)
            self._stream = _video_stream(self._container, self.path)
            self.time_base = self._time_base()
            self._decoded = self._deinterlaced(self._decode())
            stack.callback(self._decoded.close)
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

    def frames(self) -> Iterator[tuple[int, int, av.VideoFrame]]:
        """(index, time in ticks, frame as decoded), in presentation order, with strictly ascending times."""
        step = max(1, round(1 / (self.info.rate * self.time_base)))
        index, last = 0, None
        timed, self._first = self._first, None
        while timed is not None:
            ticks, frame = timed
            if ticks is None:
                ticks = 0 if last is None else last + step
            elif last is not None and ticks <= last:
                ticks = last + 1  # Two frames at one time are still two frames, and no container holds them so.
            yield index, ticks, frame
            index, last = index + 1, ticks
            timed = next(self._decoded, None)

    def damage_summary(self, frame_count: int) -> str:
        declared = self.info.frame_count_declared
        of = f" of {declared}" if declared and declared > frame_count else ""
        more = f", and {len(self.damage) - 1} more such errors" if len(self.damage) > 1 else ""
        return f"{frame_count}{of} frames can be read, and {self.damage[0]}{more}"

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
        arrivals: deque[int] = deque()
        extent = _Extent()
        packets = 0
        try:
            for packet in self._container.demux():
                extent.add(packet)
                if packet.stream.index != self._stream.index:
                    continue
                packets += packet.size > 0
                if without_times and packet.dts is not None and packet.size:
                    arrivals.append(packet.dts)
                if packet.is_corrupt:
                    self._note(f"the file ends or breaks inside the frame at {_seconds(packet)}")
                    continue
                try:
                    frames = packet.decode()
                except av.error.FFmpegError as error:
                    if not isinstance(error, av.error.EOFError):
                        self._note(f"the frame at {_seconds(packet)} cannot be decoded ({_reason(error)})")
                    continue
                for frame in cast(list[av.VideoFrame], frames):
                    ticks = arrivals.popleft() if arrivals else frame.pts
                    if frame.is_corrupt:
                        self._note(f"the frame at {_seconds(frame)} is incomplete")
                        continue
                    yield ticks, frame
        except av.error.FFmpegError as error:
            self._note(f"the file cannot be read on after {float(extent.end_seconds):.3f} s ({_reason(error)})")
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
            raise _too_large(self.path, width, height)
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


def open_container(path: Path) -> InputContainer:
    """Opens a media file with PyAV, and nothing that it might point to. Raises `InputError`."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot read video {str(path)!r}: {reason}; check the name") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise InputError(f"cannot read video {path}: it is {kind}; name a video file")
    if status.st_size == 0:
        raise InputError(f"cannot read video {path}: the file is empty; get it again from where it came")
    try:
        return av.open(
            _url(path),
            mode="r",
            options={"protocol_whitelist": _PROTOCOLS, "format_whitelist": _FORMATS, "max_pixels": str(MAX_PIXELS)},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"cannot read video {path}: it is no video file, or its header is damaged ({_reason(error)}); "
            "play it to see whether it is whole"
        ) from error


def _url(path: Path) -> str:
    """A name that ffmpeg can only take for a local file, whatever it looks like."""
    return f"file:{path.absolute()}"


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first stream of pictures that is no attached cover, ready to decode."""
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic or stream.codec_context is None:
            continue
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise _too_large(path, context.width, context.height)
        context.thread_type = "AUTO"
        context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream
    held = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise InputError(f"cannot read video {path}: it holds no stream of pictures (it holds: {held})")


def _too_large(path: Path, width: int, height: int) -> InputError:
    return InputError(
        f"cannot read video {path}: its frames claim {width}×{height} pixels, and at most "
        f"{MAX_PIXELS // 1_000_000} megapixels are read; reduce it first"
    )


def _seconds(item: Any) -> str:
    return "an unknown time" if item.pts is None else f"{float(item.pts * item.time_base):.3f} s"


def _reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error).partition("\n")[0]).strip() or type(error).__name__


def _declared_end(container: InputContainer) -> Fraction | None:
    if not container.duration or container.duration <= 0:
        return None
    return Fraction(container.duration + (container.start_time or 0), av.time_base)


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


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """The signs (a, b, c, d) of the display matrix, made right-angled: pixel (x, y) is shown at (ax + cy, bx + dy)."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
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
        image = image.transpose(1, 0, 2)
    if a + c < 0:
        image = image[:, ::-1]
    if b + d < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


# --- writing ----------------------------------------------------------------------------------------------------------

_MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".gif": "gif"}

_PCM = {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le", "pcm_u8"}
_AUDIO_KEPT = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "flac", "opus"},
    ".mov": {"aac", "mp3", "ac3", "eac3", "alac", *_PCM},
    ".mkv": {"aac", "mp3", "mp2", "ac3", "eac3", "dts", "truehd", "alac", "flac", "opus", "vorbis", *_PCM},
    ".webm": {"opus", "vorbis"},
}
"""The audio codecs that each container takes and players expect there; others are encoded anew."""

_AUDIO_ENCODED = {
    ".mp4": ("aac", ["-b:a", "256k"]),
    ".mov": ("aac", ["-b:a", "256k"]),
    ".mkv": ("aac", ["-b:a", "256k"]),
    ".webm": ("libopus", ["-b:a", "160k"]),
}

_MIN_TICKS_A_SECOND = 10_000
_MAX_TICKS_A_SECOND = (1 << 31) - 1

_KILL_AFTER_SECONDS = 3.0


@dataclass(frozen=True)
class _AudioStream:
    number: int
    """Its place among the streams of sound in the file."""

    codec: str
    sample_rate: int


class _AbandonedError(Exception):
    """The block around a writer was left by an error."""


class VideoWriter:
    """Writes a video frame by frame, with exact times, through an ffmpeg process; a context manager.

    On a clean exit every frame of `timing` has been written and the finished file is under its name,
    put there at once; whatever else happens, nothing is there that was not before. Either way no ffmpeg
    process is left.

    - MP4, MOV and MKV hold H.264 (4:2:0, or 4:4:4 where a side is odd and 4:2:0 would lose a row), WebM
      holds VP9, GIF a palette for each frame.
    - Times are those of `timing`, to the tick, in MP4 and MOV. Matroska and WebM keep milliseconds (with the
      exact rate beside them where it is constant), GIF hundredths of a second.
    - Sound comes from `source_for_audio` as it is, where the container takes it, and is else encoded anew; it keeps
      its place beside the picture. With `audio_range` it is cut to that time, to a whole packet
      where it is copied.

    `notes` says in words what could not be kept as it was.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        timing: Timing,
        *,
        color: VideoColor | None = None,
        source_for_audio: Path | None = None,
        audio_range: tuple[Fraction, Fraction] | None = None,
        crf: int = 16,
        preset: str = "medium",
    ) -> None:
        """
        path: the video to write; its ending, one of `OUTPUT_SUFFIXES`, names the container.
        size: (height, width) of every frame.
        timing: when each frame is shown, on the clock of `source_for_audio` where there is one.
        color: tags and matrix of the output; what is None there is BT.709 (below 720 lines, in a video
            that has a `color`, BT.601, as when reading). The range written is always limited. None: BT.709.
        source_for_audio: file whose sound is taken along, all its tracks; one without sound is no error.
        audio_range: (start, end) in seconds on that file's clock; None takes all of it.
        crf: quality of H.264, 0 (lossless but for colour) to 51; VP9 gets the value of like quality.
        preset: how much time x264 may take, in its own words.

        Raises `OutputError` for an ending that cannot be written and `InputError` for a bad `source_for_audio`.
        """
        self._suffix = path.suffix.lower()
        if self._suffix not in OUTPUT_SUFFIXES:
            raise OutputError(
                f"cannot write a video as {path.name}: use one of the endings {' '.join(OUTPUT_SUFFIXES)}"
            )
        if min(size) < 1:
            raise ValueError(f"a video of {size[0]}×{size[1]} has no pixels")
        if not timing.times:
            raise ValueError("a video has at least one frame, and timing holds none")
        if not 0 <= crf <= 51:
            raise ValueError(f"crf is {crf}: it goes from 0 to 51")
        if audio_range is not None and audio_range[0] >= audio_range[1]:
            raise ValueError(f"audio_range {audio_range} is empty")
        self.path = path
        self.size = size
        self.timing = timing
        self.notes: list[str] = []
        """What could not be kept as it was, one line each; complete after a clean exit."""
        self.frames_written = 0
        self._color = _output_color(color, size[0])
        self._crf = crf
        self._preset = preset
        self._audio_source = source_for_audio
        self._audio_range = audio_range
        self._audio = [] if source_for_audio is None else _audio_streams(source_for_audio)
        self._state: Literal["new", "open", "failed", "closed"] = "new"

    # --- life ---

    def __enter__(self) -> Self:
        if self._state != "new":
            raise MediaError(f"the writer of {self.path} is used up: make a new one for each video")
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(atomic_file(self.path))
            self._stderr: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())
            self._process = self._start()
            stack.callback(self._end_process)
            self._pipe = self._open_pipe()
            self._files = stack.pop_all()
        self._state = "open"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self._state = "failed"
            # Not the error itself: `atomic_file` would take somebody else's OSError for one of this file.
            with contextlib.suppress(_AbandonedError), self._files:
                raise _AbandonedError
            return
        # The stack ends ffmpeg first, and then the file is renamed or removed, by whether `_finish` raised.
        try:
            with self._files:
                self._finish()
        except BaseException:
            self._state = "failed"
            raise
        self._state = "closed"

    def write(self, array: np.ndarray) -> None:
        """Writes the next frame: `H×W×3` uint8 RGB of the video's size.

        Raises `MediaError`, or `StorageError` when the disk is full, once ffmpeg is no longer there; and
        `MediaError` before the block, after it, after a failure, and beyond the last frame.
        """
        if self._state != "open":
            state = {"new": "not open yet", "failed": "ended by an error", "closed": "finished"}[self._state]
            raise MediaError(f"cannot write a frame to {self.path}: its writer is {state}")
        if array.shape != (*self.size, 3) or array.dtype != np.uint8:
            raise ValueError(
                f"a frame of {self.path.name} is {self.size[0]}×{self.size[1]}×3 uint8, "
                f"and this one is {'×'.join(map(str, array.shape))} {array.dtype}"
            )
        if self.frames_written >= self.timing.frame_count:
            raise MediaError(f"cannot write a frame to {self.path}: all of its {self.timing.frame_count} are written")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
        frame.pts = self._ticks[self.frames_written]
        frame.time_base = Fraction(1, self._ticks_a_second)
        try:
            self._pipe.mux(self._raw.encode(frame))
        except (OSError, av.error.FFmpegError) as error:
            self._state = "failed"
            raise self._failure() from error
        self.frames_written += 1

    def _finish(self) -> None:
        if self._state == "failed":
            raise self._failure()
        if self.frames_written != self.timing.frame_count:
            raise MediaError(
                f"could not write {self.path}: {self.frames_written} of its {self.timing.frame_count} frames came"
            )
        try:
            self._pipe.mux(self._raw.encode(None))
            self._pipe.close()
            assert self._process.stdin is not None
            self._process.stdin.close()
        except (OSError, av.error.FFmpegError) as error:
            raise self._failure() from error
        if self._process.wait() != 0:
            raise self._failure()
        self._check_result()

    def _end_process(self) -> None:
        """Ends ffmpeg, gently and then not; it never outlives the block."""
        process = self._process
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_KILL_AFTER_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        process.wait()
        # Only now: closing flushes, and a full pipe to a living process would block.
        with contextlib.suppress(OSError, av.error.FFmpegError):
            if hasattr(self, "_pipe"):
                self._pipe.close()
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()

    def _failure(self) -> MediaError | StorageError:
        """The error that says why ffmpeg stopped; waits for its end, as its last words may be on their way."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            status = self._process.wait(_KILL_AFTER_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        words = self._last_words()
        if "No space left on device" in words or "Disk quota exceeded" in words:
            return StorageError(
                f"no space left on the disk while writing {self.path}: free some and run the same command again"
            )
        if status < 0:
            name = signal.Signals(-status).name
            return MediaError(f"could not write {self.path}: ffmpeg was ended by {name}; run the same command again")
        return MediaError(f"could not write {self.path}: ffmpeg ended with status {status} ({words or 'no message'})")

    def _last_words(self) -> str:
        """The line of ffmpeg's messages that tells most: the last that names a cause, without its address in memory."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - 20_000))
        lines = [line.strip() for line in self._stderr.read().decode("utf-8", "replace").splitlines() if line.strip()]
        full = [line for line in lines if "No space left" in line or "Disk quota" in line]
        told = [line for line in lines if not re.search(r"Conversion failed|Terminating thread|Task finished", line)]
        line = (full or told or lines or [""])[-1]
        return re.sub(r"^(\[[^\]]* @ 0x[0-9a-f]+\] )+", "", line)

    # --- how ---

    def _start(self) -> "subprocess.Popen[bytes]":
        self._place_in_time()
        command = [str(ffmpeg_path()), *self._input_arguments(), *self._output_arguments()]
        try:
            # A session of its own: Ctrl-C is for the program that writes, which ends ffmpeg when it wants to.
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                # A file and not a pipe: nobody has to drain it while frames are written.
                stderr=self._stderr,
                start_new_session=True,
            )
        except OSError as error:
            raise MediaError(f"could not start ffmpeg ({command[0]}): {error.strerror or error}") from error

    def _place_in_time(self) -> None:
        """Chooses the tick, and the zero of the output on the source's clock; `_ticks` are the frames' times from it.

        Zero is where the part begins that is written: the range of the sound, or all of the source that gives it, or
        without sound the first frame. It is rounded down to a tick of the picture's clock, for sound
        and picture alike, so that the frames stay exact and neither moves against the other.
        """
        if not self._audio:
            origin = self.timing.start_seconds
        elif self._audio_range is not None:
            origin = min(self._audio_range[0], self.timing.start_seconds)
        else:
            assert self._audio_source is not None
            with open_container(self._audio_source) as container:
                declared = Fraction(container.start_time or 0, av.time_base)
            origin = min(declared, self.timing.start_seconds)
        base = self.timing.time_base
        rate = base.denominator
        while rate < _MIN_TICKS_A_SECOND:
            rate *= 2
        if rate > _MAX_TICKS_A_SECOND:
            raise MediaError(f"could not write {self.path}: no container has a clock of {rate} ticks a second")
        self._ticks_a_second = rate
        self._origin = Fraction(math.floor(origin / base)) * base
        self._ticks = [int((ticks * base - self._origin) * rate) for ticks in self.timing.times]

    def _open_pipe(self) -> OutputContainer:
        """A NUT stream of raw frames into ffmpeg: unlike plain raw video it carries a time stamp for each."""
        height, width = self.size
        pipe = av.open(self._process.stdin, mode="w", format="nut", buffer_size=1 << 20)
        stream = pipe.add_stream("rawvideo", rate=self.timing.rate or 25)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        stream.time_base = stream.codec_context.time_base = Fraction(1, self._ticks_a_second)
        self._raw = stream
        return pipe

    def _input_arguments(self) -> list[str]:
        arguments = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "error", "-y"]
        arguments += ["-protocol_whitelist", _PROTOCOLS, "-f", "nut", "-i", "pipe:0"]
        if self._audio:
            assert self._audio_source is not None
            arguments += ["-protocol_whitelist", _PROTOCOLS, "-format_whitelist", _FORMATS]
            arguments += ["-itsoffset", _decimal(-self._origin), "-i", _url(self._audio_source)]
        # Bit-exact: no version, date or random number in the file, so the same frames give the same bytes.
        return [*arguments, "-map", "0:v:0", "-copyts", "-fps_mode", "passthrough", "-enc_time_base", "demux"]

    def _output_arguments(self) -> list[str]:
        arguments = [*self._picture_arguments(), *self._audio_arguments()]
        if self._suffix in (".mp4", ".mov"):
            # The movie's clock places the sound against the picture; it takes both exactly where it can.
            movie = self._ticks_a_second
            for audio in self._audio:
                common = math.lcm(movie, audio.sample_rate or 1)
                movie = common if common <= _MAX_TICKS_A_SECOND else movie
            arguments += ["-video_track_timescale", str(self._ticks_a_second), "-movie_timescale", str(movie)]
            arguments += ["-movflags", "+faststart"]
        arguments += ["-map_chapters", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"]
        return [*arguments, "-f", _MUXERS[self._suffix], _url(self._temporary)]

    def _picture_arguments(self) -> list[str]:
        if self._suffix == ".gif":
            # A palette for each frame, so that no more than a frame is held; one for all would need all of them.
            return ["-vf", "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1"]
        color, (height, width) = self._color, self.size
        pixels = "yuv420p"
        if self._suffix != ".webm" and (height % 2 or width % 2):
            pixels = "yuv444p"
            self.notes.append(
                f"{width}×{height} has an odd side: the video is written as H.264 4:4:4, which some players do not show"
            )
        scale = (
            f"scale=in_range=pc:out_color_matrix={color.matrix}:out_range=tv"
            ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
        )
        # On the frames and not as options of the encoder, which the frames' own tags, or lack of them, would override.
        tags = (
            f"setparams=colorspace={color.matrix}:range=tv:color_primaries={color.primaries}:color_trc={color.transfer}"
        )
        arguments = ["-vf", f"{scale},format={pixels},{tags}"]
        if self._suffix == ".webm":
            # VP9 counts quality to 63 where H.264 counts to 51, and looks alike at about 3/2 of its value.
            arguments += ["-c:v", "libvpx-vp9", "-b:v", "0", "-crf", str(min(63, round(self._crf * 1.5)))]
            arguments += ["-deadline", "good", "-cpu-used", "4", "-row-mt", "1"]
        else:
            arguments += ["-c:v", "libx264", "-preset", self._preset, "-crf", str(self._crf)]
        if self.timing.rate is None and self.timing.last_duration is not None:
            # The pipe carries no durations, and the last frame has no next one to end it. MP4 takes the duration
            # from the last packet, which is the last frame only without reordering.
            if self._suffix != ".webm":
                arguments += ["-bf", "0"]
            last = Fraction(self._ticks[-1], self._ticks_a_second)
            duration = self.timing.last_duration * self.timing.time_base
            half_tick = Fraction(1, 2 * self._ticks_a_second)
            is_last = f"gt(PTS*TB\\,{_decimal(last - half_tick)})"
            arguments += [
                "-bsf:v",
                f"setts=pts=PTS:dts=DTS:duration=if({is_last}\\,{_decimal(duration)}/TB\\,DURATION)",
            ]
        return arguments

    def _audio_arguments(self) -> list[str]:
        if not self._audio:
            return []
        if self._suffix == ".gif":
            self.notes.append("the sound is left out: a GIF holds none")
            return []
        arguments = []
        for audio in self._audio:
            arguments += ["-map", f"1:a:{audio.number}"]
        begin, end = None, None
        if self._audio_range is not None:
            begin, end = (_decimal(bound - self._origin) for bound in self._audio_range)
        for number, audio in enumerate(self._audio):
            if audio.codec in _AUDIO_KEPT[self._suffix]:
                arguments += [f"-c:a:{number}", "copy"]
                if begin is not None:
                    # Whole packets go, and those that stay keep their time: the sound does not move.
                    arguments += [f"-bsf:a:{number}", f"noise=drop=lt(pts*tb\\,{begin})+gte(pts*tb\\,{end})"]
                continue
            codec, options = _AUDIO_ENCODED[self._suffix]
            arguments += [f"-c:a:{number}", codec, *options]
            if begin is not None:
                arguments += [f"-filter:a:{number}", f"atrim=start={begin}:end={end}"]
            self.notes.append(
                f"the sound is encoded anew, from {audio.codec} to {codec.removeprefix('lib')}: "
                f"{self._suffix[1:]} does not hold it as it was"
            )
        return arguments

    def _check_result(self) -> None:
        """Reads the finished file back: ffmpeg's word for success has been wrong on a full disk."""
        try:
            with open_container(self._temporary) as container:
                stream = _video_stream(container, self._temporary)
                base = stream.time_base or Fraction(1, 1000)
                written = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        except (InputError, av.error.FFmpegError) as error:
            raise MediaError(f"could not write {self.path}: what ffmpeg left cannot be read ({error})") from error
        if len(written) != self.timing.frame_count:
            raise MediaError(
                f"could not write {self.path}: ffmpeg wrote {len(written)} of its {self.timing.frame_count} frames "
                "and reported no error; free space on the disk and run the same command again"
            )
        shift = max(
            abs((pts - written[0]) * base - Fraction(ticks - self._ticks[0], self._ticks_a_second))
            for pts, ticks in zip(written, self._ticks, strict=True)
        )
        if shift > Fraction(1, 1000):
            self.notes.append(
                f"{self._suffix[1:]} rounds times: frames are shown up to {float(shift) * 1000:.1f} ms early or late"
            )


def _decimal(seconds: Fraction) -> str:
    """Seconds as ffmpeg reads them, to its microsecond or finer, without an exponent."""
    return f"{float(seconds):.9f}"


def _output_color(color: VideoColor | None, height: int) -> VideoColor:
    """Complete tags for what is written, and the matrix that it is converted with."""
    if color is None:
        return VideoColor("bt709", "tv", "bt709", "bt709")
    matrix = color.matrix_for(height)
    # Without BT.2020's constant luminance, which the scaler cannot compute.
    matrix = "bt2020nc" if matrix == "bt2020c" else matrix
    plain = matrix if matrix in ("bt709", "smpte170m", "bt470bg", "smpte240m") else "bt709"
    return VideoColor(
        matrix=matrix,
        range="tv",
        primaries=color.primaries or plain,
        transfer=color.transfer or ("gamma28" if plain == "bt470bg" else plain),
    )


def _audio_streams(path: Path) -> list[_AudioStream]:
    """The streams of sound in a file, less those of a kind that nobody here knows."""
    with open_container(path) as container:
        return [
            _AudioStream(number, stream.codec_context.codec.canonical_name, stream.codec_context.sample_rate or 0)
            for number, stream in enumerate(container.streams.audio)
            if stream.codec_context is not None
        ]


# --- the ffmpeg program -----------------------------------------------------------------------------------------------


def ffmpeg_path() -> Path:
    """The ffmpeg program: the one that imageio-ffmpeg brings along, or the one it is told to use instead.

    Raises `MediaError` where there is none.
    """
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise MediaError("there is no ffmpeg program: install the package imageio-ffmpeg again") from error


def ffmpeg_version() -> str:
    """What the ffmpeg program calls its version. Raises `MediaError` where it does not run."""
    program = ffmpeg_path()
    try:
        done = subprocess.run(
            [str(program), "-hide_banner", "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MediaError(f"the ffmpeg program {program} does not run: {error}") from error
    match = re.match(r"ffmpeg version (\S+)", done.stdout.decode("utf-8", "replace"))
    return match[1] if match else "unknown"
