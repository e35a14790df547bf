"""TODO: plan.frame_rules."""

from ..job.records import FrameRecord
from ..paint.stopping import StopReason, StopRule
from ..settings import Settings
from .segments import Segments

FOLLOW = 0.03
"""By how much of what a frame missed its target the shot's reference rises: the content has become harder."""

EASE = 1.5
"""With n frames left to the keyframe that it meets, a frame goes this share of 1/n of the way there. 1 would be equal
steps, but the optimizer takes a part of each back, all of which the last one would have to make up for."""


def starts_cold(settings: Settings, index: int, shot: int) -> bool:
    """Whether a frame starts from no other painting."""
    return index == shot or settings.start.next not in ("previous", "warped")


def cold_start_rule(settings: Settings) -> StopRule:
    """When a photo, or a frame that starts from no other painting, is finished."""
    iterations = settings.iterations
    return StopRule(iterations.first, iterations.tolerance, iterations.interval)


def most_iterations(settings: Settings, passes: int, segments: Segments, index: int, shot: int) -> int:
    """The most that a frame takes in one pass."""
    if passes > 1:
        return settings.passes.iterations
    # Much has changed since the keyframe before.
    is_long = segments.is_keyframe(index, shot) or starts_cold(settings, index, shot)
    return settings.iterations.first if is_long else settings.iterations.next


def direction(pass_number: int, passes: int) -> int:
    """1 in passes that go forward in time, -1 in those that go back; the first goes forward."""
    return -1 if (pass_number + passes) % 2 == 0 else 1


def next_reference(previous: FrameRecord, target: float | None) -> float:
    """The objective that the target of the frame after `previous` is a multiple of.

    It begins as what the shot's first frame reached. It falls to whatever a frame reaches below it, as where the
    content has become easier; and where a frame used up its iterations above its target, the content has become
    harder, and the reference follows by a part, so that one bad frame does not lower what is asked of the rest.
    """
    assert previous.losses is not None
    reached, before = previous.losses.objective, previous.reference
    if before is None or target is None or reached <= before:
        return reached
    if previous.stop == StopReason.TARGET:
        return before
    return before + FOLLOW * max(0.0, reached - target * before)
