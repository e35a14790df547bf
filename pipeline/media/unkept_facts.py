"""What the header of an image shows and its painting does not keep, a line each, whatever the format."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from .exif_tags import EXIF_IFD
from .image_color_tags import unkept_colors
from .image_metadata import given_tags
from .png_chunks import text_keywords
from .xmp import attachments_of

_MAKER_NOTE_TAG, _THUMBNAIL_IFD = 0x927C, 1
_IPTC_TAGS, _LAYERS_TAG = {33723, 34377}, 37724
_SUBFILE_TYPE_TAG, _REDUCED_OR_MASK = 254, 0b101
_NO_TEXT = {"XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1", "Raw profile type xmp"}
_GAIN_MAP_HEAD = b"urn:iso:std:iso:ts:21496"


def unkept_pictures(image: Image.Image, path: Path) -> Iterator[str]:
    """A line for each thing of the picture itself that is not painted: further pictures, depth, range, colours."""
    attached = _attached(image)
    # The gain map of an Ultra HDR JPEG is its second picture.
    gain_maps = int(image.format == "MPO" and "HDR gain map" in attached)
    count = _picture_count(image) - gain_maps
    if count > 1:
        is_first = image.tell() == hidden_count(image)
        yield (
            f"the first of its {count} pictures is painted"
            if is_first
            else (f"one of its {count} pictures is painted, the primary one")
        )
    for what in attached:
        yield f"the {what} is left out"
    if image.format == "TIFF" and _LAYERS_TAG in _tags(image):
        yield "the Photoshop layers are left out: the picture that they make is painted"
    yield from unkept_colors(image)


def unkept_metadata(image: Image.Image, path: Path) -> Iterator[str]:
    """A line for each thing that is said about the picture and is left out."""
    with contextlib.suppress(Exception):  # Broken metadata counts as none.
        if any(tag.number == _MAKER_NOTE_TAG for tag in given_tags(image, path).inner.get(EXIF_IFD, [])):
            yield "the maker's note of the camera is left out"
    if image.format == "TIFF" and image.tag_v2._bigtiff:  # type: ignore[attr-defined]
        yield "the EXIF is left out: it is not read from a BigTIFF"
    if image.info.get("photoshop") or (image.format == "TIFF" and _IPTC_TAGS & set(_tags(image))):
        yield "IPTC and Photoshop data are left out"
    if image.info.get("comment"):
        yield "the comment in the file is left out"
    if image.format == "PNG" and (texts := _texts(path)):
        yield f"text in the file is left out: {', '.join(texts)}"


def _attached(image: Image.Image) -> list[str]:
    """What is attached to the picture, as its file says."""
    info = image.info
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp") or b""
    found = attachments_of(xmp.encode() if isinstance(xmp, str) else xmp)
    if any(str(name).startswith("APP2") and data.startswith(_GAIN_MAP_HEAD) for name, data in _segments(image)):
        found.append("HDR gain map")
    if any("gainmap" in str(name).casefold() for name in info.get("aux") or ()):
        found.append("HDR gain map")
    if info.get("depth_images"):
        found.append("depth map")
    return list(dict.fromkeys(found))


def _segments(image: Image.Image) -> list[tuple[str, bytes]]:
    """The segments of a JPEG's header."""
    return list(getattr(image, "applist", ()))


def _tags(image: Image.Image) -> Any:
    return getattr(image, "tag_v2", {})


def _picture_count(image: Image.Image) -> int:
    """The pictures in a file, without its thumbnails and masks; 1 where those after the first are damaged."""
    try:
        if image.format == "MPO":
            entries = image.mpinfo[0xB002]  # type: ignore[attr-defined]
            return sum(not entry["Attribute"]["MPType"].startswith("Large Thumbnail") for entry in entries)
        count = getattr(image, "n_frames", 1) - hidden_count(image)
        return count - _thumbnail_count(image, count) if image.format == "TIFF" and count > 1 else count
    except Exception:  # Only the first is painted.
        return 1


def _thumbnail_count(image: Image.Image, count: int) -> int:
    """Of the directories of a TIFF, those with a reduced picture or a mask."""
    try:
        found = 0
        for number in range(1, count):
            image.seek(number)
            found += bool(int(_tags(image).get(_SUBFILE_TYPE_TAG, 0)) & _REDUCED_OR_MASK)
        return found
    finally:
        image.seek(0)


def hidden_count(image: Image.Image) -> int:
    """The number of pictures at the start of an APNG that only programs without animation support show."""
    return int(bool(getattr(image, "default_image", False)))


def _texts(path: Path) -> list[str]:
    with open(path, "rb") as file:
        return sorted({keyword for keyword, _ in text_keywords(file)} - _NO_TEXT)
