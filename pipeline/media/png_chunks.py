"""The chunks of a PNG, found without decoding a pixel."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS = 100_000
_KEYWORD_BYTES = 80
_TEXT = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class Chunk:
    """A chunk: its name, where its data begins, how long it is, and whether the pixels came before it."""

    name: bytes
    offset: int
    size: int
    is_late: bool


def chunks_of(file: BinaryIO) -> Iterator[Chunk]:
    """All chunks but those of pixels, of very many the first; none where the file is no PNG, or behind a cut."""
    file.seek(0)
    if file.read(8) != _SIGNATURE:
        return
    offset, is_late = 8, False
    for _ in range(_MOST_CHUNKS):
        file.seek(offset)
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return
        size, name = int.from_bytes(head[:4]), head[4:]
        if name == b"IDAT":
            is_late = True
        else:
            yield Chunk(name, offset + 8, size, is_late)
        offset += 12 + size


def text_keywords(file: BinaryIO) -> list[tuple[str, bool]]:
    """(The keyword of a text, whether the pixels came before it.)"""
    found = []
    for chunk in chunks_of(file):
        if chunk.name in _TEXT:
            file.seek(chunk.offset)
            keyword = file.read(min(chunk.size, _KEYWORD_BYTES)).partition(b"\0")[0]
            found.append((keyword.decode("latin-1"), chunk.is_late))
    return found


def has_late_metadata(file: BinaryIO) -> bool:
    """Whether EXIF or XMP, which may turn the picture, come after the pixels."""
    position = file.tell()
    try:
        late = any(chunk.is_late and chunk.name == b"eXIf" for chunk in chunks_of(file))
        words = ("XML:com.adobe.xmp", "Raw profile type exif")
        return late or any(is_late and keyword in words for keyword, is_late in text_keywords(file))
    finally:
        file.seek(position, os.SEEK_SET)
