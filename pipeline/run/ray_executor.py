"""Runs assignments on the machines of a Ray cluster.

An actor for each GPU of the cluster, or on machines without any for each share of the cores, holds the encoder and the
style. Frames travel through Ray's object store; the job's folder is on the scheduling machine alone. The frames of a
worker or machine that is lost are painted again elsewhere; a machine that joins is used.
"""

import contextlib
import queue
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import torch

from ..errors import DeviceError, UsageError, WorkerLostError
from ..events import Losses
from .executor import Assignment, OnProgress, PainterSpec, Report
from .worker import Worker

RESOURCES_SECONDS = 2.0
"""How often the cluster is asked for its resources."""

PROGRESS_SECONDS = 0.5
"""How often the workers are asked for their progress."""

START_SECONDS = 600.0
"""If no worker has loaded its encoder by then, the executor raises an error."""

CONNECT_SECONDS = 10.0
"""How long to wait for the head of the cluster."""


class RayExecutor:
    """Paints on the Ray cluster at `address` (`auto`: the one that this machine belongs to), or where that is None on a
    cluster made of this machine alone, which ends with the job.

    At most `max_workers` are started, as no more can be busy. `on_gpu`: whether each worker takes a GPU; None: if the
    cluster has any.
    """

    def __init__(self, spec: PainterSpec, address: str | None, max_workers: int, on_gpu: bool | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError('`executor=ray` needs Ray: pip install "impasto[ray]"') from error
        self._ray = ray
        self._spec = spec
        self.widths = spec.widths
        self._address = address
        self._max_workers = max_workers
        self._on_gpu = on_gpu
        self._owns_cluster = False
        self._starting: dict[Any, Any] = {}
        """Actors that are loading their encoder, by the reference of their label."""
        self._labels: dict[Any, str] = {}
        """Labels of the actors that are ready: machine and device."""
        self._in_flight: dict[Any, tuple[Any, int]] = {}
        """Actor and ticket of each assignment, by the reference of its report."""
        self._lost: dict[Any, str] = {}
        self._resources_asked = self._progress_asked = float("-inf")
        self.overlaps = True

    def __enter__(self) -> Self:
        ray = self._ray
        if not ray.is_initialized():
            self._connect()
        # A thread waits for each picture, and one answers for their progress.
        self._actor = ray.remote(max_concurrency=self._spec.max_width + 1, max_restarts=0)(_Actor)
        self._spec_reference = ray.put(self._spec)
        if self._on_gpu is None:
            self._on_gpu = ray.cluster_resources().get("GPU", 0) >= 1
        self._start_workers()
        deadline = time.monotonic() + START_SECONDS
        while not self._labels:
            self._await_workers(1.0)
            self._start_workers()
            if not self._labels and time.monotonic() > deadline:
                raise DeviceError(f"no worker of the Ray cluster could start within {START_SECONDS:g} s")
        return self

    def _connect(self) -> None:
        """Joins the cluster, or makes one of this machine. Raises `DeviceError` where that fails."""
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
        before = signal.getsignal(signal.SIGTERM)
        try:
            with _package_folder() as package:
                if self._address is None:
                    options["include_dashboard"] = False
                else:
                    # The machines need the packages that impasto needs, but not impasto: this very version paints.
                    options["runtime_env"] = {"py_modules": [str(package)]}
                _check_listening(self._address)
                # Ray uploads the package before it returns.
                self._ray.init(address=self._address, **options)
        except (OSError, ValueError, RuntimeError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise DeviceError(
                f"no Ray cluster at {self._address or 'this machine'} ({first}): "
                "start one with `ray start --head`, or leave `address` out"
            ) from error
        finally:
            # Ray's handler would end this process, which is to finish the frames in flight.
            with contextlib.suppress(ValueError):  # not the main thread, in which Ray leaves it alone
                signal.signal(signal.SIGTERM, before)
        self._owns_cluster = True

    def __exit__(self, *_: object) -> None:
        for actor in (*self._labels, *self._starting.values()):
            self._ray.kill(actor)
        self._labels.clear()
        self._starting.clear()
        if self._owns_cluster:
            self._ray.shutdown()

    @property
    def slots(self) -> int:
        return self._worker_count() * self._spec.max_width

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(self._labels.values())

    @property
    def idle_share(self) -> float:
        return self.free / max(1, self.slots)

    @property
    def free(self) -> int:
        self._await_workers(0)
        self._start_workers()
        busy = self._busy()
        return sum(self._spec.max_width - busy[actor] for actor in self._labels)

    def submit(self, assignment: Assignment) -> str:
        busy = self._busy()
        actor = min(self._labels, key=lambda actor: busy[actor])
        # Without its checkpoint, which would be written on another machine.
        task = Assignment(assignment.ticket, assignment.task)
        self._in_flight[actor.paint.remote(task)] = actor, assignment.ticket
        return self._labels[actor]

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._in_flight:
            left = PROGRESS_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _ = self._ray.wait(list(self._in_flight), timeout=min(left, PROGRESS_SECONDS))
            if ready:
                return self._take_report(ready[0])
            self._report_progress(on_progress)
            if deadline is not None and time.monotonic() >= deadline:
                return None
        return None

    def checkpoint_and_stop(self) -> None:
        """Does nothing: a checkpoint would lie on another machine. Frames in flight are painted again on resume."""

    def _busy(self) -> Counter[Any]:
        """How many assignments each worker has."""
        return Counter(actor for actor, _ in self._in_flight.values())

    def _take_report(self, reference: Any) -> Report:
        actor, ticket = self._in_flight.pop(reference)
        try:
            report: Report = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            # This comes for each assignment that the worker had.
            where = self._labels.pop(actor, None) or self._lost[actor]
            self._lost[actor] = where
            if isinstance(error, self._ray.exceptions.RayTaskError):
                raise error.cause from error
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            lost = WorkerLostError(f"the worker that painted it on {where} was lost ({reason})")
            return Report(ticket, lost, 0.0, where)
        return report

    def _report_progress(self, on_progress: OnProgress) -> None:
        """Asks the workers for their progress and hands it to `on_progress`."""
        if time.monotonic() - self._progress_asked < PROGRESS_SECONDS or not self._in_flight:
            return
        self._progress_asked = time.monotonic()
        asked = [actor.progress.remote() for actor in self._busy()]
        tickets = {ticket for _, ticket in self._in_flight.values()}
        answered, _ = self._ray.wait(asked, num_returns=len(asked), timeout=PROGRESS_SECONDS)
        for reference in answered:
            try:
                progress: list[tuple[int, int, Losses]] = self._ray.get(reference)
            except self._ray.exceptions.RayError:
                continue  # `wait` finds that it is lost.
            for ticket, iteration, losses in progress:
                if ticket in tickets:
                    on_progress(ticket, iteration, losses)

    def _worker_count(self) -> int:
        """How many workers the cluster has room for, at most as many as the job can use."""
        resources = self._ray.cluster_resources()
        if self._on_gpu:
            return min(self._max_workers, int(resources.get("GPU", 0)))
        return min(self._max_workers, max(1, int(resources.get("CPU", 1)) // self._spec.threads))

    def _start_workers(self) -> None:
        """Starts workers for what the cluster has gained, and for workers that were lost."""
        if time.monotonic() - self._resources_asked < RESOURCES_SECONDS:
            return
        self._resources_asked = time.monotonic()
        needs = {"num_gpus": 1, "num_cpus": 1} if self._on_gpu else {"num_cpus": self._spec.threads}
        for _ in range(self._worker_count() - len(self._labels) - len(self._starting)):
            actor = self._actor.options(**needs).remote(self._spec_reference)
            self._starting[actor.label.remote()] = actor

    def _await_workers(self, timeout: float) -> None:
        """Notes the workers that are ready. Raises `DeviceError` where one cannot start and no other could."""
        if not self._starting:
            return
        ready, _ = self._ray.wait(list(self._starting), num_returns=1, timeout=timeout)
        for reference in ready:
            actor = self._starting.pop(reference)
            try:
                self._labels[actor] = self._ray.get(reference)
            except self._ray.exceptions.RayActorError as error:
                cause = getattr(error, "cause", None)
                if cause is not None or not self._labels:
                    first = (str(error).strip().splitlines() or [""])[-1]
                    raise DeviceError(f"a worker of the Ray cluster could not start: {first}") from error


@contextlib.contextmanager
def _package_folder() -> Iterator[Path]:
    """A folder that is called as this package is imported, with all its modules.

    An installed package is one already; of a checkout, whose folders have other names, a temporary copy is made.
    """
    name = __name__.partition(".")[0]
    package = Path(__file__).resolve().parent.parent
    if package.name == name:
        yield package
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / name
        shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        yield copy


def _check_listening(address: str | None) -> None:
    """Raises `OSError` where nothing listens at HOST:PORT, as Ray would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS):
            pass


class _Actor:
    """A worker on the cluster, and the progress of its pictures."""

    def __init__(self, spec: PainterSpec) -> None:
        import ray

        self._worker = Worker(spec, torch.device("cuda" if ray.get_gpu_ids() else "cpu"), threading.Event())
        self._new: queue.SimpleQueue[tuple[Assignment, Future[Report]]] = queue.SimpleQueue()
        self._progress: dict[int, tuple[int, int, Losses]] = {}
        threading.Thread(target=self._work, daemon=True).start()

    def label(self) -> str:
        import ray

        where = self._worker.label
        for number in ray.get_gpu_ids()[:1]:
            # Its number on the machine, as each worker sees its own GPU alone, as number 0.
            where = f"cuda:{number}{where.removeprefix('cuda')}"
        return f"{ray.util.get_node_ip_address()} {where}"

    def paint(self, assignment: Assignment) -> Report:
        future: Future[Report] = Future()
        self._new.put((assignment, future))
        return future.result()

    def progress(self) -> list[tuple[int, int, Losses]]:
        """The last progress of each picture in flight, as the arguments of `OnProgress`."""
        return list(self._progress.values())

    def _work(self) -> None:
        futures: dict[int, Future[Report]] = {}

        def on_progress(ticket: int, iteration: int, losses: Losses) -> None:
            self._progress[ticket] = ticket, iteration, losses

        try:
            while True:
                while not (self._worker.load and self._new.empty()):
                    assignment, future = self._new.get()
                    futures[assignment.ticket] = future
                    self._worker.add(assignment)
                for report in self._worker.step(on_progress):
                    self._progress.pop(report.ticket, None)
                    futures.pop(report.ticket).set_result(report)
        except BaseException as error:
            for future in futures.values():
                future.set_exception(error)
            raise
