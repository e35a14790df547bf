"""What keeps a file from being opened, in plain words, and what a file is that no reader takes."""

import stat
from pathlib import Path

from .. import storage
from ..errors import InputError
from .boxes import boxes_in
from .missing_paths import remedy_for_missing

_HEAD_BYTES = 512
_TS_PACKETS = (188, 192)

_SIGNATURES = (
    (0, b"GIF8", "a GIF, which counts as a video"),
    (0, b"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)"),
    (8, b"AVI ", "a video (AVI)"),
    (0, b"\x00\x00\x01\xba", "a video (MPEG)"),
    (0, b"FLV\x01", "a video (FLV)"),
    (0, b"OggS", "a video or sound (Ogg)"),
    (0, bytes.fromhex("3026b2758e66cf11"), "a video (WMV)"),
    (0, b"\x89PNG", "a PNG"),
    (0, b"\xff\xd8\xff\xf7", "a JPEG-LS"),
    (0, b"\xff\xd8\xff", "a JPEG"),
    (8, b"WEBP", "a WebP"),
    (0, b"BM", "a BMP"),
    (4, b"ftypavif", "an AVIF"),
    (4, b"ftypavis", "an AVIF"),
    (0, b"II*\x00", "a TIFF"),
    (0, b"MM\x00*", "a TIFF"),
    (0, b"II+\x00", "a TIFF"),
    (0, b"MM\x00+", "a TIFF"),
    (0, b"\xff\x0a", "a JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (0, b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"%PDF", "a PDF"),
    (0, b"ID3", "sound (MP3)"),
    (0, b"\xff\xfb", "sound (MP3)"),
    (0, b"\xff\xf1", "sound (AAC)"),
    (0, b"\xff\xf9", "sound (AAC)"),
    (0, b"fLaC", "sound (FLAC)"),
    (8, b"WAVE", "sound (WAV)"),
    (8, b"AIFF", "sound (AIFF)"),
    (0, b"#!AMR", "sound (AMR)"),
    (0, b"#EXTM3U", "a playlist (HLS)"),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR"),
    (0, b"#?RADIANCE", "a Radiance HDR"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x00\x05\x16\x07", "nothing but what macOS keeps beside a file (AppleDouble)"),
    (0, b"\x00\x05\x16\x00", "nothing but what macOS keeps beside a file (AppleDouble)"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, whose file was not fetched"),
)
"""(Offset, bytes there, what such a file is.)"""

_MARKUP = (
    (b"<svg", "an SVG"),
    (b"<?xml", "an SVG or another XML"),
    (b"<!doctype", "a web page"),
    (b"<html", "a web page"),
)

_STILL_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}


def require_openable(path: Path, kind: str) -> None:
    """Raises `InputError` for a file of a `kind` (image, video ...) that is missing, none, empty or not to be read."""
    try:
        status = path.stat()
    except PermissionError as error:
        raise not_allowed(path, kind) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"cannot read {kind} {path}: {error.strerror}; {remedy_for_missing(path)}") from error
    except OSError as error:
        raise InputError(f"cannot read {kind} {path}: {storage.read_problem(error)}") from error
    except ValueError as error:
        raise InputError(f"cannot read {kind} {str(path)!r}: {error}; check the name") from error
    if stat.S_ISDIR(status.st_mode):
        article = "an" if kind[0] in "aeiou" else "a"
        raise InputError(f"cannot read {kind} {path}: it is a folder; name {article} {kind} in it")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"cannot read {kind} {path}: it is not a regular file; save what it gives to a file first")
    if status.st_size == 0:
        raise InputError(f"cannot read {kind} {path}: the file is empty; get it again from where it came")
    try:
        with open(path, "rb") as file:
            file.read(1)
    except PermissionError as error:
        raise not_allowed(path, kind) from error
    except OSError as error:
        raise InputError(f"cannot read {kind} {path}: {storage.read_problem(error)}") from error


def not_allowed(path: Path, kind: str) -> InputError:
    return InputError(f"cannot read {kind} {path}: {storage.read_problem(PermissionError())}")


def what_it_is(path: Path) -> str | None:
    """What a file is by its first bytes, as `a PDF`; None where that is not known."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    for offset, signature, what in _SIGNATURES:
        if head[offset:].startswith(signature):
            return what
    if head[4:8] == b"ftyp":
        return _heif_kind(head) if head[8:12] in _HEIF_BRANDS else "a video (MP4 or MOV)"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for tag, what in _MARKUP:
        if text.startswith(tag):
            return what
    if any(head[start::size][:2] == b"GG" for size in _TS_PACKETS for start in (0, size - 188)):
        return "a video (MPEG-TS)"
    return "nothing but zeros, as a copy that broke off leaves" if head and not any(head) else None


def remedy_for(what: str, kind: str) -> str | None:
    """What to do about a file that is no media file at all, and not a `kind` (picture, video) either; None for others.

    `what` is what `what_it_is` said."""
    if "Git LFS" in what:
        return "fetch it with: git lfs pull"
    if what.endswith("archive"):
        return f"unpack it, and name the {kind}"
    return f"get the {kind} itself" if what.startswith("nothing") or what == "a web page" else None


def _heif_kind(head: bytes) -> str:
    """HEIC and AVIF may both call themselves `mif1`; the brands after that tell them apart."""
    _, brands = next(boxes_in(head), (b"", b""))
    return "an AVIF" if b"avif" in brands else "a HEIC"


def require_no_still(path: Path) -> None:
    """Raises `InputError` for a still image that libav would take for a video: HEIC and AVIF are like MP4 inside."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:8] == b"ftyp" and head[8:12] in _STILL_BRANDS:
        raise InputError(
            f"cannot read video {path}: it is {_heif_kind(head)}, which is an image; give it the ending of one"
        )
