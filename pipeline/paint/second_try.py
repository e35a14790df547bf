"""The second try of a picture whose optimisation failed: when it is due, and which result is kept."""

import math

from ..errors import FrameError
from .stopping import Outcome, StopReason
from .task import FrameTask

MIN_ITERATIONS = 4
"""Fewer iterations do not show whether a cold start has stalled."""


def failure(outcome: Outcome, task: FrameTask) -> StopReason | None:
    """NONFINITE or STALLED where the optimisation of a task failed, whatever reason it gave for stopping; else None."""
    if outcome.stop is StopReason.NONFINITE:
        return StopReason.NONFINITE
    return StopReason.STALLED if has_stalled(outcome, task) else None


def has_stalled(outcome: Outcome, task: FrameTask) -> bool:
    """Whether the optimisation achieved nothing.

    A warm start may have nothing left to do. A cold start has: one that stops by a tolerance which it met before it
    fell would be saved as a blurry frame that counts as done.
    """
    if outcome.stop is StopReason.STALLED:
        return True
    if task.warm or outcome.iterations < MIN_ITERATIONS or outcome.stop is StopReason.CONVERGED:
        return False
    first, last = outcome.trace[0].objective, outcome.trace[-1].objective
    if outcome.stop is StopReason.TOLERANCE:
        return first - last < 10 * task.rule.tolerance * abs(first)
    return last >= first


def better(first: Outcome, second: Outcome) -> Outcome:
    """The outcome with the lower final loss; one that is not finite loses.

    Raises `FrameError` where neither is finite.
    """
    if first.stop is StopReason.NONFINITE and second.stop is StopReason.NONFINITE:
        raise FrameError(
            "the objective is not finite, nor from a second, safe start: the weights of the losses are too large for "
            "single precision; reduce them"
        )
    return second if _final_loss(second) < _final_loss(first) else first


def _final_loss(outcome: Outcome) -> float:
    value = outcome.trace[-1].total
    return value if math.isfinite(value) and outcome.stop is not StopReason.NONFINITE else math.inf
