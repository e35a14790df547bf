"""What headers say and Pillow passes over: how colours are meant (cICP, nclx, BMP), and EXIF that is text in a PNG.

It is added to `Image.info` under the keys that Pillow has for the same facts: `icc_profile`, `gamma`, `chromaticity`,
`exif`, `xmp`; and as `cicp`, the numbers of primaries and transfer by ITU-T H.273 and whether the range is full;
`bit_depth`; `unread_chunks` of a PNG and WebP; `repeated_texts` of a PNG; `has_gain_map` and `profile_elsewhere`.
"""

import os
import struct
from collections import Counter
from collections.abc import Mapping, Set
from typing import Any, BinaryIO

from PIL import Image

from .exif_tags import PREFIX
from .heif_properties import primary_properties
from .png_chunks import chunks_of, text_keywords

_MOST_PROFILE_BYTES = 1 << 26
_BRAND_BYTES = 64
_IHDR_BYTES, _DEPTH_OFFSET = 13, 8

_READ_CHUNKS = {
    *(b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT"),
    *(b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"sBIT", b"mDCV", b"cLLI"),
    *(b"tEXt", b"zTXt", b"iTXt", b"eXIf", b"pHYs", b"tIME", b"bKGD", b"hIST", b"sPLT"),
}
"""What is read, or holds for the old file or its display only."""

_READ_WEBP_CHUNKS = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP "}
_RIFF_HEAD_BYTES, _MOST_CHUNKS = 12, 100_000


def complete_info(image: Image.Image) -> None:
    """Adds to `image.info` what Pillow leaves out. The image is open and not loaded."""
    file: Any = getattr(image, "fp", None)
    if image.format == "HEIF":
        image.info |= _code_points_of_heif(image.info)
    if file is None or image.format not in ("PNG", "WEBP", "AVIF", "BMP"):
        return
    position = file.tell()
    try:
        if image.format == "PNG":
            image.info |= _of_png(image.info, file)
        elif image.format == "WEBP":
            image.info["unread_chunks"] = _unread_webp_chunks(file)
        elif image.format == "AVIF":
            image.info |= _of_avif(file)
        else:
            image.info |= bmp_colors(file)
    except (struct.error, ValueError, LookupError):
        return  # Broken metadata counts as none.
    finally:
        file.seek(position)


def _of_png(info: Mapping[str | tuple[int, int], Any], file: BinaryIO) -> dict[str | tuple[int, int], Any]:
    found: dict[str | tuple[int, int], Any] = {}
    chunks = {chunk.name: chunk for chunk in chunks_of(file)}
    short = {}
    for name in chunks.keys() & {b"cICP", b"IHDR"}:
        file.seek(chunks[name].offset)
        short[name] = file.read(min(chunks[name].size, _IHDR_BYTES))
    found["bit_depth"] = short[b"IHDR"][_DEPTH_OFFSET]
    code_points = short.get(b"cICP", b"")
    if len(code_points) == 4 and code_points[2] == 0:
        found["cicp"] = (code_points[0], code_points[1], bool(code_points[3]))
    late = chunks.get(b"eXIf")
    if late is not None and late.is_late and "exif" not in info:
        file.seek(late.offset)
        found["exif"] = PREFIX + file.read(min(late.size, _MOST_PROFILE_BYTES))
    counts = Counter(keyword for keyword, _ in text_keywords(file))
    found["repeated_texts"] = sorted(keyword for keyword, count in counts.items() if count > 1)
    found["unread_chunks"] = _named(chunks.keys() - _READ_CHUNKS)
    return found | text_profiles(info)


def _unread_webp_chunks(file: BinaryIO) -> tuple[str, ...]:
    names = set()
    file.seek(_RIFF_HEAD_BYTES)
    for _ in range(_MOST_CHUNKS):
        if len(head := file.read(8)) < 8:
            break
        names.add(head[:4])
        size = int.from_bytes(head[4:], "little")
        file.seek(size + size % 2, os.SEEK_CUR)
    return _named(names - _READ_WEBP_CHUNKS)


def _named(chunks: Set[bytes]) -> tuple[str, ...]:
    """The names in order, without what is none in a damaged file."""
    return tuple(sorted(name.decode() for name in chunks if name.isalnum()))


def text_profiles(info: Mapping[str | tuple[int, int], Any]) -> dict[str | tuple[int, int], Any]:
    """EXIF, XMP and colour profile that ImageMagick and others write into a PNG as hexadecimal text."""
    found: dict[str | tuple[int, int], Any] = {}
    for key, names in (("exif", ("exif", "APP1")), ("xmp", ("xmp",)), ("icc_profile", ("icc", "icm"))):
        data = next(filter(None, (raw_profile(info, name) for name in names)), None)
        # APP1 is EXIF or XMP.
        if data is not None and key not in info and (key != "exif" or data.startswith(PREFIX)):
            found[key] = data
    return found


def raw_profile(info: Mapping[str | tuple[int, int], Any], name: str) -> bytes | None:
    """Data that are written into a PNG as hexadecimal text, behind an empty line, their name and their length."""
    text = info.get(f"Raw profile type {name}")
    try:
        return bytes.fromhex("".join(text.split("\n")[3:])) if isinstance(text, str) else None
    except ValueError:
        return None


def _code_points_of_heif(info: Mapping[Any, Any]) -> dict[str | tuple[int, int], Any]:
    profile = info.get("nclx_profile")
    if not isinstance(profile, dict):
        return {}
    return {"cicp": (profile["color_primaries"], profile["transfer_characteristics"], True)}


def _of_avif(file: BinaryIO) -> dict[str | tuple[int, int], Any]:
    found: dict[str | tuple[int, int], Any] = {}
    for kind, data in primary_properties(file):
        if kind == b"colr" and data[:4] == b"nclx" and len(data) >= 8:
            found["cicp"] = (*struct.unpack_from(">HH", data, 4), True)
        elif kind == b"pixi" and len(data) > 5:
            found["bit_depth"] = data[5]
    file.seek(0)
    found["has_gain_map"] = b"tmap" in file.read(_BRAND_BYTES)
    return found


def bmp_colors(file: BinaryIO) -> dict[str | tuple[int, int], Any]:
    """What the header of a BMP, of version 4 or 5, says of its colours."""
    file.seek(14)
    header = file.read(124)
    size = int.from_bytes(header[:4], "little")
    if size not in (108, 124) or len(header) < size:
        return {}
    space = header[56:60]
    if space == b"DEBM" and size == 124:
        offset, count = struct.unpack_from("<II", header, 112)
        file.seek(14 + offset)
        return {"icc_profile": file.read(min(count, _MOST_PROFILE_BYTES))}
    if space == b"KNIL":
        return {"profile_elsewhere": True}
    if space != bytes(4):
        return {}  # sRGB, or what Windows takes for it.
    ends = struct.unpack_from("<9I", header, 60)
    gammas = struct.unpack_from("<3I", header, 96)
    if not all(gammas):
        return {}  # Most programs leave them empty.
    found: dict[str | tuple[int, int], Any] = {"gamma": tuple(65_536 / gamma for gamma in gammas)}
    if all(sum(ends[start : start + 3]) for start in (0, 3, 6)):
        found["chromaticity"] = _chromaticity([end / (1 << 30) for end in ends])
    return found


def _chromaticity(ends: list[float]) -> tuple[float, ...]:
    """x and y of white, red, green and blue, from the end points of red, green and blue.

    These are X, Y and Z of each, whose sum is white; or, as many programs have them, x, y and z, which leave it open.
    """
    colors = [ends[start : start + 3] for start in (0, 3, 6)]
    white = [sum(color[axis] for color in colors) for axis in range(3)]
    if all(abs(sum(color) - 1) < 0.02 for color in colors):
        white = [0.3127, 0.3290, 0.3583]
    return tuple(value / sum(color) for color in (white, *colors) for value in color[:2])
