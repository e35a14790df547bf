"""Damaged and hostile files, made from small whole ones of every format that is read; the same each time.

`make_seeds` makes the whole files, `mutants` what becomes of them: bits are flipped, bytes cut, taken out, put in,
overwritten, numbers made huge or negative, headers of other formats put in front, files of two formats joined, endings
exchanged.
"""

import io
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from impasto.media import image_colors, image_file
from samples import scenes
from tests.support.clips import H264, ffmpeg, moving_source, sine
from tests.support.flow_files import write_flo

Kind = Literal["photo", "video", "style", "flow"]

SIZE = (48, 64)
FRAME_COUNT = 6


@dataclass(frozen=True)
class Seed:
    """A whole file: `name` says its format to a person, `kind` what it is fed in as, `suffix` is its ending."""

    name: str
    kind: Kind
    suffix: str
    data: bytes
    frame_count: int = 1


@dataclass(frozen=True)
class Mutant:
    """What was made of a seed, and in a word how."""

    number: int
    seed: Seed
    how: str
    suffix: str
    data: bytes

    @property
    def name(self) -> str:
        return f"{self.number:05d}-{self.how.replace(' ', '-')}{self.suffix}"


# --- whole files ------------------------------------------------------------------------------------------------------

_SUBTITLES = "1\n00:00:00,040 --> 00:00:00,160\nA word\n\n2\n00:00:00,160 --> 00:00:00,220\nAnother\n"
_CHAPTERS = ";FFMETADATA1\ntitle=A film\nartist=Somebody\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=120\ntitle=First\n"

_VP9 = ["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"]
_AV1 = ["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"]
_HOLE = ["-vf", "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='if(lt(X,20+N),0,255)'"]

VIDEOS: dict[str, tuple[str, list[str]]] = {
    "mp4, H.264, AAC, subtitles, chapters": (".mp4", [*H264, "-bf", "2", "-g", "3", "-c:s", "mov_text"]),
    "mp4, H.264 in fragments": (".mp4", [*H264, "-g", "2", "-movflags", "frag_keyframe+empty_moov"]),
    "mp4, HEVC of 10 bits": (".mp4", ["-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p10le"]),
    "mp4, AV1": (".mp4", _AV1),
    "mov, H.264, turned": (".mov", [*H264, "-c:a", "pcm_s16le"]),
    "mov, ProRes 4444 with alpha": (".mov", [*_HOLE, "-c:v", "prores_ks", "-profile:v", "4", "-c:a", "pcm_s24le"]),
    "mkv, H.264 of 10 bits, Vorbis, subtitles": (
        ".mkv",
        ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv422p10le", "-c:a", "libvorbis", "-c:s", "srt"],
    ),
    "mkv, FFV1, FLAC": (".mkv", ["-c:v", "ffv1", "-level", "3", "-slicecrc", "1", "-c:a", "flac"]),
    "webm, VP9 with alpha, Opus": (".webm", [*_HOLE, *_VP9, "-pix_fmt", "yuva420p", "-c:a", "libopus"]),
    "webm, VP8, Vorbis": (".webm", ["-c:v", "libvpx", "-deadline", "good", "-cpu-used", "5", "-c:a", "libvorbis"]),
    "webm, AV1, Opus": (".webm", [*_AV1, "-pix_fmt", "yuv420p10le", "-c:a", "libopus"]),
    "avi, MPEG-4, MP3": (".avi", ["-c:v", "mpeg4", "-g", "3", "-bf", "1", "-c:a", "libmp3lame"]),
    "avi, Motion JPEG, PCM": (".avi", ["-c:v", "mjpeg", "-c:a", "pcm_s16le"]),
    "mpg, MPEG-2, interlaced": (".mpg", ["-c:v", "mpeg2video", "-flags", "+ildct+ilme", "-c:a", "mp2"]),
    "ts, H.264, AAC": (".ts", [*H264, "-g", "3"]),
    "wmv": (".wmv", ["-c:v", "wmv2", "-c:a", "wmav2"]),
    "flv": (".flv", ["-c:v", "flv", "-ar", "44100", "-c:a", "libmp3lame"]),
    "ogv, Theora, Vorbis": (".ogv", ["-c:v", "libtheora", "-c:a", "libvorbis"]),
    "m4v, H.264": (".m4v", [*H264, "-an"]),
    "gif": (".gif", ["-an"]),
}


def make_seeds(folder: Path) -> list[Seed]:
    """Whole files of every format; `folder` is for what is needed on the way."""
    return [*_photos(), *videos(folder), *_animations(), *_styles(), _flow(folder)]


