"""Whether a media file is as long as it says of itself.

Decoders pass over the end of a file that was cut off: where that falls between two frames they see nothing, and else
some say nothing. Most containers tell how long they are, or mark their end. Nothing is decoded here, and what is
broken in another way is not looked for.
"""

import os
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .boxes import boxes, is_cut_off

_LAST_PAGE = 4
"""The flag of the page that ends a stream of an Ogg file."""

_TAIL_BYTES = 1 << 17
"""Holds the last page of an Ogg file, of which none is longer than 65 307 bytes."""


class _UnstatedError(Exception):
    """The file does not say where it ends, or is broken in another way."""


def truncation_reason(path: Path) -> str | None:
    """What a media file says is missing at its end; None where nothing is known to be.

    Known are MP4 and MOV, Matroska and WebM, AVI, ASF (WMV), FLV, Ogg, MPEG transport streams and GIF.
    """
    try:
        return _what_is_missing(path)
    except _UnstatedError:
        return None


def is_complete(path: Path) -> bool:
    """Whether a media file says where it ends, and ends there."""
    try:
        return _what_is_missing(path) is None
    except _UnstatedError:
        return False


def _what_is_missing(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            head = file.read(1 << 14)
            if head[4:8] in _ATOMS:
                return _iso(file, head, length)
            for magic, look in _KINDS.items():
                if head.startswith(magic):
                    return look(file, head, length)
    except (OSError, struct.error, IndexError, ValueError) as error:
        raise _UnstatedError from error  # Cut off within its header, which its decoder sees.
    raise _UnstatedError


def _shorter(length: int, declared: int) -> str | None:
    if declared <= length:
        return None
    count = declared - length
    return f"the file ends {count} {'byte' if count == 1 else 'bytes'} before its header says"


def _iso(file: BinaryIO, _: bytes, length: int) -> str | None:
    """MP4 and MOV are a sequence of atoms, each preceded by its length."""
    last = deque(boxes(file), maxlen=1).pop()
    # To the end, broken, or no box at all: some put their own words behind a file.
    if last.is_open or last.end < length or (last.end > length and not is_cut_off(last, length)):
        raise _UnstatedError
    return _shorter(length, last.end)


def _matroska(_: BinaryIO, head: bytes, length: int) -> str | None:
    header_bytes, start = _ebml_number(head, 4)
    segment = start + header_bytes
    if head[segment : segment + 4] != b"\x18\x53\x80\x67":
        raise _UnstatedError
    size, start = _ebml_number(head, segment + 4)
    width = start - segment - 4
    if size == (1 << 7 * width) - 1:
        raise _UnstatedError  # As a stream is recorded.
    return _shorter(length, start + size)


def _ebml_number(data: bytes, offset: int) -> tuple[int, int]:
    """A variable-length number of EBML, whose leading zeros give its length, and its end."""
    width = 9 - data[offset].bit_length()
    value = int.from_bytes(data[offset : offset + width])
    return value & ((1 << 7 * width) - 1), offset + width


def _avi(_: BinaryIO, head: bytes, length: int) -> str | None:
    (size,) = struct.unpack_from("<I", head, 4)
    # A recorder that was stopped leaves 0 or all ones, and some count these first eight bytes as well.
    if head[8:12] != b"AVI " or size in (0, length, 0xFFFFFFFF):
        raise _UnstatedError
    return _shorter(length, 8 + size)


def _asf(_: BinaryIO, head: bytes, length: int) -> str | None:
    offset = head.index(_ASF_FILE_PROPERTIES)
    (size,) = struct.unpack_from("<Q", head, offset + 40)
    (flags,) = struct.unpack_from("<I", head, offset + 88)
    if flags & 1:
        raise _UnstatedError  # Broadcast, of unknown length.
    return _shorter(length, size)


def _flv(_: BinaryIO, head: bytes, length: int) -> str | None:
    offset = head.find(b"\0\x08filesize\0")
    (size,) = struct.unpack_from(">d", head, offset + 11) if offset >= 0 else (0.0,)
    if not 0 < size < 1 << 50:
        raise _UnstatedError
    return _shorter(length, int(size))


def _ogg(file: BinaryIO, _: bytes, length: int) -> str | None:
    start = max(0, length - _TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    page = tail.rfind(b"OggS")
    if page < 0 or page + 27 > len(tail):
        raise _UnstatedError
    count = tail[page + 26]
    lengths = tail[page + 27 : page + 27 + count]
    is_cut = len(lengths) < count or page + 27 + count + sum(lengths) > len(tail)
    if not is_cut and not tail[page + 5] & _LAST_PAGE:
        raise _UnstatedError
    return "the file ends within a page" if is_cut else None


def _transport_stream(file: BinaryIO, head: bytes, length: int) -> str | None:
    packet = 188
    if len(head) < 4 * packet or any(head[offset] != 0x47 for offset in range(0, 4 * packet, packet)):
        raise _UnstatedError
    file.seek(length - length % packet)
    # What does not begin as a packet, as zeros that fill a block of the disk, is none that was cut.
    if file.read(1) != b"G":
        raise _UnstatedError
    return f"the file ends within a packet of {packet} bytes"


def _gif(file: BinaryIO, head: bytes, length: int) -> str | None:
    """A GIF has no length but a last byte, which is found by following its blocks."""
    cut = "the file has no end"
    offset = 13 + _palette_bytes(head[10])
    while offset < length:
        file.seek(offset)
        block = file.read(1)
        if block == b";":
            return None
        if block == b"!":
            offset += 2
        elif block == b",":
            offset += 11 + _palette_bytes(file.read(9)[8])
        else:
            raise _UnstatedError  # Not cut off but broken.
        while True:
            file.seek(offset)
            if not (size := file.read(1)):
                return cut
            offset += 1 + size[0]
            if not size[0]:
                break
    return cut


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")

_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
"""With which MP4 and MOV begin."""

_KINDS: dict[bytes, Callable[[BinaryIO, bytes, int], str | None]] = {
    b"\x1a\x45\xdf\xa3": _matroska,
    b"RIFF": _avi,
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"): _asf,
    b"FLV": _flv,
    b"OggS": _ogg,
    b"GIF8": _gif,
    b"G": _transport_stream,
}
"""By the first bytes of a file; the first that fits counts."""
