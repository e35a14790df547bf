"""An executor that paints nothing, for tests of what happens to frames before and after painting."""

from collections import deque
from collections.abc import Mapping
from typing import Self

from impasto.events import Losses
from impasto.paint.stopping import StopReason
from impasto.paint.task import FrameTask, PaintedFrame
from impasto.pictures import Size
from impasto.run.executor import Assignment, Executor, OnProgress, Report

LOSSES = Losses(1.0, 1.0, 1.0)


class UnpaintedExecutor:
    """Every painting is its content. An `ExecutorFactory`'s arguments are taken and ignored."""

    slots = 1
    devices = ("cpu",)
    overlaps = False
    idle_share = 1.0

    def __init__(self, *_: object) -> None:
        self.widths: Mapping[Size, int] = {}
        self._assignments: deque[Assignment] = deque()

    @property
    def free(self) -> int:
        return self.slots - len(self._assignments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._assignments.clear()

    def submit(self, assignment: Assignment) -> str:
        self._assignments.append(assignment)
        return "cpu"

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        del on_progress, timeout
        if not self._assignments:
            return None
        assignment = self._assignments.popleft()
        task = assignment.task
        if isinstance(task, FrameTask):
            painted = PaintedFrame(task.content, LOSSES, StopReason.ITERATIONS, (LOSSES,), None)
            return Report(assignment.ticket, painted, 0.0, "cpu")
        return Report(assignment.ticket, LOSSES, 0.0, "cpu")

    def checkpoint_and_stop(self) -> None:
        """There is nothing to interrupt."""


def unpainted(*arguments: object) -> Executor:
    """An `ExecutorFactory`."""
    return UnpaintedExecutor(*arguments)
