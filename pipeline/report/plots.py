"""Plots of how the losses of a picture fall, and of the measures of a film over its frames.

matplotlib is imported when a plot is made, through its object interface: no global state, and no display is needed.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import storage
from ..events import Losses
from .stability import DISTANCES
from .summary import Measured, Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLORS = {"content": "#2a6f97", "style": "#bc4749", "total variation": "#6a994e"}

_SKIPPED_ITERATIONS = 5
"""The first iterations change the losses by orders of magnitude; the axes are fitted to what follows."""

_MIN_RANGE = 0.05
"""A vertical axis spans at least this share of the values it shows, so that small changes look small."""

_MAX_MARKED = 60
"""Up to this many frames each has a marker of its own."""

_NEAR, _FAR, _TEXT = "#2a6f97", "#bc4749", "#333333"


def plot_losses(trace: Sequence[Losses], path: Path, title: str) -> None:
    """Plots the weighted content, style and total variation losses over the iterations, as a PNG at `path`.

    One panel a term with an axis of its own: their magnitudes differ by orders, and their trends tell whether a
    picture is finished. The axes are fitted to what follows the first few iterations. Each panel's title gives the
    last value.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = _figure((10.5, 3.4), title)
    iterations = range(1, len(trace) + 1)
    terms = {
        "content": [losses.content for losses in trace],
        "style": [losses.style for losses in trace],
        "total variation": [losses.total_variation for losses in trace],
    }
    for axes, (name, values) in zip(figure.subplots(1, len(terms)), terms.items(), strict=True):
        axes.plot(iterations, values, color=_COLORS[name], linewidth=1.8, marker="o" if len(values) == 1 else None)
        axes.set_title(f"{name}: {_engineered(values[-1])}", fontsize=10, color=_COLORS[name])
        skipped = _SKIPPED_ITERATIONS if len(values) > 2 * _SKIPPED_ITERATIONS else 0
        fitted = [value for value in values[skipped:] if math.isfinite(value)]
        if fitted:
            low, high = min(fitted), max(fitted)
            margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
            axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _finish_axes(axes, "iteration")
    _save(figure, path)


