"""What `stylize --dry-run` and `status` print for people."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .flags import with_flags
from .formatting import format_bytes, format_count, format_duration, format_loss, short_path
from .output import print_line, print_rows

if TYPE_CHECKING:
    from ..job.status import JobStatus
    from ..run.dry_run import DryRun


def print_dry_run(plan: "DryRun") -> None:
    """Prints what a job would paint, how long it would take, and the disk space and memory it would need."""
    height, width = plan.size
    content = f"{plan.kind}, {format_count(plan.frame_count, 'picture')}"
    if plan.kind in ("video", "sequence"):
        segments = f", {format_count(plan.segment_count, 'segment')}" if plan.segment_count else ""
        frames, shots = format_count(plan.frame_count, "frame"), format_count(plan.shot_count, "shot")
        content = f"{plan.kind}, {frames} in {shots}{segments}"
    tiles = "" if plan.tile is None else f" in tiles of {plan.tile} pixels"
    rows = [
        ("content", content),
        ("size", f"{width}×{height}"),
        ("output", short_path(plan.output)),
        ("job", short_path(plan.job)),
        ("disk", f"at most {format_bytes(plan.disk_bytes)}; {format_bytes(plan.disk_free_bytes)} free"),
        ("memory", f"about {format_bytes(plan.memory_bytes)}{tiles}; {format_bytes(plan.memory_free_bytes)} free"),
        ("device", plan.device),
        (
            "time",
            f"at most {format_duration(plan.seconds)}: {format_count(plan.iterations, 'iteration')} of "
            f"{format_duration(plan.seconds_per_iteration)} at this size, {format_count(plan.workers, 'worker')}",
        ),
    ]
    rows += _not_kept_rows(plan.not_kept)
    print_rows(rows, 8)
    if plan.disk_bytes > plan.disk_free_bytes:
        print_line("not enough disk space", style="red")
    if plan.memory_bytes > plan.memory_free_bytes:
        print_line("not enough memory", style="red")


def print_status(status: "JobStatus") -> None:
    """Prints how far a job is, how fast it is painted, and what is wrong with it."""
    share = status.done_count / status.frame_count if status.frame_count else 1.0
    rows = [
        ("job", short_path(status.folder)),
        ("output", short_path(status.output)),
        ("state", _state(status)),
    ]
    if status.stalled_seconds is not None:
        rows.append(
            (
                "stalled",
                f"no frame finished for {format_duration(status.stalled_seconds)}, much longer than one should take: "
                "check the device, or stop the process and resume the job",
            )
        )
    rows.append(("frames", f"{status.done_count} of {status.frame_count} ({share:.0%})"))
    if status.seconds_per_frame is not None:
        rows.append(("pace", f"{format_duration(status.seconds_per_frame)} per frame"))
    rows += _device_rows(status)
    rows += _time_rows(status)
    if not status.finished:
        rows.append(("left", format_duration(status.seconds_left)))
    if status.losses is not None:
        rows.append(("objective", f"{format_loss(status.losses.objective)} (mean)"))
    rows += [("failed", f"{name}: {with_flags(message)}") for name, message in status.failed]
    rows += _not_kept_rows(status.not_kept)
    print_rows(rows, 9)


def _state(status: "JobStatus") -> str:
    if status.lost_owner and not status.finished:
        return f"crashed ({status.lost_owner}); continue with: impasto resume {short_path(status.folder)}"
    if status.owner:
        return f"running: {status.owner}"
    return "finished" if status.finished else "not running"


def _not_kept_rows(lines: Sequence[str]) -> list[tuple[str, str]]:
    return [("" if row else "not kept", with_flags(line)) for row, line in enumerate(lines)]


def _time_rows(status: "JobStatus") -> list[tuple[str, str]]:
    """Which share of the time went to painting, and which to waiting."""
    use = status.time_use
    if use is None or not use.seconds:
        return []
    shares = (f"{name} {getattr(use, name) / use.seconds:.0%}" for name in ("flow", "reading", "saving"))
    return [("time", f"painting {use.painting / use.seconds:.0%}, waiting for {', '.join(shares)}")]


def _device_rows(status: "JobStatus") -> list[tuple[str, str]]:
    """The device that frames were painted on, with the precision; of several, the frames and the speed of each."""
    names = [f"{item.device}, {status.precision}" for item in status.devices]
    if len(names) < 2:
        return [("device", name) for name in names]
    counts = [format_count(item.frame_count, "frame") for item in status.devices]
    name_width, count_width = max(map(len, names)), max(map(len, counts))
    return [
        (
            "" if row else "devices",
            f"{name:<{name_width}}  {count:>{count_width}}, {format_duration(item.seconds_per_frame)} each",
        )
        for row, (name, count, item) in enumerate(zip(names, counts, status.devices, strict=True))
    ]
