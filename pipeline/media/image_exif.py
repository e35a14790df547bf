"""The EXIF of an image for its painting: what says something of the picture, and not of the old file."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from PIL import ExifTags, Image

from .exif_tags import EXIF_IFD, GPS_IFD, INTEROPERABILITY_IFD, PREFIX, Source, Tag, TagTree, parse_tags
from .unread_headers import raw_profile, text_profiles

XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, LAYERS_TAG = 700, 33723, 34377, 37724
_ICC_TAG = 34675
_GEO_TAGS = {33550, 33922, 34264, 34735, 34736, 34737}
_READ_OTHERWISE = {XMP_TAG, IPTC_TAG, PHOTOSHOP_TAG, _ICC_TAG, LAYERS_TAG, EXIF_IFD, GPS_IFD} | _GEO_TAGS

_LAYOUT = {
    *(*range(254, 269), 273, 274, *range(277, 285), *range(286, 294), 296, 297, 300, 301, *range(317, 337)),
    *(*range(338, 352), *range(400, 436), *range(512, 522), *range(529, 533), 559, 32781, *range(32995, 32999)),
    *(33421, 33422, *range(34908, 34913), 59932, 59933),
}
"""Tags on how a file is laid out and coded, on its resolution and on its colours, which are applied."""

_MAKER_NOTE_TAG, _PADDING_TAG, _OFFSET_SCHEMA_TAG, _GAMMA_TAG = 0x927C, 0xEA1C, 0xEA1D, 0xA500
_PIXEL_WIDTH_TAG, _PIXEL_HEIGHT_TAG = 0xA002, 0xA003
_OF_THE_FILE = {
    *(_MAKER_NOTE_TAG, _PADDING_TAG, _OFFSET_SCHEMA_TAG, _GAMMA_TAG),
    *(_PIXEL_WIDTH_TAG, _PIXEL_HEIGHT_TAG, INTEROPERABILITY_IFD),
}
"""Tags about the old file: addresses, sizes and colours in it, and a note whose addresses hold there only."""

COLOR_SPACE_TAG = 0xA001
_RESOLUTION_TAGS, _RESOLUTION_UNIT_TAG = (282, 283), 296
"""Resolution across and down, and its unit."""
_INCH = 2

_LONG, _FIRST_PRIVATE_TAG = 4, 32768
_ADDRESS_KINDS = {13, 16, 17, 18}
"""Addresses in the file, and the numbers that only BigTIFF has."""

_MOST_NAMES = 6


def given_tags(image: Image.Image, path: Path) -> TagTree:
    """All tags of an image. Raises `ValueError` where it has none, or broken ones."""
    if image.format == "TIFF":
        with open(path, "rb") as file:
            return parse_tags(Source(file))
    data = image.info.get("exif") or text_profiles(image.info).get("exif")
    if not isinstance(data, bytes):
        raise ValueError("no EXIF")
    return tags_of_exif(data)


def tags_of_exif(exif: bytes) -> TagTree:
    """The tags in EXIF, with or without the prefix that it has in a JPEG."""
    return parse_tags(Source(exif.removeprefix(PREFIX)))


def tags_or_none(image: Image.Image, path: Path) -> TagTree:
    """The same; metadata of any kind of brokenness count as none."""
    try:
        return given_tags(image, path)
    except Exception:
        return TagTree()


def given_xmp(image: Image.Image, given: TagTree) -> bytes | None:
    """The XMP of an image: where its format has a place for it, else in its tags."""
    info = image.info
    found = info.get("xmp") or info.get("XML:com.adobe.xmp") or raw_profile(info, "xmp") or given.bytes_of(XMP_TAG)
    data = found.encode() if isinstance(found, str) else found
    return data.strip(b"\0") if isinstance(data, bytes) else None


def kept_exif(given: TagTree) -> bytes | None:
    """The tags about the picture, each value with the bytes that it has in the file."""
    kept = TagTree(given.order, [tag for tag in _of_picture(given) if not _may_be_address(tag)])
    for number, tags in given.inner.items():
        plain = (tag for tag in tags if tag.number not in _OF_THE_FILE and tag.kind not in _ADDRESS_KINDS)
        kept.inner[number] = [_in_srgb(tag, given.order) for tag in plain]
    kept.inner = {number: tags for number, tags in kept.inner.items() if tags}
    return PREFIX + kept.to_bytes() if kept.tags or kept.inner else None


def _of_picture(given: TagTree) -> list[Tag]:
    others = _LAYOUT | _READ_OTHERWISE | _OF_THE_FILE
    return [tag for tag in given.tags if tag.number not in others]


def _may_be_address(tag: Tag) -> bool:
    """Whether a value may be an address in the old file: programs have directories of their own."""
    is_known = tag.number < _FIRST_PRIVATE_TAG or tag.number in ExifTags.TAGS
    return tag.kind in _ADDRESS_KINDS or (tag.kind == _LONG and tag.count == 1 and not is_known)


def _in_srgb(tag: Tag, order: str) -> Tag:
    """The painting is in sRGB, whatever the photo was in."""
    is_space = tag.number == COLOR_SPACE_TAG and tag.kind == 3
    return replace(tag, value=struct.pack(f"{order}H", 1)) if is_space else tag


def unkept_tags(given: TagTree) -> Iterator[str]:
    """A line for each thing in the tags of a picture that `kept_exif` and those who read the others leave out."""
    if any(tag.number == _MAKER_NOTE_TAG for tag in given.inner.get(EXIF_IFD, [])):
        yield "the maker's note of the camera is left out"
    if any(tag.number in _GEO_TAGS for tag in given.tags):
        yield "the georeference (GeoTIFF) is left out"
    if given.unread_count:
        yield f"damaged parts of the EXIF are left out ({given.unread_count})"
    names = [_name(tag) for tag in _of_picture(given) if _may_be_address(tag)]
    if names:
        yield f"{listed(names)} of the EXIF is left out: its value may be an address in the old file"


def shortened_exif(exif: bytes, limit: int) -> tuple[bytes, list[str]]:
    """(EXIF of at most `limit` bytes, without its longest tags; their names.)"""
    tree, names = tags_of_exif(exif), []
    left = len(exif)
    placed = [(tag, tags) for tags in (tree.tags, *tree.inner.values()) for tag in tags]
    for tag, tags in sorted(placed, key=lambda each: -len(each[0].value)):
        if left <= limit:
            break
        left -= len(tag.value) + len(tag.value) % 2
        tags.remove(tag)
        names.append(_name(tag))
    return PREFIX + tree.to_bytes(), names


def _name(tag: Tag) -> str:
    return ExifTags.TAGS.get(tag.number, f"tag {tag.number}")


def listed(names: Iterable[str]) -> str:
    """The names, of many the first ones: in a file there may be hundreds."""
    names = list(names)
    return ", ".join(names[:_MOST_NAMES]) + (
        f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    )


def exif_resolution(given: TagTree) -> tuple[float, float] | None:
    """Dots an inch by the tags; None where they say none."""
    try:
        across, down, unit = (given.bytes_of(number) or b"" for number in (*_RESOLUTION_TAGS, _RESOLUTION_UNIT_TAG))
        scale = {2: 1.0, 3: 2.54}[struct.unpack(f"{given.order}H", unit[:2])[0] if unit else _INCH]
        (over, under), (high, low) = (struct.unpack(f"{given.order}II", value) for value in (across, down))
        return scale * over / under, scale * high / low
    except (struct.error, LookupError, ZeroDivisionError):
        return None


def with_resolution(exif: bytes | None, dpi: tuple[float, float]) -> bytes:
    """EXIF with the resolution, for a format that has no other place for it."""
    tree = TagTree() if exif is None else tags_of_exif(exif)
    tree.tags = [tag for tag in tree.tags if tag.number not in (*_RESOLUTION_TAGS, _RESOLUTION_UNIT_TAG)]
    for number, value in zip(_RESOLUTION_TAGS, dpi, strict=True):
        tree.tags.append(Tag(number, 5, 1, struct.pack(f"{tree.order}II", round(1000 * value), 1000)))
    tree.tags.append(Tag(_RESOLUTION_UNIT_TAG, 3, 1, struct.pack(f"{tree.order}H", _INCH)))
    return PREFIX + tree.to_bytes()
