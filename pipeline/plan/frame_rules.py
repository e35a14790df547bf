"""Rules for single frames: how each starts, how many iterations it may take, and the target that it stops at."""

from ..job.records import FrameRecord
from ..paint.scales import divide, scale_sizes
from ..paint.stopping import StopReason, StopRule
from ..paint.task import Scale
from ..pictures import Size
from ..settings import Settings
from .segments import Segments

REFERENCE_RISE = 0.03
"""The share of a frame's miss of its target by which the shot's reference rises."""

CROSSFADE_PACE = 1.5
"""With n frames left to its keyframe, a frame is cross-faded by this share of 1/n. Equal steps would be 1, but the
optimizer undoes a part of each, all of which the last frame would have to make up for."""


def starts_cold(settings: Settings, index: int, shot: int) -> bool:
    """Whether a frame starts from no other painting."""
    return index == shot or settings.start.next not in ("previous", "warped")


def cold_start_rule(settings: Settings) -> StopRule:
    """When a photo, or a frame that starts from no other painting, is finished."""
    iterations = settings.iterations
    return StopRule(iterations.first, iterations.tolerance, iterations.interval)


def cold_start_scales(settings: Settings, size: Size) -> tuple[tuple[Scale, ...], StopRule]:
    """The smaller scales at which such a picture is painted first, and when it is finished at its own `size`."""
    return divide(cold_start_rule(settings), size, scale_sizes(size, settings.scales.from_))


def max_iterations(settings: Settings, passes: int, segments: Segments, index: int, shot: int) -> int:
    """The most iterations that a frame takes in one pass, or what those at its scales are worth at its own size."""
    if passes > 1:
        return settings.passes.iterations
    # A keyframe takes as many as a cold start, since much has changed since the previous keyframe.
    is_long = segments.is_keyframe(index, shot) or starts_cold(settings, index, shot)
    return settings.iterations.first if is_long else settings.iterations.next


def pass_direction(pass_number: int, passes: int) -> int:
    """1 for a pass that goes forward in time, -1 for one that goes back; the first goes forward."""
    return -1 if (pass_number + passes) % 2 == 0 else 1


def reference_after(previous: FrameRecord, target: float | None) -> float:
    """The reference objective of the frame after `previous`, of which its stopping target is a multiple.

    The first reference is what the shot's first frame reached. It falls to whatever a frame reaches below it, as the
    content may have become easier. Where a frame used up its iterations above its target, the content has become
    harder, and the reference rises by `REFERENCE_RISE` of the miss: by a part only, so that one bad frame does not
    lower the standard for the rest.
    """
    assert previous.losses is not None
    reached, before = previous.losses.objective, previous.reference
    if before is None or target is None or reached <= before:
        return reached
    if previous.stop == StopReason.TARGET:
        return before
    return before + REFERENCE_RISE * max(0.0, reached - target * before)
