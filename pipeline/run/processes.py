"""TODO: run.processes."""

import contextlib
import os
import pickle
import queue
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import IO, Self

import torch

from .. import child_processes
from ..errors import DeviceError, WorkerLostError
from .executor import Assignment, OnProgress, PainterSpec, Report
from .workbench import Worker

START_SECONDS = 300.0
"""A worker that has not loaded its encoder by then will not."""

START_TRIES = 3
"""So many workers are started in the place of one that was lost, where they end as they start."""


class ProcessExecutor:
    """One process for each of `devices`, where one device may be named more than once.

    A worker that comes to its end reports `WorkerLostError` for what it was doing, and another takes its place. Workers
    end with this process, however that ends.
    """

    def __init__(self, spec: PainterSpec, devices: Sequence[torch.device]) -> None:
        self._spec = pickle.dumps(spec)
        self._devices = tuple(devices)
        self._workers: list[_Worker] = []
        self._reports: list[Report] = []
        self.slots = len(devices) * spec.places
        self.widths = spec.widths
        self.devices: tuple[str, ...] = tuple(map(str, devices))
        self.overlaps = True

    def __enter__(self) -> Self:
        try:
            for device in self._devices:
                self._workers.append(_Worker(device))
            for worker in self._workers:
                worker.tell(self._spec)
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
            self._workers.pop().end()

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
            for connection in wait([worker.connection for worker in self._workers], left):
                (worker,) = (worker for worker in self._workers if worker.connection is connection)
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    self._reports += self._lost(worker)
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

    def put_away(self) -> None:
        for worker in self._workers:
            worker.put_away()

    def _lost(self, worker: "_Worker") -> list[Report]:
        """Another worker in the place of one that has ended; what came of what that had."""
        place, how = self._workers.index(worker), worker.ending()
        for tries_left in reversed(range(START_TRIES)):
            self._workers[place] = fresh = _Worker(worker.device)
            fresh.tell(self._spec)
            try:
                fresh.wait_until_ready()
                break
            except WorkerLostError as lost:
                # Where memory is short the next one may be ended as well.
                if not tries_left:
                    raise DeviceError(str(lost)) from None
        error = WorkerLostError(f"the process that painted it on {worker.label} ended ({how})")
        return [Report(ticket, error, 0.0, worker.label) for ticket in worker.assignments]


class _Worker:
    """A child process with its own painter, seen from here."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.label = str(device)
        self.assignments: dict[int, Assignment] = {}
        """What it has, by tickets."""
        own, theirs = socket.socketpair()
        self._last_words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        with theirs:
            # Ctrl-C is for the process that schedules: a session of its own.
            self._process = subprocess.Popen(
                child_processes.command("run.processes", f"serve({theirs.fileno()})"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._last_words,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self.connection = Connection(own.detach())

    def tell(self, spec: bytes) -> None:
        """Says what is painted: it takes until the worker has begun to listen."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send_bytes(spec)
            self.connection.send(str(self.device))

    def wait_until_ready(self) -> None:
        """Raises `DeviceError` when the worker cannot paint, with its own words, and `WorkerLostError` when it ended
        as it started."""
        try:
            if not self.connection.poll(START_SECONDS):
                raise DeviceError(f"the process for {self.device} did not start within {START_SECONDS:g} s")
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise WorkerLostError(f"the process for {self.device} ended as it started ({self.ending()})") from None
        if isinstance(answer, BaseException):
            raise answer
        self.label = answer

    def assign(self, assignment: Assignment) -> None:
        self.assignments[assignment.ticket] = assignment
        # One that has ended is found by `wait`.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(assignment)

    def put_away(self) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.send(None)

    def ending(self) -> str:
        """How the process ended, in a word, and what it said last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        status = self._process.wait()
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        self._last_words.seek(0)
        lines = self._last_words.read().decode(errors="replace").strip().splitlines()
        self._close()
        return f"{how}: {lines[-1]}" if lines else how

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        self.connection.close()
        self._last_words.close()


def serve(descriptor: int) -> None:
    """Does what is assigned until whoever assigns has gone: all that a worker does."""
    child_processes.leave_signals_to_parent()
    connection = Connection(descriptor)
    waiting: queue.SimpleQueue[Assignment] = queue.SimpleQueue()
    put_away = threading.Event()
    spec: PainterSpec = pickle.loads(connection.recv_bytes())
    device = torch.device(connection.recv())
    threading.Thread(target=_listen, args=(connection, waiting, put_away), daemon=True).start()
    try:
        bench = Worker(spec, device, put_away)
        connection.send(bench.label)
        while True:
            if not bench.load:
                bench.add(waiting.get())
            while not waiting.empty():
                bench.add(waiting.get())
            for report in bench.step(lambda *progress: connection.send(progress)):
                connection.send(report)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)
    except BaseException as error:
        connection.send(error)
        raise


def _listen(connection: Connection, waiting: "queue.SimpleQueue[Assignment]", put_away: threading.Event) -> None:
    """Hands assignments on, and ends this process, whatever it is doing, when the one that assigns has ended."""
    try:
        while True:
            message = connection.recv()
            if message is None:
                put_away.set()
            else:
                waiting.put(message)
    finally:
        os._exit(0)
