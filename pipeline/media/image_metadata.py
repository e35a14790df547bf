"""What an image file holds besides its colours: alpha, EXIF, XMP, IPTC, comments, text and resolution."""

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from .. import storage
from .exif_tags import Source, TagTree, parse_tags
from .image_colors import alpha_of
from .image_exif import (
    IPTC_TAG,
    PHOTOSHOP_TAG,
    XMP_TAG,
    exif_resolution,
    given_xmp,
    kept_exif,
    listed,
    shortened_exif,
    tags_of_exif,
    tags_or_none,
    with_resolution,
)
from .image_file import TRANSPOSE, exif_orientation, open_image
from .photoshop import IPTC, PROFILES, iptc_of, iptc_segment
from .unread_headers import raw_profile
from .xmp import of_painting, shortened_xmp

_JPEG_SEGMENT = 65_533 - 40
"""Bytes of EXIF, of XMP, and of IPTC, that fit into a JPEG."""

_JPEG_SUFFIXES, _TIFF_SUFFIXES = frozenset({".jpg", ".jpeg"}), frozenset({".tif", ".tiff"})
ALPHA_SUFFIXES = frozenset({".png", ".webp"}) | _TIFF_SUFFIXES
_METADATA_SUFFIXES = ALPHA_SUFFIXES | _JPEG_SUFFIXES

_PROFILES = tuple(f"Raw profile type {name}" for name in (*PROFILES, "exif", "APP1", "xmp", "icc", "icm"))
_READ_OTHERWISE = ("XML:com.adobe.xmp", *_PROFILES, "exif:Orientation", "tiff:Orientation", "icc:", "png:")
"""Beginnings of the names of texts in a PNG that are read elsewhere, or hold for the old file only."""

_OF_EXIF = ("exif:", "tiff:")
"""The same of those that repeat what the EXIF of the file has, where it has some."""

_COMMENT = "Comment"
"""The name of a comment among the texts of a PNG."""


@dataclass(frozen=True)
class Text:
    """A named text of a PNG; of an international one also the language, and the name in it."""

    name: str
    value: str
    language: str | None = None
    translated: str = ""

    @property
    def is_comment(self) -> bool:
        """Whether it is what a JPEG has as its comment."""
        return self.name == _COMMENT and not self.language


