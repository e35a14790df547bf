"""Image files: read as they are meant to look, and written so that reading them gives the same pixels.

Arrays are `H×W×3` uint8, sRGB, in RGB order; sizes are `(height, width)`.
"""

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any
from zlib import Z_RLE

import numpy as np
from PIL import Image

from ..errors import InputError, OutputError
from ..storage import atomic_file
from .image_color_tags import colors_of
from .image_colors import alpha_of, has_alpha, require_whole_numbers, srgb_profile, to_srgb
from .image_file import ANIMATED_SUFFIXES, IMAGE_SUFFIXES, TRANSPOSE, exif_orientation, open_image
from .image_gamma import to_srgb_by_numbers
from .image_metadata import (
    ALPHA_SUFFIXES,
    Extras,
    add_exif_to_tiff,
    extra_options,
    lost_alpha,
    metadata_of,
    png_tags,
)
from .unkept_facts import hidden_count, unkept_metadata, unkept_pictures

_SIDE_LIMITS = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}


def read_image(path: Path) -> np.ndarray:
    """The picture in an image file as it is meant to look: `H×W×3` uint8, sRGB.

    The EXIF orientation is applied and an ICC profile converted to sRGB, or what else describes the colours, see
    `image_color_tags`. Palettes, grey, CMYK and 16 bits become 8-bit RGB. Alpha is dropped and the colour under it kept
    as it is in the file. Of several pictures in one file it is the first, or the primary one of a HEIC.

    Raises `InputError` when the file is missing, is no image, is damaged or has more than `MAX_PIXELS`.
    """
    return read_image_and_alpha(path)[0]


