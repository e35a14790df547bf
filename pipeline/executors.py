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
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import IO, Protocol, Self

import numpy as np
import torch

from pipeline import children
from pipeline.checkpoint import Checkpoint
from pipeline.config import Settings
from pipeline.encoder import EncoderWeights
from pipeline.errors import DeviceError, ImpastoError, OutOfMemoryError, WorkerLostError
from pipeline.events import Losses
from pipeline.frames import Size, size_of
from pipeline.starts import ColorStatistics
from pipeline.stylize import Batch, FrameTask, PaintedFrame, Painter, device_label, plain

START_SECONDS = 300.0
"""A worker that has not loaded its encoder by then will not."""

START_TRIES = 3
"""So many workers are started in the place of one that was lost, where they end as they start."""


@dataclass(frozen=True)
class PainterSpec:
    """All that frames depend on besides their tasks, from which every worker makes the same `Painter`.

    `threads` is the number that sums are split over on a CPU, and `widths` how many pictures of a size are painted side
    by side where it is more than one: the last bits of a picture depend on both.
    """

    settings: Settings
    weights: EncoderWeights
    styles: tuple[np.ndarray, ...]
    blend: tuple[float, ...]
    film_colors: ColorStatistics | None
    threads: int
    widths: Mapping[Size, int] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """How many pictures a worker has at most at a time."""
        return max(self.widths.values(), default=1)

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
    """What came of an assignment: a picture, losses, or why there is none.

    `seconds`: what the worker spent on it. `width`: how many were painted side by side, of which this was one.
    """

    ticket: int
    result: PaintedFrame | Losses | ImpastoError
    seconds: float
    device: str
    width: int = 1


OnProgress = Callable[[int, int, Losses], None]
"""Called with the ticket, the iteration (from 1) and the losses after it."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREAD_GAIN = 0.9
"""Sums that are split over n threads are n to this power as fast (measured: 1.84 and 1.91 times with two): a worker for
each core is faster, if all are busy."""

WIDTH_GAIN = 0.02
"""What is gained by more pictures side by side, as a share of the time, for their memory to be worth it."""

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


def best_width(total: float, longest: float, most: int, devices: int, seconds: Callable[[int], float]) -> int:
    """How many pictures of a size, at most `most`, a device best paints side by side.

    `total` is the work of all chains and `longest` that of the longest, in iterations of a picture; `seconds` is what
    an iteration of so many pictures takes. All places of a batch are always evaluated: where but one chain is left,
    the others are wasted. The fewest that are within `WIDTH_GAIN` of the best.
    """
    times = {width: max(total / (width * devices), longest) * seconds(width) for width in range(1, most + 1)}
    least = min(times.values())
    return next(width for width, time in times.items() if time <= (1 + WIDTH_GAIN) * least)


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
    def widths(self) -> Mapping[Size, int]:
        """How many pictures of a size are painted side by side, where it is more than one."""
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
    """Runs assignments in this process, while `wait` waits for them."""

    def __init__(self, spec: PainterSpec, device: torch.device) -> None:
        self._put_away = threading.Event()
        self._bench = Workbench(spec, device, self._put_away)
        self._waiting: list[Assignment] = []
        self._reports: list[Report] = []
        self.slots = spec.places
        self.widths = spec.widths
        self.devices = (device_label(device),)
        self.overlaps = device.type != "cpu"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        self._bench.clear()
        self._reports.clear()

    @property
    def free(self) -> int:
        return self.slots - len(self._waiting) - self._bench.load - len(self._reports)

    def submit(self, assignment: Assignment) -> str:
        self._waiting.append(assignment)
        return self.devices[0]

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        del timeout
        while self._waiting:
            self._bench.add(self._waiting.pop(0))
        while not self._reports and self._bench.load:
            self._reports += self._bench.step(on_progress)
        return self._reports.pop(0) if self._reports else None

    def put_away(self) -> None:
        self._put_away.set()


class Workbench:
    """What a worker does its assignments with, in the order in which they come: pictures of one size side by side, as
    many as the job has them."""

    def __init__(self, spec: PainterSpec, device: torch.device, put_away: threading.Event) -> None:
        self._painter = spec.painter(device)
        self._widths = dict(spec.widths)
        self._put_away = put_away
        self._waiting: deque[tuple[Assignment, dict[str, torch.Tensor] | None]] = deque()
        """With how far they were, where they had to leave a batch that was too large."""
        self._under_way: dict[int, Assignment] = {}
        self._seconds: dict[int, float] = {}
        self._batch: Batch | None = None
        self._on_progress: OnProgress = lambda *_: None
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
                problem = plain(error)
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
            return self._batch.free > 0
        return not self._under_way

    def _begun(self, assignment: Assignment, snapshot: Mapping[str, torch.Tensor] | None) -> ImpastoError | None:
        """Begins a picture; returns why it could not be."""
        task, checkpoint, ticket = assignment.task, assignment.checkpoint, assignment.ticket
        assert isinstance(task, FrameTask)
        size = size_of(task.content)
        if checkpoint is not None:
            checkpoint = replace(checkpoint, is_wanted=self._put_away.is_set)
        try:
            if self._batch is None or self._batch.size != size:
                self._batch = None
                self._batch = Batch(self._painter, size, self._widths.get(size, 1))
            self._batch.add(ticket, task, lambda *progress: self._on_progress(ticket, *progress), checkpoint, snapshot)
        except ImpastoError as error:
            problem = plain(error)
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
        for ticket, snapshot in reversed(self._batch.leave().items()):
            self._waiting.appendleft((self._under_way.pop(ticket), snapshot))
        self._batch = None
        self._empty_cache()
        return True

    def _measured(self, task: MeasureTask) -> Losses | ImpastoError:
        try:
            return self._painter.measure(task.image, task.content)
        except ImpastoError as error:
            return plain(error)

    def _report(self, assignment: Assignment, result: PaintedFrame | Losses | ImpastoError, width: int = 1) -> Report:
        if isinstance(result, OutOfMemoryError):
            # The next try finds all that there is.
            self._empty_cache()
        return Report(assignment.ticket, result, self._seconds.pop(assignment.ticket), self.label, width)

    def _empty_cache(self) -> None:
        if self._painter.device.type == "cuda":
            torch.cuda.empty_cache()


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
        bench = Workbench(spec, device, put_away)
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