@dataclass(frozen=True)
class Extras:
    """What an image file holds besides its colours, for the file of its painting."""

    alpha: np.ndarray | None = None
    """`H×W` uint8, 255 is opaque, upright; None where all is opaque."""

    exif: bytes | None = None
    """Tags about the picture; without its orientation, thumbnail and maker's note, which hold for the old file only."""

    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    iptc: bytes | None = None
    comments: tuple[bytes, ...] = ()
    texts: tuple[Text, ...] = ()

    def at_size(self, size: tuple[int, int]) -> "Extras":
        """The same for a painting of size (height, width)."""
        if self.alpha is None or self.alpha.shape == size:
            return self
        reduced = Image.fromarray(self.alpha).resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return replace(self, alpha=np.asarray(reduced))

    def fitted(self, suffix: str) -> tuple["Extras", list[str]]:
        """(What a file of this ending can hold, a line for each thing that it cannot.)"""
        kept, lost, suffix = self, [], suffix.lower()
        hold_none = f"left out: {suffix} files hold none"
        if self.alpha is not None and suffix not in ALPHA_SUFFIXES:
            kept = replace(kept, alpha=None)
            lost.append(lost_alpha(suffix))
        if (self.exif or self.xmp) and suffix not in _METADATA_SUFFIXES:
            kept = replace(kept, exif=None, xmp=None)
            lost.append(f"the metadata is {hold_none}")
        if self.iptc and suffix not in _JPEG_SUFFIXES | _TIFF_SUFFIXES:
            kept = replace(kept, iptc=None)
            lost.append(f"the IPTC data are {hold_none}")
        if self.comments and suffix not in _JPEG_SUFFIXES | {".png"}:
            kept = replace(kept, comments=())
            lost.append(f"the comment in the file is {hold_none}")
        if self.texts and suffix != ".png":
            kept = replace(kept, texts=())
            lost.append(f"text in the file ({listed(sorted({text.name for text in self.texts}))}) is {hold_none}")
        return kept._within_segments(suffix, lost) if suffix in _JPEG_SUFFIXES else (kept, lost)

    def _within_segments(self, suffix: str, lost: list[str]) -> tuple["Extras", list[str]]:
        kept, limit = self, f"left out: {suffix} files hold at most 64 kB of it"
        if self.xmp is not None and len(self.xmp) > _JPEG_SEGMENT:
            xmp, names = shortened_xmp(self.xmp, _JPEG_SEGMENT)
            kept = replace(kept, xmp=xmp)
            if xmp is None:
                lost.append(f"the XMP is {limit}")
            elif names:  # Else it was long by its padding.
                lost.append(f"{listed(names)} of the XMP is {limit}")
        if self.exif is not None and len(self.exif) > _JPEG_SEGMENT:
            exif, names = shortened_exif(self.exif, _JPEG_SEGMENT)
            kept = replace(kept, exif=exif)
            lost.append(f"{listed(names)} of the EXIF is {limit}")
        if self.iptc is not None and len(self.iptc) > _JPEG_SEGMENT:
            kept = replace(kept, iptc=None)
            lost.append(f"the IPTC data are {limit}")
        if any(len(comment) > _JPEG_SEGMENT for comment in self.comments):
            kept = replace(kept, comments=tuple(text for text in self.comments if len(text) <= _JPEG_SEGMENT))
            lost.append(f"the comment in the file is {limit}")
        return kept, lost


def lost_alpha(suffix: str) -> str:
    """The line for a picture with alpha, used or not, whose painting is a file of an ending that holds none."""
    return f"the alpha channel (transparency) is left out: {suffix.lower()} files hold none"


def read_extras(path: Path, *, strip: bool = False) -> Extras:
    """What the image file holds besides its colours; metadata that cannot be read counts as none.

    Kept are what EXIF, XMP and IPTC say of the picture, the camera, the time and the place, comments, text, and the
    resolution; the maker's note is not, as its addresses hold for the old file only. With `strip` the metadata is not
    read. Raises `InputError` as `read_image` does.
    """
    with open_image(path) as image:
        orientation = exif_orientation(image)
        image.load()  # PNG may keep its metadata behind the pixels.
        upright = image.transpose(TRANSPOSE[orientation]) if orientation in TRANSPOSE else image
        return replace(Extras() if strip else metadata_of(image, path), alpha=alpha_of(upright))


def metadata_of(image: Image.Image, path: Path) -> Extras:
    """The same without alpha, of an image that is open; of a PNG that is not loaded, what comes before its pixels."""
    given = tags_or_none(image, path)
    # Pillow has one dot an inch for a TIFF that says nothing.
    is_in_tags = image.format in ("TIFF", "WEBP", "AVIF", "HEIF")
    dpi = exif_resolution(given) if is_in_tags else image.info.get("dpi")
    return Extras(
        exif=kept_exif(given),
        xmp=_xmp(image, given),
        dpi=_plausible_dpi(dpi),
        iptc=_iptc(image, given),
        comments=tuple(_comments(image, given)),
        texts=tuple(text for text in _texts(image, given) if not text.is_comment),
    )


def _xmp(image: Image.Image, given: TagTree) -> bytes | None:
    with contextlib.suppress(ValueError):  # Broken metadata counts as none.
        return of_painting(given_xmp(image, given) or b"") or None
    return None


def _iptc(image: Image.Image, given: TagTree) -> bytes | None:
    with contextlib.suppress(Exception):  # Broken metadata counts as none.
        if image.format != "TIFF" and (data := image.info.get("photoshop", {}).get(IPTC)):
            return bytes(data)
        rows = (*(raw_profile(image.info, name) for name in PROFILES), given.bytes_of(PHOTOSHOP_TAG))
        return given.bytes_of(IPTC_TAG) or next(filter(None, (iptc_of(row) for row in rows if row)), None)
    return None


