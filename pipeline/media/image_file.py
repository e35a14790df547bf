"""Opening image files with Pillow: which endings are read, limits on size, and errors in plain words."""

import contextlib
import importlib.util
import re
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError, features

from ..errors import InputError
from ..out_of_memory import is_out_of_memory
from .camera_raw import is_camera_raw
from .openable import not_allowed, remedy_for, require_openable, what_it_is
from .png_chunks import has_late_metadata
from .unread_headers import complete_info

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
"""Endings, in lower case, of the image files that are read and written."""

READ_SUFFIXES = frozenset({".avif", ".heic", ".heif", ".hif", ".jfif", ".jif", ".jpe", ".mpo"})
"""Endings of images that are read and painted to JPEG, which some of them are; HEIC where the package pillow-heif is
there."""

FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}
"""The formats that photos can be painted to, and the ending of each."""

ANIMATED_SUFFIXES = frozenset({".webp", ".png", ".apng"})
"""Endings of images that may be animations, which count as video."""

MAX_PIXELS = 200_000_000
"""An image that claims more pixels is refused before it is decoded (a phone of 200 megapixels has 199 756 800)."""

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF")  # MPO, several JPEGs in one file, is opened as JPEG.

_MOST_TEXT_BYTES = 1 << 26
"""Of a colour profile or a text in a PNG, unpacked."""

_UNSUPPORTED = re.compile(
    r"unsupported|not supported|not available|cannot handle|unknown (pixel mode|compression|data)|no decode delegate|"
    r"planar configuration|not implemented",
    re.IGNORECASE,
)
"""What decoders say of a file that may well be whole."""

_ORIENTATION_TAG = 0x0112
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture with each EXIF orientation upright."""


def is_image_name(path: Path) -> bool:
    """Whether the ending of `path` is that of an image that can be written; the file is not opened."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_readable_name(path: Path) -> bool:
    """Whether the ending of `path` is that of an image that can be read; the file is not opened."""
    return path.suffix.lower() in IMAGE_SUFFIXES | READ_SUFFIXES


