"""The Python API: what `import impasto` offers to scripts and notebooks, a function for each command.

`stylize_image` paints one picture in memory: no files are written. The other functions work on jobs, as the
commands of the same names do, and their results and files are interchangeable with those of the command line.

Conventions: paths may be strings or `os.PathLike`; settings are given by dotted keys, as `{"style.weight": 300}`;
`on_event` is called with each record of `impasto.events`; failures are raised as the exceptions of `impasto.errors`.
Ctrl-C (`KeyboardInterrupt`) and every other exception leave a job that resumes.

torch and OpenCV are imported by the functions that need them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import InputError, SettingsError, UsageError
from .events import FrameProgress, FrameStarted, JobDone, Listener, Losses, Notice, StopSignal, ignore

if TYPE_CHECKING:
    import numpy as np

    from .job.status import JobStatus
    from .media.codecs import Encoding
    from .media.content import Mode
    from .media.picture_arguments import Picture
    from .plan.request import FrameRange, Request
    from .report.summary import Measured, Summary
    from .run.dry_run import DryRun
    from .settings import Settings

StrPath: TypeAlias = str | os.PathLike[str]
"""A path as a string or an `os.PathLike`."""


@dataclass(frozen=True)
class Measurement:
    """What `measure` returns: the numbers of each picture, in order, and what they come to together."""

    pictures: "tuple[Measured, ...]"
    summary: "Summary"

    @property
    def losses(self) -> Losses:
        """Weighted losses, mean over the pictures."""
        count = len(self.pictures)
        return Losses(
            sum(picture.losses.content for picture in self.pictures) / count,
            sum(picture.losses.style for picture in self.pictures) / count,
            sum(picture.losses.total_variation for picture in self.pictures) / count,
        )


def stylize_image(
    content: "Picture",
    style: "Picture | Sequence[Picture]",
    *,
    size: int | None = None,
    config: StrPath = "default",
    settings: Mapping[str, Any] | None = None,
    style_weights: Sequence[float] = (),
    weights: StrPath | None = None,
    device: str = "auto",
    on_event: Listener | None = None,
) -> "np.ndarray":
    """Returns the painted picture, an `H×W×3` uint8 array in RGB order, sRGB; writes no file.

    On a CPU it has the same bits as the file that `impasto stylize` writes for this picture and these settings with
    as many threads (`torch.get_num_threads()`). Alpha is dropped, and of an animation the first picture is painted.

    content: the picture to paint: the path of an image, a PIL image or an `H×W×3` uint8 array.
    style: the style picture, or a list of several that are blended; `style_weights` holds the weight of each, of any
        sum, and is empty for equal ones.
    size: longest side of the result in pixels; None paints at the content's size.
    config: name of a preset, or path of a YAML file; `settings` are changes on top by dotted keys.
    weights: encoder weights: "bundled", "torchvision" or a file; None takes those of the preset.
    device: "auto" (the first GPU, else the CPU), "cpu", "cuda" or "cuda:N".
    on_event: called with a `Notice`, a `FrameStarted` and a `FrameProgress` after each iteration.

    Raises `InputError` for a picture that is missing, unreadable, of the wrong shape or type, or too small;
    `SettingsError` for an unknown or invalid setting; `UsageError` for style weights that do not fit the styles;
    `WeightsError`, `DeviceError` and `OutOfMemoryError`; and `FrameError` when the objective is not finite.
    """
    from .layers import require_size
    from .media import picture_arguments
    from .paint.batch import paint_one
    from .paint.devices import device_label, pick_device
    from .paint.encoder_weights import load_weights
    from .paint.painter import Painter, style_blend
    from .paint.task import COLD_STARTS, cold_task
    from .pictures import fit_within, resize, size_of
    from .plan.frame_rules import cold_start_rule

    listener = on_event or ignore
    chosen = _settings(config, settings, size, weights)
    if chosen.is_retuned:
        listener(Notice(chosen.retuned_notice))
    styles = _several(style)
    blend = style_blend(style_weights, len(styles))
    array = picture_arguments.to_array(content, "content")
    array = resize(array, fit_within(size_of(array), chosen.size))
    require_size(size_of(array), chosen.layers, "content")
    style_arrays = [picture_arguments.to_array(each, "style") for each in styles]
    for each in style_arrays:
        require_size(size_of(each), chosen.style.layers, "style")
    first = chosen.start.first
    start_picture = None if first in COLD_STARTS else picture_arguments.to_array(first, "start.first")
    chosen_device = pick_device(device)
    painter = Painter(chosen, load_weights(chosen.encoder.weights), style_arrays, blend, chosen_device)
    rule = cold_start_rule(chosen)
    task = cold_task(0, array, first, rule, start_picture)
    name = os.fspath(content) if isinstance(content, str | os.PathLike) else "picture"
    listener(FrameStarted(0, name, size_of(array), task.start, rule.iterations, device_label(chosen_device)))
    painted = paint_one(
        painter, task, lambda iteration, losses: listener(FrameProgress(0, iteration, rule.iterations, losses))
    )
    return painted.image


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
    segments: int | None = None,
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
    batch: pictures of one size that a device paints side by side; None decides by what pays.
    segments: parts in which each long shot is painted at the same time; None decides by the devices.
    mode: "sequence" takes images as the frames of one video, "photos" as independent, "auto" decides by the output.
    frames: part of a video or sequence, as "0:48" (from 0, end excluded) or a `FrameRange`.
    rate: frames per second of a video that is made from images, as 24, "30000/1001" or a `Fraction`.
    job: folder of the job; None is `OUTPUT.impasto` beside the output.
    force: overwrites the output and starts its job over.
    image_format: format of painted photos: "png", "jpg", "webp", "tiff" or "bmp"; None keeps each one's own.
    strip: leaves out metadata (camera, place, author).
    encoding: how a video is encoded, as `Encoding("hevc", crf=20)`; None chooses by the container.
    compare: also writes content and result side by side, as `OUTPUT-compare`.
    on_event: called with each record of `impasto.events`, from the thread of the caller.
    stop: `stop.request()`, from another thread or a signal handler, ends the job after the frames in flight.

    Raises `UsageError` and its kinds (`InputError`, `SettingsError`, `OutputError`, `WeightsError`, `DeviceError`,
    `JobMismatchError`) for what cannot be done as asked; `JobLockedError` when another process owns the job;
    `PartialError` when some frames failed and `FrameError` when all did; `MediaError` and `StorageError` for what the
    encoder or the disk refuses; and `Interrupted` after a stop request.
    """
    request = _request(**_without(locals(), "on_event", "stop"))
    from .run import job_run

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
    segments: int | None = None,
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
    request = _request(**_without(locals(), "on_event"))
    from .run import dry_run

    return dry_run.dry_run(request, on_event or ignore)


