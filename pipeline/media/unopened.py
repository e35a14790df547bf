"""Why a video cannot be opened, and what to do about it, in plain words."""

import itertools
import os
from pathlib import Path

from .boxes import TOP_BOXES, boxes, is_cut_off
from .openable import remedy_for, what_it_is

_MOST_BOXES = 10_000
_BOX_HEADER_BYTES = 8

PLAYLIST_SUFFIXES = frozenset({".m3u8", ".m3u", ".mpd"})
_PIECE_SUFFIX = ".m4s"
_JOIN = "join them, as in: cat init.mp4 *.m4s > film.mp4"


def why_unopened(path: Path) -> str | None:
    """The cause that the file itself shows, and the remedy; None where it shows none."""
    what = what_it_is(path)
    if what is not None and "video" not in what:
        if (remedy := remedy_for(what, "video")) is not None:
            return f"it is {what}; {remedy}"
        is_other = what.startswith(("sound", "a playlist"))
        return f"it is {what}; name a video" if is_other else f"it is {what}; name it so, or name a video"
    return _missing_header(path)


def why_unknown(path: Path) -> str | None:
    """What a file is by an ending that belongs to videos, though not to one that is read, and the remedy."""
    suffix = path.suffix.lower()
    if suffix in PLAYLIST_SUFFIXES:
        return f"is a playlist, which only names a video: get that, as by: ffmpeg -i {path.name} -c copy film.mp4"
    return f"is one piece of a video: {_JOIN}" if suffix == _PIECE_SUFFIX else None


def _missing_header(path: Path) -> str | None:
    """What an MP4 or MOV lacks whose box `moov`, without which no frame is found, is not there or not whole."""
    try:
        with open(path, "rb") as file:
            length = file.seek(0, os.SEEK_END)
            found = list(itertools.islice(boxes(file), _MOST_BOXES))
    except OSError:
        return None
    names = {box.name for box in found}
    if not found or found[0].name not in TOP_BOXES:
        return None
    last = found[-1]
    # A recorder fills in the size of its frames when it is done; until then they are read as boxes.
    is_begun = any(box.name == b"mdat" and box.end == box.body for box in found)
    if last.end > length and (last.name == b"moov" or b"moov" not in names):
        if is_cut_off(last, length):
            told, missing = _in_brackets(last.name), last.end - length
            return f"it is cut off: its last box{told} is {missing} bytes longer than the file; get it again"
        if not is_begun:
            return _damaged(last.start, f"is a box{_in_brackets(last.name)} of {last.end - last.start} bytes")
    if b"moov" in names:
        return None
    if b"moof" in names or names == {b"styp"}:
        return f"it is one piece of a video, without the beginning that describes it: {_JOIN}"
    if len(found) < _MOST_BOXES and length - last.end >= _BOX_HEADER_BYTES and not is_begun:
        return _damaged(last.end, "is no box")
    return (
        "its header (moov) is missing, as that of a recording that was not finished: get it again, or repair it by "
        "the program that recorded it"
    )


def _damaged(offset: int, what: str) -> str:
    return f"it is damaged: what begins at byte {offset} {what}; get it again"


def _in_brackets(name: bytes) -> str:
    """The name of a box for people; nothing where it cannot be printed."""
    text = name.decode("latin-1")
    return f" ({text})" if text.isascii() and text.isprintable() else ""
