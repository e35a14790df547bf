"""A job from end to end: content → shots → frame tasks → frames on the disk → output."""

import contextlib
import dataclasses
import math
import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from pipeline import assembly, decoding, images, media, storage
from pipeline import content as contents
from pipeline.cluster import RayExecutor
from pipeline.codecs import Encoding
from pipeline.config import Settings, parse_settings, to_values
from pipeline.content import ContentKind, ContentScan, FrameReader, Mode
from pipeline.encoder import EncoderWeights, load_weights
from pipeline.errors import (
    FrameError,
    InputError,
    Interrupted,
    OutOfMemoryError,
    OutputError,
    PartialError,
    StorageError,
    UsageError,
    WeightsError,
)
from pipeline.events import (
    Assembling,
    JobDone,
    JobStarted,
    Listener,
    Losses,
    Notice,
    Scanning,
    StopSignal,
    ignore,
)
from pipeline.executors import (
    Executor,
    InlineExecutor,
    PainterSpec,
    ProcessExecutor,
    best_threads,
    best_width,
    physical_memory_bytes,
    usable_cores,
)
from pipeline.flow import FloFolder, has_raft_weights
from pipeline.frame_index import FrameIndex
from pipeline.frames import FrameRange, Size, fit_within, resize
from pipeline.job import (
    CHECKPOINTS_NAME,
    FLOW_NAME,
    FRAMES_NAME,
    PLOTS_NAME,
    FrameRecord,
    FrameState,
    Job,
    PlannedFrame,
    default_folder,
    file_problem,
    is_job,
)
from pipeline.layers import require_size
from pipeline.painting import Painting, frame_index_of, most_iterations, widths_of
from pipeline.scheduler import longest_way, makespan
from pipeline.segments import LEAST_FRAMES, Segments, plan_anchors
from pipeline.starts import ColorStatistics
from pipeline.stylize import COLD_STARTS, Painter, device_label, pick_devices, style_blend

ENGINE = 5
"""Raised when the same settings and content give other pictures than before; part of each job's recipe."""


PROBE_WIDTH = 4
"""So many pictures side by side tell what more of them would take."""

GPU_MEMORY_SHARE = 0.85
"""Of a GPU's free memory, what pictures painted side by side may take."""

MEMORY_SHARE = 0.7
"""Of the machine's memory, what workers on a CPU may take together."""

EXECUTORS = ("auto", "inline", "processes", "ray")

PROCESSES_FROM = 2e7
"""Iterations × pixels from which on several processes are started for the cores of a CPU: each first loads torch and
the encoder, which takes some seconds."""


@dataclass(frozen=True)
class Request:
    """What one command asks for.

    `style_weights` are one for each style (of any sum), or empty for equal ones. `job` is the job's
    folder, None for `OUTPUT.impasto` beside the output. `rate`: frames a second of a video made from a
    sequence. `force` overwrites the output and starts an existing job over.
    `batch` is how many pictures a device paints side by side at most, None: as many as pay on a GPU, else 1.
    `executor` is one of `EXECUTORS`, and `address` that of a Ray cluster, None for one of this machine alone.
    `segments` is into how many each shot is divided, None for what its devices gain by.
    `image_format` is that of painted photos, one of `images.FORMATS`, None for the one that each has; `strip` leaves
    out metadata; `encoding` says how a video is encoded. `compare` writes content and result side by side, at
    `assembly.compare_path`.
    """

    content: tuple[Path, ...]
    styles: tuple[Path, ...]
    output: Path
    settings: Settings
    style_weights: tuple[float, ...] = ()
    device: str = "auto"
    executor: str = "auto"
    address: str | None = None
    batch: int | None = None
    segments: int | None = None
    mode: Mode = "auto"
    frames: FrameRange = field(default_factory=FrameRange)
    rate: Fraction | None = None
    job: Path | None = None
    force: bool = False
    image_format: str | None = None
    strip: bool = False
    encoding: Encoding = field(default_factory=Encoding)
    compare: bool = False

    @property
    def job_folder(self) -> Path:
        return self.job if self.job is not None else default_folder(self.output)

    def to_values(self) -> dict[str, Any]:
        """Plain JSON values from which `from_values` makes the request again, wherever it is run."""
        settings = to_values(self.settings)
        if self.settings.start.first not in COLD_STARTS:
            settings["start"]["first"] = os.path.abspath(self.settings.start.first)
        if self.settings.encoder.weights not in ("bundled", "torchvision"):
            settings["encoder"]["weights"] = os.path.abspath(self.settings.encoder.weights)
        if self.settings.flow.weights != "torchvision":
            settings["flow"]["weights"] = os.path.abspath(self.settings.flow.weights)
        if self.settings.flow.folder is not None:
            settings["flow"]["folder"] = os.path.abspath(self.settings.flow.folder)
        return {
            "content": [os.path.abspath(path) for path in self.content],
            "styles": [os.path.abspath(path) for path in self.styles],
            "style_weights": list(self.style_weights),
            "output": os.path.abspath(self.output),
            "settings": settings,
            "device": self.device,
            "executor": self.executor,
            "address": self.address,
            "batch": self.batch,
            "segments": self.segments,
            "mode": self.mode,
            "frames": [self.frames.start, self.frames.stop],
            "rate": None if self.rate is None else str(self.rate),
            "image_format": self.image_format,
            "strip": self.strip,
            "encoding": dataclasses.asdict(self.encoding),
            "compare": self.compare,
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any], job: Path) -> Self:
        """The request that a job in the folder `job` was made by."""
        return cls(
            content=tuple(map(Path, values["content"])),
            styles=tuple(map(Path, values["styles"])),
            style_weights=tuple(values["style_weights"]),
            output=Path(values["output"]),
            settings=parse_settings(values["settings"]),
            device=values["device"],
            executor=values["executor"],
            address=values["address"],
            batch=values["batch"],
            segments=values.get("segments"),
            mode=values["mode"],
            frames=FrameRange(*values["frames"]),
            rate=None if values["rate"] is None else Fraction(values["rate"]),
            job=job,
            image_format=values["image_format"],
            strip=values["strip"],
            encoding=Encoding(**values["encoding"]),
            compare=values["compare"],
        )