class _PillowLimits:
    """Raises Pillow's own limits while any thread has an image open, and puts them back after that.

    Pillow warns at its limit of pixels and refuses at twice as many, by default 179 million; `MAX_PIXELS` is to be the
    one limit. And it refuses a PNG with more than a megabyte of text or colour profile, which every viewer shows.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_count = 0
        self._before: tuple[int | None, int, int] | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._open_count == 0:
                png = PngImagePlugin
                self._before = Image.MAX_IMAGE_PIXELS, png.MAX_TEXT_CHUNK, png.MAX_TEXT_MEMORY
                self._set(MAX_PIXELS, _MOST_TEXT_BYTES, 4 * _MOST_TEXT_BYTES)
            self._open_count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open_count -= 1
            if self._open_count == 0 and self._before is not None:
                self._set(*self._before)

    def _set(self, pixels: int | None, chunk: int, memory: int) -> None:
        Image.MAX_IMAGE_PIXELS = pixels
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY = chunk, memory


_pillow_limits = _PillowLimits()


@contextlib.contextmanager
def open_image(path: Path, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """The image with its header read and its size checked. Raises `InputError` for every error inside the context.

    `formats`: by Pillow's names, those that are tried; None for all that are read. What a file is decides, not what it
    is called.
    """
    require_openable(path, "image")
    if is_camera_raw(path):
        raise _camera_raw(path)
    try:
        with _pillow_limits, warnings.catch_warnings():
            # Damaged metadata makes Pillow warn; what is wrong with the picture itself is raised.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=formats or _known_formats()) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise image_too_large(path, f"{width}×{height} pixels")
                complete_info(image)
                yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        # Its message names the pixels before its limit.
        count = re.search(r"\d+", str(error))
        raise image_too_large(path, f"{int(count[0]) // 1_000_000} megapixels" if count else "more") from error
    except UnidentifiedImageError as error:
        raise _unread_kind(path) from error
    except PermissionError as error:
        raise not_allowed(path, "image") from error
    except Exception as error:
        raise _undecodable(path, error) from error


def _undecodable(path: Path, error: Exception) -> InputError:
    """Decoders meet hostile bytes with whatever comes (OSError, SyntaxError, struct.error, zlib.error ...)."""
    reason = " ".join(str(error).split()) or type(error).__name__
    if is_out_of_memory(error):
        return InputError(f"cannot read image {path}: there is not enough memory to decode it; reduce it")
    if isinstance(error, OSError) and error.errno is not None:
        return InputError(f"cannot read image {path}: {error.strerror}; check the disk that it is on")
    if "MAX_TEXT" in reason:
        megabytes = _MOST_TEXT_BYTES >> 20
        return InputError(
            f"cannot read image {path}: it holds more than {megabytes} megabytes of text or colour profile, which is "
            "not read; save it anew without"
        )
    if _UNSUPPORTED.search(reason):
        return _unsupported(path, what_it_is(path) or "an image", reason)
    return InputError(f"cannot read image {path}: it is damaged or incomplete ({reason}); get it again")


def _unsupported(path: Path, what: str, reason: str) -> InputError:
    return InputError(
        f"cannot read image {path}: it is {what} of a kind that is not read, or its header is damaged ({reason}); save "
        "it as PNG or JPEG with a program that shows it"
    )


def _unread_kind(path: Path) -> InputError:
    """The error for a file that Pillow does not take for an image."""
    what = what_it_is(path)
    if what == "a HEIC" and not heif_is_there():
        return InputError(f"cannot read image {path}: HEIC is read by the package pillow-heif: pip install pillow-heif")
    if what == "an AVIF" and "AVIF" not in _known_formats():
        return InputError(
            f"cannot read image {path}: AVIF is read by Pillow from 11.3 on: pip install --upgrade pillow"
        )
    if what is None:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        return InputError(f"cannot read image {path}: it holds no picture of a known kind ({endings})")
    if "video" in what:
        return InputError(
            f"cannot read image {path}: it is {what}; to paint it, give its name the ending of a video; as a style, "
            "save one of its frames as PNG"
        )
    kind = what.split()[-1]
    if kind not in ("PNG", "JPEG", "WebP", "TIFF", "BMP", "AVIF", "HEIC"):
        if (remedy := remedy_for(what, "picture")) is not None:
            return InputError(f"cannot read image {path}: it is {what}; {remedy}")
        return InputError(f"cannot read image {path}: it is {what}, which is not read; save it as PNG or JPEG")
    reason = _refusal(path, {"HEIC": "HEIF"}.get(kind, kind.upper()))
    if reason is not None and _UNSUPPORTED.search(reason):
        return _unsupported(path, what, reason)
    told = f" ({reason})" if reason else ""
    return InputError(f"cannot read image {path}: it is {what} whose header is damaged{told}; get it again")


def _refusal(path: Path, kind: str) -> str | None:
    """Why Pillow takes a file not for one of this kind, which `Image.open` keeps to itself."""
    try:
        with _pillow_limits, warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")
            Image.OPEN[kind][0](file, str(path)).close()
    except Exception as error:
        reason = " ".join(str(error).split())
        # Pillow's table of compressions lacks it.
        return f"unsupported compression {reason}" if reason.isdigit() else reason or None
    return None


def _camera_raw(path: Path) -> InputError:
    return InputError(
        f"cannot read image {path}: it is camera RAW, of which only the preview could be painted; develop it first, "
        "to TIFF or JPEG"
    )


def _known_formats() -> tuple[str, ...]:
    formats = _FORMATS if _avif_is_there() else tuple(name for name in _FORMATS if name != "AVIF")
    return (*formats, "HEIF") if heif_is_there() else formats


@cache
def _avif_is_there() -> bool:
    """Whether this Pillow reads AVIF: from 11.3 on, where it is built so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bool(features.check("avif"))


@cache
def heif_is_there() -> bool:
    """Whether HEIC can be read here."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    # It would keep the pictures of bursts and the thumbnails in memory.
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def image_too_large(path: Path, claim: str) -> InputError:
    return InputError(
        f"cannot read image {path}: it claims {claim}, and at most {MAX_PIXELS // 1_000_000} megapixels are read; "
        "reduce it first"
    )


def exif_orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied, 1 to 8; 1 where there is none or it is invalid."""
    if image.format == "TIFF":
        return 1  # Pillow makes a TIFF upright itself, its size included.
    try:
        value = _exif_of(image).get(_ORIENTATION_TAG, 1)
    except Exception:  # EXIF is metadata: a picture is not refused because that part is broken.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _exif_of(image: Image.Image) -> Image.Exif:
    """The EXIF of an image, for which no pixel is decoded where that can be helped.

    Pillow decodes a PNG without EXIF before its pixels, as there may be some behind them.
    """
    file: Any = getattr(image, "fp", None)
    if image.format == "PNG" and file is not None and "exif" not in image.info and not has_late_metadata(file):
        return Image.Image.getexif(image)
    return image.getexif()
