"""Properties of the picture in a HEIC or AVIF that its decoders do not tell (ISO/IEC 23008-12)."""

import struct
from typing import BinaryIO

from .boxes import boxes_in, find_body

_LONGEST_META = 1 << 26
"""Bytes; a colour profile may be among them."""


def primary_properties(file: BinaryIO) -> list[tuple[bytes, bytes]]:
    """(Kind, data) of each property of the picture that is shown; none where the file is broken."""
    try:
        meta = find_body(file, b"meta", most_bytes=_LONGEST_META) or b""
        boxes = dict(boxes_in(meta[4:]))  # After version and flags.
        item = _primary_item(boxes[b"pitm"])
        containers = dict(boxes_in(boxes[b"iprp"]))
        properties = list(boxes_in(containers[b"ipco"]))
        numbers = _associated(containers[b"ipma"], item)
        return [properties[number - 1] for number in numbers if 0 < number <= len(properties)]
    except (KeyError, IndexError, struct.error):
        return []


def _primary_item(data: bytes) -> int:
    return int.from_bytes(data[4:6] if data[0] == 0 else data[4:8])


def _associated(data: bytes, item: int) -> list[int]:
    """The numbers, from 1, of the properties of an item."""
    version, is_wide = data[0], data[3] & 1
    (count,) = struct.unpack_from(">I", data, 4)
    position, width = 8, 2 if is_wide else 1
    for _ in range(count):
        id_width = 2 if version < 1 else 4
        found = int.from_bytes(data[position : position + id_width])
        many = data[position + id_width]
        position += id_width + 1
        if found == item:
            places = range(position, position + many * width, width)
            mask = 0x7FFF if is_wide else 0x7F
            return [int.from_bytes(data[place : place + width]) & mask for place in places]
        position += many * width
    return []
