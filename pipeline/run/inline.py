"""Runs assignments in the process that schedules them."""

import threading
from typing import Self

import torch

from ..torch_settings import thread_limit
from .executor import Assignment, OnProgress, PainterSpec, Report
from .worker import Worker


class InlineExecutor:
    """Runs assignments in this process, while `wait` waits for them."""

    def __init__(self, spec: PainterSpec, device: torch.device) -> None:
        self._stop = threading.Event()
        self._worker = Worker(spec, device, self._stop)
        self._waiting: list[Assignment] = []
        self._reports: list[Report] = []
        self.slots = spec.max_width
        self.widths = spec.widths
        self.devices = (self._worker.label,)
        # For other threads of this process too, which read and warp frames.
        self._threads = thread_limit(spec.threads, device)
        self.overlaps = device.type != "cpu"
        # Nothing is painted but in `wait`.
        self.idle_share = 1.0

    def __enter__(self) -> Self:
        self._threads.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.__exit__(None, None, None)
        self._waiting.clear()
        self._worker.clear()
        self._reports.clear()

    @property
    def free(self) -> int:
        return self.slots - len(self._waiting) - self._worker.load - len(self._reports)

    def submit(self, assignment: Assignment) -> str:
        self._waiting.append(assignment)
        return self.devices[0]

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        del timeout
        while self._waiting:
            self._worker.add(self._waiting.pop(0))
        while not self._reports and self._worker.load:
            self._reports += self._worker.step(on_progress)
        return self._reports.pop(0) if self._reports else None

    def checkpoint_and_stop(self) -> None:
        self._stop.set()
