"""Measured costs of painting on a device: the time of an iteration, and the memory of a batch."""

import time
from collections.abc import Callable

import numpy as np
import torch

from ..pictures import size_of, to_tensor
from .batch import Batch
from .devices import computing
from .painter import Painter
from .stopping import StopRule
from .task import FrameTask

CostsOf = Callable[[Painter, np.ndarray, int], tuple[float, int]]
"""`batch_costs`, or a stand-in for it where there is no GPU."""


def iteration_seconds(painter: Painter, content: np.ndarray, iterations: int = 3) -> float:
    """Measured seconds of one iteration on `content` (H×W×3 uint8), after one that warms the device up."""
    with computing(painter.device, size_of(content)):
        objective = painter.objective(content)
        start = to_tensor(content, painter.device)
        painter.make_minimizer(objective, start, StopRule(1)).run()
        began = time.perf_counter()
        painter.make_minimizer(objective, start, StopRule(iterations)).run()
        return (time.perf_counter() - began) / iterations


def batch_costs(painter: Painter, content: np.ndarray, width: int, iterations: int = 4) -> tuple[float, int]:
    """(Seconds of an iteration, bytes of GPU memory in use) with `width` pictures like `content` in a batch.

    Both are measured. The bytes include everything else on the GPU, and what the L-BFGS pairs of later iterations
    will add. Raises `OutOfMemoryError`.
    """
    batch = Batch(painter, size_of(content), width)
    torch.cuda.reset_peak_memory_stats(painter.device)
    for ticket in range(width):
        batch.add(ticket, FrameTask(ticket, content, "content", StopRule(iterations + 2)))
    batch.step()
    torch.cuda.synchronize(painter.device)
    began, done = time.perf_counter(), 0
    # Under some settings a picture of one colour converges at once.
    while done < iterations and batch.free_slots < width:
        batch.step()
        done += 1
    torch.cuda.synchronize(painter.device)
    seconds = (time.perf_counter() - began) / max(1, done)
    pair, optimizer = 2 * 4 * content.size, painter.settings.optimizer
    later = max(0, optimizer.history - iterations) * pair if optimizer.method == "lbfgs" else 0
    return seconds, torch.cuda.max_memory_allocated(painter.device) + width * later
