"""Request → inputs: all checks that need no look into the content, and everything small that is read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .. import storage
from ..errors import InputError, OutputError, UsageError, WeightsError
from ..job.folder import comparison_path
from ..layers import require_size
from ..media import decoding
from ..media.containers import OUTPUT_SUFFIXES, is_video_name
from ..media.content import Content, ContentKind
from ..media.find_content import require_outside, resolve_content
from ..paint.devices import pick_devices
from ..paint.painter import style_blend
from ..paint.task import COLD_STARTS
from ..settings import Settings
from .request import FrameRange, Request
from .writable import require_known_places


@dataclass(frozen=True)
class Inputs:
    """A request whose parts go together, with the small files that it names."""

    request: Request

    content: Content
    """The files of the content, unread."""

    styles: tuple[np.ndarray, ...]
    """Style images, H×W×3 uint8."""

    blend: tuple[float, ...]
    """The weight of each style, of any sum."""

    start_picture: np.ndarray | None
    """H×W×3 uint8, where cold starts begin from an image file."""

    devices: tuple[torch.device, ...]
    """Devices of this machine that may paint; the CPU alone for a Ray cluster."""

    @property
    def settings(self) -> Settings:
        """The settings of the request."""
        return self.request.settings

    @property
    def to_video(self) -> bool:
        """Whether the output is a video."""
        return is_video_output(self.content, self.request.output)

    @property
    def to_one_file(self) -> bool:
        """Whether the output is one file: a video or a single image."""
        return self.to_video or self.content.kind is ContentKind.IMAGE

    @property
    def passes(self) -> int:
        """How often each frame is painted."""
        return self.settings.passes.count if self.content.is_film else 1

    @property
    def can_divide_shots(self) -> bool:
        """Whether shots may be painted in segments: frames may then start from frames other than the previous one."""
        return self.content.is_film and self.passes == 1 and self.settings.start.next == "warped"


def is_video_output(content: Content, output: Path) -> bool:
    """Whether a film is painted to a video, and not to a folder."""
    return content.is_film and is_video_name(output)


def read_inputs(request: Request) -> Inputs:
    """Resolves and checks what a request names, and reads styles and start picture. Writes nothing.

    Raises `UsageError`, `InputError`, `OutputError`, `WeightsError`, `DeviceError` or `MediaError` for what is missing
    or does not go together.
    """
    settings = request.settings
    require_known_places(request)
    content = resolve_content(request.content, request.output, request.mode, request.image_format, request.styles)
    if request.video_stream is not None:
        if content.kind is not ContentKind.VIDEO:
            raise UsageError("`video_stream` selects one of several streams of a video: leave it out")
        content = replace(content, video_stream=request.video_stream)
    _check_formats(request, content)
    _check_paths(request, content)
    inputs = Inputs(
        request=request,
        content=content,
        styles=_read_styles(request.styles, settings),
        blend=style_blend(request.style_weights, len(request.styles)),
        start_picture=None if settings.start.first in COLD_STARTS else decoding.read_image(Path(settings.start.first)),
        # A cluster may have GPUs that this machine lacks.
        devices=pick_devices("cpu" if request.executor == "ray" else request.device),
    )
    _check_flow(settings)
    _check_segments(inputs)
    return inputs


def _check_formats(request: Request, content: Content) -> None:
    """Refuses options that do not apply to this kind of content and output."""
    output, to_video = request.output, is_video_output(content, request.output)
    if to_video and output.suffix.lower() not in OUTPUT_SUFFIXES:
        raise OutputError(f"cannot write a video as {output.name}: use {' '.join(OUTPUT_SUFFIXES)}")
    if content.kind is not ContentKind.PHOTOS and request.image_format is not None:
        raise UsageError("`image_format` is for photos that are painted to a folder; else the output's ending says it")
    if to_video:
        request.encoding.require(output.suffix.lower())
    elif not request.encoding.is_default:
        raise UsageError("`codec`, `crf` and `pixel_format` are for video outputs: name one, as painted.mp4")
    if not content.is_film and request.frames != FrameRange():
        raise UsageError("`frames` selects a part of a video or a sequence; photos are all painted")
    if request.rate is not None and not (to_video and content.kind is ContentKind.SEQUENCE):
        raise UsageError("`rate` is for videos made from single images; a video keeps its own rate")
    if request.settings.shots.cuts and not content.is_film:
        raise UsageError("`shots.cuts` divides a video or a sequence into shots; photos are independent")


def _check_paths(request: Request, content: Content) -> None:
    """Refuses outputs and job folders that would overwrite what is read, or each other."""
    settings = request.settings
    read = [*request.styles, Path(settings.encoder.weights), Path(settings.start.first)]
    require_outside(content, request.content, request.output, read)
    require_outside(content, request.content, request.job_folder)
    if request.compare:
        require_outside(content, request.content, comparison_path(request.output), read)
    # With `force` the job's folder is cleared.
    job = storage.real_path(request.job_folder)
    for path in request.content:
        if storage.real_path(path).is_relative_to(job):
            raise OutputError(f"content {path} lies inside the job's folder {request.job_folder}: name another `job`")
    output = storage.real_path(request.output)
    if is_video_output(content, request.output) or content.kind is ContentKind.IMAGE:
        if output.is_relative_to(job):
            raise OutputError(
                f"output {request.output} lies inside the job's folder {request.job_folder}: name another"
            )
        return
    if job.is_relative_to(output) or output.is_relative_to(job):
        raise OutputError(
            f"the job's folder {request.job_folder} and output {request.output} overlap: name another `job`"
        )


def _read_styles(paths: Sequence[Path], settings: Settings) -> tuple[np.ndarray, ...]:
    styles = tuple(decoding.read_image(path) for path in paths)
    for path, style in zip(paths, styles, strict=True):
        require_size((style.shape[0], style.shape[1]), settings.style.layers, f"style {path}")
    return styles


def _check_flow(settings: Settings) -> None:
    method, weights, folder = settings.flow.method, settings.flow.weights, settings.flow.folder
    if method in ("auto", "raft") and weights != "torchvision" and not storage.may_be_file(Path(weights)):
        raise WeightsError(f"flow.weights {weights} is no file: name RAFT's weights, or torchvision")
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"flow.folder {folder} is no folder: name the one that holds the .flo files")


def _check_segments(inputs: Inputs) -> None:
    segments = inputs.request.segments
    if segments is None:
        return
    if not inputs.content.is_film:
        raise UsageError("`segments` divides the shots of a video or a sequence; photos are painted side by side")
    if segments > 1 and not inputs.can_divide_shots:
        start = inputs.settings.start.next
        why = f"in {inputs.passes} passes (passes.count)" if inputs.passes > 1 else f"with start.next={start}"
        raise UsageError(f"`segments` {segments}: a film {why} is not painted in segments: leave it out")
