"""Launches an iteration: as it is, or on a GPU as one CUDA graph once it has run a few times.

An iteration has over a thousand small kernels. Launched one by one they take longer than the GPU needs for them.
"""

import weakref
from collections.abc import Callable
from typing import Any

import torch

from ..out_of_memory import is_out_of_memory

WARM_UPS = 2
"""Iterations before one is captured: they make what libraries make once, handles, workspaces and plans."""


class Launcher:
    """Runs an iteration, a function that changes tensors in place and has no other result.

    What it reads and writes has to stay where it is; `reset` says that it has moved. Where capturing fails, it is
    launched as it is; `failure` then says why.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._runs = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._pool: _Pool | None = None
        self.failure: str | None = None

    def reset(self) -> None:
        """Forgets what was captured."""
        self._runs, self._graph, self._pool = 0, None, None

    def prepare(self, iterate: Callable[[], None]) -> None:
        """Captures the iteration if it is time for that, which changes nothing; it has to be the same each time."""
        if self._device.type != "cuda" or self._graph is not None or self._runs < WARM_UPS or self.failure is not None:
            return
        self.failure = _broken.get(self._device)
        if self.failure is not None:
            return
        try:
            self._capture(iterate)
        except RuntimeError as error:
            self.failure = f"an iteration cannot be captured as a CUDA graph: {str(error).splitlines()[0]}"
            if not is_out_of_memory(error):
                # A capture that was broken off may leave libraries in a state in which no other one succeeds.
                _broken[self._device] = self.failure

    def run(self, iterate: Callable[[], None]) -> None:
        """Runs the iteration."""
        if self._graph is not None:
            self._graph.replay()
        else:
            iterate()
            self._runs += 1

    def _capture(self, iterate: Callable[[], None]) -> None:
        graph, pool = torch.cuda.CUDAGraph(), _pool_of(self._device)
        torch.cuda.synchronize(self._device)
        # What the iterations so far have left in the cache would be in use twice.
        torch.cuda.empty_cache()
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        # The contexts outside of the capture restore device and stream whatever becomes of it.
        with torch.cuda.device(self._device), torch.cuda.stream(side):
            # Other threads may use the GPU meanwhile, for optical flow.
            graph.capture_begin(pool.handle, capture_error_mode="thread_local")
            try:
                iterate()
            finally:
                graph.capture_end()
        self._graph, self._pool = graph, pool


class _Pool:
    """The memory that the graphs of a GPU share: no two run at the same time, and none leaves anything there.

    It lives as long as a launcher that has a graph: a handle whose graphs are all gone cannot be used again.
    """

    def __init__(self) -> None:
        self.handle: Any = torch.cuda.graph_pool_handle()


_pools: weakref.WeakValueDictionary[torch.device, _Pool] = weakref.WeakValueDictionary()
_broken: dict[torch.device, str] = {}
"""Why nothing is captured on a device any more."""


def _pool_of(device: torch.device) -> _Pool:
    pool = _pools.get(device)
    if pool is None:
        pool = _pools[device] = _Pool()
    return pool
