"""What a path with nothing at it was meant for: a URL, standard input, a shell's pattern or its `~`."""

import glob
import re
from pathlib import Path
from urllib.parse import unquote

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
"""With one slash, as a path has no two in a row."""

_PATTERN = re.compile(r"[*?]|\[.+\]")

TILDE_REMEDY = "a shell replaces ~ only at the start of a word and outside of quotes; write the whole path"


def remedy_for_missing(path: Path) -> str:
    """What to do about a path at which there is nothing, in words that follow a colon."""
    text = str(path)
    if text.startswith("file:/"):
        return f"it is a URL; name the file by its path: {unquote(text.removeprefix('file:'))}"
    if is_url(path):
        return "it is a URL, and only files are read; download it first"
    if text == "-":
        return "standard input is not read; save it to a file first"
    if is_tilde(path):
        return TILDE_REMEDY
    if _PATTERN.search(text):
        matches = len(glob.glob(text))  # noqa: PTH207 - `Path.glob` takes no absolute pattern
        if matches:
            return f"it is a pattern, which only a shell replaces by what matches it ({matches}); leave out the quotes"
        return "no file has this name, or matches it as a pattern; check it"
    return "check the name"


def is_url(path: Path) -> bool:
    """Whether a path was a URL before it became a path."""
    return _URL.match(str(path)) is not None


def is_tilde(path: Path) -> bool:
    """Whether a path begins with a home folder as a shell abbreviates it: `~` or `~name`."""
    return re.match(r"~[\w.-]*(/|$)", str(path)) is not None
