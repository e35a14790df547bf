"""When the optimisation of a picture ends, why, and with what result."""

import enum
import math
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
    is_last: bool = True
    """Whether the picture is finished then; one that goes on at a larger size needs no exact finish."""


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


REASONS = tuple(StopReason)
"""Where reasons are numbers, in tensors, they are the indices here plus 1; 0 is none."""


def code_of(reason: StopReason) -> int:
    """The number of a reason."""
    return REASONS.index(reason) + 1


FINISH_SHARE = 30
"""One in so many iterations of a picture is computed by the exact objective, where there is a faster one.

Objective of the saved picture after 300 iterations in fp32: 2510, in bf16: 2513, with 10 exact ones: 2505."""


_WITHOUT_FINISH = (StopReason.NONFINITE, StopReason.STALLED, StopReason.TARGET)


class RuleState:
    """The stop rules of a batch, as tensors: they are applied on the device, so that nothing waits for the host.

    With a fast and an exact objective there are two stages. What ends the first one, by its rule, is the reason for
    which the picture stops; the exact stage only follows, for a share of the iterations, and is part of their number. A
    picture that has met its target needs none.

    `state` belongs to the pictures, slots first, and is saved with them.
    """

    def __init__(self, slots: int, device: torch.device, stages: int) -> None:
        whole = torch.zeros(slots, dtype=torch.int64, device=device)
        exact = torch.zeros(slots, dtype=torch.float64, device=device)
        self._stages = stages
        self.state = {
            "rule.interval": torch.ones_like(whole),
            "rule.floor": whole.clone(),
            "rule.tolerance": exact.clone(),
            "rule.target": exact.clone(),
            # The total loss at the last check of the tolerance.
            "rule.last_total": exact.clone(),
            # The iteration that ends the stage, how long the exact stage is at most, and why the fast one ended.
            "rule.end": whole.clone(),
            "rule.finish": whole.clone(),
            "rule.reason": whole.clone(),
            "stage": whole.clone(),
        }

    def begin(self, slot: int, rule: StopRule) -> None:
        """Gives the picture in a slot its rule."""
        finish = rule.iterations // FINISH_SHARE if self._stages > 1 and rule.is_last else 0
        values = {
            "rule.interval": rule.interval,
            "rule.floor": rule.floor,
            "rule.tolerance": rule.tolerance,
            "rule.target": -math.inf if rule.target is None else rule.target,
            "rule.last_total": math.nan,
            "rule.end": rule.iterations - finish,
            "rule.finish": finish,
            "rule.reason": 0,
            "stage": 0,
        }
        for name, value in values.items():
            self.state[name][slot] = value

    def apply(self, done: torch.Tensor, terms: torch.Tensor, active: torch.Tensor) -> torch.Tensor:
        """Codes of the reasons for which pictures stop after `done` iterations (B) with these losses (B×4).

        Pictures that are not `active` (B booleans) in this iteration keep what they remember.
        """
        state = self.state
        content, style, variation, temporal = terms.double().unbind(1)
        objective = content + style + variation
        total, before = objective + temporal, state["rule.last_total"]
        is_check = active & (done % state["rule.interval"] == 0)
        has_slowed = is_check & (before - total < state["rule.tolerance"] * before.abs())
        is_met = (done >= state["rule.floor"]) & (objective <= state["rule.target"])
        state["rule.last_total"].copy_(torch.where(is_check, total, before))
        codes = torch.where(has_slowed & (state["rule.tolerance"] > 0), code_of(StopReason.TOLERANCE), 0)
        codes = torch.where(is_met, code_of(StopReason.TARGET), codes)
        # In the exact stage nothing but its end counts.
        codes = codes.masked_fill(state["rule.reason"] > 0, 0)
        return torch.where(done >= state["rule.end"], code_of(StopReason.ITERATIONS), codes)

    def end_stage(self, done: torch.Tensor, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What pictures with these codes (B, 0 for none) do: end (their codes, B), or go on exactly (B booleans)."""
        state = self.state
        length = torch.minimum(state["rule.finish"], done // (FINISH_SHARE - 1))
        # What has failed is tried again, and what is good enough is done.
        is_done = torch.stack([codes == code_of(reason) for reason in _WITHOUT_FINISH]).any(0)
        goes_on = (codes > 0) & ~is_done & (length > 0) & (state["rule.reason"] == 0)
        is_over = (codes > 0) & ~is_done & (state["rule.reason"] > 0)
        ended = torch.where(is_over, state["rule.reason"], codes).masked_fill(goes_on, 0)
        state["rule.reason"].copy_(torch.where(goes_on, codes, state["rule.reason"]))
        state["rule.end"].copy_(torch.where(goes_on, done + length, state["rule.end"]))
        state["stage"] += goes_on
        return ended, goes_on
