"""A job from end to end: request → plan → paintings → output."""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import storage
from ..errors import FrameError, InputError, Interrupted, OutputError, PartialError, UsageError, WeightsError
from ..events import Assembling, JobDone, JobStarted, Listener, Losses, Notice, StopSignal, ignore
from ..job.folder import CHECKPOINTS_NAME, FLOW_NAME, PLOTS_NAME, file_problem, is_job
from ..job.job import Job
from ..job.records import FrameRecord, FrameState, OutputRecord, PlannedFrame
from ..layers import require_size
from ..media import decoding
from ..media.containers import OUTPUT_SUFFIXES, is_video_name
from ..media.content import ContentKind
from ..media.find_content import require_outside, resolve_content
from ..media.frame_reader import FrameReader
from ..media.images import read_image, write_image
from ..motion.flo_files import FloFolder
from ..paint.costs import iteration_seconds
from ..paint.devices import device_label, pick_devices
from ..paint.encoder_weights import EncoderWeights, load_weights
from ..paint.painter import Painter, style_blend
from ..paint.task import COLD_STARTS
from ..pictures import Size, fit_within, resize, size_of
from ..plan.execution_plan import ExecutionPlan
from ..plan.planner import Plan, Planner, parts_of
from ..plan.request import FrameRange, Request
from ..plan.scheduler import makespan
from ..plan.segments import Segments
from ..presets import to_values
from ..torch_settings import thread_limit
from . import assembly
from .executor import PainterSpec
from .executor_factory import ExecutorFactory, make_executor
from .frame_loop import Painting, frame_index_of

ENGINE = 5
"""Raised when the same settings and content give other pictures than before; part of each job's recipe."""


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


WeightsLoader = Callable[[str], EncoderWeights]
"""Loads the encoder's weights, given the setting `encoder.weights`."""


def stylize(
    request: Request,
    listener: Listener = ignore,
    stop: StopSignal | None = None,
    *,
    executor_factory: ExecutorFactory = make_executor,
    weights_loader: WeightsLoader = load_weights,
) -> JobDone:
    """Paints what the request names, continuing its job where there is one; returns a summary.

    Raises `JobMismatchError` when the existing job was made with other settings or content, `PartialError` when frames
    failed (the rest is painted), `Interrupted` when `stop` was requested, and other errors of the tree in `errors`.
    """
    return JobRun(request, listener, stop or StopSignal(), executor_factory, weights_loader).run()


def resume(
    job: Path,
    listener: Listener = ignore,
    stop: StopSignal | None = None,
    device: str | None = None,
    executor: str | None = None,
    address: str | None = None,
    *,
    executor_factory: ExecutorFactory = make_executor,
    weights_loader: WeightsLoader = load_weights,
) -> JobDone:
    """Continues the job in a folder, on its own devices or on those given; returns a summary.

    Raises what `stylize` raises.
    """
    with Job.read(job) as existing:
        values = existing.invocation
    other = {"device": device or values["device"], "executor": executor or values["executor"]}
    other["address"] = address or (values["address"] if other["executor"] == "ray" else None)
    request = Request.from_values({**values, **other}, job)
    return stylize(request, listener, stop, executor_factory=executor_factory, weights_loader=weights_loader)


def dry_run(request: Request, listener: Listener = ignore, *, weights_loader: WeightsLoader = load_weights) -> DryRun:
    """Reads the content and times a few iterations; writes nothing."""
    return JobRun(request, listener, StopSignal(), make_executor, weights_loader).estimate()


