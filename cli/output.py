"""What commands print to stdout: lines for people and JSON for programs."""

import json
import sys
from collections.abc import Mapping

from rich.console import Console

from .formatting import printable


def print_line(text: str, *, markup: bool = False, style: str | None = None) -> None:
    """Prints one line; with `markup`, which only our own text has, also several."""
    Console(highlight=False).print(text if markup else printable(text), markup=markup, style=style, soft_wrap=True)


def print_rows(rows: list[tuple[str, str]], width: int) -> None:
    """Prints a line for each (label, text), the labels right-aligned in `width` characters."""
    for label, text in rows:
        print_line(f"{label:>{width}}  {text}")


def print_json(record: Mapping[str, object]) -> None:
    """Prints one JSON object on a line and flushes it."""
    sys.stdout.write(json.dumps(dict(record), allow_nan=False) + "\n")
    sys.stdout.flush()
