"""What a person looks at afterwards: plots of how the losses fell."""

from collections.abc import Sequence
from pathlib import Path

from pipeline import storage
from pipeline.events import Losses

_COLORS = ("#2a6f97", "#bc4749", "#6a994e")


def plot_losses(trace: Sequence[Losses], path: Path, title: str) -> None:
    """Plots the weighted content, style and total variation losses over the iterations, as a PNG at `path`.

    Each term is drawn as a share of its own largest value, on one logarithmic axis: their magnitudes
    differ by orders, and it is the trends that say whether a picture is finished. The legend gives the
    last values.
    """
    # The object interface with its own canvas: no global state, and no display is looked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, PercentFormatter

    figure = Figure(figsize=(7.2, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    iterations = range(1, len(trace) + 1)
    terms = {
        "content": [losses.content for losses in trace],
        "style": [losses.style for losses in trace],
        "total variation": [losses.total_variation for losses in trace],
    }
    for (name, values), color in zip(terms.items(), _COLORS, strict=True):
        largest = max(values)
        if largest > 0:
            # Zeros (the content's loss at a start from the content) have no place on a logarithmic axis.
            shares = [value / largest if value > 0 else float("nan") for value in values]
            axes.plot(iterations, shares, color=color, linewidth=1.8, label=f"{name} ({values[-1]:.4g} at the end)")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=None))
    axes.set_xlabel("iteration")
    axes.set_ylabel("share of the term's largest value")
    axes.set_title(title, loc="left", fontsize=11)
    axes.grid(which="major", color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with storage.atomic_file(path) as temporary:
        FigureCanvasAgg(figure)
        figure.savefig(temporary, format="png")
