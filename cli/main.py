"""The commands. Each turns its options into a call of the pipeline and shows what comes back.

Heavy libraries are imported by the commands that need them: help, status and the like answer at once.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

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
DeviceOption = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N", help="Where to paint.")]
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
        typer.Option(metavar="FIRST[,NEXT]", help="Most iterations for a cold start, and from the frame before."),
    ] = None,
    device: DeviceOption = "auto",
    sequence: Annotated[bool, typer.Option("--sequence", help="The images are the frames of one film.")] = False,
    photos: Annotated[bool, typer.Option("--photos", help="The images have nothing to do with each other.")] = False,
    frames: Annotated[
        str | None, typer.Option(metavar="A:B", help="Only frames A to B-1 of a film, counted from 0.")
    ] = None,
    fps: Annotated[
        str | None, typer.Option(metavar="RATE", help="Frames a second of a video made from images: 24, 30000/1001.")
    ] = None,
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
        settings = _settings(config, set_, size, iterations, weights)
        from pipeline.frames import FrameRange
        from pipeline.run import Request
        from pipeline.run import dry_run as estimate
        from pipeline.run import stylize as run

        request = Request(
            content=tuple(content),
            styles=tuple(style),
            style_weights=tuple(style_weight or ()),
            output=output,
            settings=settings,
            device=device,
            mode="sequence" if sequence else "photos" if photos else "auto",
            frames=FrameRange() if frames is None else FrameRange.parse(frames),
            rate=None if fps is None else _rate(fps),
            job=job,
            force=force,
        )
        if dry_run:
            plan = estimate(request, view)
            _show_plan(plan, view, as_json)
        else:
            run(request, view, stop)


@app.command()
def resume(
    job: JobArgument,
    device: Annotated[str | None, typer.Option(metavar="auto|cpu|cuda|cuda:N", help="Paint on another device.")] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Continue a job from its folder alone."""
    with _session(quiet, as_json) as (view, stop):
        _require_job(job)
        from pipeline.run import resume as run

        run(job, view, stop, device)


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
    """Rehash every painted frame and compare it with the job's store."""
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
            remedy = f"impasto resume {job} paints what is missing; first move away what you changed yourself"
            _fail(ImpastoError(f"{files} not as written: {remedy}"), as_json)


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
    as_json: JsonOption = False,
) -> None:
    """Measure the losses of finished pictures, by whichever tool they were made."""
    with _session(False, as_json, live=False):
        settings = _settings(config, set_, None, None, weights)
        from pipeline.measure import measure as run
        from pipeline.stylize import pick_device

        table = Table("picture", "size", "objective", "content", "style", "tv", box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        totals: list[float] = []
        for item in run(result, content, style, settings, tuple(style_weight or ()), pick_device(device)):
            losses, (height, width) = item.losses, item.size
            totals.append(losses.objective)
            if as_json:
                print_json(
                    {
                        "event": "measured",
                        "index": item.index,
                        "name": item.name,
                        "size": [height, width],
                        "content": losses.content,
                        "style": losses.style,
                        "total_variation": losses.total_variation,
                        "objective": losses.objective,
                    }
                )
            else:
                values = (losses.objective, losses.content, losses.style, losses.total_variation)
                table.add_row(Text(item.name), f"{width}×{height}", *map(loss, values))
        if as_json:
            mean = sum(totals) / len(totals)
            print_json({"event": "measured_all", "pictures": len(totals), "mean_objective": mean})
        else:
            if len(totals) > 1:
                table.add_row("mean", "", loss(sum(totals) / len(totals)))
            Console().print(table)


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
    view = make_view(Console(stderr=True, highlight=False), quiet=quiet or not live, as_json=as_json)
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


class _StopOnSignal(StopSignal):
    """The first Ctrl-C (or SIGTERM) asks the job to stop after the frame under way, the second stops it at once."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not the main thread, as under some test runners
                self._before[number] = signal.signal(number, self._on_signal)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested:
            raise KeyboardInterrupt
        self.request()
        self._view.say("finishing the frame under way; Ctrl-C again stops at once")


def _settings(
    config: str, overrides: list[str] | None, size: int | None, iterations: str | None, weights: str | None
) -> "Settings":
    from pipeline.config import load_settings

    own: list[str | tuple[str, Any]] = list(overrides or [])
    if size is not None:
        own.append(("size", size))
    if iterations is not None:
        parts = iterations.split(",")
        if not 1 <= len(parts) <= 2 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
            raise SettingsError(f"--iterations {iterations!r} is not of the form FIRST or FIRST,NEXT, as in 300,40")
        if any(len(part.strip()) > 9 for part in parts):
            raise SettingsError(f"--iterations {iterations[:20]}… is out of range: at most 1000000")
        own += [(f"iterations.{key}", int(part)) for key, part in zip(("first", "next"), parts, strict=False)]
    if weights is not None:
        own.append(("encoder.weights", weights))
    return load_settings(config, own)


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--fps {text!r} is not a rate: write 24, 23.976 or 30000/1001") from None
    if not 0 < rate <= 1000:
        raise UsageError(f"--fps {text} is out of range: over 0, at most 1000")
    return rate


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
    rows: list[tuple[str, str]] = [
        (
            "content",
            f"{plan.kind}, {counted(plan.frame_count, 'frame')} in {counted(plan.shot_count, 'shot')}"
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
            f"{duration(plan.seconds_per_iteration)} each at this size",
        ),
    ]
    for label, text in rows:
        _out(f"{label:>8}  {text}")
    if plan.disk_bytes > plan.disk_free_bytes:
        _out("the disk is too small for it", style="red")


def _print_status(state: "JobStatus") -> None:
    share = state.done_count / state.frame_count if state.frame_count else 1.0
    doing = f"being painted by {state.owner}" if state.owner else "finished" if state.finished else "not running"
    rows = [
        ("job", short_path(state.folder)),
        ("output", short_path(state.output)),
        ("state", doing),
        ("frames", f"{state.done_count} of {state.frame_count} ({share:.0%})"),
    ]
    if state.seconds_per_frame is not None:
        rows.append(("pace", f"{duration(state.seconds_per_frame)} a frame"))
    if not state.finished:
        rows.append(("left", duration(state.seconds_left)))
    if state.losses is not None:
        rows.append(("objective", f"{loss(state.losses.objective)} on average"))
    rows += [("failed", f"{name}: {message}") for name, message in state.failed]
    for label, text in rows:
        _out(f"{label:>9}  {text}")


def _status_record(state: "JobStatus") -> dict[str, object]:
    record: dict[str, object] = {
        key: str(value) if isinstance(value, Path) else value for key, value in vars(state).items()
    }
    record["failed"] = [{"name": name, "message": message} for name, message in state.failed]
    record["losses"] = None if state.losses is None else {**vars(state.losses), "objective": state.losses.objective}
    return record


def _out(text: str, *, markup: bool = False, style: str | None = None) -> None:
    Console(highlight=False).print(printable(text), markup=markup, style=style, soft_wrap=True)


def _fail(error: ImpastoError, as_json: bool) -> None:
    make_view(Console(stderr=True, highlight=False), quiet=True, as_json=as_json).error(error)
    raise typer.Exit(error.exit_code)


if __name__ == "__main__":
    main()
