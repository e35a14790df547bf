"""The launching of iterations on a GPU, without one: what of `torch.cuda` it asks is played."""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from impasto.paint import launcher
from impasto.paint.launcher import WARM_UPS, Launcher

GPU = torch.device("cuda", 1)


class Cuda:
    """Notes captures, replays, pools and the device and stream that are current; `error` is raised by a capture."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.captured: list[tuple[Any, Any, Any]] = []
        self.replays = 0
        self.pools = 0
        self.device: Any = torch.device("cuda", 0)
        self.stream: Any = "main"

    def graph(self) -> Any:
        cuda = self

        class Graph:
            def capture_begin(self, pool: Any, capture_error_mode: str) -> None:
                assert capture_error_mode == "thread_local"
                cuda.captured.append((pool, cuda.device, cuda.stream))

            def capture_end(self) -> None:
                if cuda.error is not None:
                    raise cuda.error

            def replay(self) -> None:
                cuda.replays += 1

        return Graph()

    def handle(self) -> int:
        self.pools += 1
        return self.pools

    @contextlib.contextmanager
    def current(self, name: str, value: Any) -> Iterator[None]:
        before = getattr(self, name)
        setattr(self, name, value)
        try:
            yield
        finally:
            setattr(self, name, before)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    played = Cuda()
    monkeypatch.setattr(launcher, "_broken", {})
    for name, value in {
        "CUDAGraph": played.graph,
        "graph_pool_handle": played.handle,
        "synchronize": lambda device: None,
        "empty_cache": lambda: None,
        "Stream": lambda device: f"side of {device}",
        "device": lambda device: played.current("device", device),
        "stream": lambda stream: played.current("stream", stream),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return played


def run(launched: Launcher, times: int) -> int:
    """Runs an iteration so often; returns how often it was called."""
    calls = [0]

    def iterate() -> None:
        calls[0] += 1

    for _ in range(times):
        launched.prepare(iterate)
        launched.run(iterate)
    return calls[0]


def test_an_iteration_is_captured_on_its_own_device(cuda: Cuda) -> None:
    launched = Launcher(GPU)
    assert run(launched, WARM_UPS + 5) == WARM_UPS + 1, "the last one was captured"
    assert cuda.replays == 5 and cuda.captured == [(1, GPU, f"side of {GPU}")]
    launched.reset()
    assert run(launched, WARM_UPS) == WARM_UPS


def test_graphs_share_their_memory_as_long_as_there_is_one(cuda: Cuda) -> None:
    first, second = Launcher(GPU), Launcher(GPU)
    run(first, WARM_UPS + 1)
    run(second, WARM_UPS + 1)
    assert [pool for pool, *_ in cuda.captured] == [1, 1]
    del first, second
    gc.collect()
    run(Launcher(GPU), WARM_UPS + 1)
    assert cuda.captured[-1][0] == 2, "a handle whose graphs are gone is not used again"


def test_a_failed_capture_leaves_everything_as_it_was(cuda: Cuda) -> None:
    """And is not tried again, unless it was for memory."""
    cuda.error = RuntimeError("operation not permitted when stream is capturing\nmore")
    launched, other = Launcher(GPU), Launcher(GPU)
    assert run(launched, WARM_UPS + 5) == WARM_UPS + 6 and cuda.replays == 0
    assert launched.failure is not None and "not permitted" in launched.failure and "\n" not in launched.failure
    assert (cuda.device, cuda.stream) == (torch.device("cuda", 0), "main")
    run(other, WARM_UPS + 5)
    assert len(cuda.captured) == 1 and other.failure == launched.failure
    launcher._broken.clear()
    cuda.error = torch.OutOfMemoryError("CUDA out of memory")
    short, later = Launcher(GPU), Launcher(GPU)
    run(short, WARM_UPS + 5)
    assert short.failure is not None and cuda.replays == 0
    cuda.error = None
    run(later, WARM_UPS + 5)
    assert later.failure is None and cuda.replays == 5


def test_a_cpu_runs_it_as_it_is(cuda: Cuda) -> None:
    assert run(Launcher(torch.device("cpu")), 9) == 9 and not cuda.captured
