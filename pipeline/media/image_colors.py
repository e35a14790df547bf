"""Alpha and colour profiles of images; conversion to sRGB in 8 bits."""

from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from ..errors import InputError
from ..out_of_memory import is_out_of_memory


def alpha_of(image: Image.Image) -> np.ndarray | None:
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
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
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = _profile_to_profile(image, ImageCms.ImageCmsProfile(lab), ImageCms.ImageCmsProfile(srgb))
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
    if image.mode == "F":
        raise InputError(f"cannot read image {path}: its pixels are floating-point numbers; convert it to 16 bits")
    return image


def _through_profile(image: Image.Image, profile: bytes) -> Image.Image | None:
    """`image`, of mode L, RGB, CMYK or LAB, converted from its ICC profile to sRGB; None where that fails."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if _mode_of(source) != image.mode:
            return None
        if image.mode == "RGB" and _is_srgb(source):
            return image  # Converting sRGB to itself would still move pixels by a level.
        return _profile_to_profile(image, source, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")))
    except Exception as error:  # A broken profile is no reason to refuse the picture.
        if is_out_of_memory(error):
            raise
        return None


def fits_profile(image: Image.Image, profile: bytes, *, or_srgb: bool = False) -> bool:
    """Whether an ICC profile is sound and of the kind of an image, which may be of any mode.

    With `or_srgb` also whether it is that of sRGB, which grey pictures often have, and do not need.
    """
    base = {"1": "L", "LA": "L", "La": "L", "CMYK": "CMYK", "LAB": "LAB"}
    mode = base.get(image.mode, "L" if image.mode[0] in "LIF" else "RGB")
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        return _mode_of(source) == mode or (or_srgb and _is_srgb(source))
    except Exception:
        return False


def _mode_of(profile: ImageCms.ImageCmsProfile) -> str | None:
    """The mode of pictures that a profile fits."""
    space = profile.profile.xcolor_space.strip()
    return {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}.get(space)


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    return (profile.profile.profile_description or "").startswith("sRGB")


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


@cache
def srgb_profile() -> bytes:
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # The date of its making: the same picture gives the same bytes on every day.
    data[24:36] = (2000).to_bytes(2) + (1).to_bytes(2) * 2 + bytes(6)
    return bytes(data)
