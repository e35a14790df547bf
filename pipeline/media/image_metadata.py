"""What an image file holds besides its colours: alpha, EXIF, XMP and resolution."""

import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from .. import storage
from .exif_tags import INTEROPERABILITY_IFD, PREFIX, Read, Tag, TagTree, parse_tags
from .image_colors import alpha_of
from .image_file import TRANSPOSE, exif_orientation, open_image
from .unread_headers import text_profiles
from .xmp import without_attachments

_MAKER_NOTE_TAG = 0x927C
_PIXEL_WIDTH_TAG, _PIXEL_HEIGHT_TAG = 0xA002, 0xA003
_XMP_TAG = 700
_COLOR_SPACE = 0xA001
_RESOLUTION_TAGS = (282, 283, 296)  # resolution across and down, and its unit

_KEPT_TAGS = (
    *(270, 271, 272, 305, 306, 315, 33432),  # description, make, model, software, date, artist, copyright
    *(269, 285, 316),  # name of the document, name of the page, computer
    *(18246, 18249, 40091, 40092, 40093, 40094, 40095),  # rating; title, comment, author, keywords, subject
)
"""The tags that say something of a picture; others describe how its file is laid out."""

_OF_THE_FILE = {_MAKER_NOTE_TAG, _PIXEL_WIDTH_TAG, _PIXEL_HEIGHT_TAG, INTEROPERABILITY_IFD}
"""Tags about the old file: addresses and sizes in it, and a note whose addresses hold there only."""

_JPEG_SEGMENT = 65_533 - 40
"""Bytes of EXIF, and of XMP, that fit into a JPEG."""

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

    def fitted(self, suffix: str) -> tuple["Extras", list[str]]:
        """(What a file of this ending can hold, a line for each thing that it cannot.)"""
        kept, lost, suffix = self, [], suffix.lower()
        if self.alpha is not None and suffix not in ALPHA_SUFFIXES:
            kept = replace(kept, alpha=None)
            lost.append(f"the transparency is left out: {suffix} files hold none")
        if (self.exif or self.xmp) and suffix not in _METADATA_SUFFIXES:
            kept = replace(kept, exif=None, xmp=None)
            lost.append(f"the metadata is left out: {suffix} files hold none")
        if suffix not in (".jpg", ".jpeg"):
            return kept, lost
        if kept.xmp is not None and len(kept.xmp) > _JPEG_SEGMENT:
            kept = replace(kept, xmp=None)
            lost.append(f"the XMP is left out: {suffix} files hold at most {_JPEG_SEGMENT} bytes of it")
        if kept.exif is not None and len(kept.exif) > _JPEG_SEGMENT:
            exif, names = _shortened(kept.exif)
            kept = replace(kept, exif=exif)
            lost.append(f"{', '.join(names)} of the EXIF is left out: {suffix} files hold at most 64 kB of it")
        return kept, lost


def read_extras(path: Path) -> Extras:
    """What the image file holds besides its colours; metadata that cannot be read counts as none.

    Kept are what EXIF says of the picture, the camera, the time and the place, XMP, and the resolution; the
    maker's note is not, as its addresses hold for the old file only. Raises `InputError` as `read_image` does.
    """
    with open_image(path) as image:
        orientation = exif_orientation(image)
        image.load()  # PNG may keep its metadata behind the pixels.
        upright = image.transpose(TRANSPOSE[orientation]) if orientation in TRANSPOSE else image
        dpi = image.info.get("dpi") or _resolution_by_exif(image)
        return Extras(alpha_of(upright), _exif(image, path), _xmp(image), _plausible_dpi(dpi))


def _exif(image: Image.Image, path: Path) -> bytes | None:
    """The tags about the picture, each value with the bytes that it has in the file."""
    try:
        given = given_tags(image, path)
        kept = TagTree(given.order, [tag for tag in given.tags if tag.number in _KEPT_TAGS])
        for number, tags in given.inner.items():
            kept.inner[number] = [_of_painting(tag, given.order) for tag in tags if tag.number not in _OF_THE_FILE]
        kept.inner = {number: tags for number, tags in kept.inner.items() if tags}
        return PREFIX + kept.to_bytes() if kept.tags or kept.inner else None
    except Exception:  # Metadata of any kind of brokenness is no reason to refuse a picture.
        return None


def _of_painting(tag: Tag, order: str) -> Tag:
    """The painting is in sRGB, whatever the photo was in."""
    return replace(tag, value=struct.pack(f"{order}H", 1)) if tag.number == _COLOR_SPACE and tag.kind == 3 else tag


