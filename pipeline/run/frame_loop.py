"""Frames of a job → frame tasks → paintings on the disk.

Chains of frames (a shot, a photo) are handed to the workers of an executor, as `scheduler` says. What a frame needs
is read ahead and a painting is written while the next frame is painted; a frame starts from the painting before it as
it is in memory, which for PNG is what is on the disk. A frame that fails is tried again where that may help, and then
set aside: what comes after it starts from the nearest frame before it that is painted.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from .. import storage
from ..errors import FrameError, ImpastoError, InputError, Interrupted, OutOfMemoryError, OutputError, WorkerLostError
from ..events import FrameDone, FrameFailed, FrameProgress, FrameStarted, Listener, Losses, Notice, StopSignal
from ..job.folder import CHECKPOINTS_NAME, FLOW_NAME, PLOTS_NAME, file_problem
from ..job.job import Job
from ..job.records import FrameRecord, FrameState
from ..media import decoding
from ..media.content import Content
from ..media.frame_index import FrameIndex
from ..media.frame_reader import FrameReader
from ..media.image_metadata import Extras
from ..media.images import read_image, write_image
from ..motion.dis import DisFlow
from ..motion.flo_files import FloFolder
from ..motion.flow import FlowEstimator
from ..motion.raft import RaftFlow
from ..motion.reader import FlowLink, MotionFrame, MotionReader
from ..paint.checkpoint import CHECKPOINT_SECONDS, Checkpoint
from ..paint.stopping import StopRule
from ..paint.task import FrameTask, PaintedFrame, PaintedReference, cold_task
from ..pictures import Size, size_of
from ..plan.execution_plan import ExecutionPlan
from ..plan.frame_rules import (
    CROSSFADE_PACE,
    cold_start_rule,
    max_iterations,
    pass_direction,
    reference_after,
    starts_cold,
)
from ..plan.scheduler import Scheduler
from ..report import plots
from ..settings import Settings
from .executor import Assignment, Executor, MeasureTask, Report
from .saver import FrameInFlight, Painted, ReaderSlot, Saver, retry_reason

CHANGED_PIXELS = 4
CHANGED_ITERATIONS = 20
"""The least iterations of a frame in which so many pixels show what the frame before did not."""

FAILURES_IN_A_ROW = 8
"""After so many frames that the device could not paint, with none that it could, the job stops."""

_TURN_SECONDS = 0.2
_MOST_TRIES: Mapping[type[ImpastoError], int] = {OutOfMemoryError: 2, WorkerLostError: 3}
"""What may go well another time; a task that failed by itself fails again, as it is a pure function. That a worker was
lost is mostly not the frame's fault."""


def frame_index_of(job: Job) -> FrameIndex | None:
    """By what the frames of a job's content are known again, where it is a video that can be sought."""
    text = job.frame_index
    return None if text is None else FrameIndex.from_text(text)


