"""EXIF as it lies in a file: a tree of tags (TIFF 6.0), read and written without a change to any value.

Pillow decodes text as Latin-1 and encodes it as ASCII; here the bytes of a value stay what they are.
"""

import io
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO

PREFIX = b"Exif\0\0"
"""Before EXIF in a JPEG."""

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
INTEROPERABILITY_IFD = 0xA005

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 129: 1}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
"""By type; 129 is text in UTF-8 (Exif 3.0), 16 to 18 are in BigTIFF only."""

_HEADS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
"""Byte order, and whether it is a BigTIFF, by the first bytes."""

_LONG = 4
_MOST_ENTRIES = 2000
_MOST_VALUE_BYTES = 1 << 26
"""A longer one says nothing of the picture: it is the layers of Photoshop."""


class Source:
    """The bytes that tags are read from: those of a file, or a block of them.

    Values may overlap in a file that was made to, and would be many times as long when they are written. All values
    that are read have at most as many bytes together as there are.
    """

    def __init__(self, data: bytes | BinaryIO) -> None:
        self._file = io.BytesIO(data) if isinstance(data, bytes) else data
        self._size = self._file.seek(0, os.SEEK_END)
        self._left = self._size
        self.unread_count = 0
        """Of the tags and directories that are not where they are said to be, and of values that overlap."""

    def read(self, offset: int, count: int) -> bytes:
        """So many bytes from an offset, fewer where they end."""
        if offset > self._size:
            return b""
        self._file.seek(offset)
        return self._file.read(count)

    def may_read_value(self, size: int) -> bool:
        """Whether a value of this size may still be read; it counts as read."""
        is_within = size <= self._left
        self._left -= size * is_within
        return is_within


@dataclass(frozen=True)
class Tag:
    """A value as it is stored, of a TIFF type, so many times."""

    number: int
    kind: int
    count: int
    value: bytes

    def swapped(self) -> "Tag":
        """The same in the other byte order."""
        width = 4 if self.kind in (5, 10) else _TYPE_BYTES[self.kind]
        words = (self.value[start : start + width][::-1] for start in range(0, len(self.value), width))
        return Tag(self.number, self.kind, self.count, b"".join(words))


@dataclass
class TagTree:
    """The tags of a directory, and the directories in it by the tag that points to them."""

    order: str = "<"
    """Byte order, as `struct` has it."""

    tags: list[Tag] = field(default_factory=list)
    inner: dict[int, list[Tag]] = field(default_factory=dict)
    unread_count: int = 0
    """Of the tags and directories that cannot be read."""

    def bytes_of(self, number: int) -> bytes | None:
        """The value of a tag of the outer directory."""
        return next((tag.value for tag in self.tags if tag.number == number), None)

    def swapped(self) -> "TagTree":
        """The same in the other byte order."""
        order = ">" if self.order == "<" else "<"
        inner = {number: [tag.swapped() for tag in tags] for number, tags in self.inner.items()}
        return TagTree(order, [tag.swapped() for tag in self.tags], inner)

    def to_bytes(self) -> bytes:
        """The tree as a TIFF without pictures."""
        header = (b"II*\0" if self.order == "<" else b"MM\0*") + struct.pack(f"{self.order}I", 8)
        return header + self.directory(8)

    def directory(self, offset: int, more: Iterable[Tag] = ()) -> bytes:
        """The directories as bytes that are to lie at `offset`, with `more` tags in the outer one."""
        outer = [*self.tags, *more]
        pointers = [Tag(number, _LONG, 1, bytes(4)) for number in self.inner]
        size = self._size([*outer, *pointers])
        inner = b""
        for position, (number, tags) in enumerate(self.inner.items()):
            place = struct.pack(f"{self.order}I", offset + size + len(inner))
            pointers[position] = Tag(number, _LONG, 1, place)
            inner += self._packed(tags, offset + size + len(inner))
        return self._packed([*outer, *pointers], offset) + inner

    def _size(self, tags: list[Tag]) -> int:
        return 2 + 12 * len(tags) + 4 + sum(_even(len(tag.value)) for tag in tags if len(tag.value) > 4)

    def _packed(self, tags: list[Tag], offset: int) -> bytes:
        entries, values = bytearray(), bytearray()
        begin = offset + 2 + 12 * len(tags) + 4
        for tag in sorted(tags, key=lambda tag: tag.number):
            entries += struct.pack(f"{self.order}HHI", tag.number, tag.kind, tag.count)
            if len(tag.value) <= 4:
                entries += tag.value.ljust(4, b"\0")
            else:
                entries += struct.pack(f"{self.order}I", begin + len(values))
                values += tag.value.ljust(_even(len(tag.value)), b"\0")
        return struct.pack(f"{self.order}H", len(tags)) + bytes(entries) + bytes(4) + bytes(values)


def parse_tags(source: Source) -> TagTree:
    """The tags of a TIFF. Raises `ValueError` for another file, and for a broken one."""
    head = source.read(0, 16)
    if head[:4] not in _HEADS or len(head) < 8:
        raise ValueError("no TIFF")
    order, is_big = _HEADS[head[:4]]
    offset = _number(order, head[8:16] if is_big else head[4:8])
    tree = TagTree(order, parse_directory(source, order, offset, is_big=is_big))
    for number in (EXIF_IFD, GPS_IFD):
        if (pointer := tree.bytes_of(number)) is not None:
            try:
                tree.inner[number] = parse_directory(source, order, _number(order, pointer), is_big=is_big)
            except ValueError:  # A broken one costs no other.
                source.unread_count += 1
    tree.tags = [tag for tag in tree.tags if tag.number not in tree.inner]
    tree.unread_count = source.unread_count
    return tree


def parse_directory(source: Source, order: str, offset: int, *, is_big: bool = False) -> list[Tag]:
    """The tags of the directory at an offset, of those the ones whose value is there. Raises `ValueError` for none."""
    count_size, width, inline = (8, 20, 8) if is_big else (2, 12, 4)
    head = source.read(offset, count_size)
    if len(head) < count_size:
        raise ValueError(f"no directory at {offset}")
    if (count := _number(order, head)) > _MOST_ENTRIES:
        raise ValueError(f"{count} tags")
    data = source.read(offset + count_size, width * count)
    if count and len(data) < width:
        raise ValueError(f"no tag of {count} at {offset}")
    tags = {}
    for position in range(0, len(data) - width + 1, width):
        number, kind, length = struct.unpack_from(f"{order}HH{'Q' if is_big else 'I'}", data, position)
        size = _TYPE_BYTES.get(kind, 0) * length
        if not size or size > _MOST_VALUE_BYTES:
            continue
        if not source.may_read_value(size):
            source.unread_count += 1
            continue
        place = position + width - inline
        value = data[place : place + size]
        if size > inline:
            value = source.read(_number(order, data[place : place + inline]), size)
        if len(value) == size:
            tags[number] = Tag(number, kind, length, value)
        else:
            source.unread_count += 1
    return list(tags.values())


def _number(order: str, data: bytes) -> int:
    """A count or an address, of as many bytes as it has."""
    return int.from_bytes(data, "little" if order == "<" else "big")


def _even(size: int) -> int:
    return size + size % 2
