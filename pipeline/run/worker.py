"""A worker: paints the assignments of an executor on one device, pictures of one size in a batch."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace

import torch

from ..errors import ImpastoError, OutOfMemoryError
from ..events import Losses
from ..paint.batch import Batch, without_traceback
from ..paint.devices import device_label
from ..paint.task import FrameTask, PaintedFrame
from ..pictures import Size, size_of
from ..torch_settings import thread_limit
from .executor import Assignment, MeasureTask, OnProgress, PainterSpec, Report

Snapshot = Mapping[str, torch.Tensor]
"""The state of an optimizer between two iterations."""


class Worker:
    """Paints assignments in the order in which they come, as many pictures of one size in a batch as the job plans.

    Once `stop` is set, frames with a checkpoint save it after their iteration and report `Interrupted`. Where memory
    runs out, the batch continues with half as many pictures, each from where it was.
    """

    def __init__(self, spec: PainterSpec, device: torch.device, stop: threading.Event) -> None:
        self._painter = spec.painter(device)
        self._threads = spec.threads
        self._widths = dict(spec.widths)
        self._stop = stop
        self._waiting: deque[tuple[Assignment, Snapshot | None]] = deque()
        """With the state of those that had to leave a batch that was too large."""
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
            assignment, snapshot = self._waiting[0]
            task = assignment.task
            if isinstance(task, FrameTask) and not self._has_room(size_of(task.content)):
                break
            self._waiting.popleft()
            began = time.perf_counter()
            self._seconds.setdefault(assignment.ticket, 0.0)
            is_measured = isinstance(task, MeasureTask)
            result = self._measure(task) if isinstance(task, MeasureTask) else self._begin(assignment, snapshot)
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
        done: dict[int, PaintedFrame | ImpastoError] = {}
        size, width = self._batch.size, self._batch.width
        try:
            done = self._batch.step()
        except OutOfMemoryError as raised:
            error = without_traceback(raised)
        # A frame that is done may be one whose second try found no memory next to the others.
        short = [ticket for ticket, result in done.items() if isinstance(result, OutOfMemoryError)]
        if (error is not None or short) and not self._halve_width(size):
            done = done if error is None else dict.fromkeys(tickets, error)
            short = []
        for ticket in reversed(short):
            del done[ticket]
            self._waiting.appendleft((self._in_flight.pop(ticket), None))
        for ticket in tickets:
            self._seconds[ticket] += (time.perf_counter() - began) / len(tickets)
        return [self._report(self._in_flight.pop(ticket), result, width) for ticket, result in done.items()]

    def _has_room(self, size: Size) -> bool:
        """Whether a picture of a size can begin. One of another size waits until the batch is empty."""
        if self._batch is not None and self._batch.size == size:
            return self._batch.free_slots > 0
        return not self._in_flight

    def _begin(self, assignment: Assignment, snapshot: Snapshot | None) -> ImpastoError | None:
        """Begins a picture; returns the error where it could not."""
        task, checkpoint, ticket = assignment.task, assignment.checkpoint, assignment.ticket
        assert isinstance(task, FrameTask)
        size = size_of(task.content)
        if checkpoint is not None:
            checkpoint = replace(checkpoint, should_stop=self._stop.is_set)
        try:
            if self._batch is None or self._batch.size != size:
                self._batch = None
                self._batch = Batch(self._painter, size, self._widths.get(size, 1))
            self._batch.add(ticket, task, lambda *progress: self._on_progress(ticket, *progress), checkpoint, snapshot)
        except ImpastoError as raised:
            error = without_traceback(raised)
        else:
            self._in_flight[ticket] = assignment
            return None
        if isinstance(error, OutOfMemoryError):
            self._waiting.appendleft((assignment, snapshot))
            if self._halve_width(size):
                return None
            self._waiting.popleft()
        return error

    def _halve_width(self, size: Size) -> bool:
        """Has the batch go on with half as many pictures, each from where it was; False where it is but one."""
        width = self._widths.get(size, 1)
        if width > 1:
            self._suspend_batch()
            self._widths[size] = width // 2
        self._batch = None
        self._empty_cache()
        return width > 1

    def _suspend_batch(self) -> bool:
        """Moves all pictures of the batch back to the queue, with their states; False where there is no batch."""
        if self._batch is None:
            return False
        for ticket, snapshot in reversed(self._batch.suspend().items()):
            self._waiting.appendleft((self._in_flight.pop(ticket), snapshot))
        self._batch = None
        self._empty_cache()
        return True

    def _measure(self, task: MeasureTask) -> Losses | ImpastoError:
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
