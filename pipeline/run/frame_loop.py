"""The frame loop: hands the frames of a job to an executor, and takes back, saves and records what is painted.

Chains of frames (a shot, a segment, a photo) go to the workers in the order that `plan.scheduler` gives. What a frame
needs is read ahead, and a painting is saved, while others are painted. A frame that fails is tried again where another
try may succeed, and else recorded as failed: the frames after it start from the nearest one before it that is painted.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from ..errors import (
    FrameError,
    ImpastoError,
    InputError,
    Interrupted,
    OutOfMemoryError,
    OutputError,
    StorageError,
    WorkerLostError,
)
from ..events import FrameDone, FrameFailed, Listener, Losses, Notice, StopSignal, TimeUse
from ..job.folder import CHECKPOINTS_NAME
from ..job.job import Job
from ..job.records import FrameRecord, FrameState
from ..layers import require_size_within
from ..media.content import Content
from ..media.frame_index import FrameIndex
from ..media.images import is_lossy, require_sides
from ..paint.checkpoint import CHECKPOINT_SECONDS, Checkpoint
from ..paint.task import FrameTask, PaintedFrame
from ..pictures import Size, size_of
from ..plan.execution_plan import ExecutionPlan
from ..plan.frame_rules import pass_direction
from ..plan.resources import picture_threads, usable_cores
from ..plan.scheduler import Scheduler
from ..report.plots import plot_losses
from ..settings import Settings
from .executor import Assignment, Executor, MeasureTask, Report
from .frame_links import FrameLinks
from .frame_tasks import FrameTasks
from .in_flight import FrameInFlight, Painted
from .painted_frames import PaintedFrames
from .picture_writer import LossPlotter, PictureWriter
from .progress_events import frame_progress, frame_started
from .reader_slots import FlowEstimators, ReaderSlot, ReaderSlots
from .saver import Saver
from .time_keeper import TimeKeeper


@dataclass(frozen=True)
class LoopLimits:
    """When the loop fails, and how long it waits."""

    tries: Mapping[type[ImpastoError], int] = field(default_factory=lambda: {OutOfMemoryError: 2, WorkerLostError: 3})
    """Tries of a frame by the error it ends in. Any other error comes again, as a task is a pure function of its
    inputs; that a worker was lost is mostly not the frame's fault."""

    failures_in_a_row: int = 8
    """After so many frames in a row that ended in such an error, the job stops: its device can paint nothing."""

    turn_seconds: float = 0.2
    """The longest wait for a worker before the loop looks at the saver and the stop signal again."""

    checkpoint_seconds: float = CHECKPOINT_SECONDS
    """How often the state of a frame that takes long is saved."""

    time_use_seconds: float = 10.0
    """How often it is recorded where the time goes, at most; not while no frame is done, as the store's last change
    tells of a stall."""


_LIMITS = LoopLimits()

_PHOTO_BYTES = 1 << 28
"""The most memory that photos take which are read before a worker is free for them, beyond the next one: with their
transparency, which has their own size."""

_LOOK_AHEAD = 64
"""Frames of a chain beyond the next one, at most, whose flow may be estimated ahead."""


