"""Video codecs: those that are supported, what each container holds, and the defaults.

Names of codecs, encoders and pixel formats are ffmpeg's.
"""

import re
import subprocess
from dataclasses import dataclass
from functools import cache

import av

from ..errors import MediaError, UsageError
from .ffmpeg import ffmpeg_path


@dataclass(frozen=True)
class Codec:
    """A video codec and its encoder."""

    title: str
    """What people call it."""

    encoder: str
    options: tuple[str, ...]
    """What the encoder is told besides its quality and pixel format."""

    suffixes: tuple[str, ...]
    """Endings of the containers that hold it and that players expect it in."""

    pixel_format: str
    """For pictures that are opaque."""

    alpha_format: str | None = None
    """For pictures with transparency; None where it takes none."""

    odd_format: str | None = None
    """For pictures with an odd side, where `pixel_format` does not hold them."""

    crf: int | None = None
    """The default quality, on the codec's own scale; None where it has none."""

    least_crf: int = 0
    most_crf: int = 51
    quality_option: str = "-crf"
    """The option of the encoder that takes the quality."""

    formats: tuple[str, ...] | None = None
    """The pixel formats that may be asked for; None for all that the encoder takes."""

    needs_gpu: bool = False
    """Whether it encodes on a GPU: only where it is asked for, and a trial has shown that this machine can."""

    least_side: int = 1
    """Pixels of the shorter side that the encoder takes."""

    most_size: tuple[int, int] = (65_535, 65_535)
    """The largest (height, width) that the encoder takes."""

    reorders: bool = False
    """Whether packets come in another order than frames."""


_NVENC = ("-preset", "p6", "-tune", "hq", "-rc", "vbr", "-b:v", "0")
_NVENC_FORMATS = ("yuv420p", "p010le", "yuv444p")
"""Those of RGB it would convert itself, by a matrix that the file does not name."""

CODECS = {
    "h264": Codec(
        "H.264",
        "libx264",
        (),
        (".mp4", ".mov", ".mkv"),
        "yuv420p",
        odd_format="yuv444p",
        crf=16,
        most_size=(16_384, 16_384),
        reorders=True,
    ),
    "hevc": Codec(
        "HEVC",
        "libx265",
        # Apple's players know it by this tag only; the encoder talks past ffmpeg's log.
        ("-x265-params", "log-level=none:info=0", "-tag:v", "hvc1"),
        (".mp4", ".mov", ".mkv"),
        "yuv420p",
        odd_format="yuv444p",
        crf=18,
        least_side=16,
        reorders=True,
    ),
    "av1": Codec(
        "AV1",
        "libsvtav1",
        ("-preset", "6"),
        (".mp4", ".mkv", ".webm"),
        "yuv420p",
        crf=22,
        most_crf=63,
        most_size=(8_704, 16_384),
    ),
    "vp9": Codec(
        "VP9",
        "libvpx-vp9",
        ("-b:v", "0", "-deadline", "good", "-cpu-used", "4", "-row-mt", "1"),
        (".webm", ".mkv", ".mp4"),
        "yuv420p",
        alpha_format="yuva420p",
        crf=24,
        most_crf=63,
    ),
    "prores": Codec(
        "ProRes",
        "prores_ks",
        ("-vendor", "apl0"),
        (".mov", ".mkv"),
        "yuv422p10le",
        alpha_format="yuva444p10le",
    ),
    "ffv1": Codec(
        "FFV1",
        "ffv1",
        ("-level", "3", "-g", "1", "-slicecrc", "1"),
        (".mkv",),
        "bgr0",
        alpha_format="bgra",
    ),
    "gif": Codec("GIF", "gif", (), (".gif",), "pal8", alpha_format="pal8", formats=("pal8",)),
    "h264_nvenc": Codec(
        "H.264 by NVENC",
        "h264_nvenc",
        _NVENC,
        (".mp4", ".mov", ".mkv"),
        "yuv420p",
        odd_format="yuv444p",
        crf=16,
        least_crf=1,  # 0 leaves the quality to the encoder.
        quality_option="-cq",
        formats=_NVENC_FORMATS,
        needs_gpu=True,
        reorders=True,
    ),
    "hevc_nvenc": Codec(
        "HEVC by NVENC",
        "hevc_nvenc",
        (*_NVENC, "-tag:v", "hvc1"),
        (".mp4", ".mov", ".mkv"),
        "yuv420p",
        odd_format="yuv444p",
        crf=18,
        least_crf=1,
        quality_option="-cq",
        formats=_NVENC_FORMATS,
        needs_gpu=True,
        reorders=True,
    ),
}
"""By the names that people ask for them; the first that a container holds is its own."""

