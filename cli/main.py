"""The commands. Each turns its options into a call of the pipeline and shows what comes back.

Heavy libraries are imported by the commands that need them: help, status and the like answer at once.
"""

import contextlib
import errno
import math
import os
import signal
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import pipeline
from cli.views import View, make_view, print_json
from cli.words import counted, duration, loss, printable, short_path, size_of
from pipeline.errors import ImpastoError, Interrupted, SettingsError, StorageError, UsageError
from pipeline.events import StopSignal

if TYPE_CHECKING:
    from pipeline.config import Settings
    from pipeline.job import JobStatus
    from pipeline.measure import MeanStability, Measured, Stability, Summary
    from pipeline.run import DryRun

app = typer.Typer(
    name="impasto",
    help="Paint photos and films in the style of a picture, by optimising pixels against VGG-19.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)

_debug = False
_owns_process = False
"""Whether this process ends with the command, as it does not in another program that runs one."""

_FILMS, _PHOTOS, _MACHINES = "Films", "Photos", "Machines"

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
        rich_help_panel=_MACHINES,
    ),
]
ExecutorOption = Annotated[
    str,
    typer.Option(
        metavar="auto|inline|processes|ray",
        help="In this process, in one for each device, or on a Ray cluster. auto: processes where they are worth it.",
        rich_help_panel=_MACHINES,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        help="The Ray cluster. Default: one of this machine alone, for the job.",
        rich_help_panel=_MACHINES,
    ),
]
BatchOption = Annotated[
    str,
    typer.Option(
        metavar="auto|N",
        help="Pictures of one size that a device paints side by side. auto: as many as pay on a GPU here, else 1.",
        rich_help_panel=_MACHINES,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only errors.")]
JobArgument = Annotated[Path, typer.Argument(metavar="JOB", help="The folder OUTPUT.impasto that stylize made.")]


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"impasto {pipeline.__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Paint photos and films in the style of a picture, by optimising pixels against VGG-19.

    The shortest way:  [bold]impasto stylize photo.jpg --style painting.jpg --output painted.png[/]
    """
    del version
    global _debug  # noqa: PLW0603
    _debug = debug


@app.command()
def stylize(
    content: Annotated[
        list[Path],
        typer.Argument(metavar="CONTENT...", help="An image, images, a folder of photos or frames, a video."),
    ],
    style: StyleOption,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="PATH", help="Image, folder or video to make, by its ending.")
    ],
    style_weight: StyleWeightOption = None,
    config: ConfigOption = "default",
    set_: SetOption = None,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="N", help="Longest side of the painting, in pixels. Default: as it is."),
    ] = None,
    iterations: Annotated[
        str | None,
        typer.Option(
            metavar="FIRST[,NEXT]",
            help="Most iterations for a cold start, and from the frame before; of several passes, those of each.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    executor: ExecutorOption = "auto",
    address: AddressOption = None,
    batch: BatchOption = "auto",
    sequence: Annotated[
        bool, typer.Option("--sequence", help="The images are the frames of one film.", rich_help_panel=_FILMS)
    ] = False,
    photos: Annotated[
        bool, typer.Option("--photos", help="The images have nothing to do with each other.", rich_help_panel=_PHOTOS)
    ] = False,
    frames: Annotated[
        str | None, typer.Option(metavar="A:B", help="Only frames A to B-1, counted from 0.", rich_help_panel=_FILMS)
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="RATE", help="Frames a second of a video made from images: 24, 30000/1001.", rich_help_panel=_FILMS
        ),
    ] = None,
    cuts: Annotated[
        str | None,
        typer.Option(
            metavar="auto|none|A,B,…|FILE",
            help="Where a film is cut: found, nowhere, or first frames of new shots.",
            rich_help_panel=_FILMS,
        ),
    ] = None,
    segments: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="Paint each long shot in N parts at the same time. auto: as several GPUs gain by it.",
            rich_help_panel=_MACHINES,
        ),
    ] = "auto",
    image_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="png|jpg|webp|tiff|bmp",
            help="Of the painted photos. Default: as they are.",
            rich_help_panel=_PHOTOS,
        ),
    ] = None,
    strip: Annotated[bool, typer.Option("--strip", help="Keep no metadata (camera, place, author).")] = False,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="h264, hevc, av1, vp9, prores or ffv1. Default: h264; vp9 in .webm.",
            rich_help_panel=_FILMS,
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Quality on the codec's own scale, 0 is best. Default: hardly less.",
            rich_help_panel=_FILMS,
        ),
    ] = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            "--pixel-format",
            metavar="FMT",
            help="Such as yuv420p10le. Default: what players show.",
            rich_help_panel=_FILMS,
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Write content and result side by side as well, as OUTPUT-compare.")
    ] = False,
    weights: WeightsOption = None,
    job: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the job. Default: OUTPUT.impasto beside the output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite the output, and start its job over.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, how long it takes and the disk it needs.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Paint an image, a folder of photos or a video. The same command again goes on where it stopped."""
    with _session(quiet, as_json, graceful=not dry_run) as (view, stop):
        if sequence and photos:
            raise UsageError("--sequence and --photos exclude each other: give one")
        settings = _settings(config, set_, size, iterations, weights, cuts)
        from pipeline import decoding

        decoding.warm_up()  # It starts while the heavy libraries are imported.
        from pipeline.codecs import Encoding
        from pipeline.frames import FrameRange
        from pipeline.request import Request
        from pipeline.run import dry_run as estimate
        from pipeline.run import stylize as run

        request = Request(
            content=tuple(content),
            styles=tuple(style),
            style_weights=tuple(style_weight or ()),
            output=output,
            settings=settings,
            device=device,
            executor=executor,
            address=address,
            batch=_count_or_auto("--batch", batch),
            segments=_count_or_auto("--segments", segments),
            mode="sequence" if sequence else "photos" if photos else "auto",
            frames=FrameRange() if frames is None else FrameRange.parse(frames),
            rate=None if fps is None else _rate(fps),
            job=job,
            force=force,
            image_format=_image_format(image_format),
            strip=strip,
            encoding=Encoding(codec, crf, pixel_format),
            compare=compare,
        )
        if dry_run:
            plan = estimate(request, view)
            _show_plan(plan, view, as_json)
        else:
            run(request, view, stop)


@app.command()
def resume(
    job: JobArgument,
    device: Annotated[
        str | None, typer.Option(metavar="auto|cpu|cuda|cuda:N,…", help="Paint on other devices.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(metavar="auto|inline|processes|ray", help="Paint by another way.")
    ] = None,
    address: AddressOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Continue a job from its folder alone."""
    with _session(quiet, as_json) as (view, stop):
        _require_job(job)
        from pipeline.run import resume as run

        run(job, view, stop, device, executor, address)


@app.command()
def status(job: JobArgument, as_json: JsonOption = False) -> None:
    """Say how far a job is, how fast, and how long it still takes."""
    with _session(False, as_json, live=False):
        from pipeline.job import Job

        with Job.read(job) as open_job:
            state = open_job.status()
        if as_json:
            print_json({"event": "status", **_status_record(state)})
        else:
            _print_status(state)


@app.command()
def verify(job: JobArgument, as_json: JsonOption = False) -> None:
    """Rehash frames, output and all else that a job keeps, and name each difference."""
    with _session(False, as_json, live=False):
        from pipeline.job import Job

        with Job.read(job) as open_job:
            problems, state = open_job.problems(), open_job.status()
        if as_json:
            print_json({"event": "verified", "checked": state.done_count, "problems": list(problems)})
        else:
            for problem in problems:
                _out(problem)
            what = counted(len(problems), "problem") if problems else "all are what they were when they were written"
            _out(f"{state.done_count} of {state.frame_count} frames are painted; {what}")
        if problems:
            files = "1 file is" if len(problems) == 1 else f"{len(problems)} files are"
            remedy = f"impasto resume {job} puts right what it can; first move away what you changed yourself"
            _fail(ImpastoError(f"{files} not as written: {remedy}"), as_json)


@app.command()
def clean(
    job: JobArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what a finished job no longer needs: the frames of its film, drafts, flow. The output stays."""
    with _session(False, as_json, live=False):
        from pipeline.job import Job

        with Job.read(job) if dry_run else Job.open(job) as open_job:
            paths = open_job.disposable()
            count, size = len(paths), sum(path.lstat().st_size for path in paths)
            if not dry_run:
                open_job.clean()
        if as_json:
            print_json({"event": "cleaned", "files": count, "bytes": size, "dry_run": dry_run})
        else:
            _out(
                f"{counted(count, 'file')} of {size_of(size)} {'would be' if dry_run else 'removed'}"
                f"{' removed' if dry_run else ''} from {short_path(job)}"
            )


@app.command()
def measure(
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A painted image, folder or video, by any tool.")],
    content: Annotated[Path, typer.Option("--content", metavar="CONTENT", help="What it was painted from.")],
    style: StyleOption,
    style_weight: StyleWeightOption = None,
    config: ConfigOption = "default",
    set_: SetOption = None,
    weights: WeightsOption = None,
    device: DeviceOption = "auto",
    photos: Annotated[bool, typer.Option("--photos", help="The images have nothing to do with each other.")] = False,
    flow: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Folder of backward_2_1.flo and so on, in place of flow estimated on the content."
        ),
    ] = None,
    cold: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Compare with cold starts of N iterations, which takes long. 0: do not."),
    ] = 0,
    cold_every: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="Cold starts of every K-th frame only. Default: every tenth.")
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a plot of it all over the frames.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure finished pictures and how still a film holds, by whichever tool they were made."""
    with _session(False, as_json, live=False):
        settings = _settings(config, set_, None, None, weights)
        from pipeline.measure import COLD_EVERY, Measured, summarise
        from pipeline.measure import measure as run
        from pipeline.stylize import pick_device

        measured: list[Measured] = []
        for item in run(
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
                print_json(_measured_record(item))
        summary = summarise(measured)
        plot = None
        if plots is not None:
            from pipeline.report import plot_measures

            plot = plots / "measures.png"
            plot_measures(measured, plot, f"{result.name}, painted from {content.name}")
        if as_json:
            print_json({**_summary_record(summary), "plot": None if plot is None else str(plot)})
        else:
            _print_measured(measured, summary)
            if plot is not None:
                _out(f"plotted in {short_path(plot)}")


_MEASURED_ROWS = 40
"""Of a film with more frames than this only every so-manieth is printed."""


def _measured_record(item: "Measured") -> dict[str, object]:
    losses, (height, width) = item.losses, item.size
    return {
        "event": "measured",
        "index": item.index,
        "name": item.name,
        "size": [height, width],
        "content": _finite(losses.content),
        "style": _finite(losses.style),
        "total_variation": _finite(losses.total_variation),
        "objective": _finite(losses.objective),
        "luminance": item.luminance,
        "contrast": item.contrast,
        "sharpness": item.sharpness,
        "sharpness_to_cold": _finite(item.sharpness_to_cold),
        "objective_to_cold": _finite(item.objective_to_cold),
        "shot": item.shot,
        "stability": [_stability_record(pair) for pair in item.stability],
    }


def _summary_record(summary: "Summary") -> dict[str, object]:
    courses = {name: getattr(summary, name) for name in ("objective", "luminance", "contrast", "sharpness")}
    return {
        "event": "measured_all",
        "pictures": summary.picture_count,
        "mean_objective": _finite(summary.objective.mean),
        "shots": summary.shot_count,
        **{
            name: {
                "mean": _finite(course.mean),
                "first": _finite(course.first),
                "last": _finite(course.last),
                "trend_per_100": _finite(course.trend),
            }
            for name, course in courses.items()
        },
        "sharpness_to_cold": _finite(summary.sharpness_to_cold),
        "objective_to_cold": _finite(summary.objective_to_cold),
        "cold_starts": summary.cold_count,
        "stability": [{**_stability_record(pair), "pairs": pair.pair_count} for pair in summary.stability],
    }


def _stability_record(pair: "Stability | MeanStability") -> dict[str, object]:
    return {
        "distance": pair.distance,
        "warping_error_x1000": _thousandfold(pair.warping_error),
        "content_warping_error_x1000": _thousandfold(pair.content_warping_error),
        "trusted_share": pair.trusted_share,
    }


def _thousandfold(error: float | None) -> float | None:
    return None if error is None else 1000 * error


def _finite(value: float | None) -> float | None:
    """The value, or None where it is none that JSON has a word for."""
    return value if value is not None and math.isfinite(value) else None


def _print_measured(measured: "list[Measured]", summary: "Summary") -> None:
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
            *(_or_blank(_thousandfold(errors.get(distance)), ".3f") for distance in distances),
            *(
                _or_blank(value, ".3f")
                for value in ((item.sharpness_to_cold, item.objective_to_cold) if summary.cold_count else ())
            ),
        )
    if film:
        _print_table(table)
        if step > 1:
            _out(f"1 of {step} frames is shown; --json has them all")
        _out("")
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
            f"warping error ×1000, {pair.distance} back ({pairs})", _or_blank(_thousandfold(pair.warping_error), ".3f")
        )
        table.add_row("  of the content itself", _or_blank(_thousandfold(pair.content_warping_error), ".3f"))
        table.add_row("  pixels that are trusted", f"{pair.trusted_share:.1%}")
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


@app.command()
def configs(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Preset or file to print in full.")] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Explain every setting: default, allowed values, meaning.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the presets, print one in full, or explain the settings."""
    with _session(False, as_json, live=False):
        from pipeline import config

        if keys:
            for key, default, allowed, meaning in config.documented_fields():
                if as_json:
                    record = {
                        "event": "setting",
                        "key": key,
                        "default": default,
                        "allowed": allowed,
                        "meaning": meaning,
                    }
                    print_json(record)
                else:
                    _out(f"[bold]{key}[/] = {default}\n    {meaning}\n    allowed: {allowed}", markup=True)
        elif name is not None:
            settings = config.load_settings(name)
            if as_json:
                print_json({"event": "config", "name": name, "settings": config.to_values(settings)})
            else:
                sys.stdout.write(config.to_yaml(settings))
        else:
            for preset in config.preset_names():
                settings = config.load_settings(preset)
                if as_json:
                    print_json({"event": "config", "name": preset, "description": settings.description})
                else:
                    _out(f"[bold]{preset:12}[/] {settings.description} ({settings.tuned_for} weights)", markup=True)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check what works here: devices, memory, ffmpeg, encoder weights; and what to do about what does not."""
    with _session(False, as_json, live=False):
        from cli.doctor import examine

        findings = examine()
        for finding in findings:
            if as_json:
                print_json({"event": "finding", **vars(finding)})
            else:
                mark, style = ("✓", "green") if finding.works else ("✗", "red" if finding.needed else "yellow")
                remedy = f"\n    → {finding.remedy}" if finding.remedy else ""
                Console().print(
                    Text.assemble((f"{mark} ", style), (f"{finding.what}: ", "bold"), finding.found, remedy)
                )
        if not all(finding.works or not finding.needed for finding in findings):
            raise typer.Exit(1)


def main() -> NoReturn:
    """Entry point of the `impasto` command."""
    global _owns_process  # noqa: PLW0603
    _owns_process = True
    app()
    raise SystemExit(0)


# --- what the commands share ---


@contextlib.contextmanager
def _session(
    quiet: bool, as_json: bool, *, live: bool = True, graceful: bool | None = None
) -> Iterator[tuple[View, StopSignal]]:
    """The view and the stop signal of a command; errors become one line and the exit code.

    `live`: whether there is a job to watch. `graceful`: whether the first Ctrl-C waits for the frame under
    way, which only a command that paints has.
    """
    console = Console(file=cast(IO[str], _Terminal(sys.stderr)), highlight=False)
    view = make_view(console, quiet=quiet or not live, as_json=as_json)
    stop = _StopOnSignal(view)
    paints = live if graceful is None else graceful
    code = 0
    try:
        with view, stop if paints else contextlib.nullcontext():
            yield view, stop
    except ImpastoError as error:
        if _debug:
            raise
        view.error(error)
        code = error.exit_code
    except KeyboardInterrupt:
        goes_on = "; a job that had begun goes on with: impasto resume OUTPUT.impasto" if paints else ""
        view.error(Interrupted(f"stopped at once{goes_on}"))
        code = Interrupted.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; nobody is left to tell.
        sys.stdout = None
        code = 1
    except OSError as error:
        # What the pipeline could not foresee of a disk: a name that is too long, a folder that has gone.
        if _debug:
            raise
        place = f"{error.filename}: " if error.filename else ""
        view.error(StorageError(f"{place}{error.strerror or error}"))
        code = StorageError.exit_code
    if code:
        raise typer.Exit(code)


class _Terminal:
    """What people read, where it is a terminal that may be closed: a job that is to outlive it goes on in silence."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._spoken_to_nobody():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._spoken_to_nobody():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _spoken_to_nobody(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            # What could not be written waits in its buffers, and would fail once more at the end.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


class _StopOnSignal(StopSignal):
    """The first Ctrl-C (or SIGTERM, or SIGHUP) asks the job to stop after the frame under way, which has a while for
    it; the second stops it at once."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup: it is to outlive its terminal.
            with contextlib.suppress(ValueError):  # not the main thread, as under some test runners
                self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            # A second Ctrl-C while the interpreter ends would change nothing and show a traceback.
            ends = _owns_process and self.requested and number == signal.SIGINT
            signal.signal(number, signal.SIG_IGN if ends else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested:
            raise KeyboardInterrupt
        self.request()
        # Not at any price: the terminal may have gone, or be in the middle of a write.
        with contextlib.suppress(OSError, RuntimeError):
            self._view.say(
                f"finishing the frame under way, for {self.grace_seconds:.0f} s at most; Ctrl-C again stops at once"
            )


def _settings(
    config: str,
    overrides: list[str] | None,
    size: int | None,
    iterations: str | None,
    weights: str | None,
    cuts: str | None = None,
) -> "Settings":
    from pipeline.config import load_settings

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
        from pipeline.shots import parse_cuts

        where = parse_cuts(cuts)
        # Cuts by hand that are none are no request to look for some.
        own += [("shots.detect", where == "auto"), ("shots.cuts", [] if isinstance(where, str) else list(where))]
    return load_settings(config, own)


def _image_format(text: str | None) -> str | None:
    from pipeline.images import FORMATS

    if text is None:
        return None
    name = {"jpeg": "jpg", "tif": "tiff"}.get(text.lower().lstrip("."), text.lower().lstrip("."))
    if name not in FORMATS:
        raise UsageError(f"--format {text!r} is not one of {', '.join(FORMATS)}")
    return name


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--fps {text!r} is not a rate: write 24, 23.976 or 30000/1001") from None
    if not 0 < rate <= 1000:
        raise UsageError(f"--fps {text} is out of range: over 0, at most 1000")
    return rate


def _count_or_auto(option: str, text: str) -> int | None:
    """A count of at least 1; None for `auto`."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"{option} {text!r} is neither auto nor a whole number from 1")
    return int(text)


def _require_job(folder: Path) -> None:
    """Fails on a folder without a job before torch is imported."""
    from pipeline.job import Job

    Job.read(folder).__exit__()


def _show_plan(plan: "DryRun", view: View, as_json: bool) -> None:
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
        _out(f"{label:>8}  {text}")
    if plan.disk_bytes > plan.disk_free_bytes:
        _out("the disk is too small for it", style="red")


def _print_status(state: "JobStatus") -> None:
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
    rows += [("failed", f"{name}: {message}") for name, message in state.failed]
    for label, text in rows:
        _out(f"{label:>9}  {text}")


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


def _status_record(state: "JobStatus") -> dict[str, object]:
    record: dict[str, object] = {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(state).items()
    }
    record["devices"] = [vars(item) for item in state.devices]
    record["failed"] = [{"name": name, "message": message} for name, message in state.failed]
    record["losses"] = None if state.losses is None else {**vars(state.losses), "objective": state.losses.objective}
    return record


def _out(text: str, *, markup: bool = False, style: str | None = None) -> None:
    # What has markup is our own and may have several lines.
    Console(highlight=False).print(text if markup else printable(text), markup=markup, style=style, soft_wrap=True)


def _fail(error: ImpastoError, as_json: bool) -> None:
    make_view(Console(stderr=True, highlight=False), quiet=True, as_json=as_json).error(error)
    raise typer.Exit(error.exit_code)


if __name__ == "__main__":
    main()
