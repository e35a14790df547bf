"""Shot boundaries, shots, and cuts that a person gives as text or in a file."""

import csv
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from .. import storage
from ..errors import SettingsError

BoundaryKind = Literal["cut", "fade", "dissolve"]

Cuts: TypeAlias = Literal["auto", "none"] | tuple[int, ...]
"""Where a film is cut: where the detector says, nowhere, or before these frames."""


@dataclass(frozen=True, order=True)
class Boundary:
    """The boundary between two shots."""

    index: int
    """The first frame of the new shot: of a fade, the middle of the black; of a dissolve, the first frame in which
    the new scene weighs at least as much as the old."""

    kind: BoundaryKind

    first: int
    """The first frame that is not of the old scene alone."""

    last: int
    """The last frame that is not of the new scene alone. A cut has no such frames: `first` and `last` are `index`."""


@dataclass(frozen=True, order=True)
class Shot:
    """The frames `[start, stop)` between two cuts; never empty."""

    start: int
    """Index of its first frame."""

    stop: int
    """One past the index of its last frame."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.stop:
            raise ValueError(f"a shot holds at least one frame, and [{self.start}, {self.stop}) holds none")

    @property
    def frames(self) -> range:
        """The indices of its frames."""
        return range(self.start, self.stop)

    @property
    def frame_count(self) -> int:
        return self.stop - self.start


def shots_from_cuts(frame_count: int, cuts: Iterable[int], frame_range: range | None = None) -> list[Shot]:
    """The shots of the frames in `frame_range` (None: all of them), in order.

    `cuts` are first frames of new shots, in any order; those that do not lie inside the range
    separate nothing in it and are passed over. `frame_range` counts in steps of one and is cut to
    the frames that there are. A range without frames has no shots.
    """
    if frame_count < 0:
        raise ValueError(f"frame_count is {frame_count}: it cannot be negative")
    if frame_range is None:
        frame_range = range(frame_count)
    if frame_range.step != 1:
        raise ValueError(f"frame_range has step {frame_range.step}: shots are of consecutive frames")
    start, stop = max(0, frame_range.start), min(frame_count, frame_range.stop)
    if start >= stop:
        return []
    edges = [start, *sorted({cut for cut in cuts if start < cut < stop}), stop]
    return [Shot(first, last) for first, last in itertools.pairwise(edges)]


def parse_cuts(text: str) -> Cuts:
    """Reads where a film is to be cut: `auto`, `none`, indices as in `120,240`, or the path of a file of them.

    Indices are first frames of new shots, counted from 0; they come back ascending and each once. What looks like
    no list is taken for a path, and is read by `read_cuts`.
    """
    word = text.strip()
    if word.lower() in ("auto", "none"):
        return "auto" if word.lower() == "auto" else "none"
    if re.fullmatch(r"[\d\s,;+-]*", word):
        return _indices(re.split(r"[,;\s]+", word.strip(",; ")), f"cuts {text!r}")
    try:
        is_file = storage.may_be_file(Path(word))
    except OSError:  # a name that no file can have, such as one that is too long
        is_file = False
    if not is_file:
        raise SettingsError(
            f"cuts {text!r} is neither auto nor none, nor frames as in 120,240, nor a file that is there: "
            "name one of these"
        )
    return read_cuts(Path(word))


def read_cuts(path: Path) -> tuple[int, ...]:
    """The indices in a file: one a line or with commas between, or the column "Start Frame" of what `scenedetect
    list-scenes` writes.

    PySceneDetect counts frames from 1, and its first scene starts with the film, which is no cut. In a file of
    one a line, empty lines and what follows a # are passed over.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingsError(f"cuts file {path} cannot be read: {storage.read_problem(error)}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"cuts file {path} is not readable as text ({error}): give one frame a line") from error
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines())]
    except csv.Error as error:
        raise SettingsError(f"cuts file {path} is no list of frames ({error}): give one frame a line") from error
    header = next((number for number, row in enumerate(rows) if "Start Frame" in row), None)
    if header is None:
        words = [word.strip() for line in text.splitlines() for word in line.partition("#")[0].split(",")]
        return _indices([word for word in words if word], f"cuts file {path}")
    column = rows[header].index("Start Frame")
    starts = _indices([row[column] for row in rows[header + 1 :] if len(row) > column], f"cuts file {path}")
    return tuple(start - 1 for start in starts if start > 1)


def _indices(words: Iterable[str], source: str) -> tuple[int, ...]:
    found = set()
    for word in words:
        if not re.fullmatch(r"[0-9]{1,12}", word):
            raise SettingsError(f"{source}: {word!r} is no frame: give whole numbers from 0 on, as in 120,240")
        found.add(int(word))
    return tuple(sorted(found))
