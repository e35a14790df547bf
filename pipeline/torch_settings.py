"""Process-wide settings of torch: changed here alone, for the time they are needed, and restored afterwards."""

import collections
import contextlib
import threading
from collections.abc import Iterator

import torch


class _Flags:
    """Flags of cuDNN and cuBLAS, shared by all threads: the first user sets them, the last one restores them.

    Threads that want TF32 and threads that do not take turns.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: collections.deque[object] = collections.deque()
        """Who waits to enter, in the order in which they came: neither kind can keep the other out for long."""
        self._users: collections.Counter[int] = collections.Counter()
        """How often each thread has entered and not left."""
        self._has_tf32 = False
        self._before = (False, False, False, False)

    def enter(self, *, tf32: bool) -> None:
        thread = threading.get_ident()
        with self._changed:
            if self._users[thread]:
                if tf32 != self._has_tf32:
                    raise ValueError("a thread that computes in one precision cannot begin another within it")
            else:
                self._wait_for_turn(tf32)
            if not self._users.total():
                self._before, self._has_tf32 = self._get(), tf32
                # Products stay exact: the optimizer's are among them.
                self._set((True, False, tf32, False))
            self._users[thread] += 1

    def _wait_for_turn(self, tf32: bool) -> None:
        turn = object()
        self._queue.append(turn)
        try:
            self._changed.wait_for(
                lambda: self._queue[0] is turn and (tf32 == self._has_tf32 or not self._users.total())
            )
        finally:
            self._queue.remove(turn)
            self._changed.notify_all()

    def leave(self) -> None:
        with self._changed:
            self._users[threading.get_ident()] -= 1
            if not self._users.total():
                self._users.clear()
                self._set(self._before)
                self._changed.notify_all()

    @staticmethod
    def _get() -> tuple[bool, bool, bool, bool]:
        cudnn = torch.backends.cudnn
        return cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32

    @staticmethod
    def _set(values: tuple[bool, bool, bool, bool]) -> None:
        cudnn = torch.backends.cudnn
        cudnn.deterministic, cudnn.benchmark, cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = values


_flags = _Flags()


@contextlib.contextmanager
def reproducible(device: torch.device, *, tf32: bool = False) -> Iterator[None]:
    """Makes cuDNN and cuBLAS compute the same bits in every run and process, in full single precision.

    cuDNN then chooses deterministic kernels, and not by timing them. With `tf32` convolutions round their inputs to 10
    bits of mantissa, which matrix units multiply. On a CPU there is nothing to set.
    """
    if device.type != "cuda":
        yield
        return
    _flags.enter(tf32=tf32)
    try:
        yield
    finally:
        _flags.leave()


@contextlib.contextmanager
def thread_limit(count: int, device: torch.device) -> Iterator[None]:
    """Makes torch split the calling thread's operations on a CPU over `count` threads.

    The last bits of sums depend on it. On a GPU they do not, and nothing is set.
    """
    before = torch.get_num_threads()
    if device.type != "cpu" or count == before:
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
