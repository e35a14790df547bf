"""What headers say and Pillow passes over: how colours are meant (cICP, nclx, BMP), and EXIF that is text in a PNG.

It is added to `Image.info` under the keys that Pillow has for the same facts: `icc_profile`, `gamma`, `chromaticity`,
`exif`, `xmp`; and as `cicp`, the numbers of primaries and transfer by ITU-T H.273.
"""

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

from PIL import Image

from .boxes import boxes_in, find_body
from .png_chunks import chunk_data

_MOST_PROPERTIES_BYTES = 1 << 26
"""Of an AVIF; a profile may be among them."""

_MOST_PROFILE_BYTES = 1 << 26


def complete_info(image: Image.Image) -> None:
    """Adds to `image.info` what Pillow leaves out. The image is open and not loaded."""
    file: Any = getattr(image, "fp", None)
    if image.format == "HEIF":
        image.info |= _code_points_of_heif(image.info)
    if file is None or image.format not in ("PNG", "AVIF", "BMP"):
        return
    position = file.tell()
    try:
        if image.format == "PNG":
            image.info |= _of_png(image.info, file)
        elif image.format == "AVIF":
            image.info |= _code_points_of_avif(file)
        else:
            image.info |= bmp_colors(file)
    except (struct.error, ValueError, IndexError):
        return  # Broken metadata counts as none.
    finally:
        file.seek(position)


def _of_png(info: Mapping[str | tuple[int, int], Any], file: BinaryIO) -> dict[str | tuple[int, int], Any]:
    found: dict[str | tuple[int, int], Any] = {}
    if (data := chunk_data(file, b"cICP")) is not None and len(data) == 4:
        found["cicp"] = (data[0], data[1])
    return found | text_profiles(info)


def text_profiles(info: Mapping[str | tuple[int, int], Any]) -> dict[str | tuple[int, int], Any]:
    """EXIF and XMP that ImageMagick and others write into a PNG as hexadecimal text."""
    found: dict[str | tuple[int, int], Any] = {}
    for key, names in (("exif", ("exif", "APP1")), ("xmp", ("xmp",))):
        texts = [info.get(f"Raw profile type {name}") for name in names]
        text = next((text for text in texts if isinstance(text, str)), None)
        if text is None or key in info:
            continue
        try:
            data = bytes.fromhex("".join(text.split("\n")[3:]))
        except ValueError:
            continue
        # APP1 is either of them.
        if key == "xmp" or data.startswith(b"Exif\0\0"):
            found[key] = data
    return found


def _code_points_of_heif(info: Mapping[Any, Any]) -> dict[str | tuple[int, int], Any]:
    profile = info.get("nclx_profile")
    if not isinstance(profile, dict):
        return {}
    return {"cicp": (profile.get("color_primaries"), profile.get("transfer_characteristics"))}


def _code_points_of_avif(file: BinaryIO) -> dict[str | tuple[int, int], Any]:
    properties = find_body(file, b"meta", b"iprp", b"ipco", most_bytes=_MOST_PROPERTIES_BYTES) or b""
    numbers = (body[4:] for name, body in boxes_in(properties) if name == b"colr" and body.startswith(b"nclx"))
    first = next(numbers, None)
    return {} if first is None else {"cicp": struct.unpack_from(">HH", first)}


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
    if space != bytes(4):
        return {}  # sRGB, or what Windows takes for it.
    ends = struct.unpack_from("<9I", header, 60)
    gammas = struct.unpack_from("<3I", header, 96)
    if not all(gammas) or max(gammas) - min(gammas) > 655:
        return {}  # Most programs leave them empty; three curves of their own are nobody's practice.
    found: dict[str | tuple[int, int], Any] = {"gamma": 65_536 / gammas[1]}
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
