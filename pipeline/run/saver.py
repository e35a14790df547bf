"""TODO: run.saver."""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Self

import numpy as np

from ..events import Losses
from ..job.records import FrameRecord
from ..motion.reader import MotionFrame, MotionReader
from ..paint.task import PaintedFrame
from .executor import Assignment


@dataclass
class ReaderSlot:
    """One worker's turn: what it reads frames with, and the chain that it is with."""

    motion: MotionReader
    chain: int | None = None


@dataclass(frozen=True)
class FrameInFlight:
    """A frame that a worker has; its lane is taken, but where it is only measured. `reference`: the objective that its
    target follows from. `device`: what the worker paints on."""

    frame: FrameRecord
    lane: ReaderSlot | None
    seen: MotionFrame
    assignment: Assignment
    reference: float | None
    sources: tuple[int, ...]
    device: str = ""
    tries: int = 1
    reason: str | None = None
    """Why it is tried again."""


@dataclass(frozen=True)
class Painted:
    """A frame that was painted; `losses` are those of the picture as it is, `file_losses` of the file, once known."""

    under_way: FrameInFlight
    result: PaintedFrame
    seconds: float
    saved: np.ndarray | None = None
    file_losses: Losses | None = None


def retry_reason(painted: Painted) -> str | None:
    return painted.result.retried or painted.under_way.reason


class Saver:
    """A thread that saves one painting after the other, and what came of each."""

    def __init__(self, save: Callable[[Painted], Painted]) -> None:
        self._save = save
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._pending: list[Future[None]] = []
        self._results: queue.SimpleQueue[tuple[Painted | str, Exception | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    @property
    def is_busy(self) -> bool:
        """Whether there is anything that `results` has not given yet, or will give."""
        self._pending = [future for future in self._pending if not future.done()]
        return bool(self._pending) or not self._results.empty()

    def submit(self, painted: Painted) -> None:
        self._pending.append(self._thread.submit(self._run, painted))

    def drain(self) -> None:
        """Waits until all is saved."""
        wait(self._pending)

    def results(self) -> Iterator[tuple[Painted | str, Exception | None]]:
        """(What was saved, None), (what was not, why), and (a line for the user, None)."""
        while not self._results.empty():
            yield self._results.get()

    def say(self, text: str) -> None:
        """For the thread itself: a line that the user should read."""
        self._results.put((text, None))

    def _run(self, painted: Painted) -> None:
        try:
            self._results.put((self._save(painted), None))
        except Exception as error:
            self._results.put((painted, error))
