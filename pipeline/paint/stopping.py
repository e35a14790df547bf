"""TODO: paint.stopping."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..events import Losses


class StopReason(enum.StrEnum):
    """Why the optimisation of a picture ended."""

    ITERATIONS = "iterations"
    """All the iterations that it was given."""
    TARGET = "target"
    """The objective is as low as it was asked to be."""
    TOLERANCE = "tolerance"
    """The objective fell by less than the tolerance over an interval."""
    CONVERGED = "converged"
    """No step lowers the objective any more, after a run of steps that did."""
    STALLED = "stalled"
    """No step lowered the objective from the start on: the picture is not finished."""
    NONFINITE = "nonfinite"
    """The objective at the start, or Adam's after a step, is infinite or not a number."""


@dataclass(frozen=True)
class StopRule:
    """At most `iterations`; earlier when the relative change over `interval` of them is under `tolerance`, or,
    with a `target`, when the objective (without the temporal term) is no higher, but not before `floor` of them."""

    iterations: int
    tolerance: float = 0.0
    interval: int = 50
    target: float | None = None
    floor: int = 1


@dataclass(frozen=True)
class Outcome:
    """One picture's way through the optimisation.

    `image` is 3×H×W in [0, 1]. `trace[k]` holds the losses after iteration k + 1 (for L-BFGS of the best
    picture so far, for Adam of the one just evaluated).
    """

    image: torch.Tensor
    stop: StopReason
    trace: tuple[Losses, ...]

    @property
    def iterations(self) -> int:
        return len(self.trace)


def natural_stop(trace: Sequence[Losses], rule: StopRule) -> StopReason | None:
    """Whether the rule ends a picture here."""
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
