"""TODO: cli.tables."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .flags import with_flags
from .records import thousandfold
from .views import View, print_json
from .words import counted, duration, loss, printable, short_path, size_of

if TYPE_CHECKING:
    from ..job.status import JobStatus
    from ..report.summary import Measured, Summary
    from ..run.job_run import DryRun


_MEASURED_ROWS = 40
"""Of a film with more frames than this only every so-manieth is printed."""


def print_measured(measured: "list[Measured]", summary: "Summary") -> None:
    film = summary.shot_count > 0
    distances = [pair.distance for pair in summary.stability]
    names = ["picture", *([] if film else ["size"]), "objective", "content", "style", "tv", "luma", "contrast", "sharp"]
    names += [f"warp{distance}" for distance in distances]
    names += ["sharp/cold", "obj/cold"] if summary.cold_count else []
    table = _number_table(names, gap=1 if film else 2)
    step = -(-len(measured) // _MEASURED_ROWS) if film else 1
    for item in measured[::step]:
        losses, (height, width) = item.losses, item.size
        errors = {pair.distance: pair.warping_error for pair in item.stability}
        table.add_row(
            Text(printable(item.name)),
            *([] if film else [f"{width}×{height}"]),
            *map(loss, (losses.objective, losses.content, losses.style, losses.total_variation)),
            *(f"{value:.1f}" for value in (item.luminance, item.contrast, item.sharpness)),
            *(_or_blank(thousandfold(errors.get(distance)), ".3f") for distance in distances),
            *(
                _or_blank(value, ".3f")
                for value in ((item.sharpness_to_cold, item.objective_to_cold) if summary.cold_count else ())
            ),
        )
    if film:
        _print_table(table)
        if step > 1:
            print_line(f"1 of {step} frames is shown; --json has them all")
        print_line("")
        _print_table(_totals(summary))
        return
    if len(measured) > 1:
        light = (summary.luminance.mean, summary.contrast.mean, summary.sharpness.mean)
        colds = (summary.sharpness_to_cold, summary.objective_to_cold) if summary.cold_count else ()
        means = [loss(summary.objective.mean), "", "", "", *(f"{value:.1f}" for value in light)]
        table.add_row("mean", "", *means, *(_or_blank(value, ".3f") for value in colds))
    _print_table(table)


def _totals(summary: "Summary") -> Table:
    """What a film comes to: means, ends and trends."""
    what = [counted(summary.picture_count, "frame"), counted(summary.shot_count, "shot")]
    if summary.size is not None:
        what.append(f"{summary.size[1]}×{summary.size[0]}")
    table = _number_table([", ".join(what), "mean", "first", "last", "per 100 frames"])
    objective = summary.objective
    trend = "" if objective.trend is None else f"{'+' if objective.trend >= 0 else ''}{loss(objective.trend)}"
    table.add_row("objective", *map(loss, (objective.mean, objective.first, objective.last)), trend)
    for name, course in (
        ("luminance, 0 to 255", summary.luminance),
        ("contrast, 0 to 255", summary.contrast),
        ("sharpness, 0 to 255", summary.sharpness),
    ):
        values = [f"{value:.2f}" for value in (course.mean, course.first, course.last)]
        table.add_row(name, *values, _or_blank(course.trend, "+.2f"))
    for pair in summary.stability:
        pairs = counted(pair.pair_count, "pair")
        table.add_row(
            f"warping error ×1000, {pair.distance} back ({pairs})", _or_blank(thousandfold(pair.warping_error), ".3f")
        )
        table.add_row("  of the content itself", _or_blank(thousandfold(pair.content_warping_error), ".3f"))
        table.add_row("  pixels that are visible", f"{pair.visible_share:.1%}")
    if summary.cold_count:
        starts = counted(summary.cold_count, "cold start")
        table.add_row(f"sharpness beside {starts}", _or_blank(summary.sharpness_to_cold, ".3f"))
        table.add_row(f"objective beside {starts}", _or_blank(summary.objective_to_cold, ".3f"))
    return table


def _number_table(names: list[str], gap: int = 2) -> Table:
    """A table of numbers, with words in its first column."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for place, name in enumerate(names):
        table.add_column(name, justify="right" if place else "left")
    return table


