"""TODO: report.summary."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from ..events import Losses
from ..pictures import Size
from .stability import Stability


@dataclass(frozen=True)
class Measured:
    """One finished picture. `luminance`, `contrast` and `sharpness` are in levels of 0 to 255."""

    index: int
    name: str
    size: Size
    losses: Losses
    luminance: float
    """Mean of the Rec. 709 luma."""
    contrast: float
    """Standard deviation of the luma."""
    sharpness: float
    """Mean absolute difference of neighbours, see `temporal.sharpness`."""
    sharpness_to_cold: float | None = None
    """Sharpness over that of a cold start; None where none was painted, or where it is flat."""
    objective_to_cold: float | None = None
    """Objective over that of a cold start; None where none was painted."""
    shot: int | None = None
    """`index` of the first frame of the shot; None for pictures that are no film."""
    stability: tuple[Stability, ...] = ()
    """One for each of `DISTANCES` at which there is a frame in the same shot, and flow to it."""


@dataclass(frozen=True)
class Course:
    """How a number goes over the pictures."""

    mean: float
    first: float
    last: float
    trend: float | None
    """Slope per 100 pictures, of least squares; None where no shot has two. Shots share the slope, and each has a
    level of its own: a cut to a brighter scene is no drift."""


@dataclass(frozen=True)
class MeanStability:
    """Means over the pairs of frames at one distance; errors over the pairs in which a pixel is visible."""

    distance: int
    pair_count: int
    warping_error: float | None
    content_warping_error: float | None
    visible_share: float


@dataclass(frozen=True)
class Summary:
    """What many pictures come to. `size` is None where they differ, `shot_count` 0 for what is no film."""

    picture_count: int
    size: Size | None
    shot_count: int
    objective: Course
    luminance: Course
    contrast: Course
    sharpness: Course
    sharpness_to_cold: float | None
    """Mean over the pictures that have one."""
    objective_to_cold: float | None
    cold_count: int
    """Pictures of which a cold start was painted."""
    stability: tuple[MeanStability, ...]
    """One for each distance at which there is a pair."""


def summarise(measured: Sequence[Measured]) -> Summary:
    """Means, first and last values and trends of at least one picture."""
    if not measured:
        raise ValueError("there is nothing to summarise")
    sizes = {one.size for one in measured}
    shots = [one.shot for one in measured]
    pairs = [pair for one in measured for pair in one.stability]
    return Summary(
        len(measured),
        sizes.pop() if len(sizes) == 1 else None,
        len(set(shots) - {None}),
        course([one.losses.objective for one in measured], shots),
        course([one.luminance for one in measured], shots),
        course([one.contrast for one in measured], shots),
        course([one.sharpness for one in measured], shots),
        _mean([one.sharpness_to_cold for one in measured]),
        _mean([one.objective_to_cold for one in measured]),
        sum(one.objective_to_cold is not None for one in measured),
        tuple(
            _mean_stability([pair for pair in pairs if pair.distance == distance])
            for distance in sorted({pair.distance for pair in pairs})
        ),
    )


def course(values: Sequence[float], shots: Sequence[int | None]) -> Course:
    """Mean, ends and trend of at least one value, taken at even steps; `shots` says which belong together."""
    rise = spread = 0.0
    for _, group in groupby(zip(shots, values, strict=True), key=itemgetter(0)):
        levels = [value for _, value in group]
        middle, mean = (len(levels) - 1) / 2, sum(levels) / len(levels)
        rise += sum((place - middle) * (value - mean) for place, value in enumerate(levels))
        spread += sum((place - middle) ** 2 for place in range(len(levels)))
    return Course(sum(values) / len(values), values[0], values[-1], 100 * rise / spread if spread else None)


def _mean_stability(pairs: Sequence[Stability]) -> MeanStability:
    return MeanStability(
        pairs[0].distance,
        len(pairs),
        _mean([pair.warping_error for pair in pairs]),
        _mean([pair.content_warping_error for pair in pairs]),
        sum(pair.visible_share for pair in pairs) / len(pairs),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
