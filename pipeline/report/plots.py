"""What a person looks at afterwards: plots of how the losses fell, and of how a film holds."""

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .. import storage
from ..events import Losses
from .stability import DISTANCES
from .summary import Measured, Summary, summarise

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_COLORS = {"content": "#2a6f97", "style": "#bc4749", "total variation": "#6a994e"}

_LEAD_IN = 5
"""The first iterations change everything by orders of magnitude; the axes are fitted to what follows."""

_LEAST_RANGE = 0.05
"""A vertical axis spans at least this share of what it shows: what hardly changes is to look like it."""

_MARKED = 60
"""Up to so many frames each has a marker of its own."""

_NEAR, _FAR, _TEXT = "#2a6f97", "#bc4749", "#333333"


def plot_losses(trace: Sequence[Losses], path: Path, title: str) -> None:
    """Plots the weighted content, style and total variation losses over the iterations, as a PNG at `path`.

    One panel a term, side by side, each with an axis of its own: their magnitudes differ by orders, and it
    is the trends that say whether a picture is finished. The axes are fitted to what comes after the first
    few iterations. Each panel's title gives the value at the end.
    """
    # The object interface with its own canvas: no global state, and no display is looked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    figure = Figure(figsize=(10.5, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    title = title.encode("utf-8", "backslashreplace").decode()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    iterations = range(1, len(trace) + 1)
    terms = {
        "content": [losses.content for losses in trace],
        "style": [losses.style for losses in trace],
        "total variation": [losses.total_variation for losses in trace],
    }
    shown = EngFormatter(places=2, sep="")
    for axes, (name, values) in zip(figure.subplots(1, len(terms)), terms.items(), strict=True):
        axes.plot(iterations, values, color=_COLORS[name], linewidth=1.8, marker="o" if len(values) == 1 else None)
        last = shown(values[-1]) if math.isfinite(values[-1]) else "not finite"
        axes.set_title(f"{name}: {last}", fontsize=10, color=_COLORS[name])
        settled = [value for value in values[_LEAD_IN if len(values) > 2 * _LEAD_IN else 0 :] if math.isfinite(value)]
        if settled:
            low, high = min(settled), max(settled)
            margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
            axes.set_ylim(low - margin, high + margin)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("iteration")
        axes.grid(color="#dddddd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def plot_measures(measured: Sequence[Measured], path: Path, title: str) -> None:
    """Plots the course of a film, at least one frame of it, as a PNG at `path`.

    A panel each for the objective, luminance, contrast and sharpness; for the warping errors, ×1000, with dotted
    lines for those of the content; and for sharpness and objective beside a cold start, where there are any. Each
    panel's title gives the means, and grey lines stand where a shot begins. A value without neighbours is a point.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    summary = summarise(measured)
    engineered = EngFormatter(places=2, sep="")

    def shown(value: float) -> str:
        return engineered(value) if math.isfinite(value) else "not finite"

    panels: list[tuple[str, str, list[_Line]]] = [
        (
            f"objective, mean {shown(summary.objective.mean)}",
            _FAR,
            [_Line([one.losses.objective for one in measured], _FAR)],
        )
    ]
    if summary.stability:
        panels.append((f"warping error ×1000, mean {_errors(summary)}", _TEXT, _error_lines(measured)))
    light: tuple[tuple[str, float, Callable[[Measured], float]], ...] = (
        ("luminance", summary.luminance.mean, lambda one: one.luminance),
        ("contrast", summary.contrast.mean, lambda one: one.contrast),
        ("sharpness", summary.sharpness.mean, lambda one: one.sharpness),
    )
    for name, mean, value in light:
        panels.append((f"{name} of 255, mean {mean:.2f}", _NEAR, [_Line([value(one) for one in measured], _NEAR)]))
    if summary.cold_count:
        lines = [
            _Line([one.sharpness_to_cold for one in measured], _NEAR, "sharpness", sparse=True),
            _Line([one.objective_to_cold for one in measured], _FAR, "objective", sparse=True),
        ]
        panels.append(("beside a cold start (1 = the same)", _TEXT, lines))

    rows = -(-len(panels) // 3)
    figure = Figure(figsize=(12, 0.5 + 2.9 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    title = title.encode("utf-8", "backslashreplace").decode()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    starts = [one.index for one in measured[1:] if one.shot == one.index]
    places = list(figure.subplots(rows, 3, squeeze=False).flat)
    for axes, (name, color, lines) in zip(places, panels, strict=False):
        axes.set_title(name, fontsize=10, color=color)
        _draw(axes, lines, [one.index for one in measured], starts)
        for start in starts:
            # Between the last frame of a shot and the first of the next.
            axes.axvline(start - 0.5, color="#aaaaaa", linewidth=1.4, zorder=0.5)
        if axes is places[0]:
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        else:
            axes.ticklabel_format(axis="y", style="plain", useOffset=False)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.set_xlabel("frame")
        axes.grid(color="#dddddd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in places[len(panels) :]:
        axes.set_axis_off()
    _save(figure, path)


class _Line:
    """One curve: a value a frame, None or not finite where there is none.

    `sparse` values are joined over the frames between them, others only with their neighbours; none over a cut.
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


def _error_lines(measured: Sequence[Measured]) -> list[_Line]:
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


def _errors(summary: Summary) -> str:
    means = (pair.warping_error for pair in summary.stability)
    return " and ".join("–" if mean is None else f"{1000 * mean:.3g}" for mean in means)


def _draw(axes: "Axes", lines: Sequence[_Line], frames: Sequence[int], starts: Sequence[int]) -> None:
    """The lines, broken before each of `starts`, a legend above them where they have names, and axes that fit."""
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
        missing = max(0.0, _LEAST_RANGE * max(abs(low), abs(high)) - (high - low)) / 2
        margin = 0.06 * (high - low) + missing or 1.0
        named = any(line.label for line in lines)
        axes.set_ylim(low - margin, high + margin + (0.3 * (high - low + 2 * margin) if named else 0))
        if named:
            axes.legend(loc="upper left", fontsize=8, frameon=False, ncols=2)


def _marked(values: Sequence[float]) -> list[int]:
    """The places that need a marker: all of a few, of many those with no neighbour to draw a line to."""
    padded = [math.nan, *values, math.nan]
    return [
        place
        for place in range(len(values))
        if len(values) <= _MARKED or (math.isnan(padded[place]) and math.isnan(padded[place + 2]))
    ]


def _save(figure: "Figure", path: Path) -> None:
    with storage.atomic_file(path) as temporary, warnings.catch_warnings():
        # A name in a script that the font does not have is drawn as boxes, which is no reason to complain.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format="png")
