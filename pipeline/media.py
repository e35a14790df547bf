"""Video files: what reading and writing have in common.

Conventions: images are `H×W×3` uint8 RGB, sizes `(height, width)`, rates and times `Fraction`, and a
time stamp is an integer that counts ticks of a `time_base`, in seconds. All times of a file are on one
clock, that of its time stamps; a file does not have to begin at zero, nor its sound with its picture.

Reading is done by PyAV, which knows exact time stamps; writing by the ffmpeg program that
imageio-ffmpeg brings along. Names reach both as `file:` and an absolute path, and only containers that
hold pictures themselves are opened, never a playlist that points elsewhere.
"""

import itertools
import math
import re
import stat
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from pipeline.errors import InputError, MediaError

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".wmv"}
    | {".flv", ".ogv", ".3gp", ".gif", ".apng"}
)
"""Endings, in lower case, of the files that are read as video."""

OUTPUT_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".gif")
"""Endings of the videos that can be written."""

MAX_PIXELS = 1 << 27
"""A video whose frames claim more pixels than this (16384×8192) is refused before one is decoded."""

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,asf,flv,live_flv,ogg,gif,mxf,nut,ivf,dv,rm,"
    "h264,hevc,av1,obu,yuv4mpegpipe,apng"
)
"""The containers that are opened: those that hold their pictures themselves. Playlists are not among them."""

PROTOCOLS = "file,pipe"
"""The ways to data that are open: no network."""

MATRICES = frozenset({"bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc", "bt2020c"})
"""The ways from RGB to luma and chroma that are computed, in ffmpeg's words."""


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
        return self.matrix if self.matrix in MATRICES else "bt709" if height >= 720 else "smpte170m"


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


def is_video_name(path: Path) -> bool:
    """Whether the ending of `path` is that of a video (a GIF counts as one); the file itself is not looked at."""
    return path.suffix.lower() in VIDEO_SUFFIXES


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
            file_url(path),
            mode="r",
            options={"protocol_whitelist": PROTOCOLS, "format_whitelist": CONTAINERS, "max_pixels": str(MAX_PIXELS)},
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise InputError(
            f"cannot read video {path}: it is no video file, or its header is damaged ({reason_of(error)}); "
            "play it to see whether it is whole"
        ) from error


def file_url(path: Path) -> str:
    """A name that ffmpeg can only take for a local file, whatever it looks like."""
    return f"file:{path.absolute()}"


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first stream of pictures that is no attached cover, ready to decode."""
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic or stream.codec_context is None:
            continue
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise too_large(path, context.width, context.height)
        context.thread_type = "AUTO"
        context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream
    held = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
    raise InputError(f"cannot read video {path}: it holds no stream of pictures (it holds: {held})")


def too_large(path: Path, width: int, height: int) -> InputError:
    return InputError(
        f"cannot read video {path}: its frames claim {width}×{height} pixels, and at most "
        f"{MAX_PIXELS // 1_000_000} megapixels are read; reduce it first"
    )


def reason_of(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error).partition("\n")[0]).strip() or type(error).__name__


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