def _print_table(table: Table) -> None:
    """Prints a table as wide as it is: a number that is cut short is none."""
    console = Console(highlight=False)
    unbounded = console.options.update(max_width=10_000)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def show_plan(plan: "DryRun", view: View, as_json: bool) -> None:
    if as_json:
        record = {key: str(value) if isinstance(value, Path) else value for key, value in vars(plan).items()}
        print_json({"event": "dry_run", **record})
        return
    view.__exit__()
    height, width = plan.size
    segments = f", {counted(plan.segment_count, 'segment')}" if plan.segment_count else ""
    rows: list[tuple[str, str]] = [
        (
            "content",
            f"{plan.kind}, {counted(plan.frame_count, 'frame')} in {counted(plan.shot_count, 'shot')}{segments}"
            if plan.kind in ("video", "sequence")
            else f"{plan.kind}, {counted(plan.frame_count, 'picture')}",
        ),
        ("size", f"{width}×{height}"),
        ("output", short_path(plan.output)),
        ("job", short_path(plan.job)),
        ("disk", f"up to {size_of(plan.disk_bytes)} of {size_of(plan.disk_free_bytes)} free"),
        ("device", plan.device),
        (
            "time",
            f"up to {duration(plan.seconds)}: {plan.iterations} iterations, "
            f"{duration(plan.seconds_per_iteration)} each at this size, by {counted(plan.workers, 'worker')}",
        ),
    ]
    for label, text in rows:
        print_line(f"{label:>8}  {text}")
    if plan.disk_bytes > plan.disk_free_bytes:
        print_line("the disk is too small for it", style="red")


def print_status(state: "JobStatus") -> None:
    share = state.done_count / state.frame_count if state.frame_count else 1.0
    doing = f"being painted by {state.owner}" if state.owner else "finished" if state.finished else "not running"
    if state.lost_owner and not state.finished:
        doing = f"its owner has gone ({state.lost_owner}); continue with: impasto resume {short_path(state.folder)}"
    rows = [
        ("job", short_path(state.folder)),
        ("output", short_path(state.output)),
        ("state", doing),
        *_stalled(state),
        ("frames", f"{state.done_count} of {state.frame_count} ({share:.0%})"),
    ]
    if state.seconds_per_frame is not None:
        rows.append(("pace", f"{duration(state.seconds_per_frame)} a frame"))
    rows += _devices(state)
    if not state.finished:
        rows.append(("left", duration(state.seconds_left)))
    if state.losses is not None:
        rows.append(("objective", f"{loss(state.losses.objective)} on average"))
    rows += [("failed", f"{name}: {with_flags(message)}") for name, message in state.failed]
    for label, text in rows:
        print_line(f"{label:>9}  {text}")


def _devices(state: "JobStatus") -> list[tuple[str, str]]:
    """Where frames were painted; of several devices, how many by each and how fast."""
    if len(state.devices) < 2:
        return [("device", item.device) for item in state.devices]
    counts = [counted(item.frame_count, "frame") for item in state.devices]
    width, most = max(len(item.device) for item in state.devices), max(map(len, counts))
    return [
        (
            "" if place else "devices",
            f"{item.device:<{width}}  {count:>{most}}, {duration(item.seconds_per_frame)} each",
        )
        for place, (item, count) in enumerate(zip(state.devices, counts, strict=True))
    ]


def _stalled(state: "JobStatus") -> list[tuple[str, str]]:
    if state.stalled_seconds is None:
        return []
    return [
        (
            "stalled",
            f"nothing was finished for {duration(state.stalled_seconds)}, much longer than a frame should take: "
            "look at its device, or stop it and resume",
        )
    ]


def print_line(text: str, *, markup: bool = False, style: str | None = None) -> None:
    # What has markup is our own and may have several lines.
    Console(highlight=False).print(text if markup else printable(text), markup=markup, style=style, soft_wrap=True)
