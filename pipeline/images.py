"""Image files: read as they are meant to look, and written so that reading them gives the same pixels.

Arrays are `H×W×3` uint8, sRGB, in RGB order; sizes are `(height, width)`.
"""

import contextlib
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
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

MAX_PIXELS = 200_000_000
"""An image that claims more pixels is refused before it is decoded (a phone of 200 megapixels has 199 756 800)."""

JOB_FOLDER_SUFFIX = ".impasto"
"""Folders with this ending hold jobs, whose frames are nobody's photos."""

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")  # MPO, several JPEGs in one file, is opened as JPEG.
_ORIENTATION_TAG = 0x0112
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
    """Whether the ending of `path` is that of an image; the file itself is not looked at."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def read_image(path: Path) -> np.ndarray:
    """The picture in an image file as it is meant to look: `H×W×3` uint8, sRGB.

    The EXIF orientation is applied and an ICC profile converted to sRGB; a profile that is broken or
    does not fit is passed over. Palettes, grey, CMYK and 16 bits become 8-bit RGB. Alpha is dropped and the
    colour under it kept as it is in the file. Of several pictures in one file it is the first.

    Raises `InputError` when the file is missing, is no image, is damaged or has more than `MAX_PIXELS`.
    """
    with _opened(path) as image:
        orientation = _orientation(image)
        image.load()
        upright = image.transpose(_TRANSPOSE[orientation]) if orientation in _TRANSPOSE else image
        return np.ascontiguousarray(np.asarray(_to_srgb(upright, image.info.get("icc_profile"), path)))


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of the picture that `read_image` gives, from the file's header only; raises as it does."""
    with _opened(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image) >= 5 else (height, width)


def write_image(path: Path, array: np.ndarray) -> None:
    """Writes an `H×W×3` uint8 sRGB array to `path`, atomically, in the format that its ending names.

    PNG, TIFF (deflate), WebP and BMP lose nothing; JPEG is of quality 97 with colour at full
    resolution. The same array gives the same bytes. PNG is tagged sRGB; the others are untagged,
    which means sRGB too.

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
    image = Image.fromarray(np.ascontiguousarray(array))
    with atomic_file(path) as temporary:
        image.save(temporary, **_save_options(suffix))


@dataclass(frozen=True)
class ImageListing:
    """The images in a folder."""

    paths: list[Path]
    """Image files in natural order (frame 2 before frame 10), each beginning with the folder that was listed."""

    skipped: int
    """How many other files were passed over: hidden, or without the ending of an image."""


def list_images(folder: Path, recursive: bool = True) -> ImageListing:
    """The image files in `folder`, and below it when `recursive`, told by their endings.

    Hidden folders, the folders of jobs and links to folders are not entered, so a listing never leaves
    the tree and never counts a picture twice. Links to files are followed.

    Raises `InputError` when `folder` is no folder or cannot be read.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"cannot list the images in {folder}: it {what}; name a folder of images")
    paths: list[Path] = []
    skipped = 0
    try:
        for root, folders, files in os.walk(folder, onerror=_raise, followlinks=False):
            entered = [name for name in folders if not name.startswith(".") and not name.endswith(JOB_FOLDER_SUFFIX)]
            folders[:] = entered if recursive else []
            for name in files:
                path = Path(root, name)
                if name.startswith(".") or not is_image_name(path) or not path.is_file():
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
            with Image.open(path, formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise _too_large(path, f"{width}×{height} pixels")
                yield image
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "a size") from error
    except UnidentifiedImageError as error:
        endings = " ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"cannot read image {path}: it holds no picture of a known kind ({endings})") from error
    except MemoryError as error:
        raise InputError(f"cannot read image {path}: there is not enough memory to decode it; reduce it") from error
    except Exception as error:
        # Decoders meet hostile bytes with whatever comes (OSError, SyntaxError, struct.error, zlib.error ...).
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read image {path}: it is damaged or incomplete ({reason}); get it again") from error


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
        tag = PngImagePlugin.PngInfo()
        tag.add(b"sRGB", b"\x01")  # Rendering intent 1: relative colorimetric.
        return {"format": "PNG", "compress_level": 4, "pnginfo": tag}
    if suffix in (".jpg", ".jpeg"):
        return {"format": "JPEG", "quality": 97, "subsampling": 0}
    if suffix == ".webp":
        return {"format": "WEBP", "lossless": True, "quality": 60, "method": 4, "exact": True}
    if suffix in (".tif", ".tiff"):
        return {"format": "TIFF", "compression": "tiff_adobe_deflate"}
    return {"format": "BMP"}
