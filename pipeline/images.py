"""Image files: read as they are meant to look, and written so that reading them gives the same pixels.

Arrays are `H×W×3` uint8, sRGB, in RGB order; sizes are `(height, width)`.
"""

import contextlib
import importlib.util
import os
import re
import stat
import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from natsort import natsort_keygen, ns
from PIL import Image, ImageCms, PngImagePlugin, UnidentifiedImageError

from pipeline.errors import InputError, OutputError
from pipeline.storage import atomic_file

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

JOB_FOLDER_SUFFIX = ".impasto"
"""Folders with this ending hold jobs, whose frames are nobody's photos."""

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")  # MPO, several JPEGs in one file, is opened as JPEG.
_ORIENTATION_TAG = 0x0112
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_MAKER_NOTE_TAG = 0x927C
_PIXEL_WIDTH_TAG, _PIXEL_HEIGHT_TAG = 0xA002, 0xA003
_XMP_TAG = 700

_KEPT_TAGS = (
    *(270, 271, 272, 305, 306, 315, 33432),  # description, make, model, software, date, artist, copyright
    *(18246, 18249, 40091, 40092, 40093, 40094, 40095),  # rating; title, comment, author, keywords, subject
)
"""The tags that say something of a picture; others describe how its file is laid out."""

_EXIF_LIMIT = 65_000
"""Bytes of EXIF that fit into a JPEG."""

_ALPHA_SUFFIXES = frozenset({".png", ".webp", ".tif", ".tiff"})
_METADATA_SUFFIXES = _ALPHA_SUFFIXES | {".jpg", ".jpeg"}
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture with each EXIF orientation upright."""

_SIDE_LIMITS = {".jpg": 65_500, ".jpeg": 65_500, ".webp": 16_383}

# Pillow warns at this many pixels and refuses at twice as many; ours is the one limit, for one clear message.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def is_image_name(path: Path) -> bool:
    """Whether the ending of `path` is that of an image that can be written; the file itself is not looked at."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def is_readable_name(path: Path) -> bool:
    """Whether the ending of `path` is that of an image that is read; the file itself is not looked at."""
    return path.suffix.lower() in IMAGE_SUFFIXES | HEIF_SUFFIXES


def read_image(path: Path) -> np.ndarray:
    """The picture in an image file as it is meant to look: `H×W×3` uint8, sRGB.

    The EXIF orientation is applied and an ICC profile converted to sRGB; a profile that is broken or
    does not fit is passed over. Palettes, grey, CMYK and 16 bits become 8-bit RGB. Alpha is dropped and the
    colour under it kept as it is in the file. Of several pictures in one file it is the first.

    Raises `InputError` when the file is missing, is no image, is damaged or has more than `MAX_PIXELS`.
    """
    return read_image_and_alpha(path)[0]


