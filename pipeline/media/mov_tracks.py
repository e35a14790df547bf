"""What MP4 and MOV say of a track and ffmpeg does not write as asked, put right in the finished file.

ffmpeg switches on the first track of subtitles where none is (`tkhd`), writes into MOV only the languages that the
Macintosh had (`mdhd`), and no roles (`kind`, ISO/IEC 14496-12, 8.10.4).
"""

import shutil
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import storage
from .boxes import boxes, boxes_in, to_box

_SCHEME = b"urn:mpeg:dash:role:2011"
_ROLES = {
    "hearing_impaired": b"caption",
    "captions": b"caption",
    "comment": b"commentary",
    "visual_impaired": b"description",
    "descriptions": b"description",
    "dub": b"dub",
    "forced": b"forced-subtitle",
}
"""Dispositions by ffmpeg's names, and the roles of DASH that it takes for them."""

_ENABLED = 1
"""The flag of `tkhd` by which players show a track."""

_NESTED = {b"trak", b"mdia", b"minf", b"stbl"}
_OFFSETS = {b"stco": "I", b"co64": "Q"}


@dataclass(frozen=True)
class TrackMarks:
    """What is to be said of a track."""

    is_enabled: bool | None = None
    """Whether players show it unasked; None leaves what is there."""

    language: str | None = None
    """Three letters (ISO 639-2); None leaves what is there."""

    dispositions: frozenset[str] = frozenset()
    """By ffmpeg's names; those that have no role are passed over."""


def mark_tracks(path: Path, marks: Sequence[TrackMarks]) -> None:
    """Changes what an MP4 or MOV file, whose header lies before its frames, says of its tracks, in their order.

    Leaves another file as it is. Raises `StorageError` where it cannot be written, and `OSError` where it is missing.
    """
    with open(path, "rb") as file:
        found = next((box for box in boxes(file) if box.name in (b"moov", b"mdat")), None)
        if found is None or found.name == b"mdat":
            return
        file.seek(0)
        head = file.read(found.start)
        movie = file.read(found.end - found.start)[found.body - found.start :]
        marked = _marked(movie, marks)
        if len(marked) == len(movie):
            storage.overwrite(path, found.body, marked)
            return
        try:
            marked = _with_chunks_moved(marked, len(to_box(b"moov", marked)) - (found.end - found.start))
        except struct.error:
            # A file so long that its offsets, of 32 bits, grow no further: all but the roles.
            marked = _marked(movie, [replace(each, dispositions=frozenset()) for each in marks])
            storage.overwrite(path, found.body, marked)
            return
        with storage.atomic_file(path) as grown, open(grown, "wb") as target:
            target.write(head + to_box(b"moov", marked))
            shutil.copyfileobj(file, target, 1 << 20)


def _marked(movie: bytes, marks: Sequence[TrackMarks]) -> bytes:
    left = iter(marks)

    def change(name: bytes, body: bytes) -> bytes:
        return _marked_track(body, next(left, TrackMarks())) if name == b"trak" else body

    return _changed(movie, change)


def _marked_track(track: bytes, marks: TrackMarks) -> bytes:
    said = {
        data for name, body in boxes_in(track) if name == b"udta" for kind, data in boxes_in(body) if kind == b"kind"
    }
    roles = dict.fromkeys(role for disposition, role in _ROLES.items() if disposition in marks.dispositions)
    bodies = (bytes(4) + _SCHEME + b"\0" + role + b"\0" for role in roles)
    kinds = b"".join(to_box(b"kind", body) for body in bodies if body not in said)

    def change(name: bytes, body: bytes) -> bytes:
        if name == b"tkhd" and marks.is_enabled is not None:
            flags = body[3] | _ENABLED if marks.is_enabled else body[3] & ~_ENABLED
            return body[:3] + bytes([flags]) + body[4:]
        if name == b"mdia" and marks.language is not None:
            return _changed(body, lambda inner, data: _in_language(inner, data, str(marks.language)))
        return body + kinds if name == b"udta" else body

    has_place = any(name == b"udta" for name, _ in boxes_in(track))
    return _changed(track, change) + (b"" if has_place or not kinds else to_box(b"udta", kinds))


def _in_language(name: bytes, body: bytes, language: str) -> bytes:
    """The body of `mdhd` with another language, packed into 15 bits as MOV takes it too."""
    if name != b"mdhd":
        return body
    offset = 32 if body[0] == 1 else 20
    packed = 0
    for letter in language:
        packed = packed << 5 | (ord(letter) - 0x60)
    return body[:offset] + struct.pack(">H", packed) + body[offset + 2 :]


def _with_chunks_moved(body: bytes, count: int) -> bytes:
    """The boxes with the offsets of all chunks of frames so many bytes further on."""

    def change(name: bytes, data: bytes) -> bytes:
        if name in _NESTED:
            return _with_chunks_moved(data, count)
        if name not in _OFFSETS:
            return data
        letter, (entries,) = _OFFSETS[name], struct.unpack_from(">I", data, 4)
        offsets = struct.unpack_from(f">{entries}{letter}", data, 8)
        return data[:8] + struct.pack(f">{entries}{letter}", *(offset + count for offset in offsets))

    return _changed(body, change)


def _changed(body: bytes, change: Callable[[bytes, bytes], bytes]) -> bytes:
    """The boxes with what `change` makes of the name and body of each."""
    return b"".join(to_box(name, change(name, data)) for name, data in boxes_in(body))
