"""Process-wide settings of torch: changed here alone, for the time they are needed, and restored afterwards."""

import contextlib
import threading
from collections.abc import Iterator

import torch


class _Flags:
    """Flags of cuDNN and cuBLAS, shared by all threads: the first user sets them, the last one restores them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before = (False, False, False, False)

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                self._before = self._get()
                self._set((True, False, False, False))
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._set(self._before)

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
def reproducible(device: torch.device) -> Iterator[None]:
    """Makes cuDNN and cuBLAS compute the same bits in every run and process, in full single precision.

    cuDNN then chooses deterministic kernels, and not by timing them. TF32 would round inputs to 10 bits of mantissa.
    On a CPU there is nothing to set.
    """
    if device.type != "cuda":
        yield
        return
    _flags.enter()
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
