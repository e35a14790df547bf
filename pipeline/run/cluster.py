"""Frame tasks on the machines of a Ray cluster.

An actor for each GPU of the cluster, or on machines without any for each share of the cores, holds encoder and style;
frames travel through Ray's object store, and the job's folder is on the machine that schedules alone. A worker or
machine that is lost costs the frames under way, which are painted again elsewhere; one that joins is used.
"""

import contextlib
import queue
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import torch

from ..errors import DeviceError, UsageError, WorkerLostError
from ..events import Losses
from .executor import Assignment, OnProgress, PainterSpec, Report
from .workbench import Worker

LOOK_SECONDS = 2.0
"""How often the cluster is asked what it has."""

PROGRESS_SECONDS = 0.5
START_SECONDS = 600.0
CONNECT_SECONDS = 10.0


class RayExecutor:
    """Paints on a Ray cluster: that at `address` (`auto`: the one that this machine belongs to), or None for one that
    is made of this machine and ends with the job. At most `most` workers, which is no more than can be busy.

    `on_gpu` says whether workers take a GPU each, None: where the cluster has any.
    """

    def __init__(self, spec: PainterSpec, address: str | None, most: int, on_gpu: bool | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise UsageError('`executor=ray` needs Ray: pip install "impasto[ray]"') from error
        self._ray = ray
        self._spec = spec
        self.widths = spec.widths
        self._address = address
        self._most = most
        self._on_gpu = on_gpu
        self._owns_cluster = False
        self._starting: dict[Any, Any] = {}
        """Actors that load their encoder, by the reference of their label."""
        self._labels: dict[Any, str] = {}
        """Actors that are ready, and where they are."""
        self._under_way: dict[Any, tuple[Any, int]] = {}
        """Actor and ticket of each assignment, by the reference of its report."""
        self._lost: dict[Any, str] = {}
        self._looked = self._heard = float("-inf")
        self.overlaps = True

    def __enter__(self) -> Self:
        ray = self._ray
        if not ray.is_initialized():
            options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
            if self._address is None:
                options["include_dashboard"] = False
            else:
                # The machines need what impasto needs, but not impasto: whatever they have, this version paints.
                options["runtime_env"] = {"py_modules": [str(Path(__file__).resolve().parent)]}
            before = signal.getsignal(signal.SIGTERM)
            try:
                _require_answer(self._address)
                ray.init(address=self._address, **options)
            except (OSError, ValueError, RuntimeError) as error:
                first = (str(error).splitlines() or [type(error).__name__])[0]
                raise DeviceError(
                    f"no Ray cluster at {self._address or 'this machine'} ({first}): "
                    "start one with `ray start --head`, or leave `address` out"
                ) from error
            finally:
                # Ray would end this process where it is to finish the frames under way.
                with contextlib.suppress(ValueError):  # not the main thread, in which Ray leaves it alone
                    signal.signal(signal.SIGTERM, before)
            self._owns_cluster = True
        # A thread waits for each picture, and one tells how far.
        self._actor = ray.remote(max_concurrency=self._spec.places + 1, max_restarts=0)(_Painter)
        self._spec_reference = ray.put(self._spec)
        if self._on_gpu is None:
            self._on_gpu = ray.cluster_resources().get("GPU", 0) >= 1
        self._look()
        deadline = time.monotonic() + START_SECONDS
        while not self._labels:
            self._settle(1.0)
            self._look()
            if not self._labels and time.monotonic() > deadline:
                raise DeviceError(f"no worker of the Ray cluster could start within {START_SECONDS:g} s")
        return self

    def __exit__(self, *_: object) -> None:
        for actor in (*self._labels, *self._starting.values()):
            self._ray.kill(actor)
        self._labels.clear()
        self._starting.clear()
        if self._owns_cluster:
            self._ray.shutdown()

    @property
    def slots(self) -> int:
        return self._workers() * self._spec.places

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(self._labels.values())

    @property
    def free(self) -> int:
        self._settle(0)
        self._look()
        busy = self._busy()
        return sum(self._spec.places - busy[actor] for actor in self._labels)

    def submit(self, assignment: Assignment) -> str:
        busy = self._busy()
        actor = min(self._labels, key=lambda actor: busy[actor])
        # A checkpoint would be written on another machine, where nobody looks for it.
        task = Assignment(assignment.ticket, assignment.task)
        self._under_way[actor.paint.remote(task)] = actor, assignment.ticket
        return self._labels[actor]

    def wait(self, on_progress: OnProgress, timeout: float | None = None) -> Report | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        while self._under_way:
            left = PROGRESS_SECONDS if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _ = self._ray.wait(list(self._under_way), timeout=min(left, PROGRESS_SECONDS))
            if ready:
                return self._taken(ready[0])
            self._hear(on_progress)
            if deadline is not None and time.monotonic() >= deadline:
                return None
        return None

    def put_away(self) -> None:
        """Frames that a cluster paints are not put away but painted again: they are as far away as their machines."""

    def _busy(self) -> Counter[Any]:
        """How many assignments each worker has."""
        return Counter(actor for actor, _ in self._under_way.values())

    def _taken(self, reference: Any) -> Report:
        actor, ticket = self._under_way.pop(reference)
        try:
            report: Report = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            # It is told of each picture that the worker had.
            where = self._labels.pop(actor, None) or self._lost[actor]
            self._lost[actor] = where
            if isinstance(error, self._ray.exceptions.RayTaskError):
                raise error.cause from error
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            lost = WorkerLostError(f"the worker that painted it on {where} was lost ({reason})")
            return Report(ticket, lost, 0.0, where)
        return report

    def _hear(self, on_progress: OnProgress) -> None:
        """Asks the workers how far they are."""
        if time.monotonic() - self._heard < PROGRESS_SECONDS or not self._under_way:
            return
        self._heard = time.monotonic()
        asked = [actor.progress.remote() for actor in self._busy()]
        tickets = {ticket for _, ticket in self._under_way.values()}
        answered, _ = self._ray.wait(asked, num_returns=len(asked), timeout=PROGRESS_SECONDS)
        for reference in answered:
            try:
                said: list[tuple[int, int, Losses]] = self._ray.get(reference)
            except self._ray.exceptions.RayError:
                continue  # `wait` finds that it is lost.
            for ticket, iteration, losses in said:
                if ticket in tickets:
                    on_progress(ticket, iteration, losses)

    def _workers(self) -> int:
        """How many workers the cluster has room for, and the job needs."""
        resources = self._ray.cluster_resources()
        if self._on_gpu:
            return min(self._most, int(resources.get("GPU", 0)))
        return min(self._most, max(1, int(resources.get("CPU", 1)) // self._spec.threads))

    def _look(self) -> None:
        """Starts workers where the cluster has grown, or lost some."""
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        needs = {"num_gpus": 1, "num_cpus": 1} if self._on_gpu else {"num_cpus": self._spec.threads}
        for _ in range(self._workers() - len(self._labels) - len(self._starting)):
            actor = self._actor.options(**needs).remote(self._spec_reference)
            self._starting[actor.label.remote()] = actor

    def _settle(self, timeout: float) -> None:
        """Takes in the workers that are ready; those that could not start are given up."""
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


def _require_answer(address: str | None) -> None:
    """Raises `OSError` where nobody listens at HOST:PORT: Ray would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        with socket.create_connection((host, int(port)), CONNECT_SECONDS):
            pass


class _Painter:
    """What runs on the cluster: a workbench, and how far it is."""

    def __init__(self, spec: PainterSpec) -> None:
        import ray

        self._bench = Worker(spec, torch.device("cuda" if ray.get_gpu_ids() else "cpu"), threading.Event())
        self._new: queue.SimpleQueue[tuple[Assignment, Future[Report]]] = queue.SimpleQueue()
        self._said: dict[int, tuple[int, int, Losses]] = {}
        threading.Thread(target=self._work, daemon=True).start()

    def label(self) -> str:
        import ray

        where = self._bench.label
        for number in ray.get_gpu_ids()[:1]:
            # By its number on the machine: each worker sees its own GPU alone.
            where = f"cuda:{number}{where.removeprefix('cuda')}"
        return f"{ray.util.get_node_ip_address()} {where}"

    def paint(self, assignment: Assignment) -> Report:
        future: Future[Report] = Future()
        self._new.put((assignment, future))
        return future.result()

    def progress(self) -> list[tuple[int, int, Losses]]:
        """What is to be told of each picture under way; see `OnProgress`."""
        return list(self._said.values())

    def _work(self) -> None:
        futures: dict[int, Future[Report]] = {}

        def on_progress(ticket: int, iteration: int, losses: Losses) -> None:
            self._said[ticket] = ticket, iteration, losses

        try:
            while True:
                while not (self._bench.load and self._new.empty()):
                    assignment, future = self._new.get()
                    futures[assignment.ticket] = future
                    self._bench.add(assignment)
                for report in self._bench.step(on_progress):
                    self._said.pop(report.ticket, None)
                    futures.pop(report.ticket).set_result(report)
        except BaseException as error:
            for future in futures.values():
                future.set_exception(error)
            raise
