"""Numbers that come back from a device some iterations later, so that the host does not wait for each of them."""

from collections import deque

import torch

LAG = 4
"""Iterations that a GPU may be behind the host: enough that it never waits, few enough that little is done in vain."""


class Readback:
    """A queue of small tensors on their way from a device to the host. On a CPU they are there at once."""

    def __init__(self, device: torch.device) -> None:
        self._lag = LAG if device.type == "cuda" else 0
        self._under_way: deque[tuple[torch.Tensor, torch.cuda.Event | None]] = deque()

    def push(self, values: torch.Tensor) -> list[torch.Tensor]:
        """Sends a tensor; returns those that have arrived, on the CPU, in the order in which they were sent."""
        event = None
        if values.device.type == "cuda":
            there = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = there.copy_(values, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(torch.cuda.current_stream(values.device))
        self._under_way.append((values, event))
        return self._take(self._lag)

    def flush(self) -> list[torch.Tensor]:
        """Waits for all that are under way, and returns them."""
        return self._take(0)

    def _take(self, rest: int) -> list[torch.Tensor]:
        taken = []
        while len(self._under_way) > rest:
            values, event = self._under_way.popleft()
            if event is not None:
                event.synchronize()
            taken.append(values)
        return taken
