"""Image resources of Photoshop, among which IPTC lies in a JPEG and in a TIFF."""

import struct
from collections.abc import Iterable, Iterator

IPTC = 0x0404
PROFILES = ("iptc", "8bim")
"""Names under which a PNG has a row of resources as text, or IPTC by itself."""

_RESOLUTION, _THUMBNAILS, _IPTC_DIGEST = 0x03ED, (0x0409, 0x040C), 0x0425
_READ_OTHERWISE = {IPTC, _RESOLUTION, *_THUMBNAILS, _IPTC_DIGEST}
_SIGNATURE, _IPTC_MARK = b"8BIM", b"\x1c"
_MOST_RESOURCES = 100_000


def has_more_than_iptc(kinds: Iterable[int]) -> bool:
    """Whether there are resources of other kinds than IPTC, the resolution and thumbnails."""
    return not _READ_OTHERWISE.issuperset(kinds)


def iptc_of(data: bytes) -> bytes | None:
    """The IPTC in a row of resources, or by itself; None where there is none."""
    if data.startswith(_IPTC_MARK):
        return data
    return next((body for kind, body in resources(data) if kind == IPTC and body), None)


def resources(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(Kind, data) of each of a row of resources, of very many the first."""
    position = 0
    for _ in range(_MOST_RESOURCES):
        if data[position : position + 4] != _SIGNATURE or position + 12 > len(data):
            return
        kind, name_length = struct.unpack_from(">HB", data, position + 4)
        position += 6 + 1 + name_length + (1 + name_length) % 2
        size = int.from_bytes(data[position : position + 4])
        yield kind, data[position + 4 : position + 4 + size]
        position += 4 + size + size % 2


def iptc_segment(iptc: bytes) -> bytes:
    """The segment of a JPEG (APP13) that holds IPTC."""
    resource = _SIGNATURE + struct.pack(">HHI", IPTC, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    body = b"Photoshop 3.0\0" + resource
    return b"\xff\xed" + (len(body) + 2).to_bytes(2) + body