class FrameLoop:
    """Paints the pending frames of a job.

    `start_picture` is what cold starts begin from where that is a file, and `flow_device` is where RAFT runs. With the
    `frame_index` of the content, readers seek. `strip` leaves out the metadata of photos. `saver_threads` is None for
    as many as the cores suggest.
    """

    def __init__(
        self,
        job: Job,
        plan: ExecutionPlan,
        content: Content,
        settings: Settings,
        start_picture: np.ndarray | None,
        flow_device: torch.device,
        *,
        frame_index: FrameIndex | None,
        strip: bool,
        listener: Listener,
        stop: StopSignal,
        limits: LoopLimits = _LIMITS,
        make_estimators: Callable[..., FlowEstimators] = FlowEstimators,
        plot: LossPlotter = plot_losses,
        sleep: Callable[[float], None] = time.sleep,
        saver_threads: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._plan = plan
        self._content = content
        self._settings = settings
        self._start_picture = start_picture
        self._flow_device = flow_device
        self._frame_index = frame_index
        self._strip = strip
        self._listener = listener
        self._stop = stop
        self._limits = limits
        self._make_estimators = make_estimators
        self._plot = plot
        self._sleep = sleep
        self._saver_threads = saver_threads or picture_threads(usable_cores())
        self._clock = clock
        self._time_recorded_at = clock()
        self._passes = settings.passes.count if content.is_film else 1
        self._painted = PaintedFrames(job)
        self._widths: dict[Size, int] = {}
        self._chains: dict[int, list[FrameRecord]] = {}
        """The frames of each chain that are still to be painted, the next one last."""
        self._chain_keys: dict[int, int] = {}
        """The chain of each frame, by its index."""
        self._in_flight: dict[int, FrameInFlight] = {}
        """What the workers have, by ticket."""
        self._to_measure: list[Painted] = []
        self._to_retry: list[FrameInFlight] = []
        self._is_stopping_workers = False
        self._last_ticket = 0
        self._logged: set[str] = set()
        """What is logged once for all frames."""
        self._done_count = 0
        self._failures = 0

    def run(self, pending: Sequence[FrameRecord], executor: Executor) -> int:
        """Paints frames; returns how many.

        Raises `Interrupted` when a stop leaves some, `FrameError` when the device can paint none, and `StorageError`
        when the disk fails.
        """
        self._time = TimeKeeper(self._job.time_use or TimeUse(), self._clock)
        self._prepare(pending, executor)
        try:
            self._paint_all()
        finally:
            self._record_time()
        if self._stop.requested and self._job.frames(FrameState.PENDING):
            raise Interrupted(f"stopped; continue with: impasto resume {self._job.folder}")
        return self._done_count

    def _paint_all(self) -> None:
        """Takes turns until nothing is left to be painted or saved, or a stop has ended what was begun."""
        with contextlib.ExitStack() as stack:
            self._slots = stack.enter_context(self._reader_slots())
            writer = PictureWriter(self._job, self._content, self._plan, strip=self._strip, plot=self._plot)
            self._saver = stack.enter_context(Saver(writer.save, self._saver_threads))
            while True:
                self._take_saved()
                while self._to_measure and self._executor.free:
                    self._measure(self._to_measure.pop(0))
                if self._stop.requested:
                    self._stop_overdue_frames()
                else:
                    self._hand_out()
                if self._in_flight:
                    with self._time.painting():
                        report = self._executor.wait(self._on_progress, self._limits.turn_seconds)
                    if report is not None:
                        self._take(report)
                elif self._saver.is_busy:
                    with self._time.saving():
                        self._saver.drain()
                elif self._stop.requested or not (self._to_retry or self._to_measure or self._scheduler.is_waiting):
                    break
                else:
                    self._sleep(self._limits.turn_seconds)  # All workers are lost, and new ones may join.

    def _prepare(self, pending: Sequence[FrameRecord], executor: Executor) -> None:
        """Divides the pending frames into chains, and schedules them."""
        self._executor = executor
        self._widths = dict(executor.widths)
        frames = self._job.frames()
        shot_ends = {frame.shot: frame.index + 1 for frame in sorted(frames, key=lambda frame: frame.index)}
        segments = self._plan.segments(shot_ends)
        self._segments = segments
        self._links = FrameLinks(self._settings, self._passes, segments, shot_ends, self._content.is_film)
        self._tasks = FrameTasks(self._links, self._painted, self._start_picture)
        self._needs_flow = any(self._links.wanted(frame) for frame in frames)
        order = {index: number for number, index in enumerate(self._plan.size_order)}
        chains, self._chain_keys = segments.chains(
            (frame.index, order.get(frame.shot, frame.shot), self._tasks.max_iterations(frame)) for frame in pending
        )
        for frame in self._in_order(pending):
            self._chains.setdefault(self._chain_keys[frame.index], []).append(frame)
        for chain in self._chains.values():
            chain.reverse()
        self._scheduler = Scheduler(chains, executor.slots, in_order=executor.slots == 1)

    def _reader_slots(self) -> ReaderSlots:
        method, pixels = self._plan.flow_method, self._plan.mean_pixels
        estimators = None
        if self._needs_flow:
            estimators = self._make_estimators(self._settings, method, self._flow_device, pixels=pixels)
        return ReaderSlots(
            self._job,
            self._content,
            self._frame_index,
            self._settings,
            estimators,
            several_passes=self._passes > 1,
            has_keyframes=bool(self._segments),
            flow_from_files=method == "files",
            photos_ahead=self._executor.slots,
        )

    def _in_order(self, frames: Sequence[FrameRecord]) -> list[FrameRecord]:
        """Shot by shot, within a shot pass by pass, and every second pass backwards."""

        def order(frame: FrameRecord) -> tuple[int, int, int]:
            return frame.shot, frame.pass_number, frame.index * pass_direction(frame.pass_number, self._passes)

        return sorted(frames, key=order)

    def _hand_out(self) -> None:
        """Gives frames to the free workers, for as long as there are any of both."""
        for in_flight in list(self._to_retry):
            if self._executor.free and self._may_retry(in_flight):
                self._to_retry.remove(in_flight)
                self._submit(in_flight)
        while self._executor.free:
            slot = self._slots.take()
            while (key := self._scheduler.next(slot.chain)) is not None:
                slot.chain = key
                if self._begin(slot, self._chains[key].pop()):
                    break
            else:
                slot.chain = None
                self._slots.give_back(slot)
                if not self._slots.has_chain:
                    return

    def _may_retry(self, in_flight: FrameInFlight) -> bool:
        """Whether a frame can be tried again now. Frames on their last try, after workers were lost with their whole
        batches, go one at a time: else a frame that kills its worker fails all others in its batch."""
        last = self._limits.tries[WorkerLostError]
        return in_flight.tries < last or all(other.tries < last for other in self._in_flight.values())

    def _begin(self, slot: ReaderSlot, frame: FrameRecord) -> bool:
        """Hands out a frame; False where it failed before it could be painted."""
        try:
            sources = self._links.sources(frame, self._painted.is_painted)
            request = self._links.flow_request(frame, sources)
            began, idle = self._time.now(), self._executor.idle_share
            motion_frame = slot.motion.take(frame.index, request.neighbours, request.shot, request.keyframes)
            self._time.waited(began, idle, motion_frame.reading_share)
            size, settings = size_of(motion_frame.content), self._settings
            require_size_within(motion_frame.own_size, size, settings.size, settings.layers, "the content")
            require_sides(frame.path, *size)
            self._prefetch_next(slot, frame, motion_frame.picture_bytes)
            task, reference = self._tasks.make(frame, motion_frame, sources)
        except (InputError, OutputError, FrameError) as error:
            self._fail_in_chain(frame, error)
            return False
        path = self._job.folder / CHECKPOINTS_NAME / f"{frame.index:06d}-{frame.pass_number + self._passes:02d}"
        assignment = Assignment(self._ticket(), task, Checkpoint(path, self._limits.checkpoint_seconds))
        self._submit(FrameInFlight(frame, slot, motion_frame, assignment, reference, sources))
        return True

    def _ticket(self) -> int:
        self._last_ticket += 1
        return self._last_ticket

    def _submit(self, in_flight: FrameInFlight) -> None:
        device = self._executor.submit(in_flight.assignment)
        self._in_flight[in_flight.assignment.ticket] = dataclasses.replace(in_flight, device=device)
        task = in_flight.assignment.task
        if isinstance(task, FrameTask):
            self._listener(frame_started(in_flight.frame.name, task, self._tasks.start_name(task), device))

    def _prefetch_next(self, slot: ReaderSlot, frame: FrameRecord, frame_bytes: int) -> None:
        """Begins to read what is painted after `frame`, and its flow, while `frame` is painted."""
        if not self._content.is_film:
            # Photos of a batch may all be done at the same time.
            count = min(self._executor.slots, max(1, _PHOTO_BYTES // frame_bytes))
            for key in self._scheduler.upcoming(count):
                slot.motion.prefetch(self._chains[key][-1].index)
            return
        own = self._chains[self._chain_keys[frame.index]] or self._next_keyframe_chain(frame)
        if own:
            following: FrameRecord | None = own[-1]
        else:
            following = next((self._chains[key][-1] for key in self._scheduler.upcoming()), None)
        if following is None:
            return
        with contextlib.suppress(FrameError):
            sources = self._links.sources(following, self._painted.is_painted, frame)
            request = self._links.flow_request(following, sources)
            ahead = self._links.pairs(own[-2 : -2 - _LOOK_AHEAD : -1])
            slot.motion.prefetch(following.index, request.neighbours, request.shot, request.keyframes, ahead)

    def _next_keyframe_chain(self, frame: FrameRecord) -> list[FrameRecord]:
        """The chain of the keyframe that waits for this one: with several workers it comes next, and there are many
        frames to read up to it."""
        keyframe = self._segments.next_keyframe(frame.index, frame.shot)
        if keyframe is None or self._executor.slots == 1 or not self._segments.is_keyframe(frame.index, frame.shot):
            return []
        return self._chains.get(self._chain_keys.get(keyframe, -1), [])

    def _measure(self, painted: Painted) -> None:
        """Has a picture measured as it was saved: the losses that count are those of the file, and a lossy format has
        changed it."""
        assert painted.saved is not None
        task = MeasureTask(painted.saved, painted.in_flight.motion_frame.content)
        self._painted.add(painted)
        assignment = Assignment(self._ticket(), task)
        self._submit(dataclasses.replace(painted.in_flight, slot=None, assignment=assignment))

    def _take(self, report: Report) -> None:
        """Takes back what a worker has done."""
        in_flight = self._in_flight.pop(report.ticket)
        if in_flight.slot is not None:
            self._slots.give_back(in_flight.slot)
        frame, result = in_flight.frame, report.result
        if isinstance(result, Losses):
            self._save(dataclasses.replace(self._painted.unsaved(frame), saved_losses=result))
        elif isinstance(result, PaintedFrame):
            self._take_painted(Painted(in_flight.without_motion(), result, report.seconds), report.width)
        elif isinstance(result, Interrupted):
            # Its checkpoint is on the disk, and it continues from there when the job is resumed.
            self._chains[self._chain_keys[frame.index]].append(frame)
        else:
            self._take_error(in_flight, result)

    def _take_painted(self, painted: Painted, width: int) -> None:
        frame = painted.in_flight.frame
        self._failures = 0
        self._record_width(size_of(painted.result.image), width)
        self._painted.add(painted)
        self._save(painted)
        # A lossy picture is measured before the next is handed out: else it would count as done after that only.
        if not self._executor.overlaps or is_lossy(frame.path):
            with self._time.saving(self._executor.idle_share):
                self._saver.drain()
            self._take_saved()
        self._finish_in_chain(frame)

    def _save(self, painted: Painted) -> None:
        """Hands a painting to the saver, once there is room for it."""
        with self._time.saving(self._executor.idle_share):
            self._saver.submit(painted)

    def _take_error(self, in_flight: FrameInFlight, error: ImpastoError) -> None:
        """Tries a frame again, or records it as failed. Raises `FrameError` after too many failures in a row."""
        frame = in_flight.frame
        if in_flight.tries < self._limits.tries.get(type(error), 1):
            if self._stop.requested:
                self._job.log(f"{frame.name}: {error}: it is tried again when the job is resumed")
                return
            self._notify(f"{frame.name}: {error}: it is tried again")
            self._to_retry.append(dataclasses.replace(in_flight, tries=in_flight.tries + 1, retry_reason=str(error)))
            if in_flight.slot is not None:
                self._slots.remove(in_flight.slot)
            return
        if isinstance(in_flight.assignment.task, MeasureTask):
            self._painted.drop(frame)
            self._fail(frame, error)
        else:
            self._fail_in_chain(frame, error)
        if type(error) in self._limits.tries:
            self._failures += 1
            if self._failures >= self._limits.failures_in_a_row:
                raise FrameError(
                    f"{self._failures} frames in a row could not be painted (the last: {error}); "
                    f"solve that and continue with: impasto resume {self._job.folder}"
                )

    def _record_width(self, size: Size, width: int) -> None:
        """Records that memory was too small for the planned batch width of a size."""
        planned = self._widths.get(size, 1)
        if width >= planned:
            return
        pictures = f"{width} pictures" if width > 1 else "one picture"
        self._notify(
            f"memory is too small for {planned} pictures of {size[1]}×{size[0]} in a batch: {pictures} at a time from "
            "here on, which may change the last bits"
        )
        self._widths[size] = width
        self._job.replace_plan(dataclasses.replace(self._plan, widths=self._widths).to_values())

    def _fail_in_chain(self, frame: FrameRecord, error: ImpastoError) -> None:
        """Records a frame as failed, and lets its chain go on without it."""
        self._fail(frame, error)
        self._finish_in_chain(frame)

    def _finish_in_chain(self, frame: FrameRecord) -> None:
        self._scheduler.done(self._chain_keys[frame.index], self._tasks.max_iterations(frame))

    def _fail(self, frame: FrameRecord, error: ImpastoError) -> None:
        """Records a frame as failed; the next run of the job tries it again."""
        self._job.fail_frame(frame.index, str(error), frame.pass_number)
        self._job.log(f"{frame.name}: failed: {error}")
        self._listener(FrameFailed(frame.index, frame.name, str(error)))

    def _take_saved(self) -> None:
        """Takes back what the saver has done. An error that does not concern the frame alone ends the job."""
        for result in self._saver.results():
            if isinstance(result, str):
                self._notify(result)
                continue
            painted = result.painted
            frame = painted.in_flight.frame
            if result.error is not None:
                self._painted.drop(frame)
                if not isinstance(result.error, InputError | FrameError | OutputError):
                    raise result.error
                self._fail(frame, result.error)
            elif painted.saved_losses is None:
                self._to_measure.append(painted)
            else:
                self._painted.drop(frame)
                self._report_done(painted, painted.saved_losses)

    def _report_done(self, painted: Painted, losses: Losses) -> None:
        frame, result, seconds = painted.in_flight.frame, painted.result, painted.seconds
        self._done_count += 1
        if result.slow and result.slow not in self._logged:
            self._logged.add(result.slow)
            self._job.log(f"slower than it could be on {painted.in_flight.device}: {result.slow}")
        if result.retried:
            self._notify(
                f"{frame.name}: the first try ended as {result.retried} "
                f"and was repeated from a safe start ({result.stop})"
            )
        self._job.log(
            f"{frame.name}: {result.iterations} iterations, objective {losses.objective:.6g}, {seconds:.1f} s"
        )
        self._listener(
            FrameDone(
                frame.index,
                frame.name,
                frame.path,
                losses,
                result.iterations,
                str(result.stop),
                seconds,
                painted.retry_reason,
            )
        )

        if self._clock() - self._time_recorded_at >= self._limits.time_use_seconds:
            self._record_time()

    def _record_time(self) -> None:
        # A job does not fail for it.
        with contextlib.suppress(StorageError):
            self._job.record_time_use(self._time.total)
        self._time_recorded_at = self._clock()

    def _on_progress(self, ticket: int, iteration: int, losses: Losses) -> None:
        task = self._in_flight[ticket].assignment.task
        if isinstance(task, FrameTask):
            self._listener(frame_progress(task, iteration, losses))
        if self._stop.requested:
            self._stop_overdue_frames()

    def _stop_overdue_frames(self) -> None:
        """Once the grace time of a stop is over, has the workers save checkpoints and end."""
        if self._stop.is_overdue and not self._is_stopping_workers:
            self._is_stopping_workers = True
            self._executor.checkpoint_and_stop()

    def _notify(self, text: str) -> None:
        self._job.log(text)
        self._listener(Notice(text))


LoopFactory = Callable[..., FrameLoop]
"""Makes a frame loop from the arguments of `FrameLoop`."""
