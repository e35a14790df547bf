"""Numbers, names and paths as text for people."""

import re
from pathlib import Path


def format_duration(seconds: float | None) -> str:
    """`7.4 s`, `2 min 05 s`, `3 h 12 min`, `2 d 4 h`; `–` for None."""
    if seconds is None:
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = whole // 60
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = minutes // 60
    return f"{hours // 24} d {hours % 24} h"


def format_bytes(count: float) -> str:
    """`640 B`, `12.3 MB`, `1.4 GB`, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_loss(value: float) -> str:
    """A loss with four significant digits, in at most 8 characters: `2.649M`, `87.31k`, `0.0042`."""
    for limit, divisor, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e3, 1e3, "k")):
        if abs(value) >= limit:
            return f"{value / divisor:.4g}{unit}"
    return f"{value:.4g}"


def format_count(count: int, noun: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def printable(text: str) -> str:
    """The text in one line, with what a terminal cannot show or would obey escaped: bytes of a file name that are not
    UTF-8, and control characters."""
    valid = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], valid)


def short_path(path: Path) -> str:
    """The path, relative to the current folder if it lies below it."""
    try:
        shown = str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        shown = str(path)
    return printable(shown)
