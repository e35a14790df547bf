"""Recognises camera RAW by what is in a file, whatever its name: what Pillow would decode of it is a preview."""

import struct
from pathlib import Path

from .exif_tags import Source, Tag, parse_directory

RAW_SUFFIXES = frozenset(
    {".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".sr2", ".srf", ".orf", ".rw2", ".raf", ".pef", ".srw"}
    | {".x3f", ".3fr", ".fff", ".iiq", ".kdc", ".dcr", ".mrw", ".rwl", ".erf", ".mef", ".mos", ".raw", ".gpr", ".ptx"}
)
"""Endings of camera RAW, which is not read."""

_SIGNATURES = (
    (4, b"ftypcrx "),  # CR3
    (8, b"CR\x02\x00"),  # CR2, a TIFF
    (6, b"HEAPCCDR"),  # CRW
    (0, b"FUJIFILMCCD-RAW"),  # RAF
    (0, b"IIU\x00"),  # RW2, RWL
    (0, b"IIRO"),  # ORF
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"FOVb"),  # X3F
    (0, b"\x00MRM"),  # MRW
    (8, b"IIII"),  # IIQ, a TIFF
    (8, b"MMMM"),
)

_SUBFILE_TYPE, _COMPRESSION, _PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 254, 259, 262, 330, 50706
_RAW_PHOTOMETRIC = {32803, 34892}
"""The pixels of a sensor, as it has them or made linear."""

_RAW_COMPRESSION = {32767, 32769, 32770, 34713, 65000, 65535}
"""Compressions that Sony, Epson, Samsung, Nikon, Kodak and Pentax made for theirs."""

_MOST_SUB_IFDS = 16


def is_camera_raw(path: Path) -> bool:
    """Whether a file holds the pixels of a sensor. False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            source = Source(file)
            head = source.read(0, 16)
            if any(head[offset:].startswith(signature) for offset, signature in _SIGNATURES):
                return True
            order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
            if order is None:
                return False
            (first,) = struct.unpack(f"{order}I", head[4:8])
            outer = {tag.number: tag for tag in parse_directory(source, order, first)}
            if _DNG_VERSION in outer or _is_of_sensor(outer, order):
                return True
            inner = _numbers(outer.get(_SUB_IFDS), order)
            # A preview that points to the picture; what that is stored as is the camera's own business.
            if inner and _numbers(outer.get(_SUBFILE_TYPE), order)[:1] == [1]:
                return True
            directories = (parse_directory(source, order, offset) for offset in inner[:_MOST_SUB_IFDS])
            return any(_is_of_sensor({tag.number: tag for tag in tags}, order) for tags in directories)
    except (OSError, ValueError, struct.error):
        return False


def _is_of_sensor(tags: dict[int, Tag], order: str) -> bool:
    photometric = set(_numbers(tags.get(_PHOTOMETRIC), order))
    return bool(photometric & _RAW_PHOTOMETRIC or set(_numbers(tags.get(_COMPRESSION), order)) & _RAW_COMPRESSION)


def _numbers(tag: Tag | None, order: str) -> list[int]:
    """The whole numbers of a tag; none where it has others."""
    letter = {3: "H", 4: "I", 13: "I"}.get(tag.kind) if tag is not None else None
    if tag is None or letter is None:
        return []
    return list(struct.unpack(f"{order}{tag.count}{letter}", tag.value))
