"""Requests are checked where they are made, and their messages name fields, which the command line calls otherwise."""

import ast
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from impasto.cli.flags import FLAGS, event_with_flags, with_flags
from impasto.errors import SettingsError, UsageError
from impasto.events import FrameFailed, Notice
from impasto.plan.request import FrameRange, Request, parse_memory
from impasto.presets import load_settings

PIPELINE = Path(__file__).resolve().parent.parent / "pipeline"


def request(**changes: Any) -> Request:
    own = {"content": (Path("a.png"),), "styles": (Path("s.png"),), "output": Path("o.png"), **changes}
    return Request(settings=load_settings("default"), **own)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": ()}, "`content` is empty: name at least one path"),
        ({"styles": ()}, "`styles` is empty: name at least one path"),
        ({"style_weights": (1.0, 2.0)}, "2 style weights for 1 styles: give one for each style"),
        ({"executor": "x"}, "`executor` 'x' is not one of auto, inline, processes, ray"),
        ({"address": "here:1"}, "`address` is that of a Ray cluster: it goes with `executor='ray'`"),
        ({"batch": 0}, "`batch` 0 is out of range: a whole number from 1, or none for automatic"),
        ({"segments": -1}, "`segments` -1 is out of range: a whole number from 1, or none for automatic"),
        ({"batch": True}, "`batch` True is out of range: a whole number from 1, or none for automatic"),
        ({"segments": "2"}, "`segments` '2' is out of range: a whole number from 1, or none for automatic"),
        ({"memory": 0}, "`memory` 0 is out of range: a whole number from 1, or none for automatic"),
        ({"mode": "film"}, "`mode` 'film' is not one of auto, sequence, photos"),
        ({"rate": Fraction(0)}, "`rate` 0 is out of range: over 0, at most 1000"),
        ({"rate": Fraction(2001, 2)}, "`rate` 2001/2 is out of range: over 0, at most 1000"),
        ({"image_format": "gif"}, "`image_format` 'gif' is not one of png, jpg, webp, tiff, bmp"),
    ],
)
def test_what_is_out_of_range_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        request(**changes)
    assert str(error.value) == message


@pytest.mark.parametrize(("start", "stop"), [(-1, None), (3, 3), (3, 2)])
def test_a_range_without_frames_is_refused(start: int, stop: int | None) -> None:
    with pytest.raises(SettingsError, match="frame range"):
        FrameRange(start, stop)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`batch` 0 is out of range", "--batch 0 is out of range"),
        ("it goes with `executor='ray'`", "it goes with --executor ray"),
        ("use `encoder.weights=bundled`", "use --weights bundled"),
        ("`mode='photos'` does not go with it", "--photos does not go with it"),
        ("start over with `stylize(force=True)`", "start over with stylize --force"),
        ("the `rate` and the `pixel_format`", "the --fps and the --pixel-format"),
        ("start it with `ray start --head`; `nothing` and `nothing=1` stay", None),
    ],
)
def test_fields_become_flags(text: str, shown: str | None) -> None:
    shown = text if shown is None else shown
    assert with_flags(text) == shown
    assert event_with_flags(Notice(text)) == Notice(shown)
    assert event_with_flags(FrameFailed(0, "a", text)) == FrameFailed(0, "a", shown)


@pytest.mark.parametrize(
    ("text", "count"),
    [("6GB", 6 * 10**9), ("1.5 GiB", 3 << 29), (" 800mb", 800 * 10**6), ("7kB", 7000), ("2KiB", 2048)],
)
def test_amounts_of_memory_have_units(text: str, count: int) -> None:
    assert parse_memory(text) == count


@pytest.mark.parametrize("text", ["", "6", "GB", "-1GB", "0GB", "6 apples", "1e3GB", "6GBs", "٣GB", "0.0001kB"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not an amount of memory: write 6GB, 800MB"):
        parse_memory(text)


def messages() -> set[str]:
    """All text in the library but its docstrings."""
    found = set()
    for path in PIPELINE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in statements:
                found.add(node.value)
    return found


def test_the_library_speaks_of_fields_alone() -> None:
    texts = messages()
    flags = {flag for text in texts for flag in re.findall(r"--[a-z][a-z-]+", text)}
    # Of pip and Ray, and of commands that are to be pasted.
    assert flags == {"--force-reinstall", "--no-deps", "--upgrade", "--head", "--style", "--output"}
    fields = {field for text in texts for field in re.findall(r"`([a-z_.]+)", text)}
    assert fields - {name.partition("(")[0].partition("=")[0] for name in FLAGS} <= {"ray", "content", "styles"}
