"""A thread that saves paintings while the next ones are painted."""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Self

from .in_flight import Painted

Notify = Callable[[str], None]
"""Takes a line for the user."""


@dataclass(frozen=True)
class SaveResult:
    """What came of saving a painting; `error` is None where it is saved."""

    painted: Painted
    error: Exception | None


class Saver:
    """Saves one painting after the other in a thread of its own. A context manager: leaving it drops what waits.

    `save` does the work and returns the painting as saved. The lines that it hands to its second argument come out of
    `results` among the paintings, in order.
    """

    def __init__(self, save: Callable[[Painted, Notify], Painted]) -> None:
        self._save = save
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._pending: list[Future[None]] = []
        self._results: queue.SimpleQueue[SaveResult | str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    @property
    def is_busy(self) -> bool:
        """Whether `results` has, or will have, anything to give."""
        self._pending = [future for future in self._pending if not future.done()]
        return bool(self._pending) or not self._results.empty()

    def submit(self, painted: Painted) -> None:
        """Queues a painting."""
        self._pending.append(self._thread.submit(self._run, painted))

    def drain(self) -> None:
        """Waits until everything queued is saved."""
        wait(self._pending)

    def results(self) -> Iterator[SaveResult | str]:
        """What was saved or failed since the last call, and the lines that the thread has for the user."""
        while not self._results.empty():
            yield self._results.get()

    def _run(self, painted: Painted) -> None:
        # Every exception is handed over: the loop knows which concern the frame alone, and raises the others.
        try:
            self._results.put(SaveResult(self._save(painted, self._results.put), None))
        except Exception as error:
            self._results.put(SaveResult(painted, error))
