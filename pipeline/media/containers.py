"""Video files: what reading and writing have in common.

Conventions: images are `H×W×3` uint8 RGB, sizes `(height, width)`, rates and times `Fraction`, and a
time stamp is an integer that counts ticks of a `time_base`, in seconds. All times of a file are on one
clock, that of its time stamps; a file does not have to begin at zero, nor its sound with its picture.

Reading is done by PyAV, which knows exact time stamps; writing by the ffmpeg program that
imageio-ffmpeg brings along. Names reach both as `file:` and an absolute path, and only containers that
hold pictures themselves are opened, never a playlist that points elsewhere.
"""

from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from ..errors import InputError
from ..out_of_memory import is_out_of_memory
from .openable import require_no_still, require_openable
from .theora_headers import is_theora
from .unopened import why_unopened

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".qt", ".f4v", ".3gp", ".3gpp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".wmv", ".asf"}
    | {".mpg", ".mpeg", ".m1v", ".m2v", ".mod", ".vob", ".ts", ".mts", ".m2ts", ".m2t", ".tod", ".flv", ".ogv", ".ogm"}
    | {".gif", ".apng", ".mxf", ".nut", ".dv", ".rm", ".ivf", ".obu", ".y4m"}
    | {".h264", ".264", ".avc", ".h265", ".265", ".hevc"}
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

BARE_STREAMS = ("h264", "hevc")
"""What libavformat calls pictures without a container, which have no times."""

PROTOCOLS = "file,pipe"
"""The ways to data that are open: no network."""


def is_video_name(path: Path) -> bool:
    """Whether the ending of `path` is that of a video (GIF included); the file itself is not opened."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def open_container(path: Path) -> InputContainer:
    """Opens a media file with PyAV, but no file that it refers to. Raises `InputError`."""
    require_openable(path, "video")
    require_no_still(path)
    try:
        container = _opened(path)
        rate = _rate_of_bare_stream(container)
        if rate is None:
            return container
        container.close()
        return _opened(path, framerate=str(rate))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        unknown = (
            f"it is no video file, or its header is damaged ({error_reason(error)}); play it to see whether it is whole"
        )
        raise InputError(f"cannot read video {path}: {why_unopened(path) or unknown}") from error


def _opened(path: Path, **options: str) -> InputContainer:
    known = {"protocol_whitelist": PROTOCOLS, "format_whitelist": CONTAINERS, "max_pixels": str(MAX_PIXELS)}
    return av.open(file_url(path), mode="r", options=known | options, metadata_errors="replace")


def _rate_of_bare_stream(container: InputContainer) -> Fraction | None:
    """The frames a second that H.264 or HEVC without a container says of itself, which libavformat does not ask; None
    where it says none, and of all other files."""
    if container.format.name not in BARE_STREAMS or not container.streams.video:
        return None
    return container.streams.video[0].codec_context.framerate or None


def file_url(path: Path) -> str:
    """The path as a URL that ffmpeg always takes for a local file."""
    return f"file:{path.absolute()}"


def video_stream(container: InputContainer, path: Path, index: int | None = None) -> VideoStream:
    """The stream of pictures that players show, or the one with this index in the file, ready to decode.

    Players show the one that is marked as the default, and of several the one that has more frames and a higher bit
    rate (libavformat's `av_find_best_stream`); never a cover.
    """
    if (stream := _chosen_stream(container, path, index)) is not None:
        context = stream.codec_context
        if context.width * context.height > MAX_PIXELS:
            raise too_large(path, context.width, context.height)
        # Frames that are decoded side by side cannot take new headers, which appended files bring.
        context.thread_type = "SLICE" if is_theora(stream) else "AUTO"
        context.options = {"max_pixels": str(MAX_PIXELS)}
        return stream
    if any(stream.codec_context is None for stream in container.streams.video):
        raise InputError(f"cannot read video {path}: there is no decoder for its codec; convert it to H.264 first")
    held = " and ".join(sorted({_what_else(stream) for stream in container.streams}))
    others = f"it holds no moving pictures but {held}; name a video"
    empty = "it holds neither pictures nor sound: its header is empty or damaged; get it again"
    reason = why_unopened(path) or (others if held else empty)
    raise InputError(f"cannot read video {path}: {reason}")


def _chosen_stream(container: InputContainer, path: Path, index: int | None) -> VideoStream | None:
    there = [stream for stream in container.streams.video if _holds_film(stream)]
    if index is None:
        best = container.streams.best("video")

        def rank(stream: VideoStream) -> tuple[bool, bool, bool]:
            is_best = best is not None and stream.index == best.index
            return bool(stream.disposition & Disposition.default), stream.frames != 1, is_best

        return max(there, key=rank, default=None)
    for stream in there:
        if stream.index == index:
            return stream
    numbers = ", ".join(describe_stream(stream) for stream in there) or "none"
    raise InputError(f"`video_stream` {index} of {path} is no stream of pictures: it has {numbers}")


def _holds_film(stream: VideoStream) -> bool:
    still = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
    return stream.codec_context is not None and not stream.disposition & still


def _what_else(stream: Stream) -> str:
    """What a stream is that is no film."""
    names = {"video": "a cover picture", "audio": "sound", "subtitle": "subtitles", "attachment": "attached files"}
    return names.get(stream.type, "data")


def describe_stream(stream: VideoStream) -> str:
    """A stream of pictures in a few words: `stream 0 (640×480, h264)`."""
    context = stream.codec_context
    return f"stream {stream.index} ({context.width}×{context.height}, {context.codec.canonical_name})"


def too_large(path: Path, width: int, height: int) -> InputError:
    return InputError(
        f"cannot read video {path}: its frames claim {width}×{height} pixels, and at most "
        f"{MAX_PIXELS // 1_000_000} megapixels are read; reduce it first"
    )


def error_reason(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error).partition("\n")[0]).strip() or type(error).__name__