def videos(
    folder: Path, kinds: Mapping[str, tuple[str, list[str]]] | None = None, frame_count: int = FRAME_COUNT
) -> Iterator[Seed]:
    """Whole videos of some kinds (default: all), named with their endings and the arguments of ffmpeg."""
    seconds = frame_count / 25
    (folder / "words.srt").write_text(_SUBTITLES)
    (folder / "chapters.txt").write_text(_CHAPTERS)
    source = [*moving_source(seconds=seconds), *sine(seconds)]
    for name, (suffix, options) in (VIDEOS if kinds is None else kinds).items():
        path = folder / f"seed{suffix}"
        more: list[str | Path] = []
        if "subtitles" in name:
            more = ["-i", folder / "words.srt", "-i", folder / "chapters.txt", "-map", "0", "-map", "1", "-map", "2"]
            more += ["-map_metadata", "3", "-map_chapters", "3"]
        # Without the random numbers that some containers keep, and by one thread: the interlaced MPEG-2 of several
        # differs once in sixty times.
        ffmpeg(*source, *more, *options, "-threads", "1", "-fflags", "+bitexact", path)
        if "turned" in name:
            turned = path.with_name(f"turned{suffix}")
            ffmpeg("-display_rotation", "-90", "-i", path, "-c", "copy", turned)
            path = turned
        # Theora's encoder finds that three of the pictures are those before them.
        yield Seed(name, "video", suffix, path.read_bytes(), frame_count - 3 if "Theora" in name else frame_count)


def _frame(index: int = 0) -> np.ndarray:
    return scenes.pan(SIZE, FRAME_COUNT, seed=3).frame(index)


def _with_alpha(index: int = 0) -> Image.Image:
    alpha = np.full(SIZE, 255, np.uint8)
    alpha[:, 10 + 4 * index : 30 + 4 * index] = 90
    return Image.fromarray(np.dstack([_frame(index), alpha]))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _photos() -> Iterator[Seed]:
    plain, clear = Image.fromarray(_frame()), _with_alpha()
    grey = np.asarray(plain.convert("L")).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112], exif[271] = 6, "Camera"
    exif.get_ifd(0x8825)[1] = "N"
    profile = image_colors.srgb_profile()  # Without the date of its making.
    made: dict[str, tuple[str, bytes]] = {
        "png with alpha": (".png", _saved(clear, "PNG", icc_profile=profile, exif=exif)),
        "png, palette": (".png", _saved(plain.quantize(16), "PNG", transparency=3)),
        "png, 16 bits of grey": (".png", _saved(Image.fromarray(grey), "PNG")),
        "jpg with EXIF and profile": (".jpg", _saved(plain, "JPEG", exif=exif, icc_profile=profile, quality=85)),
        "jpg, progressive CMYK": (".jpeg", _saved(plain.convert("CMYK"), "JPEG", progressive=True)),
        "webp": (".webp", _saved(plain, "WEBP", exif=exif, quality=70)),
        "webp without loss, with alpha": (".webp", _saved(clear, "WEBP", lossless=True)),
        "tiff, deflate": (".tif", _saved(clear, "TIFF", compression="tiff_adobe_deflate", icc_profile=profile)),
        "tiff, LZW, 16 bits of grey": (".tiff", _saved(Image.fromarray(grey), "TIFF", compression="tiff_lzw")),
        "tiff, plain, with EXIF": (".tif", _saved(plain, "TIFF", exif=exif)),
        "bmp": (".bmp", _saved(plain, "BMP")),
        "bmp, palette": (".bmp", _saved(plain.quantize(16), "BMP")),
    }
    if image_file.heif_is_there():
        made["heic"] = ".heic", _saved(plain, "HEIF", exif=exif, quality=60)
    for name, (suffix, data) in made.items():
        yield Seed(name, "photo", suffix, data)


def _animations() -> Iterator[Seed]:
    first, *others = (_with_alpha(index) for index in range(FRAME_COUNT))
    for name, suffix, kind in (("webp, animated", ".webp", "WEBP"), ("apng", ".png", "PNG")):
        data = _saved(first, kind, save_all=True, append_images=others, duration=[40] * FRAME_COUNT)
        yield Seed(name, "video", suffix, data, FRAME_COUNT)


def _styles() -> Iterator[Seed]:
    painting = Image.fromarray(_frame(2))
    yield Seed("style, png", "style", ".png", _saved(painting, "PNG"))
    yield Seed("style, jpg", "style", ".jpg", _saved(painting, "JPEG"))


def _flow(folder: Path) -> Seed:
    path = folder / "backward_2_1.flo"
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    write_flo(path, np.dstack([x / 40 - 1, y / 50 - 0.5]))
    return Seed("flo", "flow", ".flo", path.read_bytes(), 2)