_TRIAL_SIZE = (256, 256)
"""Of pictures that every encoder takes."""

_OWN = {".mp4": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9", ".gif": "gif"}

_ALPHA_ADVICE = "ProRes in .mov, VP9 in .webm, FFV1 in .mkv and a folder of PNG hold it"


@dataclass(frozen=True)
class Encoding:
    """The user's choices for encoding a video; what is None follows from the container and the pictures.

    `codec` is one of `CODECS`, `crf` the quality on that codec's scale (0 is best), `pixel_format` a name of ffmpeg's.
    """

    codec: str | None = None
    crf: int | None = None
    pixel_format: str | None = None

    @property
    def is_default(self) -> bool:
        return self == Encoding()

    def require(self, suffix: str) -> Codec:
        """The codec for a container of this ending. Raises `UsageError` where the choices do not go together, and
        `MediaError` where the ffmpeg program lacks the encoder.
        """
        name = self.codec or _OWN[suffix]
        codec = CODECS.get(name)
        if codec is None:
            raise UsageError(f"`codec` {name} is not known: use one of {', '.join(CODECS)}")
        if suffix not in codec.suffixes:
            held = ", ".join(key for key, other in CODECS.items() if suffix in other.suffixes and not other.needs_gpu)
            raise UsageError(
                f"{suffix} does not hold {codec.title}: name the output {' or '.join(codec.suffixes)}, or use `codec` "
                f"{held}"
            )
        if self.crf is not None and codec.crf is None:
            raise UsageError(f"`crf` {self.crf} does not go with {codec.title}, whose quality is fixed: leave it out")
        if self.crf is not None and not codec.least_crf <= self.crf <= codec.most_crf:
            raise UsageError(
                f"`crf` {self.crf} is out of range: {codec.title} takes {codec.least_crf} (best) to {codec.most_crf}"
            )
        held_formats = pixel_formats(codec.encoder)
        held_formats = held_formats if codec.formats is None else codec.formats
        if self.pixel_format is not None and self.pixel_format not in held_formats:
            raise UsageError(
                f"`pixel_format` {self.pixel_format} is none that {codec.title} takes: use one of "
                f"{' '.join(held_formats)}"
            )
        _require_gpu(codec, _TRIAL_SIZE, codec.pixel_format)
        return codec

    def choose(self, suffix: str, size: tuple[int, int], has_alpha: bool) -> "Choice":
        """The complete encoding of pictures of size (height, width).

        Raises `UsageError` as `require` does, and for a size that the pixel format cannot have.
        """
        codec = self.require(suffix)
        odd = bool(size[0] % 2 or size[1] % 2)
        notes = []
        if min(size) < codec.least_side:
            raise UsageError(
                f"{size[1]}×{size[0]} is too small for {codec.title}, which takes {codec.least_side} pixels and more: "
                "use another `codec`"
            )
        if size[0] > codec.most_size[0] or size[1] > codec.most_size[1]:
            raise UsageError(
                f"{size[1]}×{size[0]} is too large for {codec.title}, which takes up to "
                f"{codec.most_size[1]}×{codec.most_size[0]}: use another `codec` or a smaller `size`"
            )
        if self.pixel_format is not None:
            pixels = self.pixel_format
            if odd and codec.odd_format is not None and _halves_chroma(pixels):
                raise UsageError(
                    f"{size[1]}×{size[0]} has an odd side, which {codec.title} does not hold in {pixels}: leave out "
                    f"`pixel_format`, or use {codec.odd_format}"
                )
        elif has_alpha and codec.alpha_format is not None:
            pixels = codec.alpha_format
        elif odd and codec.odd_format is not None:
            pixels = codec.odd_format
            notes.append(
                f"{size[1]}×{size[0]} has an odd side: the video is written as {codec.title} 4:4:4, which some players "
                "do not show"
            )
        else:
            pixels = codec.pixel_format
        _require_gpu(codec, size, pixels)
        keeps_alpha = has_alpha and (pixels == "pal8" or _has_alpha(pixels))
        if has_alpha and not keeps_alpha:
            what = codec.title if codec.alpha_format is None else pixels
            notes.append(f"the transparency is left out, which {what} does not hold: {_ALPHA_ADVICE}")
        return Choice(codec, codec.crf if self.crf is None else self.crf, pixels, keeps_alpha, tuple(notes))


@dataclass(frozen=True)
class Choice:
    """A complete encoding. `notes` has a line for each thing that is lost."""

    codec: Codec
    crf: int | None
    pixel_format: str
    keeps_alpha: bool
    notes: tuple[str, ...]

    @property
    def is_rgb(self) -> bool:
        """Whether pixels are stored as RGB rather than YUV."""
        return av.VideoFormat(self.pixel_format).is_rgb

    @property
    def is_full_range(self) -> bool:
        return self.is_rgb or self.pixel_format.startswith("yuvj")

    def arguments(self, preset: str) -> list[str]:
        """The arguments of ffmpeg for the encoder. `preset` is the speed preset of x264 and x265."""
        codec = self.codec
        arguments = ["-c:v", codec.encoder, *codec.options]
        if codec.encoder in ("libx264", "libx265"):
            arguments += ["-preset", preset]
        if codec.encoder == "prores_ks":
            arguments += ["-profile:v", "3" if self.pixel_format == "yuv422p10le" else "4"]
        return arguments if self.crf is None else [*arguments, codec.quality_option, str(self.crf)]


@cache
def pixel_formats(encoder: str) -> tuple[str, ...]:
    """The pixel formats that an encoder of the ffmpeg program takes. Raises `MediaError`."""
    command = [str(ffmpeg_path()), "-hide_banner", "-h", f"encoder={encoder}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise MediaError(f"the ffmpeg program {command[0]} does not run: {error}") from error
    found = re.search(r"Supported pixel formats: (.*)", done.stdout.decode("utf-8", "replace"))
    if found is None:
        raise MediaError(f"the ffmpeg program {command[0]} has no encoder {encoder}: choose another `codec`")
    return tuple(name for name in found[1].split() if not name.startswith(("bayer", "yaf", "grayf")))


def _require_gpu(codec: Codec, size: tuple[int, int], pixel_format: str) -> None:
    """Raises `UsageError` for a codec that encodes on a GPU, where pictures of size (height, width) fail on this
    machine."""
    if codec.needs_gpu and (problem := trial_problem(codec.encoder, codec.options, size, pixel_format)) is not None:
        raise UsageError(
            f"`codec` {codec.encoder} does not encode {size[1]}×{size[0]} in {pixel_format} on this machine "
            f"({problem}): use {codec.encoder.removesuffix('_nvenc')}"
        )


@cache
def trial_problem(encoder: str, options: tuple[str, ...], size: tuple[int, int], pixel_format: str) -> str | None:
    """Why the ffmpeg program cannot encode three grey pictures of size (height, width) on this machine, in its own
    words; None where it can. Raises `MediaError` where it does not run."""
    source = f"color=gray:s={size[1]}x{size[0]}:r=25"
    command = [str(ffmpeg_path()), "-nostdin", "-hide_banner", "-loglevel", "error", "-f", "lavfi", "-i", source]
    command += ["-frames:v", "3", "-vf", f"format={pixel_format}", "-c:v", encoder, *options, "-f", "null", "-"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return "it gave no answer for a minute"
    except OSError as error:
        raise MediaError(f"the ffmpeg program {command[0]} does not run: {error}") from error
    if done.returncode == 0:
        return None
    # The first line is the cause, and the others follow from it.
    told = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
    return re.sub(r"^(\[[^\]]* @ 0x[0-9a-f]+\] )+", "", told).strip() or f"ffmpeg ended with status {done.returncode}"


def _has_alpha(pixel_format: str) -> bool:
    return any(component.is_alpha for component in av.VideoFormat(pixel_format).components)


def _halves_chroma(pixel_format: str) -> bool:
    found = av.VideoFormat(pixel_format, 64, 64)
    return any(component.width < 64 or component.height < 64 for component in found.components)