@dataclass(frozen=True)
class DryRun:
    """What a job would do.

    `segment_count` is that of the shots which are divided, 0 where none is. `disk_bytes` is for the painted frames and
    the output, from above. `seconds` is the estimate, with all iterations used by so many `workers` at a time, from
    `seconds_per_iteration`, which is measured on the first frame with one worker's threads. A cluster is taken for one
    of this machine alone.
    """

    kind: str
    frame_count: int
    shot_count: int
    segment_count: int
    size: Size
    iterations: int
    disk_bytes: int
    disk_free_bytes: int
    seconds_per_iteration: float
    seconds: float
    device: str
    workers: int
    output: Path
    job: Path


def stylize(request: Request, listener: Listener = ignore, stop: StopSignal | None = None) -> JobDone:
    """Does what is asked for, going on with an existing job where there is one.

    Raises `JobMismatchError` when the existing job was made with other settings or content, `PartialError`
    when frames failed (the rest is painted), `Interrupted` when `stop` was requested, and what the parts raise.
    """
    return _Run(request, listener, stop or StopSignal()).run()


def resume(
    job: Path,
    listener: Listener = ignore,
    stop: StopSignal | None = None,
    device: str | None = None,
    executor: str | None = None,
    address: str | None = None,
) -> JobDone:
    """Continues a job from its folder alone; `device`, `executor` and `address` paint elsewhere than the job began."""
    with Job.read(job) as existing:
        values = existing.invocation
    other = {"device": device or values["device"], "executor": executor or values["executor"]}
    other["address"] = address or (values["address"] if other["executor"] == "ray" else None)
    return stylize(Request.from_values({**values, **other}, job), listener, stop)


def dry_run(request: Request, listener: Listener = ignore) -> DryRun:
    """Reads the content and times a few iterations, and writes nothing."""
    return _Run(request, listener, StopSignal()).estimate()


@dataclass
class _Plan:
    """The frames of a job and what reading the content has shown of them."""

    frames: list[PlannedFrame]
    facts: dict[str, Any] = field(default_factory=dict)
    size: Size | None = None
    """Of each painting of a film; photos have one each."""
    frame_index: FrameIndex | None = None
    """Of a video that can be sought."""
    segments: Segments = field(default_factory=lambda: Segments((), ()))


