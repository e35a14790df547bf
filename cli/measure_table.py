"""What `measure` prints for people: a table of the pictures, and for a video one of means and trends."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .formatting import format_count, format_loss, printable
from .output import print_line
from .records import thousandfold

if TYPE_CHECKING:
    from ..report.summary import Measured, Summary

_MEASURED_ROWS = 40
"""The most rows for a video: of more frames, only every n-th is printed."""


def print_measured(measured: "list[Measured]", summary: "Summary") -> None:
    """Prints the numbers of each picture and what they come to together."""
    is_video = summary.shot_count > 0
    table = _picture_table(measured, summary, is_video)
    if not is_video:
        if len(measured) > 1:
            table.add_row(*_mean_row(summary))
        _print_table(table)
        return
    _print_table(table)
    step = _row_step(measured)
    if step > 1:
        print_line(f"1 in {step} frames shown; --json prints all of them")
    print_line("")
    _print_table(_totals(summary))


def _row_step(measured: "list[Measured]") -> int:
    """Every how-many-th frame of a video has a row."""
    return -(-len(measured) // _MEASURED_ROWS)


def _picture_table(measured: "list[Measured]", summary: "Summary", is_video: bool) -> Table:
    distances = [pair.distance for pair in summary.stability]
    names = ["picture", *([] if is_video else ["size"]), "objective", "content", "style", "tv"]
    names += ["luma", "contrast", "sharp", *(f"warp{distance}" for distance in distances)]
    names += ["sharp/cold", "obj/cold"] if summary.cold_count else []
    table = _number_table(names, gap=1 if is_video else 2)
    for item in measured[:: _row_step(measured) if is_video else 1]:
        losses, (height, width) = item.losses, item.size
        errors = {pair.distance: pair.warping_error for pair in item.stability}
        relative = (item.sharpness_to_cold, item.objective_to_cold) if summary.cold_count else ()
        table.add_row(
            Text(printable(item.name)),
            *([] if is_video else [f"{width}×{height}"]),
            *map(format_loss, (losses.objective, losses.content, losses.style, losses.total_variation)),
            *(f"{value:.1f}" for value in (item.luminance, item.contrast, item.sharpness)),
            *(_or_blank(thousandfold(errors.get(distance)), ".3f") for distance in distances),
            *(_or_blank(value, ".3f") for value in relative),
        )
    return table


def _mean_row(summary: "Summary") -> list[str]:
    light = (summary.luminance.mean, summary.contrast.mean, summary.sharpness.mean)
    relative = (summary.sharpness_to_cold, summary.objective_to_cold) if summary.cold_count else ()
    return [
        *("mean", "", format_loss(summary.objective.mean), "", "", ""),
        *(f"{value:.1f}" for value in light),
        *(_or_blank(value, ".3f") for value in relative),
    ]


def _totals(summary: "Summary") -> Table:
    """Means, first and last values and trends of a video."""
    what = [format_count(summary.picture_count, "frame"), format_count(summary.shot_count, "shot")]
    if summary.size is not None:
        what.append(f"{summary.size[1]}×{summary.size[0]}")
    table = _number_table([", ".join(what), "mean", "first", "last", "per 100 frames"])
    objective = summary.objective
    trend = "" if objective.trend is None else f"{'+' if objective.trend >= 0 else ''}{format_loss(objective.trend)}"
    table.add_row("objective", *map(format_loss, (objective.mean, objective.first, objective.last)), trend)
    for name, course in (
        ("luminance, 0 to 255", summary.luminance),
        ("contrast, 0 to 255", summary.contrast),
        ("sharpness, 0 to 255", summary.sharpness),
    ):
        values = [f"{value:.2f}" for value in (course.mean, course.first, course.last)]
        table.add_row(name, *values, _or_blank(course.trend, "+.2f"))
    for pair in summary.stability:
        pairs, before = format_count(pair.pair_count, "pair"), format_count(pair.distance, "frame")
        table.add_row(
            f"warping error ×1000 to {before} before ({pairs})", _or_blank(thousandfold(pair.warping_error), ".3f")
        )
        table.add_row("  of the content", _or_blank(thousandfold(pair.content_warping_error), ".3f"))
        table.add_row("  visible pixels", f"{pair.visible_share:.1%}")
    if summary.cold_count:
        starts = format_count(summary.cold_count, "cold start")
        table.add_row(f"sharpness relative to {starts}", _or_blank(summary.sharpness_to_cold, ".3f"))
        table.add_row(f"objective relative to {starts}", _or_blank(summary.objective_to_cold, ".3f"))
    return table


def _number_table(names: list[str], gap: int = 2) -> Table:
    """An empty table with names in its first column and right-aligned numbers in the others."""
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for column, name in enumerate(names):
        table.add_column(name, justify="right" if column else "left")
    return table


def _print_table(table: Table) -> None:
    """Prints a table at its full width, also where the terminal is narrower: a truncated number would be wrong."""
    console = Console(highlight=False)
    unbounded = console.options.update(max_width=10_000)
    console.width = max(console.width, console.measure(table, options=unbounded).maximum)
    console.print(table)


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
