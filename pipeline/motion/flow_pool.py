"""Processes that estimate flow ahead of the frames that need it."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeAlias
from weakref import WeakValueDictionary

import numpy as np

from ..child_processes import Child
from ..errors import FrameError
from ..pictures import Size
from .dis import estimators

BothWays: TypeAlias = tuple[np.ndarray, np.ndarray]
"""Flow first → second and second → first of a pair, the smaller index first."""

TRIES = 3
"""Processes that may end while they estimate a pair until it fails: where memory is short, the system kills several."""

AHEAD_PER_PROCESS = 2
"""Pairs that are begun ahead for each process: one that it works on, and one that waits for it."""

AHEAD_BYTES = 1 << 30
"""The most memory that pairs begun ahead take, with their frames."""


class FlowPool:
    """A `FlowEstimator` that estimates pairs by `DisFlow` in child processes. A context manager: leaving it ends them.

    Each process, started when it is first needed, works on one pair at a time and keeps OpenCV to one thread: the bits
    are those of `DisFlow` in this process. A process that ends is replaced, and its pair estimated again. Where none
    can be started, pairs are estimated in this process. `urgent_processes` are beyond the others, for flow that a frame
    waits for.
    """

    def __init__(self, processes: int, urgent_processes: int = 1) -> None:
        self._processes = processes
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="flow")
        self._urgent_threads = ThreadPoolExecutor(urgent_processes, thread_name_prefix="flow")
        self._children: set[Child] = set()
        self._idle: deque[Child] = deque()
        self._lock = threading.Lock()
        self._is_closed = False
        self._sharing = threading.Lock()
        self._pair_locks: WeakValueDictionary[Path, threading.Lock] = WeakValueDictionary()
        self._shared: WeakValueDictionary[Path, Future[BothWays]] = WeakValueDictionary()
        self.readers = 0
        """How many readers share the processes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._is_closed = True
            for child in self._children:
                child.kill()
        for threads in (self._threads, self._urgent_threads):
            threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.close()

    def pairs_ahead(self, size: Size) -> int:
        """How many pairs of a painting's `size` each reader may begin before they are needed."""
        # Both flows, and the frame at the painting's size and at the working size.
        pair_bytes = size[0] * size[1] * (2 * 2 * 4 + 2 * 3)
        most = min(AHEAD_PER_PROCESS * self._processes, AHEAD_BYTES // pair_bytes)
        return max(1, most // max(1, self.readers))

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> BothWays:
        """Flow a → b and flow b → a (see `FlowEstimator`)."""
        return self.submit(a, b, size).result()

    def submit(self, a: np.ndarray, b: np.ndarray, size: Size) -> Future[BothWays]:
        """Begins to estimate a pair, after those that were submitted before."""
        return self._threads.submit(self._estimate, "pair", a, b, size)

    def submit_plain(self, a: np.ndarray, b: np.ndarray) -> Future[np.ndarray]:
        """Begins `plain_dis`, at once: the frame that is needed next waits for it."""
        return self._urgent_threads.submit(self._estimate, "plain", a, b)

    def submit_once(
        self, path: Path, load: Callable[[], BothWays | None], a: np.ndarray, b: np.ndarray, size: Size
    ) -> Future[BothWays]:
        """`submit` for a pair that is to be stored at `path`: readers that come upon it at the same time share it.

        `load` gives the pair where another reader has stored it in the meantime, else None. A pair is to be stored
        before its future is dropped.
        """
        with self._sharing:
            pair_lock = self._pair_locks.setdefault(path, threading.Lock())
        with pair_lock:  # Readers of other pairs do not wait while this one is loaded.
            with self._sharing:
                future = self._shared.get(path)
            if future is None:
                loaded = load()
                future = self.submit(a, b, size) if loaded is None else _done(loaded)
                with self._sharing:
                    self._shared[path] = future
            return future

    def _estimate(self, name: str, *arguments: Any) -> Any:
        """What a process answers; in a thread of its own for each process."""
        reason = ""
        for _ in range(TRIES):
            try:
                child = self._idle_child()
            except OSError:
                return estimators()[name](*arguments)
            try:
                child.send((name, *arguments))
                answer = child.receive()
            except EOFError:
                reason = self._remove(child)
                continue
            self._idle.append(child)
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise FrameError(f"{TRIES} processes ended while they estimated the flow of a frame (the last: {reason})")

    def _idle_child(self) -> Child:
        """Raises `OSError` where no process can be started."""
        with contextlib.suppress(IndexError):
            while True:
                child = self._idle.pop()
                if child.is_alive():
                    return child
                # Killed while it had nothing to do, which is no pair's fault.
                self._remove(child)
        with self._lock:
            if self._is_closed:
                raise CancelledError
            child = Child("motion.flow_process", "serve")
            self._children.add(child)
            return child

    def _remove(self, child: Child) -> str:
        with self._lock:
            if self._is_closed:
                raise CancelledError
            self._children.discard(child)
        return child.exit_reason()


def _done(flows: BothWays) -> Future[BothWays]:
    future: Future[BothWays] = Future()
    future.set_result(flows)
    return future
