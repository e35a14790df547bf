"""Alpha and colour profiles of images; conversion to sRGB in 8 bits."""

from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from ..errors import InputError
from ..out_of_memory import is_out_of_memory


def has_alpha(image: Image.Image) -> bool:
    """Whether the header shows alpha, be all opaque or not."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def alpha_of(image: Image.Image) -> np.ndarray | None:
    if not has_alpha(image):
        return None
    premultiplied = {"RGBa": "RGBA", "La": "LA"}
    image = image.convert(premultiplied.get(image.mode, "RGBA"))
    alpha = np.asarray(image.getchannel("A"))
    return None if alpha.min() == 255 else alpha


def to_srgb(image: Image.Image, profile: bytes | None, path: Path) -> Image.Image:
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
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return ImageCms.applyTransform(image, _to_srgb_from(lab, "LAB"))  # type: ignore[return-value]
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bits(image: Image.Image, path: Path) -> Image.Image:
    """16-bit grey rounded to 8 bits; other modes unchanged."""
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.int64)
        if levels.size and (levels.min() < 0 or levels.max() > 65_535):
            raise InputError(
                f"cannot read image {path}: its grey goes from {levels.min()} to {levels.max()}, and 0 to 65535 is "
                "what 16 bits hold; convert it to 16 bits"
            )
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8))
    require_whole_numbers(image, path)
    return image


def require_whole_numbers(image: Image.Image, path: Path) -> None:
    """Raises `InputError` for pixels that are floating-point numbers, which the header shows."""
    if image.mode == "F":
        raise InputError(f"cannot read image {path}: its pixels are floating-point numbers; convert it to 16 bits")


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """`image`, of mode L, RGB, CMYK or LAB, converted from its ICC profile to sRGB; None where that does not fit."""
    read = _read_profile(profile, image.mode)
    if read.transform is None:
        return image if read.fits else None
    return ImageCms.applyTransform(image, read.transform)


def fits_profile(image: Image.Image, profile: bytes, *, or_srgb: bool = False) -> bool:
    """Whether an ICC profile is sound and of the kind of an image, which may be of any mode.

    With `or_srgb` also whether it is that of sRGB, which grey pictures often have, and do not need.
    """
    base = {"1": "L", "LA": "L", "La": "L", "CMYK": "CMYK", "LAB": "LAB"}
    read = _read_profile(profile, base.get(image.mode, "L" if image.mode[0] in "LIF" else "RGB"))
    return read.fits or (or_srgb and read.is_srgb)


@dataclass(frozen=True)
class _ReadProfile:
    """An ICC profile for pictures of one mode."""

    fits: bool = False
    """Whether it is of their kind, and whole."""

    is_srgb: bool = False

    transform: ImageCms.ImageCmsTransform | None = None
    """To sRGB; None where none is needed, and where it does not fit."""


@lru_cache(maxsize=2)  # It is asked for several times for each picture, and may have megabytes of tables.
def _read_profile(data: bytes, mode: str) -> _ReadProfile:
    is_srgb = False
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(data))
        is_srgb = _is_srgb(source)
        if _mode_of(source) != mode:
            return _ReadProfile(is_srgb=is_srgb)
        if is_srgb and mode == "RGB":
            return _ReadProfile(
                fits=True, is_srgb=True
            )  # Converting sRGB to itself would still move pixels by a level.
        # That it opens says no more than that its header is whole.
        return _ReadProfile(fits=True, is_srgb=is_srgb, transform=_to_srgb_from(source, mode))
    except Exception as error:  # A broken profile is no reason to refuse the picture.
        if is_out_of_memory(error):
            raise
        return _ReadProfile(is_srgb=is_srgb)


def _mode_of(profile: ImageCms.ImageCmsProfile) -> str | None:
    """The mode of pictures that a profile fits."""
    space = profile.profile.xcolor_space.strip()
    return {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}.get(space)


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    return (profile.profile.profile_description or "").startswith("sRGB")


def _to_srgb_from(source: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    """Relative colorimetric with black point compensation, which is how photo programs show pictures."""
    return ImageCms.buildTransform(
        source,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


@cache
def srgb_profile() -> bytes:
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # The date of its making: the same picture gives the same bytes on every day.
    data[24:36] = (2000).to_bytes(2) + (1).to_bytes(2) * 2 + bytes(6)
    return bytes(data)
