"""Where frame tasks run: in this process, or in one process for each device.

An executor is handed assignments and hands back reports, in the order in which they come. It knows nothing of jobs,
files and order, and whichever runs an assignment, the picture has the same bits: `PainterSpec` is all that a worker
gets, and the number of threads is part of it.
"""

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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import IO, Protocol, Self

import numpy as np
import torch

from pipeline import children
from pipeline.checkpoint import Checkpoint
from pipeline.config import Settings
from pipeline.encoder import EncoderWeights
from pipeline.errors import DeviceError, ImpastoError, WorkerLostError
from pipeline.events import Losses
from pipeline.starts import ColorStatistics
from pipeline.stylize import FrameTask, PaintedFrame, Painter, device_label

START_SECONDS = 300.0
"""A worker that has not loaded its encoder by then will not."""

START_TRIES = 3
"""So many workers are started in the place of one that was lost, where they end as they start."""


@dataclass(frozen=True)
class PainterSpec:
    """All that frames depend on besides their tasks, from which every worker makes the same `Painter`.

    `threads` is the number that sums are split over on a CPU: the last bits of a picture depend on it.
    """

    settings: Settings
    weights: EncoderWeights
    styles: tuple[np.ndarray, ...]
    blend: tuple[float, ...]
    film_colors: ColorStatistics | None
    threads: int

    def painter(self, device: torch.device) -> Painter:
        """Loads the encoder; sets this process's number of threads on a CPU."""
        if device.type == "cpu":
            torch.set_num_threads(self.threads)
        return Painter(self.settings, self.weights, self.styles, self.blend, device, self.film_colors)


@dataclass(frozen=True)
class MeasureTask:
    """The losses of a finished picture, H×W×3 uint8, painted from `content`."""

    image: np.ndarray
    content: np.ndarray


@dataclass(frozen=True)
class Assignment:
    """What a worker is to do; `ticket` tells its report from others. A long frame is put away at `checkpoint`."""

    ticket: int
    task: FrameTask | MeasureTask
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class Report:
    """What came of an assignment: a picture, losses, or why there is none. `seconds`: what the worker spent on it."""

    ticket: int
    result: PaintedFrame | Losses | ImpastoError
    seconds: float
    device: str


OnProgress = Callable[[int, int, Losses], None]
"""Called with the ticket, the iteration (from 1) and the losses after it."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREAD_GAIN = 0.8
"""Sums that are split over n threads are n to this power as fast: a worker for each core is faster, if all are busy."""

WORKER_BYTES = 800 << 20
PIXEL_BYTES = 4096
"""What a worker takes, and each pixel of its picture besides, on a CPU."""


def best_threads(total: float, longest: float, pixels: float, cores: int, memory_bytes: float) -> int:
    """Over how many threads sums are best split on a CPU, the cores that are left being for other workers.

    `total` is the work of all chains and `longest` that of the longest, which one worker has to do; `pixels` are those
    of a picture. Deterministic, as bits follow from it.
    """
    best, least = cores, float("inf")
    for threads in range(cores, 0, -1):
        workers = cores // threads
        if cores % threads or workers * (WORKER_BYTES + PIXEL_BYTES * pixels) > memory_bytes:
            continue
        seconds = max(total / workers, longest) / threads**THREAD_GAIN
        if seconds < least:
            best, least = threads, seconds
    return best


def physical_memory_bytes() -> int:
    """The memory of this machine; as if there were much where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 1 << 40


class Executor(Protocol):
    """Runs assignments. A context manager: leaving it ends whatever it started."""

    @property
    def slots(self) -> int:
        """How many assignments are to run at the same time."""
        ...

    @property
    def devices(self) -> tuple[str, ...]:
        """Where they run, as a person knows it."""
        ...

    @property
    def overlaps(self) -> bool:
        """Whether this process has a core to spare while they run."""
        ...

    @property
    def free(self) -> int:
        """How many assignments could be handed out now."""
        ...

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def submit(self, assignment: Assignment) -> str:
        """Hands out an assignment while any worker is `free`, and says to which device."""
        ...

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        """The next report; None when none came in `timeout` seconds. `on_progress` is called from this thread."""
        ...

    def put_away(self) -> None:
        """Frames under way that have a checkpoint are put away after the iteration; they report `Interrupted`."""
        ...


