"""What an image file holds besides its colours: alpha, EXIF, XMP and resolution."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from .image_colors import alpha_of
from .image_file import TRANSPOSE, exif_orientation, open_image

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

ALPHA_SUFFIXES = frozenset({".png", ".webp", ".tif", ".tiff"})
_METADATA_SUFFIXES = ALPHA_SUFFIXES | {".jpg", ".jpeg"}


@dataclass(frozen=True)
class Extras:
    """What an image file holds besides its colours, for the file of its painting."""

    alpha: np.ndarray | None = None
    """`H×W` uint8, 255 is opaque, upright; None where all is opaque."""

    exif: bytes | None = None
    """Tags about the picture; without its orientation, thumbnail and maker's note, which hold for the old file only."""

    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None

    def at_size(self, size: tuple[int, int]) -> "Extras":
        """The same for a painting of size (height, width)."""
        if self.alpha is None or self.alpha.shape == size:
            return self
        reduced = Image.fromarray(self.alpha).resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return replace(self, alpha=np.asarray(reduced))

    def without_metadata(self) -> "Extras":
        """The alpha alone, as it is part of the picture."""
        return Extras(self.alpha)

    def lost_in(self, suffix: str) -> list[str]:
        """Names of what a file of this ending cannot hold."""
        lost = []
        if self.alpha is not None and suffix.lower() not in ALPHA_SUFFIXES:
            lost.append("transparency")
        if (self.exif or self.xmp) and suffix.lower() not in _METADATA_SUFFIXES:
            lost.append("metadata")
        return lost


def read_extras(path: Path) -> Extras:
    """What the image file holds besides its colours; metadata that cannot be read counts as none.

    Kept are what EXIF says of the picture, the camera, the time and the place, XMP, and the resolution; the
    maker's note is not, as its addresses hold for the old file only. Raises `InputError` as `read_image` does.
    """
    with open_image(path) as image:
        orientation = exif_orientation(image)
        image.load()  # PNG may keep its metadata behind the pixels.
        upright = image.transpose(TRANSPOSE[orientation]) if orientation in TRANSPOSE else image
        dpi = image.info.get("dpi")
        return Extras(alpha_of(upright), _exif(image), _xmp(image), _plausible_dpi(dpi))


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


def png_tags(xmp: bytes | None) -> PngImagePlugin.PngInfo:
    tags = PngImagePlugin.PngInfo()
    tags.add(b"sRGB", b"\x01")  # Rendering intent 1: relative colorimetric.
    if xmp is not None:
        tags.add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    return tags


def extra_options(suffix: str, extras: Extras) -> dict[str, Any]:
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
        options["pnginfo"] = png_tags(extras.xmp)
    elif extras.xmp is not None:
        options["xmp"] = extras.xmp
    return options