class _Run:
    def __init__(self, request: Request, listener: Listener, stop: StopSignal) -> None:
        self.request = request
        self.settings = request.settings
        self.listener = listener
        self.stop = stop
        self.content = contents.resolve_content(request.content, request.output, request.mode, request.image_format)
        self.to_video = self.content.is_film and media.is_video_name(request.output)
        if self.to_video and request.output.suffix.lower() not in media.OUTPUT_SUFFIXES:
            raise OutputError(f"cannot write a video as {request.output.name}: use {' '.join(media.OUTPUT_SUFFIXES)}")
        if self.content.kind is not ContentKind.PHOTOS and request.image_format is not None:
            raise UsageError("--format is for photos that are painted to a folder; else the output's ending says it")
        if self.to_video:
            request.encoding.require(request.output.suffix.lower())
        elif not request.encoding.is_default:
            raise UsageError("--codec, --crf and --pixel-format are for video outputs: name one, as painted.mp4")
        if not self.content.is_film and request.frames != FrameRange():
            raise UsageError("--frames takes a part of a video or a sequence; photos are all painted")
        read = [*request.styles, Path(self.settings.encoder.weights), Path(self.settings.start.first)]
        contents.require_outside(self.content, request.content, request.output, read)
        contents.require_outside(self.content, request.content, request.job_folder)
        if request.compare:
            contents.require_outside(self.content, request.content, assembly.compare_path(request.output), read)
        self._require_job_apart()
        if request.rate is not None and not (self.to_video and self.content.kind is ContentKind.SEQUENCE):
            raise UsageError("--fps is for videos made from single images; a video keeps its own rate")
        self.styles = [decoding.read_image(path) for path in request.styles]
        for path, style in zip(request.styles, self.styles, strict=True):
            require_size((style.shape[0], style.shape[1]), self.settings.style.layers, f"style {path}")
        self.blend = style_blend(request.style_weights, len(request.styles))
        self.start_picture = self._read_start_picture()
        # A cluster may have what this machine has not.
        self.devices = pick_devices("cpu" if request.executor == "ray" else request.device)
        if request.executor not in EXECUTORS:
            raise UsageError(f"--executor {request.executor!r} is not one of {', '.join(EXECUTORS)}")
        if request.address is not None and request.executor != "ray":
            raise UsageError("--address is that of a Ray cluster: it goes with --executor ray")
        self.passes = self.settings.passes.count if self.content.is_film else 1
        folder = self.settings.flow.folder
        weights = self.settings.flow.weights
        if self.settings.flow.method in ("auto", "raft") and weights != "torchvision" and not Path(weights).is_file():
            raise WeightsError(f"flow.weights {weights} is no file: name RAFT's weights, or torchvision")
        if self.settings.shots.cuts and not self.content.is_film:
            raise UsageError("--cuts takes a video or a sequence apart; photos have nothing to do with each other")
        self._require_segments()
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"flow.folder {folder} is no folder: name the one that holds the .flo files")

    def _require_segments(self) -> None:
        segments = self.request.segments
        if segments is None:
            return
        if segments < 1:
            raise UsageError(f"--segments {segments}: a shot is painted in at least 1")
        if not self.content.is_film:
            raise UsageError("--segments divides the shots of a video or a sequence; photos are painted side by side")
        if segments > 1 and not self._can_divide:
            start = self.settings.start.next
            why = f"in {self.passes} passes (passes.count)" if self.passes > 1 else f"with start.next={start}"
            raise UsageError(f"--segments {segments}: a film {why} is not painted in segments: leave it out")

    @property
    def _can_divide(self) -> bool:
        """Whether frames start from others that need not be the ones before."""
        return self.content.is_film and self.passes == 1 and self.settings.start.next == "warped"

    # --- the two ways through ---

    def run(self) -> JobDone:
        request = self.request
        began = time.perf_counter()
        device = self.devices[0]
        weights = load_weights(self.settings.encoder.weights)
        recipe = self._recipe(weights)
        folder = request.job_folder
        with self._open_or_create(folder, recipe, weights) as job:
            if job.store_problem is not None:
                self.listener(Notice(job.store_problem))
            pending = self._reconcile(job)
            frames = job.frames()
            segments = _segments(job.facts, frames)
            where = self._places(job.facts, segments, pending)
            told = _told(where, job.facts) if request.executor != "ray" else "a Ray cluster"
            job.log(f"started: {self.content.kind}, output {request.output}, device {told}")
            self._tell_of_environment(job, device)
            self.listener(
                JobStarted(
                    kind=str(self.content.kind),
                    output=request.output,
                    job=folder,
                    frame_count=len(frames),
                    done_count=len(frames) - len(pending),
                    shot_count=len({frame.shot for frame in frames}),
                    iterations_left=self._work_left(segments, pending),
                    device=told,
                    settings=self.settings.description,
                )
            )
            painted = 0
            if pending:
                painted = self._paint(job, weights, pending, where, segments)
            if not job.frames(FrameState.PENDING):
                # Also where a crash left it, after the last frame.
                storage.remove_folder(folder / FLOW_NAME)
            failed = [frame for frame in job.frames() if frame.state is not FrameState.DONE]
            if not failed:
                # What a crash, or a worker that was killed, left of frames that are painted.
                storage.remove_folder(folder / CHECKPOINTS_NAME)
            self._finish(job, failed)
            if request.compare and job.is_cleaned:
                self._notice(job, "the job's frames were cleaned away: for --compare start over with --force")
            elif request.compare and not (failed and self.to_video):
                self._compare(job)
            return self._summarise(job, failed, painted, time.perf_counter() - began)

    def estimate(self) -> DryRun:
        request, settings = self.request, self.settings
        device = self.devices[0]
        if not is_job(request.job_folder) and not request.force:
            self._require_output_free()
        plan = self._plan()
        if not is_job(request.job_folder) or request.force:
            self._require_targets_free(plan.frames)
        with FrameReader(self.content, plan.frame_index) as reader:
            first, array = self._first_readable(plan, reader)
        pixels = [height * width for height, width in self._sizes(plan)]
        mean_pixels = statistics.fmean(pixels)
        threads = self._threads(plan, mean_pixels)
        facts = {"threads": threads, "pixels": mean_pixels}
        where = self._places(facts, plan.segments, plan.frames)
        require_size(array.shape[:2], settings.layers, first.name)
        with _threads_set(threads):
            painter = Painter(settings, load_weights(settings.encoder.weights), self.styles, self.blend, device)
            seconds_per_iteration = painter.seconds_per_iteration(array)
        # Time goes with the pixels.
        chains, _ = plan.segments.chains(
            (frame.index, frame.shot, float(frame.work * share))
            for frame, share in zip(plan.frames, pixels, strict=True)
        )
        seconds = seconds_per_iteration * makespan(chains, len(where)) / (array.shape[0] * array.shape[1])
        needed = self._disk_needed(plan, pixels)
        return DryRun(
            kind=str(self.content.kind),
            frame_count=sum(frame.pass_number == 0 for frame in plan.frames),
            shot_count=len({frame.shot for frame in plan.frames}),
            segment_count=plan.segments.count,
            size=(array.shape[0], array.shape[1]),
            iterations=sum(frame.work for frame in plan.frames),
            disk_bytes=sum(needed.values()),
            disk_free_bytes=min(storage.free_bytes(folder) for folder in needed),
            seconds_per_iteration=seconds_per_iteration,
            seconds=seconds,
            device=_told(where, facts),
            workers=len(where),
            output=request.output,
            job=request.job_folder,
        )

    def _first_readable(self, plan: _Plan, reader: FrameReader) -> tuple[PlannedFrame, np.ndarray]:
        """The first frame that can be read; among photos some that cannot may come before it."""
        for frame in plan.frames:
            try:
                return frame, self._at_painting_size(reader.read(frame.index)[0])
            except InputError:
                if self.content.is_film or frame is plan.frames[-1]:
                    raise
        raise InputError("there is no frame to paint")

    # --- what is to be done ---

    def _recipe(self, weights: EncoderWeights) -> dict[str, Any]:
        """Everything that decides the result, as plain values; paths of inputs are not part of it, contents are."""
        request = self.request
        settings = to_values(self.settings)
        # Names of places and words for people do not change the picture.
        for key in ("description", "tuned_for"):
            settings.pop(key)
        settings["encoder"]["weights"] = weights.sha256
        if self.start_picture is not None:
            settings["start"]["first"] = storage.hash_file(Path(self.settings.start.first))
        flow = self.settings.flow
        if flow.weights != "torchvision" and Path(flow.weights).is_file():
            settings["flow"]["weights"] = storage.hash_file(Path(flow.weights))
        settings["flow"]["folder"] = FloFolder(Path(flow.folder)).fingerprint() if flow.folder is not None else None
        total = sum(self.blend)
        return {
            "engine": ENGINE,
            "settings": settings,
            "styles": {
                f"{place}": f"{storage.hash_file(path)} × {weight / total:.9g}"
                for place, (path, weight) in enumerate(zip(request.styles, self.blend, strict=True), start=1)
            },
            "content": {
                "kind": str(self.content.kind),
                "order": self.content.order_hash(),
                "files": self.content.fingerprint(),
            },
            "frames": f"{request.frames.start}:{'' if request.frames.stop is None else request.frames.stop}",
            "rate": None if request.rate is None else str(request.rate),
            "output": os.path.abspath(request.output),
            "batch": "auto" if request.batch is None else request.batch,
            "image_format": request.image_format,
            "strip": request.strip,
            "encoding": dataclasses.asdict(request.encoding),
            **({} if request.segments is None else {"segments": request.segments}),
        }

    def _open_or_create(self, folder: Path, recipe: Mapping[str, Any], weights: EncoderWeights) -> Job:
        if is_job(folder) and not self.request.force:
            job = Job.open(folder)
            try:
                # A photo that could not be read may be replaced by one that can.
                photos = self.content.kind is ContentKind.PHOTOS
                job.require_same(recipe, [frame.name for frame in job.frames(FrameState.FAILED)] if photos else ())
            except BaseException:
                job.__exit__()
                raise
            return job
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"the job's folder {folder} is a file: remove it, or name another with --job")
        self._require_output_free()
        plan = self._plan()
        self._require_targets_free(plan.frames)
        # Of photos each file is asked for its size.
        sizes = self._sizes(plan)
        pixels = [height * width for height, width in sizes]
        self._require_space(plan, pixels)
        if self.request.compare:
            self._require_compare_free(plan.frames)
        mean_pixels = statistics.fmean(pixels)
        facts = {
            "threads": self._threads(plan, mean_pixels),
            **self._batch_facts(plan, sizes, weights),
            "pixels": mean_pixels,
            "flow": self._flow_method(),
            **plan.facts,
            "environment": _environment(self.devices[0]),
            "replaces": self._replaced_files(plan.frames),
        }
        return Job.create(
            folder,
            recipe,
            self.request.to_values(),
            facts,
            plan.frames,
            frame_index=None if plan.frame_index is None else plan.frame_index.to_text(),
            replace=self.request.force,
        )

    def _threads(self, plan: _Plan, pixels: float) -> int:
        """Over how many threads sums are split on a CPU. The last bits of a picture follow from it: a job keeps its
        number, whoever goes on with it."""
        chains, _ = plan.segments.chains((frame.index, frame.shot, frame.work * pixels) for frame in plan.frames)
        total = sum(chain.work for chain in chains)
        if self.request.executor == "inline" or total < PROCESSES_FROM:
            return torch.get_num_threads()
        return best_threads(
            total, longest_way(chains), pixels, torch.get_num_threads(), MEMORY_SHARE * physical_memory_bytes()
        )

    def _batch_facts(self, plan: _Plan, sizes: Sequence[Size], weights: EncoderWeights) -> dict[str, Any]:
        """How many pictures of a size are painted side by side, and the photos in the order of their sizes, so that
        those of one come together."""
        widths = self._widths(plan, sizes, weights)
        mixed = bool(widths) and not self.content.is_film and len(set(sizes)) > 1
        order = sorted(range(len(sizes)), key=lambda index: (sizes[index], index)) if mixed else []
        return {"widths": [[*size, width] for size, width in widths.items()], "size_order": order}

    def _widths(self, plan: _Plan, sizes: Sequence[Size], weights: EncoderWeights) -> dict[Size, int]:
        """How many pictures of a size are painted side by side, where it is more than one. Their last bits follow from
        it: a job keeps it."""
        chains: dict[Size, dict[int, float]] = {}
        for frame, size in zip(plan.frames, sizes, strict=True):
            if all(size):
                work, chain = chains.setdefault(size, {}), plan.segments.start(frame.index, frame.shot)
                work[chain] = work.get(chain, 0.0) + frame.work
        alike = {size: list(work.values()) for size, work in chains.items() if len(work) > 1}
        most = self.request.batch
        if most is not None:
            widths = {size: min(most, len(work)) for size, work in alike.items()}
        elif self.devices[0].type == "cpu" or not alike:
            return {}
        else:
            widths = self._measured_widths(alike, weights)
        return {size: width for size, width in widths.items() if width > 1}

    def _measured_widths(self, alike: Mapping[Size, Sequence[float]], weights: EncoderWeights) -> dict[Size, int]:
        """What pays on a GPU, by what one picture and several take of its time and memory."""
        commonest = max(alike, key=lambda size: len(alike[size]))
        painter = Painter(self.settings, weights, self.styles, self.blend, self.devices[0])
        gray = np.full((*commonest, 3), 128, np.uint8)
        try:
            costs = {width: painter.batch_costs(gray, width) for width in (1, PROBE_WIDTH)}
        except OutOfMemoryError:
            costs = {}
        del painter
        # Workers in other processes have what this one gives back alone.
        torch.cuda.empty_cache()
        if not costs:
            return {}
        (one, least), (some, more) = costs[1], costs[PROBE_WIDTH]
        slope, bytes_each = max(0.0, some - one) / (PROBE_WIDTH - 1), max(1, (more - least) // (PROBE_WIDTH - 1))
        free = GPU_MEMORY_SHARE * min(torch.cuda.mem_get_info(device)[0] for device in self.devices)
        widths = {}
        for size, work in alike.items():
            share = size[0] * size[1] / (commonest[0] * commonest[1])
            fits = int((free - (least - bytes_each)) / (bytes_each * share))
            widths[size] = best_width(
                sum(work),
                max(work),
                max(1, min(fits, len(work))),
                len(self.devices),
                lambda width, share=share: (one - slope) + slope * share * width,  # type: ignore[misc]
            )
        return widths

    def _require_job_apart(self) -> None:
        """--force clears the job's folder: it holds no content, and neither holds nor lies in an output folder."""
        for path in self.request.content:
            if storage.real_path(path).is_relative_to(storage.real_path(self.request.job_folder)):
                raise OutputError(
                    f"content {path} lies inside the job's folder {self.request.job_folder}: name another with --job"
                )
        if self.to_video or self.content.kind is ContentKind.IMAGE:
            return
        job, output = storage.real_path(self.request.job_folder), storage.real_path(self.request.output)
        if job.is_relative_to(output) or output.is_relative_to(job):
            raise OutputError(
                f"the job's folder {self.request.job_folder} and output {self.request.output} overlap: "
                "name another with --job"
            )

    def _require_output_free(self) -> None:
        output = self.request.output
        is_one_file = self.to_video or self.content.kind is ContentKind.IMAGE
        if is_one_file and output.is_dir():
            raise OutputError(f"output {output} is a folder: name a file")
        if not is_one_file and output.exists() and not output.is_dir():
            raise OutputError(f"output {output} is a file, and the output of this content is a folder: name another")
        if is_one_file and output.exists() and not self.request.force:
            raise OutputError(f"output {output} exists: choose another name, or overwrite it with --force")
        if is_one_file and output.exists() and not output.is_file():
            raise OutputError(f"output {output} is no regular file: name another")

    def _require_compare_free(self, frames: Sequence[PlannedFrame]) -> None:
        """What stands where content and result are to stand side by side is cleared by `--force`, or refused."""
        target = assembly.compare_path(self.request.output)
        paths = [self._compared_path(Path(frame.path)) for frame in frames if Path(frame.path).is_absolute()]
        for path in [target] if self.to_video else paths:
            if path.exists() and not (self.request.force and path.is_file()):
                raise OutputError(f"{path}, for --compare, exists: choose another --output, or overwrite with --force")
            storage.remove(path)

    def _replaced_files(self, frames: Sequence[PlannedFrame]) -> dict[str, str]:
        """What `--force` allows this job to overwrite: the files that are there now, each by its hash."""
        if not self.request.force:
            return {}
        targets = [Path(frame.path) for frame in frames if Path(frame.path).is_absolute()]
        if self.to_video:
            targets.append(Path(os.path.abspath(self.request.output)))
        return {str(path): storage.hash_file(path) for path in targets if path.is_file()}

    def _require_targets_free(self, frames: Sequence[PlannedFrame]) -> None:
        """No file in an output folder is overwritten that this job has not made, and with `--force` only files."""
        if self.request.force:
            for frame in frames:
                path = Path(frame.path)
                if path.is_absolute() and path.exists() and not path.is_file():
                    raise OutputError(f"{path} is in the way and no regular file: choose another --output")
            return
        there = [frame.path for frame in frames if Path(frame.path).is_absolute() and Path(frame.path).exists()]
        if there:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            raise OutputError(f"{there[0]}{more} exists: choose another --output, or overwrite with --force")

    def _plan(self) -> _Plan:
        if self.content.skipped:
            count = self.content.skipped
            files = (
                "1 file in the content is no image, or a link that leads out, and was"
                if count == 1
                else f"{count} files in the content are no images, or links that lead out, and were"
            )
            self.listener(Notice(f"{files} passed over"))
        if self.content.renamed:
            count, first = len(self.content.renamed), self.content.renamed[0]
            whose = "1 photo has a name" if count == 1 else f"{count} photos have names"
            self.listener(
                Notice(f"{whose} that another has, or that is too long: {first.path} is painted to {first.target}")
            )
        if self.content.kind is ContentKind.SEQUENCE:
            for gap in contents.missing_numbers(self.content.files):
                self.listener(Notice(f"frames are missing, and the film is painted without them: {gap}"))
        if self.settings.is_retuned:
            self.listener(
                Notice(
                    f"these settings were tuned for the encoder weights {self.settings.tuned_for!r}; with "
                    f"{self.settings.encoder.weights!r} the loss weights balance differently"
                )
            )
        if not self.content.is_film:
            if self.content.kind is ContentKind.IMAGE:
                # One picture that cannot be painted is wrong input, not a job that is done in part.
                array = self._at_painting_size(decoding.read_image(self.content.files[0].path))
                require_size(
                    (array.shape[0], array.shape[1]), self.settings.layers, f"content {self.content.files[0].path}"
                )
            output = self.request.output.absolute()
            base = output.parent if self.content.kind is ContentKind.IMAGE else output
            most = self.settings.iterations.first
            return _Plan(
                [
                    PlannedFrame(index, index, file.name, str(base / file.target), work=most)
                    for index, file in enumerate(self.content.files)
                ]
            )
        return self._plan_film()

    def _plan_film(self) -> _Plan:
        path = self.content.files[0].path

        def on_progress(read: int, declared: int | None) -> None:
            self.listener(Scanning(path, read, declared))
            if self.stop.requested:
                raise Interrupted("stopped while reading the content; nothing was begun yet")

        rate = self.request.rate
        if rate is None and self.content.kind is ContentKind.SEQUENCE and self.to_video:
            self.listener(
                Notice(f"the video gets {contents.DEFAULT_SEQUENCE_RATE} frames a second; --fps says otherwise")
            )
        shots = self.settings.shots
        cuts = shots.cuts or (None if shots.detect else ())
        scan = contents.scan_film(self.content, self.request.frames.clip, cuts, rate, on_progress)
        last = scan.first + scan.timing.frame_count - 1
        for cut in shots.cuts:
            if cut > last:
                self.listener(Notice(f"cut {cut} lies beyond the last frame, {last}, and is passed over"))
        wanted = self.request.frames.stop
        if wanted is not None and wanted > scan.first + scan.timing.frame_count:
            last = scan.first + scan.timing.frame_count
            self.listener(Notice(f"{path} ends with frame {last - 1}: frames {scan.first}:{last} are painted"))
        if scan.damage:
            self.listener(Notice(f"{path} is damaged, and its good frames are painted: {scan.damage}"))
        if scan.interlaced_count:
            self.listener(Notice(f"{path} is interlaced: the two fields of a frame are made one picture (bwdif)"))
        if scan.info is not None and scan.info.hdr:
            self.listener(
                Notice(f"{path} is of high dynamic range ({scan.info.hdr}): it is reduced to standard (BT.709, 8 bits)")
            )
        size = fit_within(scan.size, self.settings.size)
        require_size(size, self.settings.layers, f"the content {path}")
        if self.to_video:
            # Not only once all is painted.
            self.request.encoding.choose(self.request.output.suffix.lower(), size, scan.has_alpha)
        segments = self._plan_segments(scan)
        if self._flow_method() == "files":
            self._require_flow_files(scan, segments)
        frames = list(self._film_frames(scan, segments))
        facts = {**_film_facts(scan), "anchors": list(segments.anchors)}
        return _Plan(frames, facts, size, scan.index, segments)

    def _plan_segments(self, scan: ContentScan) -> Segments:
        asked, iterations = self.request.segments, self.settings.iterations
        workers = _workers_of(self.request.executor, self.devices)
        anchors: tuple[int, ...] = ()
        if self._can_divide:
            shots = [shot.frames for shot in scan.shots]
            anchors = plan_anchors(shots, asked, workers, iterations.first, iterations.next)
        segments = Segments(anchors, (shot.start for shot in scan.shots))
        if segments:
            divided = "1 shot is" if segments.divided_shots == 1 else f"{segments.divided_shots} shots are"
            self.listener(Notice(f"{divided} painted in {segments.count} segments"))
        elif asked is not None and asked > 1:
            self.listener(Notice(f"no shot is long enough for two segments of {LEAST_FRAMES} frames"))
        return segments

    def _require_flow_files(self, scan: ContentScan, segments: Segments) -> None:
        """What a job of days needs is there, and whole, before it begins; see `_linked`."""
        files = FloFolder(Path(self.settings.flow.folder or ""))
        size = fit_within(scan.size, self.settings.size)
        start, held = self.settings.start.next, self.settings.temporal
        to_previous = start == "warped" or (held.weight > 0 and 1 in held.distances)
        neighbours = [(later, later - 1) for shot in scan.shots for later in shot.frames[1:]]
        pairs = neighbours if (to_previous if self.passes == 1 else self.passes > 2) else []
        if self.passes > 1:
            pairs = pairs + [(earlier, later) for later, earlier in neighbours]
        led_on = [
            index for shot in scan.shots for index in shot.frames if segments.meets(index, shot.start) is not None
        ]
        pairs = pairs + [(index, index + 1) for index in led_on]
        missing = [path.name for pair in pairs if not (path := files.path_of(*pair)).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(f"flow file {missing[0]}{more} is not in {files.folder}: add it, or cut the film there")
        for pair in pairs:
            files.require(*pair, size)

    def _film_frames(self, scan: ContentScan, segments: Segments) -> Iterator[PlannedFrame]:
        shot_of = {index: shot.start for shot in scan.shots for index in shot.frames}
        for place, pts in enumerate(scan.timing.times):
            index = scan.first + place
            if self.to_video:
                path = f"{FRAMES_NAME}/{index:06d}.png"
            elif self.content.kind is ContentKind.SEQUENCE:
                path = str(self.request.output.absolute() / self.content.files[index].target)
            else:
                path = str(self.request.output.absolute() / f"{index:06d}.png")
            name = self.content.files[index].name if self.content.kind is ContentKind.SEQUENCE else f"frame {index}"
            shot = shot_of[index]
            work = self._work(index, shot, segments)
            for number in range(1 - self.passes, 1):
                draft = f"{FRAMES_NAME}/pass-{number + self.passes:02d}/{index:06d}.png"
                in_pass = f"{name}, pass {number + self.passes}" if self.passes > 1 else name
                yield PlannedFrame(index, shot, in_pass, draft if number else path, pts, work, number)

    def _work(self, index: int, shot: int, segments: Segments) -> int:
        is_anchor = segments.is_anchor(index, shot)
        return most_iterations(self.settings, self.passes, index, shot, is_anchor=is_anchor)

    def _work_left(self, segments: Segments, pending: Sequence[FrameRecord | PlannedFrame]) -> int:
        return sum(self._work(frame.index, frame.shot, segments) for frame in pending)

    def _sizes(self, plan: _Plan) -> list[Size]:
        """The size of each painting; (0, 0) for a picture that cannot be read, of which there will be none."""
        if plan.size is not None:
            return [plan.size] * len(plan.frames)
        sizes = []
        for file in self.content.files:
            try:
                sizes.append(fit_within(decoding.image_size(file.path), self.settings.size))
            except InputError:
                sizes.append((0, 0))
        return sizes

    def _disk_needed(self, plan: _Plan, pixels: Sequence[int]) -> dict[Path, int]:
        """Bytes, from above, that paintings and output take in each folder: paintings hardly compress, PNG never
        makes them larger by much, JPEG halves them, and a film of good quality takes an eighth of its frames."""
        output, job = self.request.output.absolute().parent, self.request.job_folder.absolute().parent
        needed = dict.fromkeys((output, job), 0)
        for frame, count in zip(plan.frames, pixels, strict=True):
            suffix = Path(frame.path).suffix.lower()
            # A TIFF may be plain and have alpha.
            halves = 3 if suffix in (".jpg", ".jpeg") else 8 if suffix in (".tif", ".tiff") else 6
            needed[output if Path(frame.path).is_absolute() else job] += halves * count // 2 + 4096
        kept = sum(pixels) // self.passes
        if self.to_video:
            film = self._video_bytes(kept)
            needed[output] += film
            if storage.disk_of(output) != storage.disk_of(job):
                needed[job] += film  # It is made there, and then moved.
        if self.passes > 1 and self._flow_method() != "files":
            needed[job] += 2 * 8 * kept
        if plan.segments:
            gaps = sum(plan.segments.next(frame.index, frame.shot) is not None for frame in plan.frames)
            led = sum(plan.segments.meets(frame.index, frame.shot) is not None for frame in plan.frames)
            needed[job] += (3 * 4 * led + (2 * 8 * gaps if self._flow_method() != "files" else 0)) * pixels[0]
        if self.request.compare:
            needed[output] += self._video_bytes(2 * kept) if self.to_video else 6 * kept
        return needed

    def _video_bytes(self, pixel_count: int) -> int:
        """From above, of so many pixels in all: without loss half of what they take plain, a GIF a byte for each, else
        an eighth."""
        if self.request.output.suffix.lower() == ".gif":
            return pixel_count
        lossless = self.request.encoding.codec in ("prores", "ffv1") or self.request.encoding.crf == 0
        return 3 * pixel_count // (2 if lossless else 8)

    def _require_space(self, plan: _Plan, pixels: Sequence[int]) -> None:
        """Raises `StorageError` where a disk has not the room that the job takes."""
        needed = self._disk_needed(plan, pixels)
        by_disk: dict[int, tuple[Path, int]] = {}
        for folder, size in needed.items():
            disk = storage.disk_of(folder)
            by_disk[disk] = folder, size + by_disk.get(disk, (folder, 0))[1]
        for folder, size in by_disk.values():
            free = storage.free_bytes(folder)
            if size > free:
                raise StorageError(
                    f"the paintings and the output take up to {_megabytes(size)} in {folder}, and "
                    f"{_megabytes(free)} are free there: free some, paint fewer --frames or at a smaller --size, or "
                    "name another --output or --job"
                )

    # --- going on where it stopped ---

    def _reconcile(self, job: Job) -> list[FrameRecord]:
        """Compares the store with the files; returns the frames to paint, in order."""
        output = self.request.output
        frames = job.frames()
        if job.is_cleaned:
            outside = [frame.path for frame in frames if not frame.path.is_relative_to(job.folder)]
            lost = [path for path in ([output] if self.to_video else outside) if not path.exists()]
            if lost:
                self._notice(job, f"{lost[0]} is missing, and what it was made of cleaned away: that is painted again")
                job.paint_cleaned_again()
                frames = job.frames()
        unfinished = [frame.path for frame in frames if frame.state is not FrameState.DONE]
        half_made = [*unfinished, output] if self.to_video else unfinished
        if self.request.compare and self.to_video:
            half_made.append(assembly.compare_path(output))
        elif self.request.compare:
            half_made += [self._compared_path(frame.path) for frame in frames if frame.pass_number == 0]
        storage.remove_partial_files_of(half_made)
        again = []
        for frame in frames:
            if frame.state is FrameState.FAILED:
                again.append(frame)
            elif job.is_cleaned and frame.path.is_relative_to(job.folder):
                continue
            elif frame.state is FrameState.DONE and (problem := file_problem(frame.path, frame.sha256)):
                if frame.path.exists() and not frame.path.is_relative_to(job.folder):
                    # In the user's folder a file that was changed may be the user's own work.
                    raise OutputError(
                        f"{frame.path} has changed since this job wrote it, and is kept: "
                        "move it away to have it painted again, or start over with --force"
                    )
                again.append(frame)
                self._notice(job, f"{frame.path} {problem}: it is painted again")
        if again:
            job.reset_frames(again)
        written = [sha256 for sha256 in (job.output_sha256, job.expected_sha256) if sha256]
        if job.output_sha256 and all(file_problem(output, sha256) for sha256 in written):
            if output.exists():
                raise OutputError(
                    f"output {output} has changed since this job wrote it: move it away, or start over with --force"
                )
            # Frames that are painted again are the same to the bit, so a film that is whole stays valid.
            job.reopen_output()
        return job.frames(FrameState.PENDING)

    def _may_overwrite(self, job: Job, path: Path) -> bool:
        """Whether a file in the way of a painting is the job's own, or is just what `--force` was given for."""
        if path.is_relative_to(job.folder):
            return True
        replaced = job.facts["replaces"].get(os.path.abspath(path))
        return replaced is not None and file_problem(path, replaced) is None

    def _tell_of_environment(self, job: Job, device: torch.device) -> None:
        before, now = job.facts.get("environment", {}), _environment(device)
        changed = [f"{key} {before[key]} → {now[key]}" for key in now if key in before and before[key] != now[key]]
        if changed:
            self._notice(
                job,
                f"the job was begun with {', '.join(changed)}: "
                "frames painted from here on may differ in their last bits",
            )

    # --- painting ---

    def _paint(
        self,
        job: Job,
        weights: EncoderWeights,
        pending: Sequence[FrameRecord],
        where: Sequence[torch.device],
        segments: Segments,
    ) -> int:
        """Paints frames wherever the job may; returns how many."""
        # On another kind of device the bits are others, and so is the memory.
        began_on_cpu = job.facts["environment"]["device"] == "cpu"
        widths = widths_of(job.facts) if began_on_cpu == (self.devices[0].type == "cpu") else {}
        spec = PainterSpec(
            self.settings, weights, tuple(self.styles), self.blend, _film_colors(job), job.facts["threads"], widths
        )
        painting = Painting(
            job,
            self.content,
            self.settings,
            self.start_picture,
            self.devices[0],
            strip=self.request.strip,
            may_overwrite=self._may_overwrite,
            listener=self.listener,
            stop=self.stop,
        )
        with self._executor(spec, where, _parts(segments, pending)) as executor:
            job.change_fact("workers", len(executor.devices))
            if self.request.executor == "ray":
                self._notice(job, f"painting on {', '.join(executor.devices)}")
            return painting.run(pending, executor)

    def _executor(self, spec: PainterSpec, where: Sequence[torch.device], chain_count: int) -> Executor:
        kind = self.request.executor
        if kind == "ray":
            on_gpu = {"auto": None, "cpu": False}.get(self.request.device, True)
            return RayExecutor(spec, self.request.address, math.ceil(chain_count / spec.places), on_gpu)
        inline = kind == "inline" or (kind == "auto" and len(where) == 1)
        return InlineExecutor(spec, where[0]) if inline else ProcessExecutor(spec, where)

    def _places(
        self, facts: Mapping[str, Any], segments: Segments, frames: Sequence[FrameRecord | PlannedFrame]
    ) -> list[torch.device]:
        """A device for each worker: the CPU as often as its cores hold the job's threads, no more than can be busy."""
        if self.request.executor == "inline":
            return [self.devices[0]]
        if self.devices[0].type == "cpu":
            work = self._work_left(segments, frames) * facts["pixels"]
            if self.request.executor == "auto" and work < PROCESSES_FROM:
                return [self.devices[0]]
            places = [self.devices[0]] * max(1, usable_cores() // facts["threads"])
        else:
            places = list(self.devices)
        return places[: max(1, _parts(segments, frames))]

    def _flow_method(self) -> str:
        """`auto` decided: a folder is there to be read; RAFT pays on a GPU, but is not downloaded unasked."""
        flow = self.settings.flow
        if flow.method != "auto":
            return flow.method
        if flow.folder is not None:
            return "files"
        on_gpu = self.devices[0].type == "cuda"
        return "raft" if on_gpu and has_raft_weights(flow.weights) else "dis"

    def _at_painting_size(self, array: np.ndarray) -> np.ndarray:
        return resize(array, fit_within((array.shape[0], array.shape[1]), self.settings.size))

    def _read_start_picture(self) -> np.ndarray | None:
        first = self.settings.start.first
        return None if first in COLD_STARTS else decoding.read_image(Path(first))

    # --- the output ---

    def _finish(self, job: Job, failed: Sequence[FrameRecord]) -> None:
        """Makes the output of what is painted, and records it, where that is not done yet. A film is whole in any case:
        where a frame is missing, the nearest one is held."""
        output = self.request.output
        if not self.to_video:
            if not failed and job.output_sha256 is None:
                job.finish_output(storage.hash_file(output) if output.is_file() else None)
            return
        held = sorted({frame.index for frame in failed if frame.pass_number == 0})
        painted = [frame for frame in job.frames(FrameState.DONE) if frame.pass_number == 0]
        # A film that was made before frames were lost, which could not be painted again, shows them.
        if not painted or (job.output_sha256 is not None and set(job.held) <= set(held)):
            return
        self._assemble(job, held)
        job.finish_output(storage.hash_file(output), held)

    def _assemble(self, job: Job, held: Sequence[int]) -> None:
        output = self.request.output
        if output.exists():
            problem = file_problem(output, job.expected_sha256)
            if problem is None and job.held == held:
                return  # complete, and only the store had not heard of it
            if problem is not None and not self._may_overwrite(job, output):
                raise OutputError(f"output {output} has appeared since the job began: move it away and resume")
        whole = job.folder / f"output{output.suffix}"

        def on_frame(written: int) -> None:
            if self.stop.requested and written < film.timing.frame_count:
                raise Interrupted(f"stopped while writing {output}; continue with: impasto resume {job.folder}")
            self.listener(Assembling(output, written, film.timing.frame_count))

        film = self._film(job)
        for note in assembly.write_film(film, whole, self.request.encoding, on_frame):
            self._notice(job, note)
        job.expect_output(storage.hash_file(whole), held)
        storage.move(whole, output)

    def _film(self, job: Job) -> assembly.Film:
        source = self.content.files[0].path if self.content.kind is ContentKind.VIDEO else None
        return assembly.film_of(job, source, strip=self.request.strip)

    def _compare(self, job: Job) -> None:
        """Writes content and result side by side, where that is not there yet."""
        target = assembly.compare_path(self.request.output)
        with FrameReader(self.content, frame_index_of(job)) as reader:
            if self.to_video:
                if target.exists():
                    if job.compared is not None and (problem := file_problem(*job.compared)):
                        raise OutputError(f"comparison {target} {problem}: move it away to have it made again")
                else:
                    film = self._film(job)

                    def on_frame(written: int) -> None:
                        self._require_going_on(job, target)
                        self.listener(Assembling(target, written, film.timing.frame_count))

                    for note in assembly.write_film(film, target, self.request.encoding, on_frame, reader):
                        job.log(f"{target}: {note}")  # The output's own notes, said once, but for what doubling did.
                    job.finish_comparison(target, storage.hash_file(target))
                return
            frames = [frame for frame in job.frames(FrameState.DONE) if frame.pass_number == 0]
            for written, frame in enumerate(frames, start=1):
                self._require_going_on(job, target)
                path = self._compared_path(frame.path)
                if not path.exists():
                    pair = assembly.side_by_side(reader.read(frame.index)[0], images.read_image(frame.path))
                    images.write_image(path, pair)
                self.listener(Assembling(target, written, len(frames)))

    def _compared_path(self, painted: Path) -> Path:
        """Where a painted picture stands beside its content."""
        target = assembly.compare_path(self.request.output)
        if self.content.kind is ContentKind.IMAGE:
            return target
        return target / painted.relative_to(self.request.output.absolute())

    def _require_going_on(self, job: Job, target: Path) -> None:
        if self.stop.requested:
            raise Interrupted(f"stopped while writing {target}; continue with: impasto resume {job.folder}")

    def _summarise(self, job: Job, failed: Sequence[FrameRecord], painted: int, seconds: float) -> JobDone:
        # What failed itself before what only depends on it.
        failed = sorted(failed, key=lambda frame: frame.error is None)
        # Each painting counts: in several passes a frame is painted several times.
        done = job.frames(FrameState.DONE)
        kept = [frame for frame in done if frame.pass_number == 0]
        known = [frame.losses for frame in kept if frame.losses is not None]
        result = JobDone(
            output=self.request.output,
            job=job.folder,
            frame_count=len(done) + len(failed),
            painted_count=painted,
            failed=tuple(f"{frame.name}: {frame.error or 'not painted'}" for frame in failed),
            plots=tuple(sorted((job.folder / PLOTS_NAME).glob("*.png"))),
            losses=_mean_losses(known),
            iterations=sum(frame.iterations or 0 for frame in done),
            seconds=seconds,
        )
        self.listener(result)
        job.log(f"ended: {len(done)} of {result.frame_count} frames done")
        if failed and not kept:
            raise FrameError(
                f"nothing could be painted (first: {result.failed[0]}); try again with: impasto resume {job.folder}"
            )
        if failed:
            what = "frame" if self.content.is_film else "photo"
            rest = "the rest is done"
            if self.to_video:
                shows_them = set(job.held).isdisjoint(frame.index for frame in failed)
                rest = (
                    f"{self.request.output} was made before and shows them"
                    if shows_them
                    else "the film holds the nearest ones in their place"
                )
            raise PartialError(
                f"{len(failed)} of {result.frame_count} {what}s could not be painted (first: {result.failed[0]}); "
                f"{rest}; mend what can be mended and run: impasto resume {job.folder}"
            )
        return result

    def _notice(self, job: Job, text: str) -> None:
        job.log(text)
        self.listener(Notice(text))


@contextlib.contextmanager
def _threads_set(count: int) -> Iterator[None]:
    """Sums of the block are split over so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _film_facts(scan: ContentScan) -> dict[str, Any]:
    timing, info = scan.timing, scan.info
    return {
        "first": scan.first,
        "time_base": str(timing.time_base),
        "rate": None if timing.rate is None else str(timing.rate),
        "last_duration": timing.last_duration,
        "is_partial": scan.is_partial,
        "has_audio": info is not None and info.has_audio,
        "has_alpha": scan.has_alpha,
        "color": None if info is None else vars(info.color),
        "content_colors": scan.colors,
    }


def _workers_of(executor: str, devices: Sequence[torch.device]) -> int:
    """How many frames could be painted at the same time. GPUs alone are counted: a CPU's cores work on one frame
    together, and what a cluster has is not known yet."""
    return len(devices) if devices[0].type == "cuda" and executor in ("auto", "processes") else 1


def _segments(facts: Mapping[str, Any], frames: Sequence[FrameRecord]) -> Segments:
    """How a job's shots are divided, of all its frames: decided as it was made, whoever goes on with it."""
    return Segments(facts.get("anchors", ()), (frame.shot for frame in frames))


def _parts(segments: Segments, frames: Sequence[FrameRecord | PlannedFrame]) -> int:
    """In how many places frames can be painted at the same time: segments, and shots that are not divided."""
    return len({segments.start(frame.index, frame.shot) for frame in frames})


def _megabytes(size: int) -> str:
    if size < 1e6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _film_colors(job: Job) -> ColorStatistics | None:
    if "content_colors" not in job.facts:
        return None
    mean, covariance = job.facts["content_colors"]
    return ColorStatistics(torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64))


def _environment(device: torch.device) -> dict[str, str]:
    """What the last bits of a picture depend on besides the recipe."""
    # Threads are not told: a job keeps its number of them.
    return {"device": "cpu" if device.type == "cpu" else device_label(device), "torch": torch.__version__}


def _told(where: Sequence[torch.device], facts: Mapping[str, Any]) -> str:
    """Where frames are painted, as a person knows it."""
    if where[0].type != "cpu":
        return ", ".join(map(device_label, where))
    threads = facts["threads"]
    each = "1 thread" if threads == 1 else f"{threads} threads"
    return f"cpu ({each})" if len(where) == 1 else f"cpu ({len(where)} processes of {each})"


def _mean_losses(losses: Sequence[Losses]) -> Losses | None:
    if not losses:
        return None
    return Losses(
        content=statistics.fmean(item.content for item in losses),
        style=statistics.fmean(item.style for item in losses),
        total_variation=statistics.fmean(item.total_variation for item in losses),
    )