class JobRun:
    def __init__(
        self,
        request: Request,
        listener: Listener,
        stop: StopSignal,
        executor_factory: ExecutorFactory,
        weights_loader: WeightsLoader,
    ) -> None:
        self.request = request
        self._executor_factory = executor_factory
        self._weights_loader = weights_loader
        self.settings = request.settings
        self.listener = listener
        self.stop = stop
        self.content = resolve_content(request.content, request.output, request.mode, request.image_format)
        self.to_video = self.content.is_film and is_video_name(request.output)
        if self.to_video and request.output.suffix.lower() not in OUTPUT_SUFFIXES:
            raise OutputError(f"cannot write a video as {request.output.name}: use {' '.join(OUTPUT_SUFFIXES)}")
        if self.content.kind is not ContentKind.PHOTOS and request.image_format is not None:
            raise UsageError(
                "`image_format` is for photos that are painted to a folder; else the output's ending says it"
            )
        if self.to_video:
            request.encoding.require(request.output.suffix.lower())
        elif not request.encoding.is_default:
            raise UsageError("`codec`, `crf` and `pixel_format` are for video outputs: name one, as painted.mp4")
        if not self.content.is_film and request.frames != FrameRange():
            raise UsageError("`frames` takes a part of a video or a sequence; photos are all painted")
        read = [*request.styles, Path(self.settings.encoder.weights), Path(self.settings.start.first)]
        require_outside(self.content, request.content, request.output, read)
        require_outside(self.content, request.content, request.job_folder)
        if request.compare:
            require_outside(self.content, request.content, assembly.compare_path(request.output), read)
        self._require_job_apart()
        if request.rate is not None and not (self.to_video and self.content.kind is ContentKind.SEQUENCE):
            raise UsageError("`rate` is for videos made from single images; a video keeps its own rate")
        self.styles = [decoding.read_image(path) for path in request.styles]
        for path, style in zip(request.styles, self.styles, strict=True):
            require_size((style.shape[0], style.shape[1]), self.settings.style.layers, f"style {path}")
        self.blend = style_blend(request.style_weights, len(request.styles))
        self.start_picture = self._read_start_picture()
        # A cluster may have what this machine has not.
        self.devices = pick_devices("cpu" if request.executor == "ray" else request.device)
        folder = self.settings.flow.folder
        weights = self.settings.flow.weights
        if self.settings.flow.method in ("auto", "raft") and weights != "torchvision" and not Path(weights).is_file():
            raise WeightsError(f"flow.weights {weights} is no file: name RAFT's weights, or torchvision")
        if self.settings.shots.cuts and not self.content.is_film:
            raise UsageError(
                "`shots.cuts` takes a video or a sequence apart; photos have nothing to do with each other"
            )
        self.planner = Planner(request, self.content, self.to_video, self.devices, listener, stop)
        self.planner.require_segments()
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"flow.folder {folder} is no folder: name the one that holds the .flo files")

    # --- the two ways through ---

    def run(self) -> JobDone:
        request = self.request
        began = time.perf_counter()
        device = self.devices[0]
        weights = self._weights_loader(self.settings.encoder.weights)
        recipe = self._recipe(weights)
        folder = request.job_folder
        with self._open_or_create(folder, recipe, weights) as job:
            if job.store_problem is not None:
                self.listener(Notice(job.store_problem))
            pending = self._reconcile(job)
            frames = job.frames()
            plan = ExecutionPlan.from_values(job.plan)
            # Of all frames, not of the pending ones alone: decided when the job was made, whoever continues it.
            segments = plan.segments(frame.shot for frame in frames)
            where = self.planner.places(plan.threads, plan.mean_pixels, segments, pending)
            told = _told(where, plan.threads) if request.executor != "ray" else "a Ray cluster"
            job.log(f"started: {self.content.kind}, output {request.output}, device {told}")
            self._tell_of_environment(job, plan, device)
            self.listener(
                JobStarted(
                    kind=str(self.content.kind),
                    output=request.output,
                    job=folder,
                    frame_count=len(frames),
                    done_count=len(frames) - len(pending),
                    shot_count=len({frame.shot for frame in frames}),
                    iterations_left=self.planner.work_left(segments, pending),
                    device=told,
                    settings=self.settings.description,
                )
            )
            painted = 0
            if pending:
                painted = self._paint(job, plan, weights, pending, where, segments)
            if not job.frames(FrameState.PENDING):
                # Also where a crash left it, after the last frame.
                storage.remove_folder(folder / FLOW_NAME)
            failed = [frame for frame in job.frames() if frame.state is not FrameState.DONE]
            if not failed:
                # What a crash, or a worker that was killed, left of frames that are painted.
                storage.remove_folder(folder / CHECKPOINTS_NAME)
            self._finish(job, failed)
            if request.compare and job.is_cleaned:
                self._notice(job, "the job's frames were cleaned away: for `compare` start over with `force`")
            elif request.compare and not (failed and self.to_video):
                self._compare(job)
            return self._summarise(job, failed, painted, time.perf_counter() - began)

    def estimate(self) -> DryRun:
        request, settings = self.request, self.settings
        if not is_job(request.job_folder) and not request.force:
            self._require_output_free()
        plan = self.planner.plan()
        if not is_job(request.job_folder) or request.force:
            self._require_targets_free(plan.frames)
        with FrameReader(self.content, plan.frame_index) as reader:
            first, array = self._first_readable(plan, reader)
        pixels = [height * width for height, width in self.planner.sizes(plan)]
        mean_pixels = statistics.fmean(pixels)
        threads = self.planner.threads(plan, mean_pixels)
        where = self.planner.places(threads, mean_pixels, plan.segments, plan.frames)
        require_size(array.shape[:2], settings.layers, first.name)
        with thread_limit(threads, self.devices[0]):
            painter = self._painter(self._weights_loader(settings.encoder.weights))
            seconds_per_iteration = iteration_seconds(painter, array)
        # Time goes with the pixels.
        chains, _ = plan.segments.chains(
            (frame.index, frame.shot, float(frame.work * share))
            for frame, share in zip(plan.frames, pixels, strict=True)
        )
        seconds = seconds_per_iteration * makespan(chains, len(where)) / (array.shape[0] * array.shape[1])
        needed = self.planner.disk_needed(plan, pixels)
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
            device=_told(where, threads),
            workers=len(where),
            output=request.output,
            job=request.job_folder,
        )

    def _painter(self, weights: EncoderWeights) -> Painter:
        return Painter(self.settings, weights, self.styles, self.blend, self.devices[0])

    def _first_readable(self, plan: Plan, reader: FrameReader) -> tuple[PlannedFrame, np.ndarray]:
        """The first frame that can be read; among photos some that cannot may come before it."""
        for frame in plan.frames:
            try:
                array = reader.read(frame.index)[0]
                return frame, resize(array, fit_within(size_of(array), self.settings.size))
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
            raise OutputError(f"the job's folder {folder} is a file: remove it, or name another with `job`")
        self._require_output_free()
        plan = self.planner.plan()
        self._require_targets_free(plan.frames)
        # Of photos each file is asked for its size.
        sizes = self.planner.sizes(plan)
        pixels = [height * width for height, width in sizes]
        self.planner.require_space(plan, pixels)
        if self.request.compare:
            self._require_compare_free(plan.frames)
        mean_pixels = statistics.fmean(pixels)
        threads = self.planner.threads(plan, mean_pixels)
        widths = self.planner.batch_widths(plan, sizes, lambda: self._painter(weights))
        execution = ExecutionPlan(
            threads=threads,
            mean_pixels=mean_pixels,
            flow_method=self.planner.flow_method(),
            environment=_environment(self.devices[0]),
            widths=widths,
            size_order=self.planner.size_order(sizes, widths),
            replaced_files=self._replaced_files(plan.frames),
            film=plan.film,
        )
        return Job.create(
            folder,
            recipe,
            self.request.to_values(),
            execution.to_values(),
            plan.frames,
            frame_index=None if plan.frame_index is None else plan.frame_index.to_text(),
            replace=self.request.force,
        )

    def _require_job_apart(self) -> None:
        """`force` clears the job's folder: it holds no content, and neither holds nor lies in an output folder."""
        for path in self.request.content:
            if storage.real_path(path).is_relative_to(storage.real_path(self.request.job_folder)):
                raise OutputError(
                    f"content {path} lies inside the job's folder {self.request.job_folder}: name another with `job`"
                )
        if self.to_video or self.content.kind is ContentKind.IMAGE:
            return
        job, output = storage.real_path(self.request.job_folder), storage.real_path(self.request.output)
        if job.is_relative_to(output) or output.is_relative_to(job):
            raise OutputError(
                f"the job's folder {self.request.job_folder} and output {self.request.output} overlap: "
                "name another with `job`"
            )

    def _require_output_free(self) -> None:
        output = self.request.output
        is_one_file = self.to_video or self.content.kind is ContentKind.IMAGE
        if is_one_file and output.is_dir():
            raise OutputError(f"output {output} is a folder: name a file")
        if not is_one_file and output.exists() and not output.is_dir():
            raise OutputError(f"output {output} is a file, and the output of this content is a folder: name another")
        if is_one_file and output.exists() and not self.request.force:
            raise OutputError(f"output {output} exists: choose another name, or overwrite it with `force`")
        if is_one_file and output.exists() and not output.is_file():
            raise OutputError(f"output {output} is no regular file: name another")

    def _require_compare_free(self, frames: Sequence[PlannedFrame]) -> None:
        """What stands where content and result are to stand side by side is cleared by `force`, or refused."""
        target = assembly.compare_path(self.request.output)
        paths = [self._compared_path(Path(frame.path)) for frame in frames if Path(frame.path).is_absolute()]
        for path in [target] if self.to_video else paths:
            if path.exists() and not (self.request.force and path.is_file()):
                raise OutputError(f"{path}, for `compare`, exists: choose another `output`, or overwrite with `force`")
            storage.remove(path)

    def _replaced_files(self, frames: Sequence[PlannedFrame]) -> dict[str, str]:
        """What `force` allows this job to overwrite: the files that are there now, each by its hash."""
        if not self.request.force:
            return {}
        targets = [Path(frame.path) for frame in frames if Path(frame.path).is_absolute()]
        if self.to_video:
            targets.append(Path(os.path.abspath(self.request.output)))
        return {str(path): storage.hash_file(path) for path in targets if path.is_file()}

    def _require_targets_free(self, frames: Sequence[PlannedFrame]) -> None:
        """No file in an output folder is overwritten that this job has not made, and with `force` only files."""
        if self.request.force:
            for frame in frames:
                path = Path(frame.path)
                if path.is_absolute() and path.exists() and not path.is_file():
                    raise OutputError(f"{path} is in the way and no regular file: choose another `output`")
            return
        there = [frame.path for frame in frames if Path(frame.path).is_absolute() and Path(frame.path).exists()]
        if there:
            more = f" and {len(there) - 1} more" if len(there) > 1 else ""
            raise OutputError(f"{there[0]}{more} exists: choose another `output`, or overwrite with `force`")

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
                job.reset_cleaned_frames()
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
                        "move it away to have it painted again, or start over with `force`"
                    )
                again.append(frame)
                self._notice(job, f"{frame.path} {problem}: it is painted again")
        if again:
            job.reset_frames(again)
        expected, written = job.expected_output, job.output
        if expected is not None and expected != written and file_problem(output, expected.sha256) is None:
            # A crash came between the film's name and its record.
            job.finish_output(expected)
            written = expected
        if written is not None and written.sha256 is not None and file_problem(output, written.sha256):
            if output.exists():
                raise OutputError(
                    f"output {output} has changed since this job wrote it: move it away, or start over with `force`"
                )
            # Frames that are painted again are the same to the bit, so a film that is whole stays valid.
            job.reopen_output()
        return job.frames(FrameState.PENDING)

    def _may_overwrite(self, job: Job, path: Path) -> bool:
        """Whether a file in the way of a painting is the job's own, or is just what `force` was given for."""
        if path.is_relative_to(job.folder):
            return True
        replaced = ExecutionPlan.from_values(job.plan).replaced_files.get(os.path.abspath(path))
        return replaced is not None and file_problem(path, replaced) is None

    def _tell_of_environment(self, job: Job, plan: ExecutionPlan, device: torch.device) -> None:
        before, now = plan.environment, _environment(device)
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
        plan: ExecutionPlan,
        weights: EncoderWeights,
        pending: Sequence[FrameRecord],
        where: Sequence[torch.device],
        segments: Segments,
    ) -> int:
        """Paints frames wherever the job may; returns how many."""
        # On another kind of device the bits are others, and so is the memory.
        began_on_cpu = plan.environment["device"] == "cpu"
        widths = plan.widths if began_on_cpu == (self.devices[0].type == "cpu") else {}
        colors = None if plan.film is None else plan.film.color_statistics
        spec = PainterSpec(self.settings, weights, tuple(self.styles), self.blend, colors, plan.threads, widths)
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
        with self._executor_factory(spec, where, self.request, parts_of(segments, pending)) as executor:
            job.record_workers(len(executor.devices))
            if self.request.executor == "ray":
                self._notice(job, f"painting on {', '.join(executor.devices)}")
            return painting.run(pending, executor)

    def _read_start_picture(self) -> np.ndarray | None:
        first = self.settings.start.first
        return None if first in COLD_STARTS else decoding.read_image(Path(first))

    # --- the output ---

    def _finish(self, job: Job, failed: Sequence[FrameRecord]) -> None:
        """Makes the output of what is painted, and records it, where that is not done yet. A film is whole in any case:
        where a frame is missing, the nearest one is held."""
        output = self.request.output
        if not self.to_video:
            if not failed and job.output is None:
                job.finish_output(OutputRecord(storage.hash_file(output) if output.is_file() else None))
            return
        substituted = tuple(sorted({frame.index for frame in failed if frame.pass_number == 0}))
        painted = [frame for frame in job.frames(FrameState.DONE) if frame.pass_number == 0]
        # A film that was made before frames were lost, which could not be painted again, shows them.
        if not painted or (job.output is not None and set(job.output.substituted) <= set(substituted)):
            return
        self._assemble(job, substituted)

    def _assemble(self, job: Job, substituted: tuple[int, ...]) -> None:
        output, earlier = self.request.output, job.output
        if output.exists():
            is_own = earlier is not None and file_problem(output, earlier.sha256) is None
            if not is_own and not self._may_overwrite(job, output):
                raise OutputError(f"output {output} has appeared since the job began: move it away and resume")
        whole = job.folder / f"output{output.suffix}"

        def on_frame(written: int) -> None:
            if self.stop.requested and written < film.timing.frame_count:
                raise Interrupted(f"stopped while writing {output}; continue with: impasto resume {job.folder}")
            self.listener(Assembling(output, written, film.timing.frame_count))

        film = self._film(job)
        for note in assembly.write_film(film, whole, self.request.encoding, on_frame):
            self._notice(job, note)
        record = OutputRecord(storage.hash_file(whole), substituted)
        job.expect_output(record)
        storage.move(whole, output)
        job.finish_output(record)

    def _film(self, job: Job) -> assembly.Film:
        source = self.content.files[0].path if self.content.kind is ContentKind.VIDEO else None
        return assembly.film_of(job, source, strip=self.request.strip)

    def _compare(self, job: Job) -> None:
        """Writes content and result side by side, where that is not there yet."""
        target = assembly.compare_path(self.request.output)
        recorded = job.comparisons
        with FrameReader(self.content, frame_index_of(job)) as reader:
            if self.to_video:
                film = self._film(job)

                def on_frame(written: int) -> None:
                    self._require_going_on(job, target)
                    self.listener(Assembling(target, written, film.timing.frame_count))

                def write_side_by_side(path: Path) -> None:
                    for note in assembly.write_film(film, path, self.request.encoding, on_frame, reader):
                        job.log(f"{target}: {note}")  # The output's own notes, said once, but for what doubling did.

                self._write_comparison(job, recorded, target, write_side_by_side)
                return
            frames = [frame for frame in job.frames(FrameState.DONE) if frame.pass_number == 0]
            for written, frame in enumerate(frames, start=1):
                self._require_going_on(job, target)

                def write_pair(path: Path, frame: FrameRecord = frame) -> None:
                    pair = assembly.side_by_side(reader.read(frame.index)[0], read_image(frame.path))
                    write_image(path, pair)

                self._write_comparison(job, recorded, self._compared_path(frame.path), write_pair)
                self.listener(Assembling(target, written, len(frames)))

    def _write_comparison(
        self, job: Job, recorded: Mapping[Path, str], path: Path, write: Callable[[Path], None]
    ) -> None:
        """Writes and records a comparison, unless it is there. Raises `OutputError` for a file of somebody else's."""
        sha256 = recorded.get(Path(os.path.abspath(path)))
        if sha256 is not None and path.exists():
            if (problem := file_problem(path, sha256)) is not None:
                raise OutputError(f"comparison {path} {problem}: move it away to have it made again")
            return
        staged = job.folder / f"comparison{path.suffix}"
        write(staged)
        sha256 = storage.hash_file(staged)
        if not path.exists():
            storage.move(staged, path)
        elif file_problem(path, sha256) is None:  # A crash came before it was recorded.
            storage.remove(staged)
        else:
            storage.remove(staged)
            raise OutputError(f"{path}, for `compare`, has appeared since the job began: move it away and resume")
        job.finish_comparison(path, sha256)

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
                output = job.output
                shows_them = output is not None and set(output.substituted).isdisjoint(frame.index for frame in failed)
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


def _environment(device: torch.device) -> dict[str, str]:
    """What the last bits of a picture depend on besides the recipe."""
    # Threads are not told: a job keeps its number of them.
    return {"device": "cpu" if device.type == "cpu" else device_label(device), "torch": torch.__version__}


def _told(where: Sequence[torch.device], threads: int) -> str:
    """Where frames are painted, as a person knows it."""
    if where[0].type != "cpu":
        return ", ".join(map(device_label, where))
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
