"""The command `measure`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .formatting import short_path
from .measure_table import print_measured
from .memory_limit import require_room_for_libraries
from .options import (
    ConfigOption,
    DeviceOption,
    JsonOption,
    SetOption,
    StyleOption,
    StyleWeightOption,
    WeightsOption,
)
from .output import print_json, print_line
from .parsing import settings_from_options
from .records import measured_record, summary_record
from .session import session, state_of

if TYPE_CHECKING:
    from ..report.summary import Measured


def measure(
    context: typer.Context,
    result: Annotated[
        Path, typer.Argument(metavar="RESULT", help="A painted image, folder or video, made by any tool.")
    ],
    content: Annotated[Path, typer.Option("--content", metavar="CONTENT", help="What it was painted from.")],
    style: StyleOption,
    style_weight: StyleWeightOption = None,
    config: ConfigOption = "default",
    set_: SetOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    photos: Annotated[bool, typer.Option("--photos", help="Treat the images as independent photos.")] = False,
    flow: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of backward_2_1.flo etc. Default: flow estimated from the content."),
    ] = None,
    cold: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Also paint every K-th frame anew, N iterations each, to compare with. Slow.",
        ),
    ] = 0,
    cold_every: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Compare only every K-th frame. Default: every tenth.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a plot of all numbers over the frames.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure finished pictures, and the temporal consistency of a video, painted by any tool."""
    with session(context, as_json=as_json):
        settings = settings_from_options(config, set_, None, None, weights)
        require_room_for_libraries()
        from ..paint.devices import pick_device
        from ..report.measure import COLD_EVERY
        from ..report.summary import summarise

        measured: list[Measured] = []
        for item in state_of(context).engine.measure(
            result,
            content,
            style,
            settings,
            tuple(style_weight or ()),
            pick_device(device),
            photos=photos,
            flow_folder=flow,
            cold_iterations=cold,
            cold_every=COLD_EVERY if cold_every is None else cold_every,
        ):
            measured.append(item)
            if as_json:
                print_json(measured_record(item))
        summary = summarise(measured)
        plot = None if plots is None else _plot(measured, plots, result, content)
        if as_json:
            print_json({**summary_record(summary), "plot": None if plot is None else str(plot)})
        else:
            print_measured(measured, summary)
            if plot is not None:
                print_line(f"plot  {short_path(plot)}")


def _plot(measured: "list[Measured]", folder: Path, result: Path, content: Path) -> Path:
    """Plots the numbers over the frames; returns the file."""
    from ..report.plots import plot_measures

    path = folder / "measures.png"
    plot_measures(measured, path, f"{result.name}, painted from {content.name}")
    return path
