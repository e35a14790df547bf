"""The boxes of MP4, MOV, HEIC and AVIF (ISO/IEC 14496-12, 4.2), which QuickTime calls atoms.

A box has a size, a name of four letters and a body, which may consist of boxes again. Nothing in a file is believed:
the walk ends where a size makes no sense.
"""

import io
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_MOST_BOXES = 200_000
"""Side by side; a film in one fragment a frame has half a million in an hour, of which the first are looked at."""

_VERSIONED = {b"meta"}
"""Boxes whose boxes come after four bytes, of a version and flags."""

TOP_BOXES = frozenset(
    {
        *(b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid", b"udta", b"meta", b"junk"),
        *(b"moof", b"mfra", b"sidx", b"ssix", b"styp", b"emsg", b"prft"),
    }
)
"""All that lie in no other box of an MP4 or MOV."""

_BRAND_BOXES = {b"ftyp", b"styp"}
"""Boxes of a few bytes at the start of a file, whose end no file lacks that holds anything."""

_MOST_FILE_BYTES = 1 << 44
"""The largest file that common file systems take."""


@dataclass(frozen=True)
class Box:
    """Where a box lies in its file."""

    name: bytes
    """Four letters. The body of a `uuid` begins with the sixteen bytes that are its real name."""

    start: int
    """Where its header begins."""

    body: int
    """Where its body begins."""

    end: int
    """Where it ends as it says itself, which may be beyond the file."""

    is_open: bool = False
    """Whether it says no size, and so goes on to the end of what it lies in."""


def boxes(file: BinaryIO, start: int = 0, stop: int | None = None) -> Iterator[Box]:
    """The boxes that lie side by side from `start` to `stop`, by default to the end of the file.

    Ends at a box that is cut off within its header, or whose size is less than that of its header, and after very many.
    """
    stop = file.seek(0, os.SEEK_END) if stop is None else stop
    for _ in range(_MOST_BOXES):
        if start >= stop:
            return
        file.seek(start)
        header = file.read(min(16, stop - start))
        if len(header) < 8:
            return
        size, name = struct.unpack_from(">I4s", header)
        body, is_open = start + 8, size == 0
        if size == 1:
            if len(header) < 16:
                return
            (size,) = struct.unpack_from(">Q", header, 8)
            body = start + 16
        end = stop if is_open else start + size
        if end < body:
            return
        yield Box(name, start, body, end, is_open)
        start = end


def is_cut_off(last: Box, length: int) -> bool:
    """Whether a file of so many bytes was cut off in its last box. What else goes beyond the end is damage."""
    is_plausible = last.name in TOP_BOXES - _BRAND_BOXES and last.end - last.start <= _MOST_FILE_BYTES
    return is_plausible and last.end > length


def boxes_in(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of the boxes that lie side by side in `data`; the last may be cut off."""
    for box in boxes(io.BytesIO(data)):
        yield box.name, data[box.body : box.end]


def find_body(file: BinaryIO, *names: bytes, most_bytes: int) -> bytes | None:
    """The body of the first box that lies in the named boxes, the outermost first; None where there is none.

    Of a longer one, `most_bytes` are returned.
    """
    start, stop = 0, file.seek(0, os.SEEK_END)
    for position, name in enumerate(names):
        box = next((box for box in boxes(file, start, stop) if box.name == name), None)
        if box is None:
            return None
        versioned = 4 if name in _VERSIONED and position < len(names) - 1 else 0
        start, stop = box.body + versioned, min(box.end, stop)
    file.seek(start)
    return file.read(min(stop - start, most_bytes))


def to_box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, name) + body