def resume(
    job: StrPath,
    *,
    device: str | None = None,
    executor: str | None = None,
    address: str | None = None,
    on_event: Listener | None = None,
    stop: StopSignal | None = None,
) -> JobDone:
    """Continues the job in the folder `job` and returns what came out.

    `device`, `executor` and `address` paint elsewhere than the job began. Raises `JobError` for a folder without a
    job, and what `stylize` raises.
    """
    from .run import job_run

    return job_run.resume(Path(job), on_event or ignore, stop, device, executor, address)


def status(job: StrPath) -> "JobStatus":
    """Returns how far the job in a folder is, whoever is working on it. Raises `JobError` for a folder without one."""
    from .job.job import Job
    from .job.status import status_of

    with Job.read(Path(job)) as open_job:
        return status_of(open_job)


def verify(job: StrPath) -> list[str]:
    """Rehashes everything that a job keeps; returns one line for each file that is not as it was written.

    An empty list means that frames, output and store are intact. Raises `JobError` for a folder without a job.
    """
    from .job.job import Job
    from .job.verification import find_problems

    with Job.read(Path(job)) as open_job:
        return find_problems(open_job)


def clean(job: StrPath) -> list[Path]:
    """Removes what a finished job no longer needs (frames, drafts, flow) and returns the files; the output stays.

    Raises `JobError` for a job that is not finished.
    """
    from .job.cleaning import clean_job, disposable_files
    from .job.job import Job

    with Job.open(Path(job)) as open_job:
        paths = disposable_files(open_job)
        clean_job(open_job)
    return paths


