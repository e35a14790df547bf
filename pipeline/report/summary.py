"""Measures of one picture, and the means and trends of many."""

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
    """Mean absolute difference of neighbouring pixels, see `appearance.sharpness`."""
    sharpness_to_cold: float | None = None
    """Sharpness relative to that of a cold start; None where none was painted, or where its sharpness is 0."""
    objective_to_cold: float | None = None
    """Objective relative to that of a cold start; None where none was painted."""
    shot: int | None = None
    """`index` of the first frame of the shot; None for photos."""
    stability: tuple[Stability, ...] = ()
    """One for each of `DISTANCES` at which the shot has an earlier frame, and there is flow to it."""


@dataclass(frozen=True)
class SeriesStatistics:
    """Mean, ends and trend of a measure over the pictures."""

    mean: float
    first: float
    last: float
    trend: float | None
    """Least-squares slope per 100 pictures; None where no shot has two. Shots share the slope, each with a level of its
    own: a cut to a brighter scene is no drift."""


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
    """Measures of many pictures. `size` is None where they differ, `shot_count` 0 for photos."""

    picture_count: int
    size: Size | None
    shot_count: int
    objective: SeriesStatistics
    luminance: SeriesStatistics
    contrast: SeriesStatistics
    sharpness: SeriesStatistics
    sharpness_to_cold: float | None
    """Mean over the pictures that have it."""
    objective_to_cold: float | None
    cold_count: int
    """Number of pictures that a cold start was painted of."""
    stability: tuple[MeanStability, ...]
    """One for each distance at which frames were compared."""


def summarise(measured: Sequence[Measured]) -> Summary:
    """The summary of the measures of at least one picture."""
    if not measured:
        raise ValueError("there is nothing to summarise")
    sizes = {one.size for one in measured}
    shots = [one.shot for one in measured]
    pairs = [pair for one in measured for pair in one.stability]
    return Summary(
        len(measured),
        sizes.pop() if len(sizes) == 1 else None,
        len(set(shots) - {None}),
        series_statistics([one.losses.objective for one in measured], shots),
        series_statistics([one.luminance for one in measured], shots),
        series_statistics([one.contrast for one in measured], shots),
        series_statistics([one.sharpness for one in measured], shots),
        _mean([one.sharpness_to_cold for one in measured]),
        _mean([one.objective_to_cold for one in measured]),
        sum(one.objective_to_cold is not None for one in measured),
        tuple(
            _mean_stability([pair for pair in pairs if pair.distance == distance])
            for distance in sorted({pair.distance for pair in pairs})
        ),
    )


def series_statistics(values: Sequence[float], shots: Sequence[int | None]) -> SeriesStatistics:
    """Mean, ends and trend of at least one value per picture; `shots` names the shot of each."""
    rise = spread = 0.0
    for _, group in groupby(zip(shots, values, strict=True), key=itemgetter(0)):
        levels = [value for _, value in group]
        middle, mean = (len(levels) - 1) / 2, sum(levels) / len(levels)
        rise += sum((position - middle) * (value - mean) for position, value in enumerate(levels))
        spread += sum((position - middle) ** 2 for position in range(len(levels)))
    return SeriesStatistics(sum(values) / len(values), values[0], values[-1], 100 * rise / spread if spread else None)


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
