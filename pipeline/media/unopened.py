"""Why a video cannot be opened, and what to do about it, in plain words."""

import itertools
import os
from pathlib import Path

from .boxes import boxes
from .openable import what_it_is

_TOP_BOXES = {b"ftyp", b"styp", b"sidx", b"moof", b"moov", b"mdat", b"free", b"skip", b"wide"}
"""With which MP4 and MOV begin, and their pieces."""

_MOST_BOXES = 10_000

PLAYLIST_SUFFIXES = frozenset({".m3u8", ".m3u", ".mpd"})
_PIECE_SUFFIX = ".m4s"
_JOIN = "join them, as in: cat init.mp4 *.m4s > film.mp4"


def why_unopened(path: Path) -> str | None:
    """The cause that the file itself shows, and the remedy; None where it shows none."""
    what = what_it_is(path)
    if what is not None and "video" not in what:
        if what.startswith("nothing"):
            return f"it is {what}; get the video itself"
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
    if not found or found[0].name not in _TOP_BOXES:
        return None
    last = found[-1]
    if last.end > length and (last.name == b"moov" or b"moov" not in names):
        name = last.name.decode("latin-1")
        told = f" ({name})" if name.isascii() and name.isprintable() else ""
        return f"it is cut off: its last box{told} is {last.end - length} bytes longer than the file; get it again"
    if b"moov" in names:
        return None
    if b"moof" in names or names == {b"styp"}:
        return f"it is one piece of a video, without the beginning that describes it: {_JOIN}"
    return (
        "its header (moov) is missing, as that of a recording that was not finished: get it again, or repair it by "
        "the program that recorded it"
    )
