"""Opening image files with Pillow: which endings are read, limits on size, and errors in plain words."""

import contextlib
import importlib.util
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..errors import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"})
"""Endings, in lower case, of the image files that are read and written."""

HEIF_SUFFIXES = frozenset({".heic", ".heif"})
"""Endings of images that are read where the package pillow-heif is there, and painted to JPEG."""

FORMATS = {"png": ".png", "jpg": ".jpg", "webp": ".webp", "tiff": ".tif", "bmp": ".bmp"}
"""The formats that photos can be painted to, and the ending of each."""

ANIMATED_SUFFIXES = frozenset({".webp", ".png", ".apng"})
"""Endings of images that may be animations, which count as video."""

MAX_PIXELS = 200_000_000
"""An image that claims more pixels is refused before it is decoded (a phone of 200 megapixels has 199 756 800)."""

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")  # MPO, several JPEGs in one file, is opened as JPEG.
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
    return path.suffix.lower() in IMAGE_SUFFIXES | HEIF_SUFFIXES


class _PillowLimit:
    """Raises Pillow's own limit on pixels while any thread has an image open, and puts it back after that.

    Pillow warns at its limit and refuses at twice as many, by default 179 million; `MAX_PIXELS` is to be the one limit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_count = 0
        self._limit_before: int | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._open_count == 0:
                self._limit_before = Image.MAX_IMAGE_PIXELS
                Image.MAX_IMAGE_PIXELS = MAX_PIXELS
            self._open_count += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open_count -= 1
            if self._open_count == 0:
                Image.MAX_IMAGE_PIXELS = self._limit_before


_pillow_limit = _PillowLimit()


@contextlib.contextmanager
def open_image(path: Path, formats: tuple[str, ...] | None = None) -> Iterator[Image.Image]:
    """The image with its header read and its size checked. Raises `InputError` for every error inside the context.

    `formats`: by Pillow's names, those that are tried; None for all that are read.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"cannot read image {path}: {error.strerror}; check the name") from error
    except ValueError as error:
        raise InputError(f"cannot read image {str(path)!r}: {error}; check the name") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise InputError(f"cannot read image {path}: it is {kind}; name an image file")
    if status.st_size == 0:
        raise InputError(f"cannot read image {path}: the file is empty; get it again from where it came")
    try:
        with _pillow_limit, warnings.catch_warnings():
            # Damaged metadata makes Pillow warn; what is wrong with the picture itself is raised.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_known_formats(path) if formats is None else formats) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise image_too_large(path, f"{width}×{height} pixels")
                yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        # Its message names the pixels before its limit.
        count = re.search(r"\d+", str(error))
        raise image_too_large(path, f"{int(count[0]) // 1_000_000} megapixels" if count else "more") from error
    except UnidentifiedImageError as error:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"cannot read image {path}: it holds no picture of a known kind ({endings})") from error
    except MemoryError as error:
        raise InputError(f"cannot read image {path}: there is not enough memory to decode it; reduce it") from error
    except Exception as error:
        # Decoders meet hostile bytes with whatever comes (OSError, SyntaxError, struct.error, zlib.error ...).
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read image {path}: it is damaged or incomplete ({reason}); get it again") from error


def _known_formats(path: Path) -> tuple[str, ...]:
    if path.suffix.lower() not in HEIF_SUFFIXES:
        return _FORMATS
    if not heif_is_there():
        raise InputError(f"cannot read image {path}: HEIC is read by the package pillow-heif: pip install pillow-heif")
    return (*_FORMATS, "HEIF")


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
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # EXIF is metadata: a picture is not refused because that part is broken.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
