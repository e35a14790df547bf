"""What the file of an image says of its colours, in the order that its format gives: a profile, codes, or numbers."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from . import hdr
from .exif_tags import EXIF_IFD, INTEROPERABILITY_IFD
from .image_colors import fits_profile
from .image_exif import COLOR_SPACE_TAG
from .image_gamma import Numbers, codes, numbers_of_codes, srgb_light, unless_srgb
from .primaries import ADOBE_RGB, SRGB, Places

_ADOBE_GAMMA = 2.19921875
_INTEROPERABILITY_TAG = 1
_BITS_TAG, _PHOTOMETRIC_TAG, _TRANSFER_FUNCTION_TAG, _WHITE_POINT_TAG, _PRIMARIES_TAG = 258, 262, 301, 318, 319
_WHITE_IS_ZERO = 0


def colors_of(image: Image.Image) -> tuple[bytes | None, Numbers | None]:
    """The ICC profile, or the numbers, that describe the colours of an image; neither where they are those of sRGB.

    In a PNG cICP goes before a profile, and that before sRGB, gamma and chromaticities (PNG, 4.3); in AVIF and HEIC a
    profile goes before nclx. A profile that is broken or of another kind than the picture is passed over.
    """
    profile, by_codes = image.info.get("icc_profile"), _of_codes(image)
    if profile and fits_profile(image, profile) and not (by_codes is not None and image.format == "PNG"):
        return profile, None
    numbers = by_codes or _numbers(image)
    return None, None if numbers is None else unless_srgb(numbers)


def _of_codes(image: Image.Image) -> Numbers | None:
    code_points = image.info.get("cicp")
    if not isinstance(code_points, tuple):
        return None
    primaries, transfer, full_range = code_points
    return numbers_of_codes(primaries, transfer, full_range=full_range)


def _numbers(image: Image.Image) -> Numbers | None:
    if image.mode in ("CMYK", "LAB"):
        return None
    try:
        if image.format in ("PNG", "BMP", "DIB"):
            return None if "srgb" in image.info else _of_gamma(image.info)
        if image.format == "TIFF" and (numbers := _of_tiff(image)) is not None:
            return numbers
        return Numbers(codes() ** _ADOBE_GAMMA, ADOBE_RGB) if _is_adobe_rgb(image) else None
    except Exception:  # A picture is not refused because its metadata are broken.
        return None


def _of_gamma(info: dict[str | tuple[int, int], Any]) -> Numbers | None:
    """Gamma, of all colours or of each, and chromaticities as Pillow has them: white first."""
    gammas = np.atleast_1d(info.get("gamma", 0.0)).astype(float)
    if not ((gammas >= 0.05) & (gammas <= 5)).all():
        return None
    white, *colors = _pairs(info.get("chromaticity", ())) or (SRGB[3], *SRGB[:3])
    return Numbers(codes() ** (1 / gammas[:, None]), (*colors, white))


def _of_tiff(image: Image.Image) -> Numbers | None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    primaries, white = _pairs(tags.get(_PRIMARIES_TAG, ())), _pairs(tags.get(_WHITE_POINT_TAG, ()))
    light = None
    if image.mode != "P" and tags.get(_PHOTOMETRIC_TAG) != _WHITE_IS_ZERO:
        light = _light_of_table(np.atleast_1d(tags.get(_TRANSFER_FUNCTION_TAG, ())), tags.get(_BITS_TAG, 8))
    if light is None and not primaries:
        return None
    return Numbers(srgb_light() if light is None else light, (*(primaries or SRGB[:3]), *(white or SRGB[3:])))


def _light_of_table(table: np.ndarray, bits: Any) -> np.ndarray | None:
    """A transfer function, of all colours or of each, at the 256 code values."""
    levels = 1 << int(np.max(bits))
    if levels < 256 or len(table) not in (levels, 3 * levels):
        return None
    positions = np.round(codes() * (levels - 1)).astype(int)
    return np.asarray(table.reshape(-1, levels)[:, positions] / 65_535)


def _pairs(values: Any) -> Places:
    numbers = list(map(float, values))
    return list(zip(numbers[::2], numbers[1::2], strict=False))


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether the EXIF of a camera says so (DCF 2.0: the file of the optional colour space)."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    exif = image.getexif()
    inner = exif.get_ifd(EXIF_IFD)
    return inner.get(COLOR_SPACE_TAG) == 2 or exif.get_ifd(INTEROPERABILITY_IFD).get(_INTEROPERABILITY_TAG) == "R03"


def unkept_colors(image: Image.Image) -> Iterator[str]:
    """A line for everything that the header of an image shows of its colours and its painting does not keep."""
    info, (profile, numbers) = image.info, colors_of(image)
    if numbers is not None and numbers.transfer is not None:
        yield f"the high dynamic range ({hdr.TRANSFERS[numbers.transfer]}) is reduced to standard (sRGB, 8 bits)"
    elif (bits := _bits(image)) > 8:
        yield f"{bits} bits a colour become 8"
    given = info.get("icc_profile")
    if given and profile is None and not fits_profile(image, given, or_srgb=True):
        yield "the colour profile is not applied: it is damaged, or of another kind than the picture"
    if info.get("profile_elsewhere"):
        yield "the colour profile is not applied: it is in another file"
    if image.mode == "CMYK" and profile is None:
        yield "CMYK without a colour profile: its colours are estimated"
    if "cicp" in info and profile is None and _of_codes(image) is None:
        primaries, transfer, _ = info["cicp"]
        yield f"colours of primaries {primaries} and transfer function {transfer} (ITU-T H.273) are not converted"
    if "chromaticity" in info and not {"gamma", "srgb", "icc_profile", "cicp"} & set(info):
        yield "chromaticities without a gamma are not applied"


def _bits(image: Image.Image) -> int:
    """Of a colour, as far as the header shows."""
    bits = image.info.get("bit_depth")
    if image.format == "TIFF":
        bits = np.max(image.tag_v2.get(_BITS_TAG, 1))  # type: ignore[attr-defined]
    return int(bits) if isinstance(bits, int | np.integer) else 8
