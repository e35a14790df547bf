"""A worker: paints the assignments of an executor on one device, pictures of one size in a batch."""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..errors import ImpastoError, OutOfMemoryError
from ..events import Losses
from ..paint.batch import Batch, state_of, without_traceback
from ..paint.devices import device_label
from ..paint.painting_state import PaintingState
from ..paint.task import FrameTask, PaintedFrame
from ..pictures import size_of
from ..torch_settings import thread_limit
from .executor import Assignment, MeasureTask, OnProgress, PainterSpec, Report


class Worker:
    """Paints assignments in the order in which they come, as many pictures of one size in a batch as the job plans.

    Once `stop` is set, frames with a checkpoint save it after their iteration and report `Interrupted`. Where memory
    runs out, the batch continues with half as many pictures, each from where it was. A picture that is painted at
    several scales waits for each of them until the batch of another size is empty.
    """

    def __init__(self, spec: PainterSpec, device: torch.device, stop: threading.Event) -> None:
        self._painter = spec.painter(device)
        self._threads = spec.threads
        self._widths = dict(spec.widths)
        self._stop = stop
        self._waiting: deque[tuple[Assignment, PaintingState | None]] = deque()
        """With the state of pictures that are at a further scale, or had to leave a batch that was too large."""
        self._in_flight: dict[int, Assignment] = {}
        self._seconds: dict[int, float] = {}
        self._batch: Batch | None = None
        self._on_progress: OnProgress = lambda *_: None
        with thread_limit(spec.threads, device):
            self.label = device_label(device)

    def add(self, assignment: Assignment) -> None:
        """Queues an assignment for the next `step`."""
        self._waiting.append((assignment, None))

    def clear(self) -> None:
        """Drops all assignments."""
        self._waiting.clear()
        self._in_flight.clear()
        self._batch = None

    @property
    def load(self) -> int:
        """The number of assignments it has."""
        return len(self._waiting) + len(self._in_flight)

    def step(self, on_progress: OnProgress) -> list[Report]:
        """Does one iteration of the batch; returns a report of each assignment that ended with it."""
        with thread_limit(self._threads, self._painter.device):
            self._on_progress = on_progress
            reports = self._begin_waiting()
            if self._in_flight:
                reports += self._step_batch()
            return reports

    def _begin_waiting(self) -> list[Report]:
        """Begins the assignments that wait, up to the first for which the batch has no room."""
        reports = []
        while self._waiting:
            assignment, state = self._waiting[0]
            task = assignment.task
            if isinstance(task, FrameTask):
                if state is None:
                    state = state_of(self._painter, task, assignment.checkpoint, self._width_of(task))
                    self._waiting[0] = assignment, state
                if not self._has_room(task, state):
                    break
            self._waiting.popleft()
            began = time.perf_counter()
            self._seconds.setdefault(assignment.ticket, 0.0)
            is_measured = isinstance(task, MeasureTask)
            result = self._measure(task) if isinstance(task, MeasureTask) else self._begin(assignment, state)
            self._seconds[assignment.ticket] += time.perf_counter() - began
            if is_measured and isinstance(result, OutOfMemoryError) and self._suspend_batch():
                self._waiting.appendleft((assignment, None))
            elif result is not None:
                reports.append(self._report(assignment, result))
        return reports

    def _step_batch(self) -> list[Report]:
        assert self._batch is not None
        began, error = time.perf_counter(), None
        tickets = list(self._in_flight)
        done: dict[int, PaintedFrame | PaintingState | ImpastoError] = {}
        width = self._batch.width
        tasks = [assignment.task for assignment in self._in_flight.values()]
        try:
            done = self._batch.step()
        except OutOfMemoryError as raised:
            error = without_traceback(raised)
        # A frame that is done may be one whose second try found no memory next to the others.
        short = [ticket for ticket, result in done.items() if isinstance(result, OutOfMemoryError)]
        if (error is not None or short) and not self._halve_width(tasks):
            done = done if error is None else dict.fromkeys(tickets, error)
            short = []
        for ticket in reversed(short):
            del done[ticket]
            self._waiting.appendleft((self._in_flight.pop(ticket), None))
        for ticket in tickets:
            self._seconds[ticket] += (time.perf_counter() - began) / len(tickets)
        reports = []
        for ticket, result in done.items():
            assignment = self._in_flight.pop(ticket)
            if isinstance(result, PaintingState):
                self._waiting.append((assignment, result))
            else:
                reports.append(self._report(assignment, result, width))
        return reports

    def _width_of(self, task: FrameTask) -> int:
        """The width of the batches of a picture, at all its scales."""
        return self._widths.get(size_of(task.content), 1)

    def _has_room(self, task: FrameTask, state: PaintingState) -> bool:
        """Whether a picture can go on at its scale. One of another size waits until the batch is empty."""
        if self._is_for(task, state):
            assert self._batch is not None
            return self._batch.free_slots > 0
        return not self._in_flight

    def _is_for(self, task: FrameTask, state: PaintingState) -> bool:
        """Whether the batch is one for this scale of a picture."""
        size, width = task.all_scales[state.scale].size, self._width_of(task)
        return self._batch is not None and (self._batch.size, self._batch.width) == (size, width)

    def _begin(self, assignment: Assignment, state: PaintingState | None) -> ImpastoError | None:
        """Begins a picture, or its next scale; returns the error where it could not."""
        task, checkpoint, ticket = assignment.task, assignment.checkpoint, assignment.ticket
        assert isinstance(task, FrameTask) and state is not None
        if checkpoint is not None:
            checkpoint = replace(checkpoint, should_stop=self._stop.is_set)
        try:
            if self._batch is None or not self._is_for(task, state):
                self._batch = None
                self._batch = Batch(self._painter, task.all_scales[state.scale].size, self._width_of(task))
            self._batch.add(ticket, task, lambda *progress: self._on_progress(ticket, *progress), checkpoint, state)
        except ImpastoError as raised:
            error = without_traceback(raised)
        else:
            self._in_flight[ticket] = assignment
            return None
        if isinstance(error, OutOfMemoryError):
            self._waiting.appendleft((assignment, state))
            if self._halve_width([task]):
                return None
            self._waiting.popleft()
        return error

    def _halve_width(self, tasks: Sequence[FrameTask | MeasureTask]) -> bool:
        """Has the batch of these tasks go on with half as many pictures, each from where it was; False where it is
        but one."""
        wide = {
            size_of(task.content): width for task in tasks if (width := self._widths.get(size_of(task.content), 1)) > 1
        }
        if wide:
            self._suspend_batch()
            self._widths |= {size: width // 2 for size, width in wide.items()}
        self._batch = None
        self._empty_cache()
        return bool(wide)

    def _suspend_batch(self) -> bool:
        """Moves all pictures of the batch back to the queue, with their states; False where there is no batch."""
        if self._batch is None:
            return False
        for ticket, state in reversed(self._batch.suspend().items()):
            self._waiting.appendleft((self._in_flight.pop(ticket), state))
        self._batch = None
        self._empty_cache()
        return True

    def _measure(self, task: MeasureTask) -> Losses | ImpastoError:
        if not self._in_flight and self._painter.tiles.get(size_of(task.content)) is not None:
            # Of a picture that needs tiles, the optimizer of the one before takes as much memory as measuring does.
            self._batch = None
        try:
            return self._painter.measure(task.image, task.content)
        except ImpastoError as error:
            return without_traceback(error)

    def _report(self, assignment: Assignment, result: PaintedFrame | Losses | ImpastoError, width: int = 1) -> Report:
        if isinstance(result, OutOfMemoryError):
            # The next try finds all the memory that there is.
            self._empty_cache()
        return Report(assignment.ticket, result, self._seconds.pop(assignment.ticket), self.label, width)

    def _empty_cache(self) -> None:
        if self._painter.device.type == "cuda":
            torch.cuda.empty_cache()