class InlineExecutor:
    """Runs assignments in this process, one after the other, while `wait` waits for them."""

    def __init__(self, spec: PainterSpec, device: torch.device) -> None:
        self._painter = spec.painter(device)
        self._waiting: list[Assignment] = []
        self._put_away = threading.Event()
        self.slots = 1
        self.devices = (device_label(device),)
        self.overlaps = device.type != "cpu"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()

    @property
    def free(self) -> int:
        return 1 - len(self._waiting)

    def submit(self, assignment: Assignment) -> str:
        self._waiting.append(assignment)
        return self.devices[0]

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        del timeout
        if not self._waiting:
            return None
        assignment = self._waiting.pop(0)
        return report_of(self._painter, assignment, on_progress, self._put_away)

    def put_away(self) -> None:
        self._put_away.set()


def report_of(painter: Painter, assignment: Assignment, on_progress: OnProgress, put_away: threading.Event) -> Report:
    """Does what is assigned."""
    began = time.perf_counter()
    result: PaintedFrame | Losses | ImpastoError
    try:
        if isinstance(assignment.task, MeasureTask):
            result = painter.measure(assignment.task.image, assignment.task.content)
        else:
            checkpoint = assignment.checkpoint
            if checkpoint is not None:
                checkpoint = replace(checkpoint, is_wanted=put_away.is_set)
            result = painter.paint(
                assignment.task,
                lambda iteration, losses: on_progress(assignment.ticket, iteration, losses),
                checkpoint,
            )
    except ImpastoError as error:
        result = error.with_traceback(None)
        if painter.device.type == "cuda":
            # After a lack of memory the next try finds all that there is.
            torch.cuda.empty_cache()
    return Report(assignment.ticket, result, time.perf_counter() - began, device_label(painter.device))


class ProcessExecutor:
    """One process for each of `devices`, where one device may be named more than once.

    A worker that comes to its end reports `WorkerLostError` for what it was doing, and another takes its place. Workers
    end with this process, however that ends.
    """

    def __init__(self, spec: PainterSpec, devices: Sequence[torch.device]) -> None:
        self._spec = pickle.dumps(spec)
        self._devices = tuple(devices)
        self._workers: list[_Worker] = []
        self.slots = len(devices)
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
        return sum(worker.assignment is None for worker in self._workers)

    def submit(self, assignment: Assignment) -> str:
        worker = next(worker for worker in self._workers if worker.assignment is None)
        worker.assign(assignment)
        return worker.label

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while any(worker.assignment is not None for worker in self._workers):
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            for connection in wait([worker.connection for worker in self._workers], left):
                (worker,) = (worker for worker in self._workers if worker.connection is connection)
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    report = self._lost(worker)
                    if report is not None:
                        return report
                    continue
                if isinstance(message, Report):
                    worker.assignment = None
                    return message
                if isinstance(message, BaseException):
                    raise message
                on_progress(*message)
            if deadline is not None and time.monotonic() >= deadline:
                return None
        return None

    def put_away(self) -> None:
        for worker in self._workers:
            worker.put_away()

    def _lost(self, worker: "_Worker") -> Report | None:
        """Another worker in the place of one that has ended."""
        place = self._workers.index(worker)
        assignment, how = worker.assignment, worker.ending()
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
        if assignment is None:
            return None
        error = WorkerLostError(f"the process that painted it on {worker.label} ended ({how})")
        return Report(assignment.ticket, error, 0.0, worker.label)


class _Worker:
    """A child process with its own painter, seen from here."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.label = str(device)
        self.assignment: Assignment | None = None
        own, theirs = socket.socketpair()
        self._last_words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        with theirs:
            # Ctrl-C is for the process that schedules: a session of its own.
            self._process = subprocess.Popen(
                children.command("executors", f"serve({theirs.fileno()})"),
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
        self.assignment = assignment
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


# --- in the child -----------------------------------------------------------------------------------------------------


def serve(descriptor: int) -> None:
    """Does what is assigned until whoever assigns has gone: all that a worker does."""
    children.leave_signals_to_parent()
    connection = Connection(descriptor)
    waiting: queue.SimpleQueue[Assignment] = queue.SimpleQueue()
    put_away = threading.Event()
    spec: PainterSpec = pickle.loads(connection.recv_bytes())
    device = torch.device(connection.recv())
    threading.Thread(target=_listen, args=(connection, waiting, put_away), daemon=True).start()
    try:
        painter = spec.painter(device)
        connection.send(device_label(device))
        while True:
            assignment = waiting.get()
            connection.send(report_of(painter, assignment, lambda *progress: connection.send(progress), put_away))
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
