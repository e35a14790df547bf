"""Runs assignments in child processes: one worker for each device, or for each share of a CPU's cores.

A worker receives the pickled `PainterSpec` and its device, then assignments, and None when it is to save checkpoints
and stop. It sends its label, then reports and the progress of each iteration, or the error for which it ends.
"""

import contextlib
import pickle
import queue
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any, Self

import torch

from ..child_processes import Child, Parent
from ..errors import DeviceError, WorkerLostError
from .executor import Assignment, OnProgress, PainterSpec, Report
from .worker import Worker

START_SECONDS = 300.0
"""A worker that has not loaded its encoder by then is given up."""

START_TRIES = 3
"""How many workers are started to replace a lost one while each ends as it starts."""


class ProcessExecutor:
    """One process for each of `devices`, where one device may be named more than once.

    When a worker ends, `WorkerLostError` is reported for each of its assignments, and another replaces it. Workers
    end with this process, however that ends.
    """

    def __init__(self, spec: PainterSpec, devices: Sequence[torch.device]) -> None:
        self._spec = pickle.dumps(spec)
        self._devices = tuple(devices)
        self._workers: list[_WorkerProcess] = []
        self._reports: list[Report] = []
        self.slots = len(devices) * spec.max_width
        self.widths = spec.widths
        self.devices: tuple[str, ...] = tuple(map(str, devices))
        self.overlaps = True

    def __enter__(self) -> Self:
        try:
            for device in self._devices:
                self._workers.append(_WorkerProcess(device))
            for worker in self._workers:
                worker.send(self._spec, str(worker.device))
            for worker in self._workers:
                worker.wait_until_ready()
        except WorkerLostError as error:
            self.__exit__()
            raise DeviceError(str(error)) from None
        except BaseException:
            self.__exit__()
            raise
        self.devices = tuple(worker.label for worker in self._workers)
        return self

    def __exit__(self, *_: object) -> None:
        while self._workers:
            self._workers.pop().child.close()

    @property
    def idle_share(self) -> float:
        return self.free / max(1, self.slots)

    @property
    def free(self) -> int:
        return self.slots - sum(len(worker.assignments) for worker in self._workers) - len(self._reports)

    def submit(self, assignment: Assignment) -> str:
        worker = min(self._workers, key=lambda worker: len(worker.assignments))
        worker.assign(assignment)
        return worker.label

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._reports and any(worker.assignments for worker in self._workers):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for connection in wait([worker.child.connection for worker in self._workers], left):
                (worker,) = (worker for worker in self._workers if worker.child.connection is connection)
                try:
                    message = worker.child.receive()
                except EOFError:
                    self._reports += self._replace(worker)
                    continue
                if isinstance(message, Report):
                    del worker.assignments[message.ticket]
                    self._reports.append(message)
                elif isinstance(message, BaseException):
                    raise message
                else:
                    on_progress(*message)
            if deadline is not None and time.monotonic() >= deadline:
                break
        return self._reports.pop(0) if self._reports else None

    def checkpoint_and_stop(self) -> None:
        for worker in self._workers:
            worker.send(None)

    def _replace(self, worker: "_WorkerProcess") -> list[Report]:
        """Starts a worker to replace one that has ended; returns a report for each assignment that was lost."""
        index, reason = self._workers.index(worker), worker.child.exit_reason()
        for tries_left in reversed(range(START_TRIES)):
            self._workers[index] = fresh = _WorkerProcess(worker.device)
            fresh.send(self._spec, str(fresh.device))
            try:
                fresh.wait_until_ready()
                break
            except WorkerLostError as lost:
                # Where memory is short, the system may kill the next one as well.
                if not tries_left:
                    raise DeviceError(str(lost)) from None
        error = WorkerLostError(f"the process that painted it on {worker.label} ended ({reason})")
        return [Report(ticket, error, 0.0, worker.label) for ticket in worker.assignments]


class _WorkerProcess:
    """A child process with its own painter, as this process sees it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.label = str(device)
        self.assignments: dict[int, Assignment] = {}
        """What it has not reported yet, by ticket."""
        self.child = Child("run.processes", "serve")

    def send(self, *messages: Any) -> None:
        """Sends messages; a worker that has ended is found when it is received from."""
        with contextlib.suppress(EOFError):
            for message in messages:
                self.child.send(message)

    def assign(self, assignment: Assignment) -> None:
        self.assignments[assignment.ticket] = assignment
        self.send(assignment)

    def wait_until_ready(self) -> None:
        """Raises the worker's own error when it cannot paint, `DeviceError` when it does not start in time, and
        `WorkerLostError` when it ends as it starts."""
        try:
            if not self.child.connection.poll(START_SECONDS):
                raise DeviceError(f"the process for {self.device} did not start within {START_SECONDS:g} s")
            answer = self.child.receive()
        except EOFError:
            reason = self.child.exit_reason()
            raise WorkerLostError(f"the process for {self.device} ended as it started ({reason})") from None
        if isinstance(answer, BaseException):
            raise answer
        self.label = answer


def serve(descriptor: int) -> None:
    """Works as a worker until the parent ends."""
    parent = Parent(descriptor)
    assignments: queue.SimpleQueue[Assignment] = queue.SimpleQueue()
    stop = threading.Event()
    spec: PainterSpec = pickle.loads(parent.receive())
    device = torch.device(parent.receive())
    parent.listen(lambda message: stop.set() if message is None else assignments.put(message))
    try:
        worker = Worker(spec, device, stop)
        parent.send(worker.label)
        while True:
            if not worker.load:
                worker.add(assignments.get())
            while not assignments.empty():
                worker.add(assignments.get())
            for report in worker.step(lambda *progress: parent.send(progress)):
                parent.send(report)
    except BaseException as error:
        parent.send(error)
        raise
