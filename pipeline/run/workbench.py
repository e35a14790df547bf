"""TODO: run.workbench."""

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


class Worker:
    """What a worker does its assignments with, in the order in which they come: pictures of one size side by side, as
    many as the job has them."""

    def __init__(self, spec: PainterSpec, device: torch.device, put_away: threading.Event) -> None:
        self._painter = spec.painter(device)
        self._threads = spec.threads
        self._widths = dict(spec.widths)
        self._put_away = put_away
        self._waiting: deque[tuple[Assignment, dict[str, torch.Tensor] | None]] = deque()
        """With how far they were, where they had to leave a batch that was too large."""
        self._under_way: dict[int, Assignment] = {}
        self._seconds: dict[int, float] = {}
        self._batch: Batch | None = None
        self._on_progress: OnProgress = lambda *_: None
        with thread_limit(spec.threads, device):
            self.label = device_label(device)

    def add(self, assignment: Assignment) -> None:
        """For the next `step`."""
        self._waiting.append((assignment, None))

    def clear(self) -> None:
        """Gives up whatever is under way."""
        self._waiting.clear()
        self._under_way.clear()
        self._batch = None

    @property
    def load(self) -> int:
        """How many assignments it has."""
        return len(self._waiting) + len(self._under_way)

    def step(self, on_progress: OnProgress) -> list[Report]:
        """One iteration of all that is painted side by side; what is done with it."""
        with thread_limit(self._threads, self._painter.device):
            return self._step(on_progress)

    def _step(self, on_progress: OnProgress) -> list[Report]:
        self._on_progress = on_progress
        reports = []
        while self._waiting:
            assignment, snapshot = self._waiting[0]
            task = assignment.task
            if isinstance(task, FrameTask) and not self._has_room(size_of(task.content)):
                break
            self._waiting.popleft()
            began = time.perf_counter()
            self._seconds.setdefault(assignment.ticket, 0.0)
            result = self._measured(task) if isinstance(task, MeasureTask) else self._begun(assignment, snapshot)
            self._seconds[assignment.ticket] += time.perf_counter() - began
            is_measured = isinstance(task, MeasureTask)
            if is_measured and isinstance(result, OutOfMemoryError) and self._make_room():
                self._waiting.appendleft((assignment, None))
            elif result is not None:
                reports.append(self._report(assignment, result))
        if self._under_way:
            assert self._batch is not None
            began, problem = time.perf_counter(), None
            tickets = list(self._under_way)
            done: dict[int, PaintedFrame | ImpastoError] = {}
            size, width = self._batch.size, self._batch.width
            try:
                done = self._batch.step()
            except OutOfMemoryError as error:
                problem = without_traceback(error)
            # Of those that are done, a second try may have had no room beside the others.
            short = [ticket for ticket, result in done.items() if isinstance(result, OutOfMemoryError)]
            if (problem is not None or short) and not self._narrow(size):
                done = done if problem is None else dict.fromkeys(tickets, problem)
                short = []
            for ticket in reversed(short):
                del done[ticket]
                self._waiting.appendleft((self._under_way.pop(ticket), None))
            for ticket in tickets:
                self._seconds[ticket] += (time.perf_counter() - began) / len(tickets)
            reports += [self._report(self._under_way.pop(ticket), result, width) for ticket, result in done.items()]
        return reports

    def _has_room(self, size: Size) -> bool:
        """Whether a picture of a size may begin; for another size all that is under way has to be done first."""
        if self._batch is not None and self._batch.size == size:
            return self._batch.free_slots > 0
        return not self._under_way

    def _begun(self, assignment: Assignment, snapshot: Mapping[str, torch.Tensor] | None) -> ImpastoError | None:
        """Begins a picture; returns why it could not be."""
        task, checkpoint, ticket = assignment.task, assignment.checkpoint, assignment.ticket
        assert isinstance(task, FrameTask)
        size = size_of(task.content)
        if checkpoint is not None:
            checkpoint = replace(checkpoint, should_stop=self._put_away.is_set)
        try:
            if self._batch is None or self._batch.size != size:
                self._batch = None
                self._batch = Batch(self._painter, size, self._widths.get(size, 1))
            self._batch.add(ticket, task, lambda *progress: self._on_progress(ticket, *progress), checkpoint, snapshot)
        except ImpastoError as error:
            problem = without_traceback(error)
        else:
            self._under_way[ticket] = assignment
            return None
        if isinstance(problem, OutOfMemoryError):
            waits = assignment, None if snapshot is None else dict(snapshot)
            self._waiting.appendleft(waits)
            if self._narrow(size):
                return None
            self._waiting.popleft()
        return problem

    def _narrow(self, size: Size) -> bool:
        """Goes on with half as many pictures side by side, from where they were; False where it is but one."""
        width = self._widths.get(size, 1)
        if width > 1:
            self._make_room()
            self._widths[size] = width // 2
        self._batch = None
        self._empty_cache()
        return width > 1

    def _make_room(self) -> bool:
        """Takes out all that is under way, to begin again from where it is; False where no memory was taken by it."""
        if self._batch is None:
            return False
        for ticket, snapshot in reversed(self._batch.suspend().items()):
            self._waiting.appendleft((self._under_way.pop(ticket), snapshot))
        self._batch = None
        self._empty_cache()
        return True

    def _measured(self, task: MeasureTask) -> Losses | ImpastoError:
        try:
            return self._painter.measure(task.image, task.content)
        except ImpastoError as error:
            return without_traceback(error)

    def _report(self, assignment: Assignment, result: PaintedFrame | Losses | ImpastoError, width: int = 1) -> Report:
        if isinstance(result, OutOfMemoryError):
            # The next try finds all that there is.
            self._empty_cache()
        return Report(assignment.ticket, result, self._seconds.pop(assignment.ticket), self.label, width)

    def _empty_cache(self) -> None:
        if self._painter.device.type == "cuda":
            torch.cuda.empty_cache()
