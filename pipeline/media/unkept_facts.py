"""What the header of an image shows and its painting does not keep, a line each, whatever the format."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from .exif_tags import TagTree
from .image_color_tags import unkept_colors
from .image_exif import (
    LAYERS_TAG,
    PHOTOSHOP_TAG,
    XMP_TAG,
    given_tags,
    given_xmp,
    listed,
    tags_or_none,
    unkept_tags,
)
from .photoshop import PROFILES, has_more_than_iptc, resources
from .unread_headers import raw_profile
from .xmp import attachments_of, of_painting

_SUBFILE_TYPE_TAG, _REDUCED_OR_MASK = 254, 0b101
_GAIN_MAP_HEAD = b"urn:iso:std:iso:ts:21496"

_READ_SEGMENTS = {
    "APP0": (b"JFIF\0", b"JFXX\0"),
    "APP1": (b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"),
    "APP2": (b"ICC_PROFILE\0", b"MPF\0", _GAIN_MAP_HEAD),
    "APP13": (b"Photoshop 3.0\0",),
    "APP14": (b"Adobe",),
    "COM": (b"",),
}
"""The segments of a JPEG that are read, or reported by themselves, and how they begin."""

_CREDENTIALS = "Content Credentials (C2PA)"
_SAMSUNG_TAIL = b"SEFT"


def unkept_pictures(image: Image.Image, path: Path) -> Iterator[str]:
    """A line for each thing of the picture itself that is not painted: further pictures, depth, range, colours."""
    attached = _attached(image, path)
    # The gain map of an Ultra HDR JPEG is its second picture.
    gain_maps = int(image.format == "MPO" and "HDR gain map" in attached)
    count = _picture_count(image) - gain_maps
    if count > 1:
        is_first = image.tell() == hidden_count(image)
        yield (
            f"the first of its {count} pictures is painted"
            if is_first
            else f"one of its {count} pictures is painted, the primary one"
        )
    for what in attached:
        yield f"the {what} is left out"
    if image.format == "TIFF" and LAYERS_TAG in _tags(image):
        yield "the Photoshop layers are left out: the picture that they make is painted"
    yield from unkept_colors(image)


def unkept_metadata(image: Image.Image, path: Path) -> Iterator[str]:
    """A line for each thing that is said about the picture and is left out, whatever the format of the painting."""
    given = TagTree()
    try:
        given = given_tags(image, path)
    except Exception:
        if image.info.get("exif"):
            yield "the EXIF is left out: it is damaged"
    yield from unkept_tags(given)
    yield from _unkept_xmp(image, given)
    if repeated := image.info.get("repeated_texts"):
        yield f"of texts of one name ({listed(repeated)}) the last alone is kept"
    if _has_photoshop_data(image, given):
        yield "Photoshop data are left out"
    if others := sorted(set(_others(image))):
        yield f"data that are not read are left out: {listed(others)}"
    if (aspect := _pixel_aspect(image)) is not None:
        yield f"the pixels are painted as square: their shape ({aspect[0]}:{aspect[1]}) is left out"


def _unkept_xmp(image: Image.Image, given: TagTree) -> Iterator[str]:
    xmp = given_xmp(image, given)
    try:
        _ = xmp and of_painting(xmp)
    except ValueError:
        yield "the XMP is left out: it is damaged, or far too long"
    if image.format != "TIFF" and given.bytes_of(XMP_TAG) and given_xmp(image, TagTree()):
        yield "the XMP within the EXIF is left out: the file has other XMP, which is kept"


def _has_photoshop_data(image: Image.Image, given: TagTree) -> bool:
    with contextlib.suppress(Exception):  # Broken metadata counts as none.
        rows = (given.bytes_of(PHOTOSHOP_TAG), *(raw_profile(image.info, name) for name in PROFILES))
        kinds = {kind for row in rows for kind, _ in resources(row or b"")}
        return has_more_than_iptc(kinds.union(image.info.get("photoshop") or ()))
    return False


def _others(image: Image.Image) -> Iterator[str]:
    """The names of data in the file that nothing here reads."""
    for name, data in _segments(image):
        if not data.startswith(_READ_SEGMENTS.get(name, ())):
            yield _CREDENTIALS if b"c2pa" in data else name
    for name in image.info.get("unread_chunks", ()):
        yield _CREDENTIALS if name in ("caBX", "C2PA") else name
    for found in image.info.get("metadata") or ():
        yield str(found.get("content_type") or found.get("type"))


def _pixel_aspect(image: Image.Image) -> tuple[int, int] | None:
    """Width to height of the pixels where they are said not to be square, and no resolution says it."""
    # Both are numbers of pixels in one length, across and down.
    density = image.info.get("aspect") or (image.info.get("jfif_unit") == 0 and image.info.get("jfif_density"))
    return (density[1], density[0]) if density and density[0] != density[1] and all(density) else None


def _attached(image: Image.Image, path: Path) -> list[str]:
    """What is attached to the picture, as its file says."""
    info = image.info
    found = attachments_of(given_xmp(image, tags_or_none(image, path)) or b"")
    if any(str(name).startswith("APP2") and data.startswith(_GAIN_MAP_HEAD) for name, data in _segments(image)):
        found.append("HDR gain map")
    for name in info.get("aux") or ():
        kind = str(name).rsplit(":", 1)[-1]
        found.append("HDR gain map" if "gainmap" in kind.casefold() else f"auxiliary picture ({kind})")
    if info.get("has_gain_map"):
        found.append("HDR gain map")
    if info.get("depth_images"):
        found.append("depth map")
    if image.format in ("JPEG", "MPO") and _has_samsung_tail(path):
        found.append("film, sound or further shot that Samsung's camera has appended")
    return list(dict.fromkeys(found))


def _has_samsung_tail(path: Path) -> bool:
    with open(path, "rb") as file:
        file.seek(-min(len(_SAMSUNG_TAIL), path.stat().st_size), os.SEEK_END)
        return file.read() == _SAMSUNG_TAIL


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
