"""Jobs: `stylize`, `dry_run`, `resume`, `status`, `verify` and `clean`."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..events import JobDone, Listener, StopSignal, ignore
from .arguments import StrPath, as_path, as_paths, job_request

if TYPE_CHECKING:
    from ..job.status import JobStatus
    from ..media.codecs import Encoding
    from ..media.content import Mode
    from ..plan.request import FrameRange
    from ..run.dry_run import DryRun


def stylize(
    content: StrPath | Sequence[StrPath],
    *,
    style: StrPath | Sequence[StrPath],
    output: StrPath,
    config: StrPath = "default",
    settings: Mapping[str, Any] | None = None,
    size: int | None = None,
    style_weights: Sequence[float] = (),
    weights: StrPath | None = None,
    device: str = "auto",
    executor: str = "auto",
    address: str | None = None,
    batch: int | None = None,
    memory: int | str | None = None,
    segments: int | None = None,
    video_stream: int | None = None,
    mode: "Mode" = "auto",
    frames: "str | FrameRange | None" = None,
    rate: Fraction | float | str | None = None,
    job: StrPath | None = None,
    force: bool = False,
    image_format: str | None = None,
    strip: bool = False,
    encoding: "Encoding | None" = None,
    compare: bool = False,
    on_event: Listener | None = None,
    stop: StopSignal | None = None,
) -> JobDone:
    """Paints an image, a folder of photos or a video to `output`; returns what came out, as the last event tells it.

    The same call again continues where an earlier one stopped, whether that was a call or a command; a finished job
    returns at once.

    content: path of an image, a folder or a video; or a list of images and folders.
    style: path of the style image, or a list of several that are blended with `style_weights` (default: equal).
    output: path of the image, folder or video to make, by its ending.
    config, settings, size, weights: as for `stylize_image`.
    device: "auto" (every GPU, else the CPU), "cpu", "cuda", or some of them as "cuda:0,cuda:1".
    executor: "auto", "inline" (in this process), "processes" or "ray"; `address` is that of a Ray cluster.
    batch: pictures of one size that a device paints side by side; None decides by rule.
    memory: what painting may take, as "6GB" or a number of bytes; None takes a share of what is free. Larger pictures
        are painted in tiles.
    segments: parts in which each long shot is painted at the same time; None decides by the devices.
    video_stream: the stream of pictures to paint, by its index in the file, of a video with several; None takes the
        one that players show.
    mode: "sequence" takes images as the frames of one video, "photos" as independent, "auto" decides by the output.
    frames: part of a video or sequence, as "0:48" (from 0, end excluded) or a `FrameRange`.
    rate: frames per second of a video that is made from images, as 24, "30000/1001" or a `Fraction`.
    job: folder of the job; None is `OUTPUT.impasto` beside the output.
    force: overwrites the output and starts its job over.
    image_format: format of painted photos: "png", "jpg", "webp", "tiff" or "bmp"; None keeps each one's own.
    strip: leaves out metadata (camera, location, author).
    encoding: how a video is encoded, as `Encoding("hevc", crf=20)`; None chooses by the container.
    compare: also writes content and result side by side, as `OUTPUT-compare`.
    on_event: called with each record of `impasto.events`, from the thread of the caller.
    stop: `stop.request()`, from another thread or a signal handler, ends the job after the frames in flight.

    Raises `UsageError` and its kinds (`InputError`, `SettingsError`, `OutputError`, `WeightsError`, `DeviceError`,
    `JobMismatchError`) for what cannot be done as asked; `JobLockedError` when another process owns the job;
    `PartialError` when some frames failed and `FrameError` when all did; `MediaError` and `StorageError` for what the
    encoder or the disk refuses; and `Interrupted` after a stop request.
    """
    request = job_request(**_without(locals(), "on_event", "stop"))
    from ..run import job_run

    return job_run.stylize(request, on_event or ignore, stop)


def dry_run(
    content: StrPath | Sequence[StrPath],
    *,
    style: StrPath | Sequence[StrPath],
    output: StrPath,
    config: StrPath = "default",
    settings: Mapping[str, Any] | None = None,
    size: int | None = None,
    style_weights: Sequence[float] = (),
    weights: StrPath | None = None,
    device: str = "auto",
    executor: str = "auto",
    address: str | None = None,
    batch: int | None = None,
    memory: int | str | None = None,
    segments: int | None = None,
    video_stream: int | None = None,
    mode: "Mode" = "auto",
    frames: "str | FrameRange | None" = None,
    rate: Fraction | float | str | None = None,
    job: StrPath | None = None,
    force: bool = False,
    image_format: str | None = None,
    strip: bool = False,
    encoding: "Encoding | None" = None,
    compare: bool = False,
    on_event: Listener | None = None,
) -> "DryRun":
    """Returns what `stylize` would do with the same arguments, how long it takes and the disk it needs.

    Reads the content and times a few iterations; writes nothing. Raises what `stylize` raises before it paints.
    """
    request = job_request(**_without(locals(), "on_event"))
    from ..run import dry_run

    return dry_run.dry_run(request, on_event or ignore)


def resume(
    job: StrPath,
    *,
    device: str | None = None,
    executor: str | None = None,
    address: str | None = None,
    content: StrPath | Sequence[StrPath] = (),
    style: StrPath | Sequence[StrPath] = (),
    output: StrPath | None = None,
    on_event: Listener | None = None,
    stop: StopSignal | None = None,
) -> JobDone:
    """Continues the job in the folder `job` and returns what came out.

    `device`, `executor` and `address` paint elsewhere than the job began. `content` and `style` name its files where
    they are now, or folders with them, if they were moved away from the job; they have to be the same, by their hashes.
    What was moved along with the job is found without. `output` names where the output is now, or is to go: what the
    job wrote at the earlier place is copied. Raises `JobError` for a folder without a job, and what `stylize` raises.
    """
    from ..run import job_run

    return job_run.resume(
        as_path(job, "job"),
        on_event or ignore,
        stop,
        device,
        executor,
        address,
        content=() if content == () else as_paths(content, "content"),
        styles=() if style == () else as_paths(style, "style"),
        output=None if output is None else as_path(output, "output"),
    )


def status(job: StrPath) -> "JobStatus":
    """Returns the progress of the job in a folder, also while it runs. Raises `JobError` for a folder without a job."""
    from ..job.job import Job
    from ..job.status import status_of

    with Job.read(as_path(job, "job")) as open_job:
        return status_of(open_job)


def verify(job: StrPath) -> list[str]:
    """Rehashes everything that a job keeps; returns one line for each file that is not as it was written.

    An empty list means that frames, output and store are intact. Raises `JobError` for a folder without a job.
    """
    from ..job.job import Job
    from ..job.verification import find_problems

    with Job.read(as_path(job, "job")) as open_job:
        return find_problems(open_job)


def clean(job: StrPath) -> list[Path]:
    """Removes what a finished job no longer needs (frames, drafts, flow) and returns the files; the output stays.

    Raises `JobError` for a job that is not finished.
    """
    from ..job.cleaning import clean_job
    from ..job.job import Job

    with Job.open(as_path(job, "job")) as open_job:
        return clean_job(open_job)


def _without(arguments: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in names}
