"""TODO: cli.options."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SettingsError, UsageError

if TYPE_CHECKING:
    from ..settings import Settings


FILMS_PANEL, PHOTOS_PANEL, MACHINES_PANEL = "Films", "Photos", "Machines"

StyleOption = Annotated[
    list[Path], typer.Option("--style", "-s", metavar="IMAGE", help="Style image; give it again to blend several.")
]
StyleWeightOption = Annotated[
    list[float] | None,
    typer.Option("--style-weight", metavar="W", min=0, help="Weight of each style, in the same order. Default: equal."),
]
ConfigOption = Annotated[
    str, typer.Option("--config", "-c", metavar="NAME|FILE", help="Preset (see `impasto configs`) or YAML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, as in style.weight=200; may be repeated."),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(metavar="bundled|torchvision|FILE", help="Encoder weights, in place of those of the preset."),
]
DeviceOption = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda|cuda:N,…",
        help="Where to paint: every GPU, else the CPU; or those named.",
        rich_help_panel=MACHINES_PANEL,
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        metavar="auto|inline|processes|ray",
        help="In this process, in one for each device, or on a Ray cluster. auto: processes where they are worth it.",
        rich_help_panel=MACHINES_PANEL,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        help="The Ray cluster. Default: one of this machine alone, for the job.",
        rich_help_panel=MACHINES_PANEL,
    ),
]
BatchOption = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Pictures of one size that a device paints side by side. auto: as many as pay on a GPU here, else 1.",
        rich_help_panel=MACHINES_PANEL,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")]
JobArgument = Annotated[Path, typer.Argument(metavar="JOB", help="The folder OUTPUT.impasto that stylize made.")]


def settings_from_options(
    config: str,
    overrides: list[str] | None,
    size: int | None,
    iterations: str | None,
    weights: str | None,
    cuts: str | None = None,
) -> "Settings":
    from ..presets import load_settings

    own: list[str | tuple[str, Any]] = list(overrides or [])
    if size is not None:
        own.append(("size", size))
    passes = load_settings(config, own).passes.count if iterations is not None else 1
    if iterations is not None:
        parts = iterations.split(",")
        if not 1 <= len(parts) <= 2 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
            raise SettingsError(f"--iterations {iterations!r} is not of the form FIRST or FIRST,NEXT, as in 300,40")
        if any(len(part.strip()) > 9 for part in parts):
            raise SettingsError(f"--iterations {iterations[:20]}… is out of range: at most 1000000")
        own += [(f"iterations.{key}", int(part)) for key, part in zip(("first", "next"), parts, strict=False)]
        if passes > 1:
            if len(parts) > 1:
                raise SettingsError(
                    f"--iterations {iterations}: each of the {passes} passes of these settings has the same number "
                    "of iterations: give one"
                )
            own.append(("passes.iterations", int(parts[0])))
    if weights is not None:
        own.append(("encoder.weights", weights))
    if cuts is not None:
        from ..shots.boundaries import parse_cuts

        where = parse_cuts(cuts)
        # Cuts by hand that are none are no request to look for some.
        own += [("shots.detect", where == "auto"), ("shots.cuts", [] if isinstance(where, str) else list(where))]
    return load_settings(config, own)


def parse_image_format(text: str | None) -> str | None:
    from ..media.image_file import FORMATS

    if text is None:
        return None
    name = {"jpeg": "jpg", "tif": "tiff"}.get(text.lower().lstrip("."), text.lower().lstrip("."))
    if name not in FORMATS:
        raise UsageError(f"--format {text!r} is not one of {', '.join(FORMATS)}")
    return name


def parse_rate(text: str) -> Fraction:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--fps {text!r} is not a rate: write 24, 23.976 or 30000/1001") from None


def parse_count(option: str, text: str) -> int | None:
    """A count of at least 1; None for `auto`."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"{option} {text!r} is neither auto nor a whole number from 1")
    return int(text)