def _comments(image: Image.Image, given: TagTree) -> Iterator[bytes]:
    yield from (data for kind, data in getattr(image, "applist", ()) if kind == "COM" and data)
    yield from (text.value.encode() for text in _texts(image, given) if text.is_comment)


def _texts(image: Image.Image, given: TagTree) -> Iterator[Text]:
    """The texts of a PNG that are not read otherwise."""
    if not isinstance(image, PngImagePlugin.PngImageFile):
        return
    texts = image.text if image.png is None else image.png.im_text  # `text` would decode the pixels.
    read_otherwise = _READ_OTHERWISE + (_OF_EXIF if given.tags or given.inner else ())
    for name, value in texts.items():
        if not name.startswith(read_otherwise):
            if isinstance(value, PngImagePlugin.iTXt):
                yield Text(name, str(value), str(value.lang or ""), str(value.tkey or ""))
            else:
                yield Text(name, value)


def _plausible_dpi(dpi: object) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in dpi)  # type: ignore[attr-defined]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 <= across <= 100_000 and 1 <= down <= 100_000 else None


def png_tags(extras: Extras = Extras()) -> PngImagePlugin.PngInfo:
    """What a PNG of a painting says besides its pixels."""
    tags = PngImagePlugin.PngInfo()
    tags.add(b"sRGB", b"\x01")  # Rendering intent 1: relative colorimetric.
    if extras.xmp is not None:
        tags.add_itxt("XML:com.adobe.xmp", extras.xmp.decode("utf-8", "replace"))
    for text in extras.texts:
        if text.language is None:
            tags.add_text(text.name, text.value)
        else:
            tags.add_itxt(text.name, text.value, text.language, text.translated)
    if extras.comments:
        tags.add_text(_COMMENT, "\n".join(_decoded(comment).replace("\0", "") for comment in extras.comments))
    return tags


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def extra_options(suffix: str, extras: Extras) -> dict[str, Any]:
    """Options of Pillow's `save` by which a file gets what it holds of `extras`, but for the EXIF of a TIFF."""
    options: dict[str, Any] = {}
    if extras.dpi is not None and suffix != ".webp":
        options["dpi"] = extras.dpi
    if suffix not in _METADATA_SUFFIXES:
        return options
    if suffix in _TIFF_SUFFIXES:
        tags = Image.Exif()
        for tag, data in ((XMP_TAG, extras.xmp), (IPTC_TAG, extras.iptc)):
            if data is not None:
                tags[tag] = data
        return {**options, "exif": tags} if len(tags) else options
    exif = extras.exif
    if suffix == ".webp" and extras.dpi is not None:
        exif = with_resolution(exif, extras.dpi)
    if exif is not None:
        options["exif"] = exif
    if suffix == ".png":
        options["pnginfo"] = png_tags(extras)
    elif extras.xmp is not None:
        options["xmp"] = extras.xmp
    if suffix in _JPEG_SUFFIXES:
        comments = b"".join(b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text for text in extras.comments)
        options["extra"] = (iptc_segment(extras.iptc) if extras.iptc else b"") + comments
    return options


def add_exif_to_tiff(path: Path, exif: bytes) -> None:
    """Adds tags to a TIFF that was just written: a new directory at its end, with those that are there."""
    given, data = tags_of_exif(exif), path.read_bytes()
    tree = parse_tags(Source(data))
    if tree.order != given.order:
        given = given.swapped()
    there = {tag.number for tag in given.tags}
    tree.tags = [tag for tag in tree.tags if tag.number not in there]
    tree.inner = given.inner
    offset = len(data) + len(data) % 2
    storage.overwrite(path, len(data), bytes(len(data) % 2) + tree.directory(offset, given.tags))
    storage.overwrite(path, 4, struct.pack(f"{tree.order}I", offset))
