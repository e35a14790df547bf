"""Inputs → the frames of a job and how they are painted."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..choices import Precision
from ..errors import InputError
from ..events import Listener, Notice, StopSignal
from ..job.records import PlannedFrame, names_by_text, not_kept_lines
from ..layers import require_size_within, smallest_side
from ..media import decoding
from ..media.content import Content, ContentKind
from ..media.find_content import missing_numbers, passed_over
from ..media.image_folders import HIDDEN
from ..media.images import require_sides
from ..paint.precision import choose_precision
from ..pictures import Size, fit_within, size_of
from ..settings import Settings
from .batch_widths import batch_widths, size_order
from .execution_plan import ExecutionPlan
from .film_planner import plan_film
from .flow_method import choose_flow_method
from .frame_plan import FramePlan
from .inputs import Inputs
from .targets import hash_replaced_files, picture_comparison_path
from .tile_sides import plan_tiles
from .workers import environment_of, gpu_worker_count, planned_devices, thread_count


def plan_frames(inputs: Inputs, listener: Listener, stop: StopSignal, worker_count: int | None = None) -> FramePlan:
    """Reads the content and plans its frames; notices say what is unusual about it.

    `worker_count` is what shots are divided for, by default the number of GPUs. Raises what `plan_film` raises.
    """
    for text in _notices(inputs.content, inputs.settings):
        listener(Notice(text))
    if inputs.content.is_film:
        if worker_count is None:
            worker_count = gpu_worker_count(inputs.request, inputs.devices)
        return plan_film(inputs, listener, stop, worker_count)
    return _plan_photos(inputs, listener)


def plan_execution(inputs: Inputs, plan: FramePlan) -> ExecutionPlan:
    """Decides how the frames are painted. Raises `InputError` for pictures that do not fit into memory."""
    widths, threads = batch_widths(inputs, plan), thread_count(inputs, plan)
    return ExecutionPlan(
        threads=threads,
        precision=_precision(inputs),
        mean_pixels=plan.mean_pixels,
        flow_method=choose_flow_method(inputs.settings.flow, inputs.devices[0]),
        environment=environment_of(inputs.devices[0]),
        widths=widths,
        tiles=plan_tiles(inputs, plan, widths, len(planned_devices(inputs, plan, threads))),
        size_order=size_order(inputs, plan, widths),
        replaced_files=hash_replaced_files(inputs, plan.frames),
        film=plan.film,
    )


def _precision(inputs: Inputs) -> Precision:
    """The precision of a job. The devices of a cluster are not known yet."""
    setting = inputs.settings.precision
    if inputs.request.executor == "ray":
        return "fp32" if setting == "auto" else setting
    return choose_precision(setting, *inputs.devices)


def _plan_photos(inputs: Inputs, listener: Listener) -> FramePlan:
    content, settings = inputs.content, inputs.settings
    output = Path(os.path.abspath(inputs.request.output))
    if content.kind is ContentKind.IMAGE:
        # A single image that cannot be painted is wrong input, not a job that is done in part.
        path = content.files[0].path
        size = size_of(decoding.read_image(path))
        _require_size(size, settings, path)
        output = output.parent
    work = settings.iterations.first
    frames = (
        PlannedFrame(index, index, file.name, str(output / file.target), work=work)
        for index, file in enumerate(content.files)
    )
    sizes, not_kept = _photo_facts(inputs, listener)
    for line in not_kept_lines(names_by_text(not_kept)):
        listener(Notice(line))
    if all(min(size) and _is_too_small(size, settings) for size in sizes):
        # No run of the job could paint any of them.
        _require_size(sizes[0], settings, content.files[0].path)
    reduced = tuple(fit_within(size, settings.size) for size in sizes)
    for file, (height, width) in zip(content.files, reduced, strict=True):
        if content.kind is ContentKind.IMAGE:
            require_sides(output / file.target, height, width)
        if inputs.request.compare:
            require_sides(picture_comparison_path(inputs, output / file.target), height, 2 * width)
    return FramePlan(tuple(frames), reduced, not_kept=tuple(not_kept))


def _is_worth_keeping(content: Content) -> bool:
    """Whether what is passed over in the folders of photos may be missed: more than hidden files."""
    return content.kind is ContentKind.PHOTOS and bool(content.skipped.keys() - {HIDDEN})


def _skipped_line(content: Content) -> str:
    return f"files in the content that are no images are passed over: {passed_over(content.skipped)}"


def _photo_facts(inputs: Inputs, listener: Listener) -> tuple[list[Size], list[tuple[str, str]]]:
    """The size of each photo, (0, 0) where it cannot be read, and (line, photo) for what its painting does not keep;
    where metadata is stripped, none is missed."""
    files = inputs.content.files
    sizes: list[Size] = []
    not_kept = [(_skipped_line(inputs.content), "")] if _is_worth_keeping(inputs.content) else []
    unpaintable: list[InputError] = []
    for file in files:
        size, lines = (0, 0), tuple[str, ...]()
        try:
            facts = decoding.image_facts(file.path, Path(file.target).suffix, strip=inputs.request.strip)
            size = facts.size
            _require_size(size, inputs.settings, file.path)
            lines = (*facts.not_kept, *facts.metadata_not_kept)
        except InputError as error:
            unpaintable.append(error)
        sizes.append(size)
        not_kept += [(line, file.name if len(files) > 1 else "") for line in lines]
    if unpaintable:
        listener(Notice(f"{len(unpaintable)} of {len(files)} photos cannot be painted (first: {unpaintable[0]})"))
    return sizes, not_kept


def _is_too_small(size: Size, settings: Settings) -> bool:
    return min(fit_within(size, settings.size)) < smallest_side(settings.layers)


def _require_size(size: Size, settings: Settings, path: Path) -> None:
    """Raises `InputError` where a photo of this size, or what `size` makes of it, is too small for the layers."""
    reduced = fit_within(size, settings.size)
    require_size_within(size, reduced, settings.size, settings.layers, f"content {path}")


def _notices(content: Content, settings: Settings) -> Iterator[str]:
    """What is unusual about the files of the content, and about the settings."""
    if content.skipped and not _is_worth_keeping(content):
        yield _skipped_line(content)
    for folder in content.unreadable:
        yield f"the folder {folder} may not be listed, and what is in it is not painted: change its permissions"
    if content.renamed:
        count, first = len(content.renamed), content.renamed[0]
        whose = "1 photo has a name" if count == 1 else f"{count} photos have names"
        yield f"{whose} that another has, or that is too long: {first.path} is painted to {first.target}"
    if content.kind is ContentKind.SEQUENCE:
        for gap in missing_numbers(content.files):
            yield f"frames are missing, and the film is painted without them: {gap}"
    if settings.is_retuned:
        yield settings.retuned_notice
