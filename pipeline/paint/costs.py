"""Measured costs of painting on a device."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ..pictures import size_of, to_tensor
from .devices import computing
from .launcher import WARM_UPS
from .objective import Objective
from .painter import Painter
from .stopping import FINISH_SHARE, StopRule


def iteration_seconds(painter: Painter, content: np.ndarray, iterations: int = 3) -> float:
    """Measured seconds of one iteration on `content` (H×W×3 uint8), in the mean of a whole painting."""
    with computing(painter.device, size_of(content)):
        objectives, start = painter.objectives(painter.objective(content)), to_tensor(content, painter.device)
    with computing(painter.device, size_of(content), painter.precision):
        seconds = [stage_seconds(painter, (objective,), start, iterations) for objective in objectives]
    return seconds[0] + (seconds[-1] - seconds[0]) / FINISH_SHARE


def stage_seconds(painter: Painter, objectives: Sequence[Objective], start: torch.Tensor, iterations: int) -> float:
    """Measured seconds of one iteration, after those that warm the device up."""
    warm_ups = WARM_UPS + 1 if painter.device.type == "cuda" else 1
    minimizer = painter.make_minimizer(objectives, start, StopRule(warm_ups + iterations))
    return step_seconds(minimizer.step, painter.device, warm_ups, iterations)


def step_seconds(step: Callable[[], object], device: torch.device, warm_ups: int, count: int) -> float:
    """Measured seconds of a step on a device, after some that warm it up."""
    for _ in range(warm_ups):
        step()
    wait_for(device)
    began = time.perf_counter()
    for _ in range(count):
        step()
    wait_for(device)
    return (time.perf_counter() - began) / count


def wait_for(device: torch.device) -> None:
    """Waits until a device has done everything that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