def read_image_and_alpha(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The picture as `read_image` gives it, and its alpha, `H×W` uint8 with 255 for opaque, or None where all is."""
    with _opened(path) as image:
        orientation = _orientation(image)
        image.load()
        upright = image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image
        return _colours(upright, path), _alpha(upright)


def _colours(image: Image.Image, path: Path) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(_to_srgb(image, image.info.get("icc_profile"), path)))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the picture that `read_image` gives, from the file's header only; raises as it does."""
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


@dataclass(frozen=True)
class AnimationFrame:
    """One picture of an animation: `H×W×3` uint8 sRGB, `H×W` uint8 alpha or None, and the seconds that it is shown."""

    image: np.ndarray
    alpha: np.ndarray | None
    seconds: Fraction


def is_animated(path: Path) -> bool:
    """Whether a file is an animation by what its header says (WebP, APNG); a file that cannot be read is none."""
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        with _opened(path) as image:
            return getattr(image, "n_frames", 1) - _hidden_count(image) > 1
    except InputError:
        return False


def read_animation(path: Path) -> Generator[AnimationFrame, None, None]:
    """The pictures of an animated WebP or PNG as they are shown, each once; a picture that is shown for no time is
    shown for a tenth of a second, as browsers do. Raises `InputError` as `read_image` does, also midway."""
    with _opened(path) as image:
        for number in range(_hidden_count(image), getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()
            milliseconds = Fraction(image.info.get("duration") or 0).limit_denominator(100_000)
            seconds = milliseconds / 1000 if milliseconds > 0 else Fraction(1, 10)
            yield AnimationFrame(_colours(image, path), _alpha(image), seconds)


def _hidden_count(image: Image.Image) -> int:
    """Pictures at the front of an APNG that are for programs that know no animation."""
    return int(bool(getattr(image, "default_image", False)))


@dataclass(frozen=True)
class Extras:
    """What an image file holds besides its colours, as it goes into the file of its painting."""

    alpha: np.ndarray | None = None
    """`H×W` uint8, 255 is opaque, upright; None where all is opaque."""

    exif: bytes | None = None
    """Tags about the picture; without its orientation, thumbnail and maker's note, which hold for the old file only."""

    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def at_size(self, size: tuple[int, int]) -> "Extras":
        """The same for a painting of (height, width)."""
        if self.alpha is None or self.alpha.shape == size:
            return self
        reduced = Image.fromarray(self.alpha).resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return replace(self, alpha=np.asarray(reduced))

    def without_metadata(self) -> "Extras":
        """The alpha alone: it is part of the picture."""
        return Extras(self.alpha)

    def lost_in(self, suffix: str) -> list[str]:
        """What a file of this ending does not take, in words."""
        lost = []
        if self.alpha is not None and suffix.lower() not in _ALPHA_SUFFIXES:
            lost.append("transparency")
        if (self.exif or self.xmp) and suffix.lower() not in _METADATA_SUFFIXES:
            lost.append("metadata")
        return lost


def read_extras(path: Path) -> Extras:
    """What the image file holds besides its colours; metadata that cannot be read counts as none.

    Kept are what EXIF says of the picture, the camera, the time and the place, XMP, and the resolution; the
    maker's note is not, as its addresses hold for the old file only. Raises `InputError` as `read_image` does.
    """
    with _opened(path) as image:
        orientation = _orientation(image)
        image.load()  # PNG may keep its metadata behind the pixels.
        upright = image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image
        dpi = image.info.get("dpi")
        return Extras(_alpha(upright), _exif(image), _xmp(image), _plausible_dpi(dpi))


def _alpha(image: Image.Image) -> np.ndarray | None:
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return None
    premultiplied = {"RGBa": "RGBA", "La": "LA"}
    image = image.convert(premultiplied.get(image.mode, "RGBA"))
    alpha = np.asarray(image.getchannel("A"))
    return None if alpha.min() == 255 else alpha


def _exif(image: Image.Image) -> bytes | None:
    try:
        given, kept = image.getexif(), Image.Exif()
        for tag in _KEPT_TAGS:
            if tag in given:
                kept[tag] = given[tag]
        for number in (_EXIF_IFD, _GPS_IFD):
            tags = dict(given.get_ifd(number))
            for tag in (_MAKER_NOTE_TAG, _PIXEL_WIDTH_TAG, _PIXEL_HEIGHT_TAG):
                tags.pop(tag, None)
            if tags:
                kept.get_ifd(number).update(tags)
                kept[number] = kept.get_ifd(number)
        data = kept.tobytes() if len(kept) else None
        # What Pillow cannot write in this form it would find out in the midst of saving.
        return data if data is not None and len(data) <= _EXIF_LIMIT else None
    except Exception:  # Metadata of any kind of brokenness is no reason to refuse a picture.
        return None


def _xmp(image: Image.Image) -> bytes | None:
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    data = found.encode() if isinstance(found, str) else found
    if not isinstance(data, bytes) or len(data) > _EXIF_LIMIT:
        return None
    # The painting is upright.
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))\s*[2-8]", rb"\g<1>1", data)


def _plausible_dpi(dpi: object) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 <= across <= 100_000 and 1 <= down <= 100_000 else None


