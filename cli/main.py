"""The commands. Each turns its options into a call of the pipeline and shows what comes back.

Heavy libraries are imported by the commands that need them: help, status and the like answer at once.
"""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn, TextIO, cast

import typer
from rich.console import Console
from rich.text import Text

from .. import __version__
from ..errors import ImpastoError, Interrupted, StorageError, UsageError
from ..events import StopSignal
from .options import (
    FILMS_PANEL,
    MACHINES_PANEL,
    PHOTOS_PANEL,
    AddressOption,
    BatchOption,
    ConfigOption,
    DeviceOption,
    ExecutorOption,
    JobArgument,
    JsonOption,
    QuietOption,
    SetOption,
    StyleOption,
    StyleWeightOption,
    WeightsOption,
    parse_count,
    parse_image_format,
    parse_rate,
    settings_from_options,
)
from .records import measured_record, status_record, summary_record
from .tables import print_line, print_measured, print_status, show_plan
from .views import View, make_view, print_json
from .words import counted, short_path, size_of

if TYPE_CHECKING:
    pass


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


def _show_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"impasto {__version__}\n")
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
        bool, typer.Option("--sequence", help="The images are the frames of one film.", rich_help_panel=FILMS_PANEL)
    ] = False,
    photos: Annotated[
        bool,
        typer.Option("--photos", help="The images have nothing to do with each other.", rich_help_panel=PHOTOS_PANEL),
    ] = False,
    frames: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Only frames A to B-1, counted from 0.", rich_help_panel=FILMS_PANEL),
    ] = None,
    fps: Annotated[
        str | None,
        typer.Option(
            metavar="RATE",
            help="Frames a second of a video made from images: 24, 30000/1001.",
            rich_help_panel=FILMS_PANEL,
        ),
    ] = None,
    cuts: Annotated[
        str | None,
        typer.Option(
            metavar="auto|none|A,B,…|FILE",
            help="Where a film is cut: found, nowhere, or first frames of new shots.",
            rich_help_panel=FILMS_PANEL,
        ),
    ] = None,
    segments: Annotated[
        str,
        typer.Option(
            metavar="auto|N",
            help="Paint each long shot in N parts at the same time. auto: as several GPUs gain by it.",
            rich_help_panel=MACHINES_PANEL,
        ),
    ] = "auto",
    image_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="png|jpg|webp|tiff|bmp",
            help="Of the painted photos. Default: as they are.",
            rich_help_panel=PHOTOS_PANEL,
        ),
    ] = None,
    strip: Annotated[bool, typer.Option("--strip", help="Keep no metadata (camera, place, author).")] = False,
    codec: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="h264, hevc, av1, vp9, prores or ffv1. Default: h264; vp9 in .webm.",
            rich_help_panel=FILMS_PANEL,
        ),
    ] = None,
    crf: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Quality on the codec's own scale, 0 is best. Default: hardly less.",
            rich_help_panel=FILMS_PANEL,
        ),
    ] = None,
    pixel_format: Annotated[
        str | None,
        typer.Option(
            "--pixel-format",
            metavar="FMT",
            help="Such as yuv420p10le. Default: what players show.",
            rich_help_panel=FILMS_PANEL,
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
        settings = settings_from_options(config, set_, size, iterations, weights, cuts)
        from ..media import decoding

        decoding.warm_up()  # It starts while the heavy libraries are imported.
        from ..media.codecs import Encoding
        from ..plan.request import FrameRange, Request
        from ..run.job_run import dry_run as estimate
        from ..run.job_run import stylize as run

        request = Request(
            content=tuple(content),
            styles=tuple(style),
            style_weights=tuple(style_weight or ()),
            output=output,
            settings=settings,
            device=device,
            executor=executor,
            address=address,
            batch=parse_count("--batch", batch),
            segments=parse_count("--segments", segments),
            mode="sequence" if sequence else "photos" if photos else "auto",
            frames=FrameRange() if frames is None else FrameRange.parse(frames),
            rate=None if fps is None else parse_rate(fps),
            job=job,
            force=force,
            image_format=parse_image_format(image_format),
            strip=strip,
            encoding=Encoding(codec, crf, pixel_format),
            compare=compare,
        )
        if dry_run:
            plan = estimate(request, view)
            show_plan(plan, view, as_json)
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
        from ..run.job_run import resume as run

        run(job, view, stop, device, executor, address)


@app.command()
def status(job: JobArgument, as_json: JsonOption = False) -> None:
    """Say how far a job is, how fast, and how long it still takes."""
    with _session(False, as_json, live=False):
        from ..job.job import Job
        from ..job.status import status_of

        with Job.read(job) as open_job:
            state = status_of(open_job)
        if as_json:
            print_json({"event": "status", **status_record(state)})
        else:
            print_status(state)


@app.command()
def verify(job: JobArgument, as_json: JsonOption = False) -> None:
    """Rehash frames, output and all else that a job keeps, and name each difference."""
    with _session(False, as_json, live=False):
        from ..job.job import Job
        from ..job.status import status_of
        from ..job.verification import find_problems

        with Job.read(job) as open_job:
            problems, state = find_problems(open_job), status_of(open_job)
        if as_json:
            print_json({"event": "verified", "checked": state.done_count, "problems": list(problems)})
        else:
            for problem in problems:
                print_line(problem)
            what = counted(len(problems), "problem") if problems else "all are what they were when they were written"
            print_line(f"{state.done_count} of {state.frame_count} frames are painted; {what}")
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
        from ..job.cleaning import clean_job, disposable_files
        from ..job.job import Job

        with Job.read(job) if dry_run else Job.open(job) as open_job:
            paths = disposable_files(open_job)
            count, size = len(paths), sum(path.lstat().st_size for path in paths)
            if not dry_run:
                clean_job(open_job)
        if as_json:
            print_json({"event": "cleaned", "files": count, "bytes": size, "dry_run": dry_run})
        else:
            print_line(
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
        settings = settings_from_options(config, set_, None, None, weights)
        from ..paint.devices import pick_device
        from ..report.measure import COLD_EVERY
        from ..report.measure import measure as run
        from ..report.summary import Measured, summarise

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
                print_json(measured_record(item))
        summary = summarise(measured)
        plot = None
        if plots is not None:
            from ..report.plots import plot_measures

            plot = plots / "measures.png"
            plot_measures(measured, plot, f"{result.name}, painted from {content.name}")
        if as_json:
            print_json({**summary_record(summary), "plot": None if plot is None else str(plot)})
        else:
            print_measured(measured, summary)
            if plot is not None:
                print_line(f"plotted in {short_path(plot)}")


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
        from .. import presets as config
        from ..setting_help import documented_fields

        if keys:
            for key, default, allowed, meaning in documented_fields():
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
                    print_line(f"[bold]{key}[/] = {default}\n    {meaning}\n    allowed: {allowed}", markup=True)
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
                    print_line(
                        f"[bold]{preset:12}[/] {settings.description} ({settings.tuned_for} weights)", markup=True
                    )


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check what works here: devices, memory, ffmpeg, encoder weights; and what to do about what does not."""
    with _session(False, as_json, live=False):
        from .doctor import examine

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


def _require_job(folder: Path) -> None:
    """Fails on a folder without a job before torch is imported."""
    from ..job.job import Job

    Job.read(folder).__exit__()


def _fail(error: ImpastoError, as_json: bool) -> None:
    make_view(Console(stderr=True, highlight=False), quiet=True, as_json=as_json).error(error)
    raise typer.Exit(error.exit_code)


if __name__ == "__main__":
    main()
