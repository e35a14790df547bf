"""Properties of the picture in a HEIC or AVIF that its decoders do not tell (ISO/IEC 23008-12)."""

import struct
from collections.abc import Iterator
from typing import BinaryIO

_LONGEST_META = 1 << 24
_MOST_BOXES = 10_000


def primary_properties(file: BinaryIO) -> list[tuple[bytes, bytes]]:
    """(Kind, data) of each property of the picture that is shown; none where the file is broken."""
    try:
        meta = _meta(file)[4:]
        boxes = dict(_boxes(meta))
        item = _primary_item(boxes[b"pitm"])
        containers = dict(_boxes(boxes[b"iprp"]))
        properties = list(_boxes(containers[b"ipco"]))
        numbers = _associated(containers[b"ipma"], item)
        return [properties[number - 1] for number in numbers if 0 < number <= len(properties)]
    except (KeyError, IndexError, struct.error):
        return []


def _meta(file: BinaryIO) -> bytes:
    """The box of the metadata, which is on the outer level."""
    file.seek(0)
    for _ in range(_MOST_BOXES):
        head = file.read(8)
        size, kind = struct.unpack(">I4s", head)
        rest = size - 8
        if size == 1:
            rest = int.from_bytes(file.read(8)) - 16
        if rest < 0:
            break
        if kind == b"meta":
            return file.read(min(rest, _LONGEST_META))
        file.seek(rest, 1)
    raise KeyError("meta")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        if size < 8:
            return
        yield kind, data[position + 8 : position + size]
        position += size


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
