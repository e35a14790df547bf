"""Threads that save paintings while the next ones are painted."""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Self

from .in_flight import Painted

Notify = Callable[[str], None]
"""Takes a line for the user."""

QUEUE_BYTES = 256 << 20
"""Bytes of the paintings that may wait to be saved, with their contents."""


@dataclass(frozen=True)
class SaveResult:
    """What came of saving a painting; `error` is None where it is saved."""

    painted: Painted
    error: Exception | None


class Saver:
    """Saves paintings in threads of its own, so that a later one may be saved first. A context manager: leaving it
    drops what waits.

    `save` does the work, in several threads at once, and returns the painting as saved. The lines that it hands to its
    second argument come out of `results` among the paintings, before its own.
    """

    def __init__(
        self, save: Callable[[Painted, Notify], Painted], threads: int = 1, queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self._save = save
        self._queue_bytes = queue_bytes
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="saver")
        self._pending: dict[Future[None], int] = {}
        """Bytes of the pictures of each that is not saved yet."""
        self._results: queue.SimpleQueue[SaveResult | str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    @property
    def is_busy(self) -> bool:
        """Whether `results` has, or will have, anything to give."""
        self._drop_done()
        return bool(self._pending) or not self._results.empty()

    def submit(self, painted: Painted) -> None:
        """Queues a painting, once there is room for it: one that is larger than all room waits until it is alone."""
        size = painted.picture_bytes
        self._drop_done()
        while self._pending and sum(self._pending.values()) + size > self._queue_bytes:
            wait(self._pending, return_when=FIRST_COMPLETED)
            self._drop_done()
        self._pending[self._threads.submit(self._run, painted)] = size

    def drain(self) -> None:
        """Waits until everything queued is saved."""
        wait(self._pending)

    def results(self) -> Iterator[SaveResult | str]:
        """What was saved or failed since the last call, and the lines that the threads have for the user."""
        while not self._results.empty():
            yield self._results.get()

    def _drop_done(self) -> None:
        self._pending = {future: size for future, size in self._pending.items() if not future.done()}

    def _run(self, painted: Painted) -> None:
        # Every exception is handed over: the loop knows which concern the frame alone, and raises the others.
        try:
            self._results.put(SaveResult(self._save(painted, self._results.put), None))
        except Exception as error:
            self._results.put(SaveResult(painted, error))
