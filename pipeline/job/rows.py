"""Records of frames and of the output as the store has them: as rows of its tables, and as texts in `meta`."""

import json
import sqlite3
from pathlib import Path

from ..events import Losses
from .records import FrameRecord, FrameState, OutputRecord, PlannedFrame
from .store import from_text, to_text

UNPAINTED: dict[str, object] = dict.fromkeys(
    (
        *("sha256", "content", "style", "total_variation", "iterations", "stop", "retried"),
        *("seconds", "device", "reference", "error"),
    )
)
"""The columns that are empty until a frame is done; `sources` is not one of them, see `FrameRecord`."""


def planned_row(frame: PlannedFrame) -> dict[str, object]:
    """The row of a frame that is still to be painted."""
    return {
        "pass": frame.pass_number,
        "idx": frame.index,
        "shot": frame.shot,
        "name": to_text(frame.name),
        "path": to_text(frame.path),
        "pts": frame.pts,
        "work": frame.work,
        "state": FrameState.PENDING.value,
    }


def frame_record(row: sqlite3.Row, path: Path) -> FrameRecord:
    """The record of a row; `path` is where the frame's file is now."""
    has_losses = row["content"] is not None
    return FrameRecord(
        pass_number=row["pass"],
        index=row["idx"],
        shot=row["shot"],
        name=from_text(row["name"]),
        path=path,
        pts=row["pts"],
        state=FrameState(row["state"]),
        sha256=row["sha256"],
        losses=Losses(row["content"], row["style"], row["total_variation"]) if has_losses else None,
        iterations=row["iterations"],
        stop=row["stop"],
        retried=row["retried"],
        seconds=row["seconds"],
        device=row["device"],
        reference=row["reference"],
        sources=None if row["sources"] is None else tuple(json.loads(row["sources"])),
        error=None if row["error"] is None else from_text(row["error"]),
    )


def output_to_text(output: OutputRecord) -> str:
    """The value in `meta` that `output_from_text` reads."""
    return json.dumps({"sha256": output.sha256, "substituted": output.substituted})


def output_from_text(text: str | None) -> OutputRecord | None:
    """The output that `output_to_text` wrote; None where there is none."""
    if text is None:
        return None
    values = json.loads(text)
    return OutputRecord(values["sha256"], tuple(values["substituted"]))
