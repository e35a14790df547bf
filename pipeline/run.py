"""A job from end to end: content → shots → frame tasks → frames on the disk → output."""

import dataclasses
import os
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from pipeline import assembly, decoding, images, media, report, storage
from pipeline import content as contents
from pipeline.codecs import Encoding
from pipeline.config import Settings, parse_settings, to_values
from pipeline.content import ContentKind, ContentScan, FrameReader, Mode
from pipeline.encoder import EncoderWeights, load_weights
from pipeline.errors import (
    FrameError,
    InputError,
    Interrupted,
    OutputError,
    PartialError,
    StorageError,
    UsageError,
    WeightsError,
)
from pipeline.events import (
    Assembling,
    FrameDone,
    FrameFailed,
    FrameProgress,
    FrameStarted,
    JobDone,
    JobStarted,
    Listener,
    Losses,
    Notice,
    Scanning,
    StopSignal,
    ignore,
)
from pipeline.flow import DisFlow, FloFolder, FlowEstimator, RaftFlow, has_raft_weights
from pipeline.frames import FrameRange, Size, fit_within, resize, size_of
from pipeline.job import (
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
from pipeline.motion import Link, MotionFrame, MotionReader
from pipeline.optimize import StopReason, StopRule
from pipeline.starts import ColorStatistics
from pipeline.stylize import COLD_STARTS, Earlier, FrameTask, Painter, cold_task, device_label, pick_device, style_blend

ENGINE = 4
"""Raised when the same settings and content give other pictures than before; part of each job's recipe."""

FLOW_NAME = f"{FRAMES_NAME}/flow"
"""Where a job that paints in several passes keeps the flow between its frames until it is done."""

FOLLOW = 0.03
"""By how much of what a frame missed its target the shot's reference rises: the content has become harder."""

CHANGED_PIXELS = 4
CHANGED_ITERATIONS = 20
"""The least iterations of a frame in which so many pixels show what the frame before did not."""


@dataclass(frozen=True)
class Request:
    """What one command asks for.

    `style_weights` are one for each style (of any sum), or empty for equal ones. `job` is the job's
    folder, None for `OUTPUT.impasto` beside the output. `rate`: frames a second of a video made from a
    sequence. `force` overwrites the output and starts an existing job over.
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

    `disk_bytes` is for the painted frames and the output, from above. `seconds` is the estimate, with all
    iterations used, from `seconds_per_iteration`, measured on the first frame.
    """

    kind: str
    frame_count: int
    shot_count: int
    size: Size
    iterations: int
    disk_bytes: int
    disk_free_bytes: int
    seconds_per_iteration: float
    seconds: float
    device: str
    output: Path
    job: Path


def stylize(request: Request, listener: Listener = ignore, stop: StopSignal | None = None) -> JobDone:
    """Does what is asked for, going on with an existing job where there is one.

    Raises `JobMismatchError` when the existing job was made with other settings or content, `PartialError`
    when frames failed (the rest is painted), `Interrupted` when `stop` was requested, and what the parts raise.
    """
    return _Run(request, listener, stop or StopSignal()).run()


def resume(
    job: Path, listener: Listener = ignore, stop: StopSignal | None = None, device: str | None = None
) -> JobDone:
    """Continues a job from its folder alone; `device` paints on another device than the job began on."""
    with Job.read(job) as existing:
        values = existing.invocation
    return stylize(Request.from_values({**values, **({"device": device} if device else {})}, job), listener, stop)


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
        self.passes = self.settings.passes.count if self.content.is_film else 1
        self._shot_ends: dict[int, int] = {}
        self._told_lost: set[str] = set()
        folder = self.settings.flow.folder
        weights = self.settings.flow.weights
        if self.settings.flow.method in ("auto", "raft") and weights != "torchvision" and not Path(weights).is_file():
            raise WeightsError(f"flow.weights {weights} is no file: name RAFT's weights, or torchvision")
        if self.settings.shots.cuts and not self.content.is_film:
            raise UsageError("--cuts takes a video or a sequence apart; photos have nothing to do with each other")
        if folder is not None and not Path(folder).is_dir():
            raise InputError(f"flow.folder {folder} is no folder: name the one that holds the .flo files")

    # --- the two ways through ---

    def run(self) -> JobDone:
        request = self.request
        began = time.perf_counter()
        device = pick_device(request.device)
        weights = load_weights(self.settings.encoder.weights)
        recipe = self._recipe(weights)
        folder = request.job_folder
        with self._open_or_create(folder, recipe) as job:
            job.log(f"started: {self.content.kind}, output {request.output}, device {device_label(device)}")
            if device.type == "cpu":
                # Sums are split by thread, and the last bits of a picture with them: a job keeps its number.
                torch.set_num_threads(job.facts["threads"])
            self._tell_of_environment(job, device)
            pending = self._in_order_of_work(self._reconcile(job))
            frames = job.frames()
            self.listener(
                JobStarted(
                    kind=str(self.content.kind),
                    output=request.output,
                    job=folder,
                    frame_count=len(frames),
                    done_count=len(frames) - len(pending),
                    shot_count=len({frame.shot for frame in frames}),
                    iterations_left=sum(self._most_iterations(frame.index, frame.shot) for frame in pending),
                    device=device_label(device),
                    settings=self.settings.description,
                )
            )
            painted = 0
            if pending:
                painter = Painter(self.settings, weights, self.styles, self.blend, device, _film_colors(job))
                painted = self._paint_all(job, painter, pending)
                if self.passes > 1 and not job.frames(FrameState.PENDING):
                    shutil.rmtree(folder / FLOW_NAME, ignore_errors=True)
            failed = [frame for frame in job.frames() if frame.state is not FrameState.DONE]
            if not failed and job.output_sha256 is None:
                if self.to_video:
                    self._assemble(job)
                job.finish_output(storage.hash_file(request.output) if request.output.is_file() else None)
            if request.compare and job.is_cleaned:
                self._notice(job, "the job's frames were cleaned away: for --compare start over with --force")
            elif request.compare and not (failed and self.to_video):
                self._compare(job)
            return self._summarise(job, failed, painted, time.perf_counter() - began)

    def estimate(self) -> DryRun:
        request, settings = self.request, self.settings
        device = pick_device(request.device)
        if not is_job(request.job_folder) and not request.force:
            self._require_output_free()
        plan = self._plan()
        if not is_job(request.job_folder) or request.force:
            self._require_targets_free(plan.frames)
        with FrameReader(self.content) as reader:
            first, array = self._first_readable(plan, reader)
        painter = Painter(settings, load_weights(settings.encoder.weights), self.styles, self.blend, device)
        require_size(array.shape[:2], settings.layers, first.name)
        seconds_per_iteration = painter.seconds_per_iteration(array)
        per_frame = [frame.work for frame in plan.frames]
        pixels = self._pixels(plan)
        # Time goes with the pixels; a painted picture hardly compresses, and PNG never grows it by much.
        seconds = seconds_per_iteration * sum(
            count * share / (array.shape[0] * array.shape[1]) for count, share in zip(per_frame, pixels, strict=True)
        )
        needed = self._disk_needed(plan, pixels)
        return DryRun(
            kind=str(self.content.kind),
            frame_count=sum(frame.pass_number == 0 for frame in plan.frames),
            shot_count=len({frame.shot for frame in plan.frames}),
            size=(array.shape[0], array.shape[1]),
            iterations=sum(per_frame),
            disk_bytes=sum(needed.values()),
            disk_free_bytes=min(storage.free_bytes(folder) for folder in needed),
            seconds_per_iteration=seconds_per_iteration,
            seconds=seconds,
            device=device_label(device),
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
            "image_format": request.image_format,
            "strip": request.strip,
            "encoding": dataclasses.asdict(request.encoding),
        }

    def _open_or_create(self, folder: Path, recipe: Mapping[str, Any]) -> Job:
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
        self._require_space(plan)
        if self.request.compare:
            self._require_compare_free(plan.frames)
        facts = {
            "threads": torch.get_num_threads(),
            "flow": self._flow_method(),
            **plan.facts,
            "environment": _environment(pick_device(self.request.device)),
            "replaces": self._replaced_files(plan.frames),
        }
        return Job.create(folder, recipe, self.request.to_values(), facts, plan.frames, replace=self.request.force)

    def _require_job_apart(self) -> None:
        """--force clears the job's folder: it holds no content, and neither holds nor lies in an output folder."""
        for path in self.request.content:
            if path.resolve().is_relative_to(self.request.job_folder.resolve()):
                raise OutputError(
                    f"content {path} lies inside the job's folder {self.request.job_folder}: name another with --job"
                )
        if self.to_video or self.content.kind is ContentKind.IMAGE:
            return
        job, output = self.request.job_folder.resolve(), self.request.output.resolve()
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
            path.unlink(missing_ok=True)

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
        require_size(fit_within(scan.size, self.settings.size), self.settings.layers, f"the content {path}")
        if self._flow_method() == "files":
            self._require_flow_files(scan)
        return _Plan(list(self._film_frames(scan)), _film_facts(scan), fit_within(scan.size, self.settings.size))

    def _require_flow_files(self, scan: ContentScan) -> None:
        """What a job of days needs is there, and whole, before it begins; see `_linked`."""
        files = FloFolder(Path(self.settings.flow.folder or ""))
        size = fit_within(scan.size, self.settings.size)
        start, held = self.settings.start.next, self.settings.temporal
        to_previous = start == "warped" or (held.weight > 0 and 1 in held.distances)
        neighbours = [(later, later - 1) for shot in scan.shots for later in shot.frames[1:]]
        pairs = neighbours if (to_previous if self.passes == 1 else self.passes > 2) else []
        if self.passes > 1:
            pairs = pairs + [(earlier, later) for later, earlier in neighbours]
        missing = [path.name for pair in pairs if not (path := files.path_of(*pair)).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(f"flow file {missing[0]}{more} is not in {files.folder}: add it, or cut the film there")
        for pair in pairs:
            files.require(*pair, size)

    def _film_frames(self, scan: ContentScan) -> Iterator[PlannedFrame]:
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
            work = self._most_iterations(index, shot)
            for number in range(1 - self.passes, 1):
                draft = f"{FRAMES_NAME}/pass-{number + self.passes:02d}/{index:06d}.png"
                in_pass = f"{name}, pass {number + self.passes}" if self.passes > 1 else name
                yield PlannedFrame(index, shot, in_pass, draft if number else path, pts, work, number)

    def _pixels(self, plan: _Plan) -> list[int]:
        """Pixels of each painting; 0 for a picture that cannot be read, of which there will be none."""
        if plan.size is not None:
            return [plan.size[0] * plan.size[1]] * len(plan.frames)
        counts = []
        for file in self.content.files:
            try:
                height, width = fit_within(decoding.image_size(file.path), self.settings.size)
            except InputError:
                height = width = 0
            counts.append(height * width)
        return counts

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

    def _require_space(self, plan: _Plan) -> None:
        """Raises `StorageError` where a disk has not the room that the job takes."""
        needed = self._disk_needed(plan, self._pixels(plan))
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
        storage.remove_partial_files_of([*unfinished, output] if self.to_video else unfinished)
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
        if job.output_sha256 and (problem := file_problem(output, job.output_sha256)):
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

    def _in_order_of_work(self, frames: Sequence[FrameRecord]) -> list[FrameRecord]:
        """Shot by shot; within it pass by pass, every second one backwards."""

        def order(frame: FrameRecord) -> tuple[int, int, int]:
            return frame.shot, frame.pass_number, frame.index * self._direction(frame)

        return sorted(frames, key=order)

    def _direction(self, frame: FrameRecord) -> int:
        """1 in passes that go forward in time, -1 in those that go back; the first goes forward."""
        return -1 if (frame.pass_number + self.passes) % 2 == 0 else 1

    def _paint_all(self, job: Job, painter: Painter, pending: Sequence[FrameRecord]) -> int:
        """Paints the pending frames in order; returns how many. A shot is left where a frame of it fails."""
        painted = 0
        broken_shot: int | None = None
        with FrameReader(self.content) as reader, self._motion_reader(job, reader, painter.device) as motion:
            for place, frame in enumerate(pending):
                if self.stop.requested:
                    raise Interrupted(f"stopped; continue with: impasto resume {job.folder}")
                if frame.shot == broken_shot:
                    continue
                following = pending[place + 1] if place + 1 < len(pending) else None
                try:
                    self._paint_one(job, painter, motion, frame, following)
                    painted += 1
                except (InputError, FrameError, OutputError) as error:
                    broken_shot = frame.shot
                    job.fail_frame(frame.index, str(error), frame.pass_number)
                    job.log(f"{frame.name}: failed: {error}")
                    self.listener(FrameFailed(frame.index, frame.name, str(error)))
        if self.stop.requested and job.frames(FrameState.PENDING):
            raise Interrupted(f"stopped; continue with: impasto resume {job.folder}")
        return painted

    def _paint_one(
        self, job: Job, painter: Painter, motion: MotionReader, frame: FrameRecord, following: FrameRecord | None
    ) -> None:
        began = time.perf_counter()
        seen = motion.take(frame.index, *self._linked(frame))
        if following is not None:
            # Read and followed by the flow while this one is painted.
            motion.prepare(following.index, *self._linked(following))
        task, reference = self._task(job, frame, seen)
        self.listener(
            FrameStarted(frame.index, frame.name, size_of(seen.content), self._start_of(task), task.rule.iterations),
        )

        def on_progress(iteration: int, losses: Losses) -> None:
            self.listener(FrameProgress(frame.index, iteration, task.rule.iterations, losses))

        painted = painter.paint(task, on_progress)
        self._save(job, frame, painted.image, seen.alpha)
        # What counts is the file: a lossy format changes the picture once more.
        saved = images.read_image(frame.path)
        losses = painted.losses if np.array_equal(saved, painted.image) else painter.measure(saved, seen.content)
        seconds = time.perf_counter() - began
        if frame.index == (job.facts.get("first") or 0) and frame.pass_number == 0:
            # Before the frame counts as done, or a crash in between would leave the job without it.
            plot = job.folder / PLOTS_NAME / f"losses-{frame.index:06d}.png"
            report.plot_losses(painted.trace, plot, f"{frame.name}: how the weighted losses fell")
        job.finish_frame(
            frame.index,
            storage.hash_file(frame.path),
            losses,
            painted.iterations,
            str(painted.stop),
            painted.retried,
            seconds,
            reference=reference,
            pass_number=frame.pass_number,
        )
        if painted.retried:
            self._notice(
                job,
                f"{frame.name}: the first try ended as {painted.retried} "
                f"and was repeated from a safe start ({painted.stop})",
            )
        job.log(f"{frame.name}: {painted.iterations} iterations, objective {losses.objective:.6g}, {seconds:.1f} s")
        self.listener(
            FrameDone(
                frame.index,
                frame.name,
                frame.path,
                losses,
                painted.iterations,
                str(painted.stop),
                seconds,
                painted.retried,
            )
        )

    def _task(self, job: Job, frame: FrameRecord, seen: MotionFrame) -> tuple[FrameTask, float | None]:
        """The frame's task, and the objective that its stopping target follows from, where it has one."""
        settings, index, content = self.settings, frame.index, seen.content
        earlier = {link.index: self._earlier(job, frame, link) for link in seen.links}
        if self.passes > 1:
            return self._pass_task(job, frame, seen, earlier), None
        if self._starts_cold(index, frame.shot):
            rule = StopRule(settings.iterations.first, settings.iterations.tolerance, settings.iterations.interval)
            start = settings.start.first if frame.starts_shot else settings.start.next
            return cold_task(index, content, start, rule, self.start_picture), None
        previous = self._painted(job, frame, index - 1)
        reference = self._reference(previous)
        iterations = settings.iterations
        rule = StopRule(iterations.next, iterations.next_tolerance, iterations.next_interval)
        if iterations.target is not None and reference is not None:
            # The objective is that of the whole picture, which hardly feels what is wrong with a small part of it.
            changed = index - 1 in earlier and (1 - earlier[index - 1].trust).sum() >= CHANGED_PIXELS
            floor = max(iterations.floor, CHANGED_ITERATIONS) if changed else iterations.floor
            rule = dataclasses.replace(rule, target=iterations.target * reference, floor=floor)
        task = FrameTask(
            index,
            content,
            "warped",
            rule,
            warm=True,
            earlier=earlier.get(index - 1),
            references=tuple(earlier[index - back] for back in settings.temporal.distances if index - back in earlier),
            temporal=settings.temporal.weight,
        )
        if settings.start.next == "previous":
            task = dataclasses.replace(task, start="given", given=images.read_image(previous.path), earlier=None)
        return task, reference

    def _pass_task(self, job: Job, frame: FrameRecord, seen: MotionFrame, earlier: Mapping[int, Earlier]) -> FrameTask:
        """A frame of one of several passes: its own last pass, blended with the neighbour just painted (Ruder et
        al. 2016, eq. 11)."""
        passes = self.settings.passes
        rule = StopRule(passes.iterations)
        number = frame.pass_number + self.passes  # from 1
        if number == 1:
            return cold_task(frame.index, seen.content, self.settings.start.first, rule, self.start_picture)
        own = images.read_image(self._painted(job, frame, frame.index, frame.pass_number - 1).path)
        if not earlier:
            return FrameTask(frame.index, seen.content, "given", rule, own, warm=True)
        (neighbour,) = earlier.values()
        holds = number >= passes.temporal_from and self.settings.temporal.weight > 0
        return FrameTask(
            frame.index,
            seen.content,
            "warped",
            rule,
            own,
            warm=True,
            earlier=neighbour,
            blend=passes.blend / (1 + passes.blend),
            references=(neighbour,) if holds else (),
            temporal=self.settings.temporal.weight,
        )

    def _linked(self, frame: FrameRecord) -> tuple[tuple[int, ...], int | None]:
        """The frames that a frame is linked to by its motion, and the first of its shot where what stands still is
        looked for."""
        if self.passes > 1:
            neighbour = frame.index - self._direction(frame)
            is_first_pass = frame.pass_number == 1 - self.passes
            return ((neighbour,) if not is_first_pass and self._in_shot(frame, neighbour) else ()), None
        if self._starts_cold(frame.index, frame.shot) or not self.content.is_film:
            return (), None
        back = set(self.settings.temporal.distances) if self.settings.temporal.weight else set()
        if self.settings.start.next == "warped":
            back.add(1)
        linked = tuple(frame.index - distance for distance in sorted(back) if frame.index - distance >= frame.shot)
        return linked, frame.shot

    def _in_shot(self, frame: FrameRecord, index: int) -> bool:
        return frame.shot <= index < self._shot_ends[frame.shot]

    def _earlier(self, job: Job, frame: FrameRecord, link: Link) -> Earlier:
        other = self._painted(job, frame, link.index, frame.pass_number)
        return Earlier(images.read_image(other.path), link.content, link.flow, link.trust)

    def _painted(self, job: Job, frame: FrameRecord, index: int, pass_number: int = 0) -> FrameRecord:
        other = job.frame(index, pass_number)
        if other is None or other.state is not FrameState.DONE:
            raise FrameError(f"{frame.name} starts from another frame ({index}) that is not painted")
        return other

    def _reference(self, previous: FrameRecord) -> float | None:
        """The objective that the target of the next frame is a multiple of.

        It begins as what the shot's first frame reached. It falls to whatever a frame reaches below it, as where the
        content has become easier; and where a frame used up its iterations above its target, the content has become
        harder, and the reference follows by a part, so that one bad frame does not lower what is asked of the rest.
        """
        assert previous.losses is not None
        reached, before = previous.losses.objective, previous.reference
        target = self.settings.iterations.target
        if before is None or target is None or reached <= before:
            return reached
        if previous.stop == StopReason.TARGET:
            return before
        return before + FOLLOW * max(0.0, reached - target * before)

    def _most_iterations(self, index: int, shot: int) -> int:
        if self.passes > 1:
            return self.settings.passes.iterations
        cold = self._starts_cold(index, shot)
        return self.settings.iterations.first if cold else self.settings.iterations.next

    def _starts_cold(self, index: int, shot: int) -> bool:
        return index == shot or self.settings.start.next not in ("previous", "warped")

    def _start_of(self, task: FrameTask) -> str:
        """What a task starts from, in the words of the settings."""
        if task.start != "given":
            return task.start
        return "previous" if task.warm else self.settings.start.first

    # --- motion ---

    def _flow_method(self) -> str:
        """`auto` decided: a folder is there to be read; RAFT pays on a GPU, but is not downloaded unasked."""
        flow = self.settings.flow
        if flow.method != "auto":
            return flow.method
        if flow.folder is not None:
            return "files"
        on_gpu = pick_device(self.request.device).type == "cuda"
        return "raft" if on_gpu and has_raft_weights(flow.weights) else "dis"

    def _motion_reader(self, job: Job, reader: FrameReader, device: torch.device) -> MotionReader:
        settings = self.settings
        frames = job.frames()
        self._shot_ends = {frame.shot: frame.index + 1 for frame in sorted(frames, key=lambda frame: frame.index)}
        estimator: FlowEstimator | FloFolder | None = None
        needs_flow = any(self._linked(frame)[0] for frame in frames)
        if needs_flow:
            match job.facts["flow"]:
                case "files":
                    estimator = FloFolder(Path(settings.flow.folder or ""))
                case "raft":
                    estimator = RaftFlow(settings.flow.weights, device)
                case _:
                    estimator = DisFlow()
        reach = max(settings.temporal.distances) if needs_flow else 0
        return MotionReader(
            reader,
            estimator,
            settings.size,
            frames_kept=reach + 2,
            backward=self.passes > 1,
            flow_store=job.folder / FLOW_NAME if self.passes > 1 and job.facts["flow"] != "files" else None,
        )

    def _save(self, job: Job, frame: FrameRecord, image: np.ndarray, alpha: np.ndarray | None) -> None:
        """Writes the painting; a file of somebody else's that has appeared in its place is kept."""
        extras = images.Extras(alpha) if self.content.is_film else self._extras(job, frame)
        extras = extras.at_size(size_of(image))
        if self._may_overwrite(job, frame.path) or not frame.path.exists():
            images.write_image(frame.path, image, extras)
            return
        # Either this job wrote it and was killed before it said so, or it came from elsewhere.
        copy = job.folder / f"compared{frame.path.suffix}"
        try:
            images.write_image(copy, image, extras)
            if storage.hash_file(copy) != storage.hash_file(frame.path):
                raise OutputError(f"{frame.path} has appeared since the job began: it is kept, move it and resume")
        finally:
            copy.unlink(missing_ok=True)

    def _extras(self, job: Job, frame: FrameRecord) -> images.Extras:
        """What the file of a photo holds besides its colours and that of its painting takes over."""
        extras = decoding.read_extras(self.content.files[frame.index].path)
        if self.request.strip:
            extras = extras.without_metadata()
        for what in extras.lost_in(frame.path.suffix):
            text = f"{frame.path.suffix} files hold no {what}: that of {frame.name} is left out"
            if what in self._told_lost:
                job.log(text)
            else:
                self._notice(job, f"{text}, and so on (the log names each)" if len(self.content.files) > 1 else text)
                self._told_lost.add(what)
        return extras

    def _at_painting_size(self, array: np.ndarray) -> np.ndarray:
        return resize(array, fit_within((array.shape[0], array.shape[1]), self.settings.size))

    def _read_start_picture(self) -> np.ndarray | None:
        first = self.settings.start.first
        return None if first in COLD_STARTS else decoding.read_image(Path(first))

    # --- the output ---

    def _assemble(self, job: Job) -> None:
        output = self.request.output
        if output.exists() and job.expected_sha256 and file_problem(output, job.expected_sha256) is None:
            return  # complete, and only the store had not heard of it
        if output.exists() and not self._may_overwrite(job, output):
            raise OutputError(f"output {output} has appeared since the job began: move it away and resume")
        whole = job.folder / f"output{output.suffix}"

        def on_frame(written: int) -> None:
            if self.stop.requested and written < film.timing.frame_count:
                raise Interrupted(f"stopped while writing {output}; continue with: impasto resume {job.folder}")
            self.listener(Assembling(output, written, film.timing.frame_count))

        film = self._film(job)
        for note in assembly.write_film(film, whole, self.request.encoding, on_frame):
            self._notice(job, note)
        job.expect_output(storage.hash_file(whole))
        storage.move(whole, output)

    def _film(self, job: Job) -> assembly.Film:
        source = self.content.files[0].path if self.content.kind is ContentKind.VIDEO else None
        return assembly.film_of(job, source, strip=self.request.strip)

    def _compare(self, job: Job) -> None:
        """Writes content and result side by side, where that is not there yet."""
        target = assembly.compare_path(self.request.output)
        with FrameReader(self.content) as reader:
            if self.to_video:
                if not target.exists():
                    film = self._film(job)

                    def on_frame(written: int) -> None:
                        self._require_going_on(job, target)
                        self.listener(Assembling(target, written, film.timing.frame_count))

                    for note in assembly.write_film(film, target, self.request.encoding, on_frame, reader):
                        job.log(f"{target}: {note}")  # The output's own notes, said once, but for what doubling did.
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
        known = [frame.losses for frame in done if frame.losses is not None and frame.pass_number == 0]
        result = JobDone(
            output=self.request.output,
            job=job.folder,
            frame_count=len(done) + len(failed),
            painted_count=painted,
            failed=tuple(
                f"{frame.name}: {frame.error or 'not painted, as a frame before it failed'}" for frame in failed
            ),
            plots=tuple(sorted((job.folder / PLOTS_NAME).glob("*.png"))),
            losses=_mean_losses(known),
            iterations=sum(frame.iterations or 0 for frame in done),
            seconds=seconds,
        )
        self.listener(result)
        job.log(f"ended: {len(done)} of {result.frame_count} frames done")
        if failed and not done:
            raise FrameError(
                f"nothing could be painted (first: {result.failed[0]}); try again with: impasto resume {job.folder}"
            )
        if failed:
            what = "frame" if self.content.is_film else "photo"
            raise PartialError(
                f"{len(failed)} of {result.frame_count} {what}s could not be painted (first: {result.failed[0]}); "
                f"the rest is done; mend what can be mended and run: impasto resume {job.folder}"
            )
        return result

    def _notice(self, job: Job, text: str) -> None:
        job.log(text)
        self.listener(Notice(text))


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
    return {"device": device_label(device), "torch": torch.__version__}


def _mean_losses(losses: Sequence[Losses]) -> Losses | None:
    if not losses:
        return None
    return Losses(
        content=statistics.fmean(item.content for item in losses),
        style=statistics.fmean(item.style for item in losses),
        total_variation=statistics.fmean(item.total_variation for item in losses),
    )