def write_image(path: Path, array: np.ndarray, extras: Extras = Extras()) -> None:
    """Writes an `H×W×3` uint8 sRGB array to `path`, atomically, in the format that its ending names.

    PNG, TIFF (deflate, plain where it has EXIF), WebP and BMP lose nothing; JPEG is of quality 97 with colour at full
    resolution. The same array gives the same bytes. All but BMP, which has no place for it, are tagged sRGB.
    Of `extras` the file gets what it can hold, see `Extras.lost_in`; the alpha is of the array's size.

    Raises `OutputError` for an unknown ending or a picture that is too large for the format, and
    `StorageError` when the disk does not take it.
    """
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
        raise ValueError(f"an image to write is H×W×3 uint8, and this one is {array.shape} {array.dtype}")
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise OutputError(f"cannot write an image as {path.name}: use one of the endings {endings}")
    longest = max(array.shape[:2])
    if longest > _SIDE_LIMITS.get(suffix, longest):
        raise OutputError(
            f"cannot write {path}: {suffix[1:]} holds at most {_SIDE_LIMITS[suffix]} pixels a side, "
            f"and this picture has {longest}; write it as .png"
        )
    if extras.alpha is not None and extras.alpha.shape != array.shape[:2]:
        raise ValueError(f"alpha of {extras.alpha.shape} does not go with a picture of {array.shape[:2]}")
    if extras.alpha is not None and suffix in _ALPHA_SUFFIXES:
        array = np.dstack([array, extras.alpha])
    image = Image.fromarray(np.ascontiguousarray(array))
    with atomic_file(path) as temporary:
        image.save(temporary, **{**_save_options(suffix), **_extra_options(suffix, extras)})


@dataclass(frozen=True)
class ImageListing:
    """The images in a folder."""

    paths: list[Path]
    """Image files in natural order (frame 2 before frame 10), each beginning with the folder that was listed."""

    skipped: int
    """How many other files were passed over: hidden, without the ending of an image, or links that lead out."""


