"""Lines of text for the events of a job, shared by the views."""

from pathlib import Path

from ..events import FrameProgress, JobDone, JobStarted, Losses, Scanning
from .formatting import format_count, format_duration, format_loss, short_path


def opening_lines(event: JobStarted) -> list[str]:
    """What is to be painted, and on which device."""
    done = f", {event.done_count} already done" if event.done_count else ""
    shots = f" in {format_count(event.shot_count, 'shot')}" if event.kind in ("video", "sequence") else ""
    lines = [f"{event.kind}: {format_count(event.frame_count, 'frame')}{shots}{done} → {short_path(event.output)}"]
    if event.frame_count > event.done_count:
        lines.append(f"painting on {event.device}")
    return lines


def progress_line(event: FrameProgress | Scanning, name: str) -> str:
    """Where a frame called `name` is, or the reading of the content."""
    if isinstance(event, Scanning):
        return f"reading {event.path.name}: {format_count(event.frames_read, 'frame')}"
    scale = "" if event.size is None else f" (at {event.size[1]}×{event.size[0]})"
    progress = f"iteration {event.iteration}/{event.iterations}{scale}, objective {format_loss(event.losses.objective)}"
    return f"{name or f'frame {event.index}'}: {progress}"


def loss_terms(losses: Losses) -> str:
    """The terms of the objective."""
    return (
        f"content {format_loss(losses.content)}, style {format_loss(losses.style)}, "
        f"tv {format_loss(losses.total_variation)}"
    )


def summary_lines(event: JobDone) -> list[str]:
    """What was painted, which frames are missing, and where the files are."""
    done = event.frame_count - len(event.failed)
    lines = [
        f"painted {format_count(event.painted_count, 'frame')} in {format_duration(event.seconds)}"
        if event.painted_count
        else "nothing left to paint"
    ]
    if event.losses is not None:
        label = "objective" if event.frame_count == 1 else "mean objective"
        lines.append(f"{label} {format_loss(event.losses.objective)} ({loss_terms(event.losses)})")
    if event.failed:
        lines.append(f"{done} of {event.frame_count} done; failed:")
        lines += [f"  {line}" for line in event.failed]
    if event.not_kept:
        lines.append("not kept:")
        lines += [f"  {line}" for line in event.not_kept]
    paths: list[tuple[str, Path]] = [
        ("output", event.output),
        *(("plot", plot) for plot in event.plots),
        ("job", event.job),
    ]
    return lines + [f"{label:>7}  {short_path(path)}" for label, path in paths if path.exists()]