def read_image_and_alpha(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The picture as `read_image` gives it, and its alpha, `H×W` uint8 (255 = opaque), or None where all is opaque."""
    with open_image(path) as image:
        orientation = exif_orientation(image)
        image.load()
        upright = image.transpose(TRANSPOSE[orientation]) if orientation in TRANSPOSE else image
        return _in_srgb(upright, path, image), alpha_of(upright)


def _in_srgb(upright: Image.Image, path: Path, image: Image.Image) -> np.ndarray:
    """The picture in sRGB; `image` is what was opened, and knows what its file says."""
    profile, numbers = colors_of(image)
    array = np.ascontiguousarray(np.asarray(to_srgb(upright, profile, path)))
    return array if numbers is None else to_srgb_by_numbers(array, numbers)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the picture that `read_image` gives, from the header alone. Raises what `read_image`
    raises."""
    with open_image(path) as image:
        require_whole_numbers(image, path)
        return _upright_size(image)


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if exif_orientation(image) >= 5 else (height, width)


@dataclass(frozen=True)
class ImageFacts:
    """What the header of an image shows."""

    size: tuple[int, int]
    """(height, width) of the picture that `read_image` gives."""

    not_kept: tuple[str, ...] = ()
    """A line for everything of the picture that its painting does not keep."""

    metadata_not_kept: tuple[str, ...] = ()
    """The same of what is said about the picture, which nobody misses who leaves out metadata."""


def image_facts(path: Path, suffix: str | None = None, *, strip: bool = False) -> ImageFacts:
    """The facts of an image whose painting is a file of this ending, from its header alone. Raises what `read_image`
    raises, as far as the header shows it. With `strip` the metadata is not read."""
    with open_image(path) as image:
        require_whole_numbers(image, path)
        of_picture, of_metadata = list(unkept_pictures(image, path)), list[str]()
        if suffix is not None and suffix.lower() not in ALPHA_SUFFIXES and has_alpha(image):
            of_picture.append(lost_alpha(suffix))
        if not strip:
            of_metadata += unkept_metadata(image, path)
            of_metadata += metadata_of(image, path).fitted(suffix)[1] if suffix is not None else ()
        return ImageFacts(_upright_size(image), tuple(of_picture), tuple(of_metadata))


@dataclass(frozen=True)
class AnimationFrame:
    """One picture of an animation: `H×W×3` uint8 sRGB, `H×W` uint8 alpha or None, and its duration in seconds."""

    image: np.ndarray
    alpha: np.ndarray | None
    seconds: Fraction


def is_animated(path: Path) -> bool:
    """Whether the header of a file says that it is an animation (WebP, APNG); False where it cannot be read."""
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        with open_image(path) as image:
            return getattr(image, "n_frames", 1) - hidden_count(image) > 1
    except InputError:
        return False


def play_count(path: Path) -> int:
    """How often an animation (GIF, WebP, APNG) is played, 0 for ever; 0 for other files too.

    The number in a GIF is that of the repetitions, and one without a number is played once. Those of WebP and APNG
    count every play.
    """
    suffix = path.suffix.lower()
    if suffix != ".gif" and suffix not in ANIMATED_SUFFIXES:
        return 0
    try:
        with open_image(path, formats=("GIF",) if suffix == ".gif" else None) as image:
            loop = image.info.get("loop")
            if image.format == "GIF":
                return 1 if loop is None else int(loop) + 1 if loop else 0
            return int(loop or 0)
    except (InputError, ValueError, TypeError):
        return 0


def read_animation(path: Path) -> Generator[AnimationFrame, None, None]:
    """The pictures of an animated WebP or PNG as displayed, each once. One with a duration of 0 is shown for a tenth
    of a second, as in browsers. Raises `InputError` as `read_image` does, also midway.
    """
    with open_image(path) as image:
        for number in range(hidden_count(image), getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            milliseconds = Fraction(image.info.get("duration") or 0).limit_denominator(100_000)
            seconds = milliseconds / 1000 if milliseconds > 0 else Fraction(1, 10)
            yield AnimationFrame(_in_srgb(image, path, image), alpha_of(image), seconds)


def require_sides(path: Path, height: int, width: int) -> None:
    """Raises `OutputError` where the format that the ending of `path` names cannot hold a picture of this size."""
    suffix, longest = path.suffix.lower(), max(height, width)
    if longest > _SIDE_LIMITS.get(suffix, longest):
        raise OutputError(
            f"cannot write {path}: {suffix[1:]} holds at most {_SIDE_LIMITS[suffix]} pixels a side, "
            f"and this picture has {longest}; write it as .png"
        )


def is_lossy(path: Path) -> bool:
    """Whether the format that the ending of `path` names changes the picture."""
    return path.suffix.lower() in (".jpg", ".jpeg")


def write_image(path: Path, array: np.ndarray, extras: Extras = Extras()) -> None:
    """Writes an `H×W×3` uint8 sRGB array to `path`, atomically, in the format that its ending names.

    PNG, TIFF (deflate), WebP and BMP lose nothing; JPEG is of quality 97 with colour at full
    resolution. The same array gives the same bytes. All but BMP, which has no place for it, are tagged sRGB.
    Of `extras` the file gets what it can hold, see `Extras.fitted`; the alpha is of the array's size.

    Raises `OutputError` for an unknown ending or a picture that is too large for the format, and
    `StorageError` when the disk does not take it.
    """
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise ValueError(f"an image to write is H×W×3 uint8, and this one is {array.shape} {array.dtype}")
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise OutputError(f"cannot write an image as {path.name}: use one of the endings {endings}")
    require_sides(path, array.shape[0], array.shape[1])
    extras, _ = extras.fitted(suffix)
    if extras.alpha is not None and extras.alpha.shape != array.shape[:2]:
        raise ValueError(f"alpha of {extras.alpha.shape} does not go with a picture of {array.shape[:2]}")
    if extras.alpha is not None:
        array = np.dstack([array, extras.alpha])
    image = Image.fromarray(np.ascontiguousarray(array))
    with atomic_file(path) as temporary:
        image.save(temporary, **{**_save_options(suffix), **extra_options(suffix, extras)})
        if suffix in (".tif", ".tiff") and extras.exif is not None:
            add_exif_to_tiff(temporary, extras.exif)


def _save_options(suffix: str) -> dict[str, Any]:
    if suffix == ".png":
        # Runs are found, but no repeats: a painting has none, and looking for them takes more than half of the time.
        return {"format": "PNG", "compress_level": 1, "compress_type": Z_RLE, "pnginfo": png_tags()}
    if suffix in (".jpg", ".jpeg"):
        return {"format": "JPEG", "quality": 97, "subsampling": 0, "icc_profile": srgb_profile()}
    if suffix == ".webp":
        lossless = {"lossless": True, "quality": 60, "method": 4, "exact": True}
        return {"format": "WEBP", **lossless, "icc_profile": srgb_profile()}
    if suffix in (".tif", ".tiff"):
        return {"format": "TIFF", "compression": "tiff_adobe_deflate", "icc_profile": srgb_profile()}
    return {"format": "BMP"}