class Painting:
    """Paints the pending frames of a job.

    `start_picture` is what cold starts begin from where that is a file, `flow_device` where a network that estimates
    flow runs.
    """

    def __init__(
        self,
        job: Job,
        content: Content,
        settings: Settings,
        start_picture: np.ndarray | None,
        flow_device: torch.device,
        *,
        strip: bool,
        listener: Listener,
        stop: StopSignal,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        self._job = job
        self._content = content
        self._settings = settings
        self._start_picture = start_picture
        self._flow_device = flow_device
        self._strip = strip
        self._listener = listener
        self._stop = stop
        self._checkpoint_seconds = checkpoint_seconds
        self._plan = ExecutionPlan.from_values(job.plan)
        self._widths: dict[Size, int] = {}
        self._frame_index = frame_index_of(job)
        self._passes = settings.passes.count if content.is_film else 1
        self._shot_ends: dict[int, int] = {}
        self._told_lost: set[str] = set()
        self._chains: dict[int, list[FrameRecord]] = {}
        """The frames of each chain that are still to be painted, the next one last."""
        self._chain_keys: dict[int, int] = {}
        """The chain of each frame by its index."""
        self._raft: RaftFlow | None = None
        self._idle: list[ReaderSlot] = []
        self._under_way: dict[int, FrameInFlight] = {}
        self._fresh: dict[tuple[int, int], Painted] = {}
        """What is painted and not yet on the disk, by pass and index."""
        self._to_measure: list[Painted] = []
        self._again: list[FrameInFlight] = []
        """Frames that are to be tried once more."""
        self._is_put_away = False
        self._tickets = 0
        self._count = 0
        self._failures = 0

    def run(self, pending: Sequence[FrameRecord], executor: Executor) -> int:
        """Paints frames; returns how many. Raises `Interrupted` when a stop leaves some, `FrameError` when the device
        can paint none, and `StorageError`."""
        frames = self._job.frames()
        self._widths = dict(executor.widths)
        self._shot_ends = {frame.shot: frame.index + 1 for frame in sorted(frames, key=lambda frame: frame.index)}
        self._segments = self._plan.segments(self._shot_ends)
        needs_flow = any(self._wanted_links(frame) for frame in frames)
        places = {index: place for place, index in enumerate(self._plan.size_order)}
        chains, self._chain_keys = self._segments.chains(
            (frame.index, places.get(frame.shot, frame.shot), self._work(frame)) for frame in pending
        )
        for frame in self._in_order(pending):
            self._chains.setdefault(self._chain_keys[frame.index], []).append(frame)
        for own in self._chains.values():
            own.reverse()
        self._scheduler = Scheduler(chains, executor.slots, in_order=executor.slots == 1)
        self._executor = executor
        with contextlib.ExitStack() as stack:

            def new_lane() -> ReaderSlot:
                return stack.enter_context(self._lane(needs_flow))

            self._new_lane = new_lane
            self._saver = stack.enter_context(Saver(self._save))
            while True:
                self._tend()
                while self._to_measure and executor.free:
                    self._measure(self._to_measure.pop(0))
                if self._stop.requested:
                    self._mind_the_stop()
                else:
                    self._hand_out()
                if self._under_way:
                    done = executor.wait(self._on_progress, _TURN_SECONDS)
                    if done is not None:
                        self._take(done)
                elif self._saver.is_busy:
                    self._saver.drain()
                elif self._stop.requested or not (self._again or self._to_measure or self._scheduler.is_waiting):
                    break
                else:
                    time.sleep(_TURN_SECONDS)  # All workers are lost, and others are to come.
        if self._stop.requested and self._job.frames(FrameState.PENDING):
            raise Interrupted(f"stopped; continue with: impasto resume {self._job.folder}")
        return self._count

    def _in_order(self, frames: Sequence[FrameRecord]) -> list[FrameRecord]:
        """Shot by shot; within it pass by pass, every second one backwards."""

        def order(frame: FrameRecord) -> tuple[int, int, int]:
            return frame.shot, frame.pass_number, frame.index * pass_direction(frame.pass_number, self._passes)

        return sorted(frames, key=order)

    def _work(self, frame: FrameRecord) -> int:
        return max_iterations(self._settings, self._passes, self._segments, frame.index, frame.shot)

    @contextlib.contextmanager
    def _lane(self, needs_flow: bool) -> Iterator[ReaderSlot]:
        settings, method = self._settings, self._plan.flow_method
        estimator: FlowEstimator | FloFolder | None = None
        if needs_flow:
            match method:
                case "files":
                    estimator = FloFolder(Path(settings.flow.folder or ""))
                case "raft":
                    # One for all lanes: it takes a device's memory, beside what is painted.
                    if self._raft is None:
                        self._raft = RaftFlow(settings.flow.weights, self._flow_device)
                    estimator = self._raft
                case _:
                    estimator = DisFlow()
        reach = max(settings.temporal.distances) if needs_flow else 0
        with (
            FrameReader(self._content, self._frame_index) as reader,
            MotionReader(
                reader,
                estimator,
                settings.size,
                frames_kept=reach + 2,
                backward=self._passes > 1,
                flow_store=self._job.folder / FLOW_NAME if self._passes > 1 and method != "files" else None,
                chain_store=self._job.folder / FLOW_NAME if self._segments else None,
            ) as motion,
        ):
            yield ReaderSlot(motion)

    # --- handing out ---

    def _hand_out(self) -> None:
        """Gives every worker that is free a frame, for as long as there are any."""
        for under_way in list(self._again):
            if self._executor.free and self._may_be_tried(under_way):
                self._again.remove(under_way)
                self._submit(under_way)
        while self._executor.free:
            lane = self._next_lane()
            while (key := self._scheduler.next(lane.chain)) is not None:
                lane.chain = key
                if self._begin(lane, self._chains[key].pop()):
                    break
            else:
                lane.chain = None
                self._idle.append(lane)
                if not any(other.chain is not None for other in self._idle):
                    return

    def _may_be_tried(self, under_way: FrameInFlight) -> bool:
        """Whether a frame can be tried once more now. Those whose last try it is, after workers were lost with all that
        was painted side by side, come one by one: else what one does is taken for the fault of all."""
        last = _MOST_TRIES[WorkerLostError]
        return under_way.tries < last or all(other.tries < last for other in self._under_way.values())

    def _next_lane(self) -> ReaderSlot:
        """Of the lanes that wait, one with a chain: what it goes on with it may have read ahead."""
        for place, lane in enumerate(self._idle):
            if lane.chain is not None:
                return self._idle.pop(place)
        return self._idle.pop(0) if self._idle else self._new_lane()

    def _begin(self, lane: ReaderSlot, frame: FrameRecord) -> bool:
        """Hands out a frame; False where it could not even begin."""
        try:
            sources = self._sources(frame)
            seen = lane.motion.take(frame.index, *self._links(frame, sources))
            self._prepare_following(lane, frame)
            task, reference = self._task(frame, seen, sources)
        except (InputError, FrameError) as error:
            self._set_aside(frame, error)
            return False
        self._tickets += 1
        place = self._job.folder / CHECKPOINTS_NAME / f"{frame.index:06d}-{frame.pass_number + self._passes:02d}"
        assignment = Assignment(self._tickets, task, Checkpoint(place, self._checkpoint_seconds))
        self._submit(FrameInFlight(frame, lane, seen, assignment, reference, sources))
        return True

    def _submit(self, under_way: FrameInFlight) -> None:
        device = self._executor.submit(under_way.assignment)
        self._under_way[under_way.assignment.ticket] = dataclasses.replace(under_way, device=device)
        frame, task = under_way.frame, under_way.assignment.task
        if isinstance(task, FrameTask):
            size, start = size_of(task.content), self._start_of(task)
            self._listener(FrameStarted(frame.index, frame.name, size, start, task.rule.iterations, device))

    def _prepare_following(self, lane: ReaderSlot, frame: FrameRecord) -> None:
        """What is painted next is read, and followed by the flow, while this frame is painted."""
        own = self._chains[self._chain_keys[frame.index]] or self._chains_behind(frame)
        if own:
            following: FrameRecord | None = own[-1]
        else:
            key = self._scheduler.upcoming()
            following = None if key is None else self._chains[key][-1]
        if following is not None:
            with contextlib.suppress(FrameError):
                lane.motion.prefetch(following.index, *self._links(following, self._sources(following, frame)))

    def _chains_behind(self, frame: FrameRecord) -> list[FrameRecord]:
        """The chain of the keyframe that waits for this one: with several workers it is next, and has many frames to
        read."""
        keyframe = self._segments.next_keyframe(frame.index, frame.shot)
        if keyframe is None or self._executor.slots == 1 or not self._segments.is_keyframe(frame.index, frame.shot):
            return []
        return self._chains.get(self._chain_keys.get(keyframe, -1), [])

    def _measure(self, painted: Painted) -> None:
        """What counts is the file: a lossy format has changed the picture once more."""
        assert painted.saved is not None
        self._tickets += 1
        assignment = Assignment(self._tickets, MeasureTask(painted.saved, painted.under_way.seen.content))
        self._fresh[self._key(painted.under_way.frame)] = painted
        self._submit(dataclasses.replace(painted.under_way, lane=None, assignment=assignment))

    # --- taking back ---

    def _take(self, done: Report) -> None:
        under_way = self._under_way.pop(done.ticket)
        if under_way.lane is not None:
            self._idle.append(under_way.lane)
        frame, result = under_way.frame, done.result
        if isinstance(result, Losses):
            painted = self._fresh[self._key(frame)]
            self._saver.submit(dataclasses.replace(painted, file_losses=result))
            return
        if isinstance(result, PaintedFrame):
            self._failures = 0
            self._mind_the_width(size_of(result.image), done.width)
            painted = Painted(under_way, result, done.seconds)
            self._fresh[self._key(frame)] = painted
            self._saver.submit(painted)
            if not self._executor.overlaps or frame.path.suffix.lower() != ".png":
                self._saver.drain()
                self._tend()
            self._scheduler.done(self._chain_keys[frame.index], self._work(frame))
        elif isinstance(result, Interrupted):
            # It is on the disk as it was, and goes on when the job is resumed.
            self._chains[self._chain_keys[frame.index]].append(frame)
        elif under_way.tries < _MOST_TRIES.get(type(result), 1) and self._stop.requested:
            self._job.log(f"{frame.name}: {result}: it is tried once more when the job is resumed")
        elif under_way.tries < _MOST_TRIES.get(type(result), 1):
            self._notice(f"{frame.name}: {result}: it is tried once more")
            self._again.append(dataclasses.replace(under_way, tries=under_way.tries + 1, reason=str(result)))
            if under_way.lane is not None:
                self._idle.remove(under_way.lane)
        else:
            if isinstance(under_way.assignment.task, MeasureTask):
                del self._fresh[self._key(frame)]
                self._fail(frame, result)
            else:
                self._set_aside(frame, result)
            if type(result) in _MOST_TRIES:
                self._failures += 1
                if self._failures >= FAILURES_IN_A_ROW:
                    raise FrameError(
                        f"{self._failures} frames in a row could not be painted (the last: {result}); "
                        f"when that is mended: impasto resume {self._job.folder}"
                    )

    def _mind_the_width(self, size: Size, width: int) -> None:
        """Records when memory was too small for as many pictures side by side as the job had planned."""
        if width < self._widths.get(size, 1):
            what = (
                f"{width} pictures of {size[1]}×{size[0]} are"
                if width > 1
                else f"one picture of {size[1]}×{size[0]} is"
            )
            self._notice(
                f"memory is too small for {self._widths[size]} pictures side by side: {what} painted at a time from "
                "here on, and may differ in the last bits"
            )
            self._widths[size] = width
            self._job.replace_plan(dataclasses.replace(self._plan, widths=self._widths).to_values())

    def _set_aside(self, frame: FrameRecord, error: ImpastoError) -> None:
        """The rest goes on; the frame is tried again when the job is resumed."""
        self._fail(frame, error)
        self._scheduler.done(self._chain_keys[frame.index], self._work(frame))

    def _fail(self, frame: FrameRecord, error: ImpastoError) -> None:
        self._job.fail_frame(frame.index, str(error), frame.pass_number)
        self._job.log(f"{frame.name}: failed: {error}")
        self._listener(FrameFailed(frame.index, frame.name, str(error)))

    def _tend(self) -> None:
        """Hears of what the saver has done since."""
        for painted, error in self._saver.results():
            if isinstance(painted, str):
                self._notice(painted)
                continue
            frame = painted.under_way.frame
            if error is not None:
                self._fresh.pop(self._key(frame), None)
                if not isinstance(error, InputError | FrameError | OutputError):
                    raise error
                self._fail(frame, error)
            elif painted.file_losses is None:
                self._to_measure.append(painted)
            else:
                del self._fresh[self._key(frame)]
                self._tell_done(painted, painted.file_losses)

    def _tell_done(self, painted: Painted, losses: Losses) -> None:
        frame, result, retried = painted.under_way.frame, painted.result, retry_reason(painted)
        self._count += 1
        if result.retried:
            self._notice(
                f"{frame.name}: the first try ended as {result.retried} "
                f"and was repeated from a safe start ({result.stop})"
            )
        self._job.log(
            f"{frame.name}: {result.iterations} iterations, objective {losses.objective:.6g}, {painted.seconds:.1f} s"
        )
        self._listener(
            FrameDone(
                frame.index,
                frame.name,
                frame.path,
                losses,
                result.iterations,
                str(result.stop),
                painted.seconds,
                retried,
            )
        )

    def _on_progress(self, ticket: int, iteration: int, losses: Losses) -> None:
        under_way = self._under_way[ticket]
        if isinstance(under_way.assignment.task, FrameTask):
            most = under_way.assignment.task.rule.iterations
            self._listener(FrameProgress(under_way.frame.index, iteration, most, losses))
        if self._stop.requested:
            self._mind_the_stop()

    def _mind_the_stop(self) -> None:
        if self._stop.is_overdue and not self._is_put_away:
            self._is_put_away = True
            self._executor.put_away()

    def _notice(self, text: str) -> None:
        self._job.log(text)
        self._listener(Notice(text))

    @staticmethod
    def _key(frame: FrameRecord) -> tuple[int, int]:
        return frame.pass_number, frame.index

    # --- the task of a frame ---

    def _sources(self, frame: FrameRecord, coming: FrameRecord | None = None) -> tuple[int, ...]:
        """The frames that a frame starts from and is held to: what it was painted from before, where that is known,
        so that it gets the same bits; else the nearest ones that are painted. `coming` is taken for painted.

        Recorded sources hold for good. Painting is a pure function of content that is still the same, so a source that
        fails can be had again when its cause (memory, a disk, a crashed worker) is gone; until then the frame fails as
        well. The frames after it were painted from its old bits, and no other bits would go with them.

        Of several passes: the neighbour just painted. Else the first is what it starts from, a later one the keyframe
        that it is brought to meet, and the others what it is held to. Of a shot in segments, those of its own and
        keyframes alone: how far other segments are is left to chance.
        """
        if frame.sources is not None:
            return frame.sources
        number = frame.pass_number

        def is_painted(index: int) -> bool:
            if coming is not None and (number, index) == self._key(coming):
                return True
            other = self._find(index, number)
            return other is not None and other.state is FrameState.DONE

        wanted = self._wanted_links(frame)
        if self._passes > 1:
            return tuple(index for index in wanted if is_painted(index))
        if not wanted:
            return ()
        begin = self._segments.segment_start(frame.index, frame.shot)
        before = (*range(frame.index - 1, begin - 1, -1), *self._segments.earlier_keyframes(frame.index, frame.shot))
        nearest = next((index for index in before if is_painted(index)), None)
        if nearest is None:
            return ()
        held = [index for index in self._held_to(frame) if index < nearest and is_painted(index)]
        met = self._segments.crossfades_with(frame.index, frame.shot)
        return (nearest, *held, *([] if met is None or not is_painted(met) else [met]))

    def _wanted_links(self, frame: FrameRecord) -> tuple[int, ...]:
        """The frames that a frame would be linked to, were all of them painted."""
        if self._passes > 1:
            neighbour = frame.index - pass_direction(frame.pass_number, self._passes)
            is_first_pass = frame.pass_number == 1 - self._passes
            within = frame.shot <= neighbour < self._shot_ends[frame.shot]
            return (neighbour,) if within and not is_first_pass else ()
        if starts_cold(self._settings, frame.index, frame.shot) or not self._content.is_film:
            return ()
        return tuple(dict.fromkeys((frame.index - 1, *self._held_to(frame))))

    def _held_to(self, frame: FrameRecord) -> tuple[int, ...]:
        temporal = self._settings.temporal
        distances = temporal.distances if temporal.weight else ()
        begin = self._segments.segment_start(frame.index, frame.shot)
        return tuple(frame.index - distance for distance in distances if frame.index - distance >= begin)

    def _links(self, frame: FrameRecord, sources: Sequence[int]) -> tuple[tuple[int, ...], int | None, tuple[int, ...]]:
        """The frames to which the flow is needed, the first of the shot where what stands still is looked for, and
        the frames to which the way leads from each to the next."""
        if self._passes > 1 or not sources:
            return tuple(sources), None, ()
        needed = set(sources[1:])
        if self._settings.start.next == "warped" or self._is_held_to_nearest(frame):
            needed.add(sources[0])
        # To another keyframe than that of its own segment.
        begin = self._segments.segment_start(frame.index, frame.shot)
        far = {index for index in needed if index < begin or index > frame.index}
        return tuple(sorted(needed - far, reverse=True)), frame.shot, tuple(sorted(far))

    def _is_held_to_nearest(self, frame: FrameRecord) -> bool:
        """Whether the temporal loss compares with the frame that it starts from."""
        temporal = self._settings.temporal
        if self._segments.is_keyframe(frame.index, frame.shot):
            return temporal.weight > 0 and temporal.distances[0] == 1
        return bool(self._held_to(frame)) and temporal.distances[0] == 1

    def _task(self, frame: FrameRecord, seen: MotionFrame, sources: Sequence[int]) -> tuple[FrameTask, float | None]:
        """The frame's task, and the objective that its stopping target follows from, where it has one."""
        settings, index, content = self._settings, frame.index, seen.content
        earlier = {link.index: self._earlier(frame, link) for link in seen.links}
        if self._passes > 1:
            return self._pass_task(frame, seen, earlier), None
        if not sources or (settings.start.next == "warped" and sources[0] not in earlier):
            rule = cold_start_rule(settings)
            # What lost those before it starts as the first of a shot does.
            later = not frame.starts_shot and starts_cold(settings, frame.index, frame.shot)
            start = settings.start.next if later else settings.start.first
            return cold_task(index, content, start, rule, self._start_picture), None
        previous = self._painted(frame, sources[0])
        reference = reference_after(previous, settings.iterations.target)
        iterations = settings.iterations
        rule = StopRule(self._work(frame), iterations.next_tolerance, iterations.next_interval)
        if iterations.target is not None:
            # The objective is that of the whole picture, which hardly feels what is wrong with a small part of it.
            start_from = earlier.get(sources[0])
            changed = start_from is not None and (1 - start_from.visibility).sum() >= CHANGED_PIXELS
            floor = max(iterations.floor, CHANGED_ITERATIONS) if changed else iterations.floor
            rule = dataclasses.replace(rule, target=iterations.target * reference, floor=floor)
        held = self._is_held_to_nearest(frame)
        met = next((source for source in sources if source > index), None)
        task = FrameTask(
            index,
            content,
            "warped",
            rule,
            warm=True,
            warp_source=earlier.get(sources[0]),
            references=tuple(
                earlier[source]
                for place, source in enumerate(sources)
                if source in earlier and source != met and (place or held)
            ),
            temporal_weight=self._temporal_weight(frame, sources[0]),
            crossfade_with=None if met is None else earlier[met],
            crossfade_share=0.0 if met is None else min(1.0, CROSSFADE_PACE / (met - index)),
        )
        if settings.start.next == "previous":
            task = dataclasses.replace(task, start="given", given=self._picture(frame, sources[0]), warp_source=None)
        return task, reference

    def _temporal_weight(self, frame: FrameRecord, source: int) -> float:
        """a keyframe is held to the one before as loosely as by all the frames between, each held to the one before it:
        as springs in a row give way. At the full weight its objective stays some percent higher."""
        weight = self._settings.temporal.weight
        is_keyframe = self._segments.is_keyframe(frame.index, frame.shot)
        return weight / (frame.index - source) if is_keyframe else weight

    def _pass_task(self, frame: FrameRecord, seen: MotionFrame, earlier: Mapping[int, PaintedReference]) -> FrameTask:
        """A frame of one of several passes: its own last pass, blended with the neighbour just painted (Ruder et
        al. 2016, eq. 11)."""
        passes = self._settings.passes
        rule = StopRule(passes.iterations)
        number = frame.pass_number + self._passes  # from 1
        if number == 1:
            return cold_task(frame.index, seen.content, self._settings.start.first, rule, self._start_picture)
        own = self._picture(frame, frame.index, frame.pass_number - 1)
        if not earlier:
            return FrameTask(frame.index, seen.content, "given", rule, own, warm=True)
        (neighbour,) = earlier.values()
        holds = number >= passes.temporal_from and self._settings.temporal.weight > 0
        return FrameTask(
            frame.index,
            seen.content,
            "warped",
            rule,
            own,
            warm=True,
            warp_source=neighbour,
            blend=passes.blend / (1 + passes.blend),
            references=(neighbour,) if holds else (),
            temporal_weight=self._settings.temporal.weight,
        )

    def _earlier(self, frame: FrameRecord, link: FlowLink) -> PaintedReference:
        return PaintedReference(self._picture(frame, link.index), link.content, link.flow, link.visibility)

    def _find(self, index: int, pass_number: int) -> FrameRecord | None:
        """The record of a frame, with what is painted of it but not yet on the disk."""
        record = self._job.frame(index, pass_number)
        fresh = self._fresh.get((pass_number, index))
        if record is None or fresh is None:
            return record
        return dataclasses.replace(
            record,
            state=FrameState.DONE,
            losses=fresh.result.losses,
            stop=str(fresh.result.stop),
            reference=fresh.under_way.reference,
        )

    def _painted(self, frame: FrameRecord, index: int, pass_number: int | None = None) -> FrameRecord:
        other = self._find(index, frame.pass_number if pass_number is None else pass_number)
        if other is None or other.state is not FrameState.DONE:
            raise FrameError(f"{frame.name} starts from frame {index}, which is not painted")
        return other

    def _picture(self, frame: FrameRecord, index: int, pass_number: int | None = None) -> np.ndarray:
        """The painting of another frame."""
        other = self._painted(frame, index, pass_number)
        fresh = self._fresh.get(self._key(other))
        if fresh is not None:
            return fresh.result.image
        if (problem := file_problem(other.path, other.sha256)) is not None:
            raise FrameError(f"{frame.name} starts from {other.path}, which {problem}")
        return read_image(other.path)

    def _start_of(self, task: FrameTask) -> str:
        """What a task starts from, in the words of the settings."""
        if task.start != "given":
            return task.start
        return "previous" if task.warm else self._settings.start.first

    # --- the files, in the saver's thread ---

    def _save(self, painted: Painted) -> Painted:
        """Writes a painting, and records it; where a lossy format has changed it, returns it with what was saved."""
        frame, result = painted.under_way.frame, painted.result
        losses = painted.file_losses
        if losses is None:
            self._write(frame, result.image, painted.under_way.seen.alpha)
            saved = read_image(frame.path)
            if not np.array_equal(saved, result.image):
                return dataclasses.replace(painted, saved=saved)
            losses = result.losses
        if frame.index == self._plan.first_frame and frame.pass_number == 0:
            # Before the frame counts as done, or a crash in between would leave the job without it.
            plot = self._job.folder / PLOTS_NAME / f"losses-{frame.index:06d}.png"
            plots.plot_losses(result.trace, plot, f"{frame.name}: how the weighted losses fell")
        self._job.finish_frame(
            frame.index,
            storage.hash_file(frame.path),
            losses,
            result.iterations,
            str(result.stop),
            retry_reason(painted),
            painted.seconds,
            device=painted.under_way.device,
            reference=painted.under_way.reference,
            sources=painted.under_way.sources,
            pass_number=frame.pass_number,
        )
        checkpoint = painted.under_way.assignment.checkpoint
        if checkpoint is not None:
            checkpoint.remove()
        return dataclasses.replace(painted, file_losses=losses)

    def _write(self, frame: FrameRecord, image: np.ndarray, alpha: np.ndarray | None) -> None:
        """Writes the painting; a file of somebody else's that has appeared in its place is kept."""
        extras = Extras(alpha) if self._content.is_film else self._extras(frame)
        extras = extras.at_size(size_of(image))
        if self._plan.may_overwrite(frame.path, self._job.folder) or not frame.path.exists():
            write_image(frame.path, image, extras)
            return
        # Either this job wrote it and was killed before it said so, or it came from elsewhere.
        copy = self._job.folder / f"compared{frame.path.suffix}"
        try:
            write_image(copy, image, extras)
            if storage.hash_file(copy) != storage.hash_file(frame.path):
                raise OutputError(f"{frame.path} has appeared since the job began: it is kept, move it and resume")
        finally:
            storage.remove(copy)

    def _extras(self, frame: FrameRecord) -> Extras:
        """What the file of a photo holds besides its colours and that of its painting takes over."""
        extras = decoding.read_extras(self._content.files[frame.index].path)
        if self._strip:
            extras = extras.without_metadata()
        for what in extras.lost_in(frame.path.suffix):
            text = f"{frame.path.suffix} files hold no {what}: that of {frame.name} is left out"
            if what in self._told_lost:
                self._job.log(text)
            else:
                many = len(self._content.files) > 1
                self._saver.say(f"{text}, and so on (the log names each)" if many else text)
                self._told_lost.add(what)
        return extras