def given_tags(image: Image.Image, path: Path) -> TagTree:
    """All tags of an image. Raises `ValueError` where it has none, or broken ones."""
    if image.format == "TIFF":
        with open(path, "rb") as file:

            def read(offset: int, count: int) -> bytes:
                file.seek(offset)
                return file.read(count)

            return parse_tags(read)
    data = image.info.get("exif") or text_profiles(image.info).get("exif")
    if not isinstance(data, bytes):
        raise ValueError("no EXIF")
    data = data.removeprefix(PREFIX)
    return parse_tags(_reader(data))


def _xmp(image: Image.Image) -> bytes | None:
    info = image.info
    found = info.get("xmp") or info.get("XML:com.adobe.xmp") or text_profiles(info).get("xmp")
    data = found.encode() if isinstance(found, str) else found
    if not isinstance(data, bytes):
        return None
    # The painting is upright.
    data = re.sub(rb"(tiff:Orientation(?:=[\"']|>))\s*[2-8]", rb"\g<1>1", data)
    return without_attachments(data)


def _shortened(exif: bytes) -> tuple[bytes | None, list[str]]:
    """(EXIF without its longest tags, so that it fits into a JPEG; their names.)"""
    tree, names = parse_tags(_reader(exif.removeprefix(PREFIX))), []
    left = len(exif)
    placed = [(tag, tags) for tags in (tree.tags, *tree.inner.values()) for tag in tags]
    for tag, tags in sorted(placed, key=lambda each: -len(each[0].value)):
        if left <= _JPEG_SEGMENT:
            break
        left -= len(tag.value) + len(tag.value) % 2
        tags.remove(tag)
        names.append(ExifTags.TAGS.get(tag.number, f"tag {tag.number}"))
    return PREFIX + tree.to_bytes(), names


def _reader(data: bytes) -> Read:
    return lambda offset, count: data[offset : offset + count]


def _resolution_by_exif(image: Image.Image) -> tuple[float, float] | None:
    """The resolution in dots an inch as the EXIF of a WebP, AVIF or HEIC has it."""
    if image.format not in ("WEBP", "AVIF", "HEIF"):
        return None
    try:
        across, down, unit = (image.getexif().get(number) for number in _RESOLUTION_TAGS)
        scale = 2.54 if unit == 3 else 1.0
        return (scale * float(across), scale * float(down))  # type: ignore[arg-type]
    except Exception:  # Metadata of any kind of brokenness counts as none.
        return None


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
    if extras.dpi is not None and suffix != ".webp":
        options["dpi"] = extras.dpi
    if suffix not in _METADATA_SUFFIXES:
        return options
    if suffix in (".tif", ".tiff"):
        if extras.xmp is not None:
            tags = Image.Exif()
            tags[_XMP_TAG] = extras.xmp
            options["exif"] = tags
        return options
    if suffix == ".webp" and extras.dpi is not None:
        options["exif"] = _with_resolution(extras.exif, extras.dpi)
    elif extras.exif is not None:
        options["exif"] = extras.exif
    if extras.xmp is not None and suffix == ".png":
        options["pnginfo"] = png_tags(extras.xmp)
    elif extras.xmp is not None:
        options["xmp"] = extras.xmp
    return options


def _with_resolution(exif: bytes | None, dpi: tuple[float, float]) -> bytes:
    """EXIF with the resolution, for which WebP has no other place."""
    tree = TagTree() if exif is None else parse_tags(_reader(exif.removeprefix(PREFIX)))
    tree.tags = [tag for tag in tree.tags if tag.number not in _RESOLUTION_TAGS]
    for number, value in zip(_RESOLUTION_TAGS, dpi, strict=False):
        tree.tags.append(Tag(number, 5, 1, struct.pack(f"{tree.order}II", round(1000 * value), 1000)))
    tree.tags.append(Tag(_RESOLUTION_TAGS[2], 3, 1, struct.pack(f"{tree.order}H", 2)))
    return PREFIX + tree.to_bytes()


def add_exif_to_tiff(path: Path, exif: bytes) -> None:
    """Adds tags to a TIFF that was just written: a new directory at its end, with those that are there."""
    given, data = parse_tags(_reader(exif.removeprefix(PREFIX))), path.read_bytes()
    tree = parse_tags(_reader(data))
    if tree.order != given.order:
        given = given.swapped()
    there = {tag.number for tag in given.tags}
    tree.tags = [tag for tag in tree.tags if tag.number not in there]
    tree.inner = given.inner
    offset = len(data) + len(data) % 2
    storage.overwrite(path, len(data), bytes(len(data) % 2) + tree.directory(offset, given.tags))
    storage.overwrite(path, 4, struct.pack(f"{tree.order}I", offset))
