"""What a job records of its frames and its output, and the rule by which a frame counts as done.

A frame is DONE when its picture is complete on the disk and the store has the SHA-256 of the file, in this order:

1. The picture is written to a temporary name, flushed, and renamed to `FrameRecord.path` (`storage.atomic_file`).
2. `Job.finish_frame` stores the hash and sets the state.

A crash between the two leaves the frame PENDING, and it is painted again to the same bits. The store alone is not
trusted: when a run starts it hashes each file, and `Job.reset_frames` makes PENDING the frames whose files are missing
or have changed, and those that FAILED.

    PENDING ── finish_frame ──▶ DONE
       │  ◀──── reset_frames ────┘
       └─ fail_frame ──▶ FAILED ── reset_frames ──▶ PENDING

The job is finished when every frame of every pass is DONE and the output is complete under its name: `Job.is_finished`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..events import Losses


class FrameState(StrEnum):
    """Whether a frame is still to be painted; the module's docstring has the rule."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    """It could not be painted in the last run; the next run tries again."""


@dataclass(frozen=True)
class PlannedFrame:
    """A frame of the job before anything is done to it.

    `index`: its position in the content, from 0. `shot`: index of the first frame of its shot (a photo is a shot of its
    own). `name`: its name in messages. `path`: where its picture goes, absolute, or relative to the job's folder.
    `pts`: presentation time in units of the content's time base, if any. `work`: the most iterations that it takes, for
    estimates of time. `pass_number`: 0 for the last pass, whose pictures are kept, -1 for the one before, and so on.
    """

    index: int
    shot: int
    name: str
    path: str
    pts: int | None = None
    work: int = 1
    pass_number: int = 0


@dataclass(frozen=True)
class FrameRecord:
    """A frame as the store has it; the fields from `sha256` on are None until it is done, but for `error`.

    `device` names the device that painted it. `reference` is the objective that its stopping target follows from.
    `sources` are the frames that it starts from and is compared with by the temporal loss, set when it is first done.
    They stay when it is painted again, so that it gets the same bits.
    """

    pass_number: int
    index: int
    shot: int
    name: str
    path: Path
    pts: int | None
    state: FrameState
    sha256: str | None
    losses: Losses | None
    iterations: int | None
    stop: str | None
    retried: str | None
    seconds: float | None
    device: str | None
    reference: float | None
    sources: tuple[int, ...] | None
    error: str | None

    @property
    def starts_shot(self) -> bool:
        return self.index == self.shot


@dataclass(frozen=True)
class OutputRecord:
    """The output as it was written.

    `sha256`: hash of the file, None where the output is a folder. `substituted`: indices of the frames that could not
    be painted; the film shows the nearest painted frame instead.
    """

    sha256: str | None
    substituted: tuple[int, ...] = ()


def names_by_text(not_kept: Iterable[tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    """Pairs of what is not kept and the name of the file that it concerns, empty where there is only one, as each text
    with its names; both stay in their order."""
    names: dict[str, list[str]] = {}
    for text, name in not_kept:
        names.setdefault(text, []).append(name)
    return {text: tuple(filter(None, files)) for text, files in names.items()}


def not_kept_lines(not_kept: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """A line for everything that is not kept, with the files that it concerns where there are several."""

    def line(text: str, names: Sequence[str]) -> str:
        if not names:
            return text
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        return f"{names[0]}{more}: {text}"

    return tuple(line(text, names) for text, names in not_kept.items())