# --- what becomes of them ---------------------------------------------------------------------------------------------

_WORDS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\0\0\0\x80")
_HEAD_BYTES = 400
_MEDIA = (".png", ".jpg", ".webp", ".tif", ".bmp", ".heic", ".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".apng")
_OTHER_HEADERS = (
    b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n",
    b"ffconcat version 1.0\nfile /etc/hostname\n",
    b"%PDF-1.4\n",
    b"PK\x03\x04\x14\0",
    b"\x1f\x8b\x08\0\0\0\0\0",
    b"<svg xmlns='http://www.w3.org/2000/svg'>",
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"P6 100000 100000 255\n",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
)
"""Of formats that are not read, and of some that lead elsewhere."""

_Mutation = Callable[[bytearray, random.Random, Sequence[bytes]], None]


def _spot(data: bytearray, chance: random.Random, length: int = 1) -> int:
    """Somewhere in the data; one time in three in its head, on which everything else depends."""
    most = max(0, len(data) - length)
    return chance.randint(0, min(most, _HEAD_BYTES) if chance.random() < 1 / 3 else most)


def _bits(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        data[_spot(data, chance)] ^= 1 << chance.randrange(8)


def _head_bits(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    for _ in range(chance.choice((1, 2, 4))):
        data[chance.randrange(min(len(data), _HEAD_BYTES))] ^= 1 << chance.randrange(8)


def _cut(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    del data[chance.choice((chance.randrange(len(data)), len(data) - chance.randint(1, 200), chance.randint(0, 64))) :]


def _hole(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    start = _spot(data, chance)
    del data[start : start + chance.choice((1, 2, 16, 500, len(data) // 3))]


def _zeros(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    start = _spot(data, chance)
    length = min(chance.choice((4, 40, 400, len(data))), len(data) - start)
    data[start : start + length] = bytes(length)


def _noise(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    start = _spot(data, chance)
    length = min(chance.choice((4, 40, 400, len(data))), len(data) - start)
    data[start : start + length] = chance.randbytes(length)


def _numbers(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    for _ in range(chance.choice((1, 1, 3))):
        start = _spot(data, chance, 4)
        data[start : start + 4] = chance.choice(_WORDS)


def _doubled(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    start = _spot(data, chance)
    length = chance.choice((1, 8, 300, len(data) // 2))
    data[start:start] = data[start : start + length]


def _header_over(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    head = chance.choice((*_OTHER_HEADERS, *(other[: chance.choice((12, 64, 300))] for other in others)))
    data[: len(head)] = head


def _header_before(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    data[:0] = chance.choice((*_OTHER_HEADERS, *(other[: chance.choice((12, 64, 300))] for other in others)))


def _joined(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    other = chance.choice(others)
    data[_spot(data, chance) :] = other[chance.randrange(len(other)) :]


def _ending(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> None:
    """The file as it is, under another name."""


MUTATIONS: dict[str, _Mutation] = {
    "bits": _bits,
    "bits of the head": _head_bits,
    "cut": _cut,
    "hole": _hole,
    "numbers": _numbers,
    "zeros": _zeros,
    "noise": _noise,
    "doubled": _doubled,
    "header over": _header_over,
    "header before": _header_before,
    "joined": _joined,
    "ending": _ending,
}


def mutants(seeds: Sequence[Seed], counts: Mapping[Kind, int], first: int = 0) -> Iterator[Mutant]:
    """So many mutants of each seed, by its kind; `first` is the number at which each seed's begin.

    One depends on its seed's place and its own number, so that it can be made again alone.
    """
    datas = [seed.data for seed in seeds]
    ways = list(MUTATIONS.items())
    for place, seed in enumerate(seeds):
        others = [data for data in datas if data is not seed.data]
        for number in range(first, first + counts[seed.kind]):
            chance = random.Random(1_000_003 * place + number)
            how, change = ways[(number + place) % len(ways)]
            data, suffix = bytearray(seed.data), seed.suffix
            if how == "ending" and seed.kind == "flow":
                how, change = "bits", _bits  # Its name says which frames it joins.
            if how == "ending":
                suffix = chance.choice([ending for ending in _MEDIA if ending != suffix])
            change(data, chance, others)
            yield Mutant(100_000 + 1000 * place + number, seed, how, suffix, bytes(data))


def in_turn(items: Sequence[Mutant], length: int) -> Iterator[list[Mutant]]:
    """So many at a time."""
    rest = iter(items)
    while batch := list(itertools.islice(rest, length)):
        yield batch