def measure(
    result: StrPath,
    *,
    content: StrPath,
    style: StrPath | Sequence[StrPath],
    config: StrPath = "default",
    settings: Mapping[str, Any] | None = None,
    style_weights: Sequence[float] = (),
    weights: StrPath | None = None,
    device: str = "auto",
    photos: bool = False,
    flow_folder: StrPath | None = None,
    cold_iterations: int = 0,
    cold_every: int | None = None,
) -> Measurement:
    """Measures finished pictures, painted by any tool: losses, light, sharpness, and a video's temporal consistency.

    result, content: two images, or two of folder and video.
    config, settings, style_weights, weights: the objective, as for `stylize_image`.
    photos: images of a folder are independent; without it a sequence or video gets temporal consistency.
    flow_folder: folder of `backward_2_1.flo` and so on, in place of flow that is estimated on the content.
    cold_iterations: compares every `cold_every`-th picture (None: every tenth) with the painting that so many
        iterations give from a cold start; 0 compares none.

    Raises `InputError` for results without content, unreadable files and missing flow, and `UsageError` and
    `SettingsError` for arguments that do not go together.
    """
    from .paint.devices import pick_device
    from .report.measure import COLD_EVERY
    from .report.measure import measure as measured_pictures
    from .report.summary import summarise

    pictures = tuple(
        measured_pictures(
            Path(result),
            Path(content),
            _paths(style, "style"),
            _settings(config, settings, None, weights),
            tuple(style_weights),
            pick_device(device),
            photos=photos,
            flow_folder=None if flow_folder is None else Path(flow_folder),
            cold_iterations=cold_iterations,
            cold_every=COLD_EVERY if cold_every is None else cold_every,
        )
    )
    return Measurement(pictures, summarise(pictures))


def _request(
    content: StrPath | Sequence[StrPath],
    style: StrPath | Sequence[StrPath],
    output: StrPath,
    config: StrPath,
    settings: Mapping[str, Any] | None,
    size: int | None,
    weights: StrPath | None,
    style_weights: Sequence[float],
    frames: "str | FrameRange | None",
    rate: Fraction | float | str | None,
    job: StrPath | None,
    encoding: "Encoding | None",
    **fields: Any,
) -> "Request":
    """The request that `stylize` and `dry_run` are called for; `fields` go into it as they are."""
    from .media.codecs import Encoding
    from .plan.request import FrameRange, Request

    return Request(
        content=_paths(content, "content"),
        styles=_paths(style, "style"),
        output=Path(output),
        settings=_settings(config, settings, size, weights),
        style_weights=tuple(style_weights),
        frames=FrameRange() if frames is None else FrameRange.parse(frames) if isinstance(frames, str) else frames,
        rate=None if rate is None else _rate(rate),
        job=None if job is None else Path(job),
        encoding=encoding or Encoding(),
        **fields,
    )


def _without(arguments: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if name not in names}


def _settings(
    config: StrPath, changes: Mapping[str, Any] | None, size: int | None, weights: StrPath | None
) -> "Settings":
    """Settings of a preset or file with `changes` on top, and then `size` and `weights` where they are given."""
    from .presets import load_settings

    if not isinstance(config, str | os.PathLike):
        raise SettingsError(f"config is a {type(config).__name__}: give the name of a preset or the path of a file")
    if changes is not None and not isinstance(changes, Mapping):
        raise SettingsError(f"settings is a {type(changes).__name__}: give a dict, as {{'style.weight': 300}}")
    overrides: list[tuple[str, Any]] = []
    for key, value in (changes or {}).items():
        if not isinstance(key, str):
            raise SettingsError(f"setting {key!r} is no dotted key, as in 'style.weight'")
        overrides.append((key, os.fspath(value) if isinstance(value, os.PathLike) else value))
    if size is not None:
        overrides.append(("size", size))
    if weights is not None:
        overrides.append(("encoder.weights", os.fspath(weights)))
    return load_settings(os.fspath(config), overrides)


def _several(style: "Picture | Sequence[Picture]") -> "list[Picture]":
    styles: list[Picture] = list(style) if isinstance(style, list | tuple) else [style]  # type: ignore[list-item]
    if not styles:
        raise UsageError("style is an empty list: give one picture or more")
    return styles


def _paths(value: StrPath | Sequence[StrPath], what: str) -> tuple[Path, ...]:
    """One or several paths. Raises `InputError` for anything else, as an array."""
    values = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(values, list | tuple) or not all(isinstance(each, str | os.PathLike) for each in values):
        raise InputError(f"{what} is a {type(value).__name__}: give a path or a list of paths (arrays: stylize_image)")
    if not values:
        raise UsageError(f"{what} is an empty list: give one path or more")
    return tuple(map(Path, values))


def _rate(value: Fraction | float | str) -> Fraction:
    """Frames per second; decimals are taken as they are written, 23.976 as 2997/125."""
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"rate {value!r} is not a rate: give 24, 23.976, '30000/1001' or a Fraction") from None