def plot_measures(measured: Sequence[Measured], path: Path, title: str) -> None:
    """Plots the measures of a film over its frames, at least one, as a PNG at `path`.

    A panel each for the objective, luminance, contrast and sharpness; for the warping errors, ×1000, with dotted
    lines for those of the content; and for sharpness and objective relative to a cold start, where there are any. Each
    panel's title gives the means, and grey lines stand where a shot begins. A value without neighbours is a point.
    """
    from matplotlib.ticker import EngFormatter, MaxNLocator

    panels = _panels(measured, summarise(measured))
    rows = -(-len(panels) // 3)
    figure = _figure((12, 0.5 + 2.9 * rows), title)
    shot_starts = [one.index for one in measured[1:] if one.shot == one.index]
    grid = list(figure.subplots(rows, 3, squeeze=False).flat)
    for axes, panel in zip(grid, panels, strict=False):
        axes.set_title(panel.title, fontsize=10, color=panel.color)
        _draw(axes, panel.lines, [one.index for one in measured], shot_starts)
        for start in shot_starts:
            # Between the last frame of a shot and the first of the next.
            axes.axvline(start - 0.5, color="#aaaaaa", linewidth=1.4, zorder=0.5)
        if axes is grid[0]:
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        else:
            axes.ticklabel_format(axis="y", style="plain", useOffset=False)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        _finish_axes(axes, "frame")
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    _save(figure, path)


def _figure(size: tuple[float, float], title: str) -> "Figure":
    """An empty figure of `size` in inches, with a title in which nothing is taken for a formula."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    title = title.encode("utf-8", "backslashreplace").decode()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    return figure


def _finish_axes(axes: "Axes", label: str) -> None:
    axes.set_xlabel(label)
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


def _engineered(value: float) -> str:
    """A value with two digits and an SI prefix."""
    from matplotlib.ticker import EngFormatter

    return EngFormatter(places=2, sep="")(value) if math.isfinite(value) else "not finite"


class _Line:
    """One curve: a value per frame, None or not finite where there is none.

    `sparse` values are joined across the frames between them, others only with their neighbours; none across a cut.
    """

    def __init__(
        self,
        values: Sequence[float | None],
        color: str,
        label: str | None = None,
        *,
        dotted: bool = False,
        sparse: bool = False,
    ) -> None:
        self.values = [math.nan if value is None or not math.isfinite(value) else value for value in values]
        self.color = color
        self.label = label
        self.dotted = dotted
        self.sparse = sparse


class _Panel(NamedTuple):
    title: str
    color: str
    lines: "list[_Line]"


def _panels(measured: Sequence[Measured], summary: Summary) -> list[_Panel]:
    """The panels of what was measured."""
    objectives = [_Line([one.losses.objective for one in measured], _FAR)]
    panels = [_Panel(f"objective, mean {_engineered(summary.objective.mean)}", _FAR, objectives)]
    if summary.stability:
        panels.append(_Panel(f"warping error ×1000, mean {_mean_errors(summary)}", _TEXT, _error_lines(measured)))
    light: tuple[tuple[str, float, Callable[[Measured], float]], ...] = (
        ("luminance", summary.luminance.mean, lambda one: one.luminance),
        ("contrast", summary.contrast.mean, lambda one: one.contrast),
        ("sharpness", summary.sharpness.mean, lambda one: one.sharpness),
    )
    for name, mean, value in light:
        lines = [_Line([value(one) for one in measured], _NEAR)]
        panels.append(_Panel(f"{name} of 255, mean {mean:.2f}", _NEAR, lines))
    if summary.cold_count:
        lines = [
            _Line([one.sharpness_to_cold for one in measured], _NEAR, "sharpness", sparse=True),
            _Line([one.objective_to_cold for one in measured], _FAR, "objective", sparse=True),
        ]
        panels.append(_Panel("relative to a cold start (1 = equal)", _TEXT, lines))
    return panels


def _error_lines(measured: Sequence[Measured]) -> list[_Line]:
    """The warping errors × 1000 at each distance, and those of the content."""
    lines = []
    for distance, color in zip(DISTANCES, (_NEAR, _FAR), strict=True):
        pairs = [next((pair for pair in one.stability if pair.distance == distance), None) for one in measured]
        painted = [None if pair is None or pair.warping_error is None else 1000 * pair.warping_error for pair in pairs]
        content = [
            None if pair is None or pair.content_warping_error is None else 1000 * pair.content_warping_error
            for pair in pairs
        ]
        if any(pair is not None for pair in pairs):
            lines.append(_Line(painted, color, f"{distance} back"))
            lines.append(_Line(content, color, f"{distance} back, content", dotted=True))
    return lines


def _mean_errors(summary: Summary) -> str:
    means = (pair.warping_error for pair in summary.stability)
    return " and ".join("–" if mean is None else f"{1000 * mean:.3g}" for mean in means)


def _draw(axes: "Axes", lines: Sequence[_Line], frames: Sequence[int], starts: Sequence[int]) -> None:
    """Draws the lines, broken before each of `starts`, fits the axes, and adds a legend where lines have labels."""
    known: list[float] = []
    for line in lines:
        points: list[tuple[float, float]] = list(zip(frames, line.values, strict=True))
        if line.sparse:
            points = [point for point in points if not math.isnan(point[1])]
        points = sorted([*points, *((start - 0.5, math.nan) for start in starts)])
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=line.color,
            label=line.label,
            linewidth=1.3 if line.dotted else 1.6,
            linestyle=":" if line.dotted else "-",
            marker="o",
            markersize=2 if line.dotted else 3,
            markevery=_marked([y for _, y in points]),
        )
        known += [value for value in line.values if not math.isnan(value)]
    axes.set_xlim(frames[0] - 0.5, frames[-1] + 0.5)
    if known:
        low, high = min(known), max(known)
        missing = max(0.0, _MIN_RANGE * max(abs(low), abs(high)) - (high - low)) / 2
        margin = 0.06 * (high - low) + missing or 1.0
        named = any(line.label for line in lines)
        axes.set_ylim(low - margin, high + margin + (0.3 * (high - low + 2 * margin) if named else 0))
        if named:
            axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)


def _marked(values: Sequence[float]) -> list[int]:
    """The positions that need a marker: all of a few; of many, those with no neighbour to draw a line to."""
    padded = [math.nan, *values, math.nan]
    return [
        position
        for position in range(len(values))
        if len(values) <= _MAX_MARKED or (math.isnan(padded[position]) and math.isnan(padded[position + 2]))
    ]


def _save(figure: "Figure", path: Path) -> None:
    with storage.atomic_file(path) as temporary, warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes, which needs no warning.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format="png")
