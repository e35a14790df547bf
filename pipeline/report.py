"""What a person looks at afterwards: plots of how the losses fell."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

from pipeline import storage
from pipeline.events import Losses

_COLORS = {"content": "#2a6f97", "style": "#bc4749", "total variation": "#6a994e"}

_LEAD_IN = 5
"""The first iterations change everything by orders of magnitude; the axes are fitted to what follows."""


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
    with storage.atomic_file(path) as temporary, warnings.catch_warnings():
        # A name in a script that the font does not have is drawn as boxes, which is no reason to complain.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(temporary, format="png")