def list_images(folder: Path, recursive: bool = True) -> ImageListing:
    """The image files in `folder`, and below it when `recursive`, told by their endings.

    Hidden folders, the folders of jobs and links to folders are not entered, and a link to a file counts where that
    lies below `folder` too: a listing never leaves the tree.

    Raises `InputError` when `folder` is no folder or cannot be read.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"cannot list the images in {folder}: it {what}; name a folder of images")
    paths: list[Path] = []
    skipped = 0
    top = folder.resolve()
    try:
        for root, folders, files in os.walk(folder, onerror=_raise, followlinks=False):
            entered = [name for name in folders if not name.startswith(".") and not name.endswith(JOB_FOLDER_SUFFIX)]
            folders[:] = entered if recursive else []
            for name in files:
                path = Path(root, name)
                if (
                    name.startswith(".")
                    or not is_readable_name(path)
                    or not path.is_file()
                    or (path.is_symlink() and not path.resolve().is_relative_to(top))
                ):
                    skipped += 1
                else:
                    paths.append(path)
    except OSError as error:
        raise InputError(f"cannot list the images in {folder}: {error.strerror or error} ({error.filename})") from error
    natural = natsort_keygen(alg=ns.PATH | ns.IGNORECASE)
    # Names that differ in case only, or in leading zeros, still come in one order.
    paths.sort(key=lambda path: (natural(path.relative_to(folder).as_posix()), str(path)))
    return ImageListing(paths, skipped)


def _raise(error: OSError) -> None:
    raise error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image with its header read and its size checked; whatever goes wrong inside leaves as `InputError`."""
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
        with warnings.catch_warnings():
            # Damaged metadata makes Pillow warn; what is wrong with the picture itself is raised.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_known_formats(path)) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise _too_large(path, f"{width}×{height} pixels")
                yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        # Its message names the pixels before its limit.
        count = re.search(r"\d+", str(error))
        raise _too_large(path, f"{int(count[0]) // 1_000_000} megapixels" if count else "more") from error
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
    """Whether HEIC can be read."""
    if importlib.util.find_spec("pillow_heif") is None:
        return False
    import pillow_heif

    # It would keep the pictures of bursts and the thumbnails in memory.
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def _too_large(path: Path, claim: str) -> InputError:
    return InputError(
        f"cannot read image {path}: it claims {claim}, and at most {MAX_PIXELS // 1_000_000} megapixels are read; "
        "reduce it first"
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied, 1 to 8; 1 where there is none or it is unreadable."""
    if image.format == "TIFF":
        return 1  # Pillow makes a TIFF upright itself, its size included.
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # EXIF is metadata: a picture is not refused because that part is broken.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_srgb(image: Image.Image, profile: bytes | None, path: Path) -> Image.Image:
    """`image`, of any mode, as mode RGB in sRGB."""
    image = _to_8_bits(image, path)
    if image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "RGBX"):
        # Through bands and not `convert`, which is free to weigh the colour with alpha.
        image = Image.merge("RGB", image.split()[:3])
    elif image.mode == "RGBa":
        image = Image.merge("RGB", image.convert("RGBA").split()[:3])
    elif image.mode == "LA":
        image = image.getchannel("L")
    elif image.mode == "La":
        image = image.convert("LA").getchannel("L")
    elif image.mode in ("P", "YCbCr", "HSV"):
        image = image.convert("RGB")
    elif image.mode == "1":
        image = image.convert("L")
    converted = _through_profile(image, profile) if profile else None
    if converted is not None:
        return converted
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = _profile_to_profile(image, ImageCms.ImageCmsProfile(lab), ImageCms.ImageCmsProfile(srgb))
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(image: Image.Image, path: Path) -> Image.Image:
    """Grey of 16 bits rounded to 8; other modes as they are."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.size and (levels.min() < 0 or levels.max() > 65_535):
            raise InputError(
                f"cannot read image {path}: its grey goes from {levels.min()} to {levels.max()}, and 0 to 65535 is "
                "what 16 bits hold; convert it to 16 bits"
            )
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    if image.mode == "F":
        raise InputError(f"cannot read image {path}: its pixels are floating-point numbers; convert it to 16 bits")
    return image


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """`image`, of mode L, RGB, CMYK or LAB, taken from its ICC profile to sRGB; None where that cannot be done."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        space = source.profile.xcolor_space.strip()
        if {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}.get(space) != image.mode:
            return None
        if image.mode == "RGB" and (source.profile.profile_description or "").startswith("sRGB"):
            return image  # Converting sRGB to itself would still move pixels by a level.
        return _profile_to_profile(image, source, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")))
    except Exception:  # A broken profile is no reason to refuse the picture.
        return None


def _profile_to_profile(
    image: Image.Image, source: ImageCms.ImageCmsProfile, target: ImageCms.ImageCmsProfile
) -> Image.Image:
    """Relative colorimetric with black point compensation, which is how photo programs show pictures."""
    transform = ImageCms.buildTransform(
        source,
        target,
        image.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return ImageCms.applyTransform(image, transform)  # type: ignore[return-value]


def _save_options(suffix: str) -> dict[str, Any]:
    if suffix == ".png":
        return {"format": "PNG", "compress_level": 4, "pnginfo": _png_tags(None)}
    if suffix in (".jpg", ".jpeg"):
        return {"format": "JPEG", "quality": 97, "subsampling": 0, "icc_profile": _srgb_profile()}
    if suffix == ".webp":
        lossless = {"lossless": True, "quality": 60, "method": 4, "exact": True}
        return {"format": "WEBP", **lossless, "icc_profile": _srgb_profile()}
    if suffix in (".tif", ".tiff"):
        return {"format": "TIFF", "compression": "tiff_adobe_deflate", "icc_profile": _srgb_profile()}
    return {"format": "BMP"}


def _png_tags(xmp: bytes | None) -> PngImagePlugin.PngInfo:
    tags = PngImagePlugin.PngInfo()
    tags.add(b"sRGB", b"\x01")  # Rendering intent 1: relative colorimetric.
    if xmp is not None:
        tags.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    return tags


@cache
def _srgb_profile() -> bytes:
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # The date of its making: the same picture gives the same bytes on every day.
    data[24:36] = (2000).to_bytes(2) + (1).to_bytes(2) * 2 + bytes(6)
    return bytes(data)


def _extra_options(suffix: str, extras: Extras) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if suffix not in _METADATA_SUFFIXES:
        return options
    if extras.dpi is not None and suffix != ".webp":
        options["dpi"] = extras.dpi
    if suffix in (".tif", ".tiff"):
        tags = Image.Exif()
        if extras.exif is not None:
            tags.load(extras.exif)
            options["compression"] = None  # The library that compresses writes no tags within tags.
        if extras.xmp is not None:
            tags[_XMP_TAG] = extras.xmp
        return {**options, "exif": tags}
    if extras.exif is not None:
        options["exif"] = extras.exif
    if extras.xmp is not None and suffix == ".png":
        options["pnginfo"] = _png_tags(extras.xmp)
    elif extras.xmp is not None:
        options["xmp"] = extras.xmp
    return options
