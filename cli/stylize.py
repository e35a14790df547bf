"""The commands that paint: `stylize` and `resume`."""

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .job_lines import print_dry_run
from .memory_limit import require_room_for_libraries
from .options import (
    DEVICES_PANEL,
    AddressOption,
    BatchOption,
    CodecOption,
    CompareOption,
    ConfigOption,
    ContentArgument,
    CrfOption,
    CutsOption,
    DeviceOption,
    DryRunOption,
    ExecutorOption,
    ForceOption,
    FormatOption,
    FpsOption,
    FramesOption,
    IterationsOption,
    JobArgument,
    JobOption,
    JsonOption,
    MemoryOption,
    OutputOption,
    PhotosOption,
    PixelFormatOption,
    PrecisionOption,
    QuietOption,
    SegmentsOption,
    SequenceOption,
    SetOption,
    SizeOption,
    StripOption,
    StyleOption,
    StyleWeightOption,
    VideoStreamOption,
    WeightsOption,
)
from .output import print_json
from .parsing import parse_count, parse_image_format, parse_rate, settings_from_options
from .records import dry_run_record
from .session import session, state_of


def stylize(
    context: typer.Context,
    content: ContentArgument,
    style: StyleOption,
    output: OutputOption,
    style_weight: StyleWeightOption = None,
    config: ConfigOption = "default",
    set_: SetOption = None,
    size: SizeOption = None,
    iterations: IterationsOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
    executor: ExecutorOption = "auto",
    address: AddressOption = None,
    batch: BatchOption = "auto",
    memory: MemoryOption = None,
    sequence: SequenceOption = False,
    photos: PhotosOption = False,
    frames: FramesOption = None,
    fps: FpsOption = None,
    cuts: CutsOption = None,
    segments: SegmentsOption = "auto",
    video_stream: VideoStreamOption = None,
    image_format: FormatOption = None,
    strip: StripOption = False,
    codec: CodecOption = None,
    crf: CrfOption = None,
    pixel_format: PixelFormatOption = None,
    compare: CompareOption = False,
    weights: WeightsOption = None,
    job: JobOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Paint an image, a folder of photos or a video. Run the same command again to continue after a stop."""
    with session(context, quiet=quiet, as_json=as_json, shows_job=True, paints=not dry_run) as (view, stop):
        if sequence and photos:
            raise UsageError("--sequence and --photos exclude each other: give one")
        settings = settings_from_options(config, set_, size, iterations, weights, cuts, precision)
        require_room_for_libraries()
        from ..media import decoding

        decoding.warm_up()  # The decoder starts while torch is imported.
        from ..media.codecs import Encoding
        from ..plan.request import FrameRange, Request, parse_memory

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
            memory=None if memory is None else parse_memory(memory),
            segments=parse_count("--segments", segments),
            video_stream=video_stream,
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
        engine = state_of(context).engine
        if not dry_run:
            engine.stylize(request, view, stop)
            return
        plan = engine.dry_run(request, view)
        if as_json:
            print_json(dry_run_record(plan))
        else:
            view.__exit__()  # The bars are removed before the report is printed.
            print_dry_run(plan)


def resume(
    context: typer.Context,
    job: JobArgument,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="auto|cpu|cuda|cuda:N,…",
            help="Paint on other devices than before.",
            rich_help_panel=DEVICES_PANEL,
        ),
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="auto|inline|processes|ray",
            help="Paint with another executor than before.",
            rich_help_panel=DEVICES_PANEL,
        ),
    ] = None,
    address: AddressOption = None,
    content: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="The content, or a folder with it, where it is now, if it was moved away from the job. Repeatable.",
        ),
    ] = None,
    style: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="IMAGE",
            help="A style, or a folder with it, where it is now, if it was moved away from the job. Repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Where the output is now, or is to go. What is at its old place is copied."),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Continue a job, given its folder. It may have been moved, along with its content, style and output."""
    with session(context, quiet=quiet, as_json=as_json, shows_job=True) as (view, stop):
        _require_job(job)
        require_room_for_libraries()
        files = tuple(content or ()), tuple(style or ())
        state_of(context).engine.resume(job, view, stop, device, executor, address, *files, output)


def _require_job(folder: Path) -> None:
    """Raises `JobError` for a folder without a job, before torch is imported."""
    from ..job.job import Job

    Job.read(folder).__exit__()
