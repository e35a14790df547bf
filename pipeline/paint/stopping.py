"""When the optimisation of a picture ends, why, and with what result."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..events import Losses


class StopReason(enum.StrEnum):
    """Why the optimisation of a picture ended."""

    ITERATIONS = "iterations"
    """The limit of iterations was reached."""
    TARGET = "target"
    """The objective reached the target."""
    TOLERANCE = "tolerance"
    """The objective fell by less than the tolerance over an interval."""
    CONVERGED = "converged"
    """After a run of steps that lowered the objective, no step lowers it any more."""
    STALLED = "stalled"
    """No step from the start lowered the objective: the picture is not finished."""
    NONFINITE = "nonfinite"
    """The objective or its gradient is infinite or NaN: at the start, or after a step of Adam."""


@dataclass(frozen=True)
class StopRule:
    """When to stop: after at most `iterations`, or earlier by the tolerance or the target."""

    iterations: int
    tolerance: float = 0.0
    """Stop when the total loss falls by less than this share of itself over `interval` iterations; 0 never stops."""
    interval: int = 50
    """Iterations between two checks of the tolerance. The first check is after two intervals."""
    target: float | None = None
    """Stop when the objective (without the temporal loss) is at most this; None for no target."""
    floor: int = 1
    """The target does not stop the picture before this many iterations."""


@dataclass(frozen=True)
class Outcome:
    """Result of optimising one picture.

    `image` is 3×H×W in [0, 1]. `trace[k]` holds the losses after iteration k + 1: for L-BFGS those of the best
    picture so far, for Adam those of the picture that was just evaluated.
    """

    image: torch.Tensor
    stop: StopReason
    trace: tuple[Losses, ...]

    @property
    def iterations(self) -> int:
        return len(self.trace)


def stop_reason(trace: Sequence[Losses], rule: StopRule) -> StopReason | None:
    """Why the rule stops a picture with this trace now; None where it continues."""
    done = len(trace)
    if done >= rule.iterations:
        return StopReason.ITERATIONS
    if rule.target is not None and done >= rule.floor and trace[-1].objective <= rule.target:
        return StopReason.TARGET
    if rule.tolerance > 0 and done % rule.interval == 0 and done > rule.interval:
        before, now = trace[-1 - rule.interval].total, trace[-1].total
        if before - now < rule.tolerance * abs(before):
            return StopReason.TOLERANCE
    return None
