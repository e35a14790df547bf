"""The packets of an MPEG transport stream (ISO/IEC 13818-1), looked at for what its demuxer does not tell.

Each packet of a stream carries a counter. A file that was made by appending others has a step in it where they meet;
libavformat then calls the picture before it corrupt, as if packets had been lost there.
"""

from collections.abc import Iterator
from pathlib import Path

_SYNC = 0x47
_BODY = 188
_STRIDES = (188, 192, 204)
"""Bytes from one packet to the next: plain, with a time code before it (M2TS), with a checksum behind it."""

_TIME_CODE = 4
"""Bytes of a time code; a packet of M2TS begins with it."""

_MOST_BYTES = 1 << 25
"""Of the file, looked at for one picture."""


def is_whole(path: Path, pid: int, position: int) -> bool:
    """Whether the picture whose packet begins at `position`, and the one after it, lack no packet of theirs.

    A step of the counter counts as the seam of two files where a new picture begins there and a program association
    table, with which every file begins, lies before it. `pid` identifies the stream. The demuxer marks a picture one
    too early, as its parser is one behind.
    """
    counter: int | None = None
    begun = 0
    after_table = False
    for header, has_payload in _packets(path, position):
        if header[0] != _SYNC:
            return False  # Something else lies where a packet should.
        if (header[1] & 0x1F) << 8 | header[2] != pid:
            after_table |= not header[1] & 0x1F and not header[2]
            continue
        begins = bool(header[1] & 0x40)
        follows = counter is None or header[3] & 0xF == (counter + has_payload) & 0xF
        is_repeated = counter is not None and has_payload and header[3] & 0xF == counter
        if not follows and not is_repeated and not (begins and after_table):
            return False
        counter, after_table = header[3] & 0xF, False
        begun += begins
        if begun == 3:
            break
    return begun > 0


def _packets(path: Path, position: int) -> Iterator[tuple[bytes, bool]]:
    """(Header, whether it has a payload) of what should be packets from a position on."""
    with open(path, "rb") as file:
        file.seek(position)
        data = file.read(_MOST_BYTES)
    forms = ((begin, size) for begin in (0, _TIME_CODE) for size in _STRIDES if begin + size < len(data))
    begin, stride = next((form for form in forms if data[form[0]] == data[sum(form)] == _SYNC), (0, _BODY))
    for offset in range(begin, len(data) - _BODY + 1, stride):
        header = data[offset : offset + 4]
        yield header, bool(header[3] & 0x10)
