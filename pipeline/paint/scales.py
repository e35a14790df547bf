"""Coarse to fine: the smaller sizes at which a large picture is painted before its own.

The receptive field of a layer is a number of pixels. So the strokes of a picture that is painted at its own size alone
are as many pixels wide whatever that size is, and a large picture stays a photograph under fine hatching. Painted small
first and enlarged, strokes keep their share of the picture; each larger size adds what is finer (Gatys et al. 2017,
section 6).
"""

import dataclasses
import math

from ..pictures import Size, fit_within
from .stopping import StopRule
from .task import Scale

STEP = math.sqrt(2)
"""Between the sides of two sizes."""

SHORTEST = 64
"""The shorter side of the first size has at least so many pixels, or a panorama would be a line of strokes."""


def scale_sizes(size: Size, first: int | None) -> tuple[Size, ...]:
    """The sizes before `size`, ascending: the first with a longer side of `first` pixels, the others √2 apart.

    None where `size` is not larger, as that of a photo that cannot be read, (0, 0). They do not depend on `size` but
    for its shape, so a small picture predicts a large one. The last may be nearer to `size` or further away, by a
    factor of up to √√2.
    """
    if first is None or not min(size):
        return ()
    side = max(float(first), SHORTEST * max(size) / min(size))
    sizes = []
    while side * math.sqrt(STEP) <= max(size):
        sizes.append(fit_within(size, round(side)))
        side *= STEP
    return tuple(sizes)


def divide(rule: StopRule, size: Size, sizes: tuple[Size, ...]) -> tuple[tuple[Scale, ...], StopRule]:
    """The smaller scales of a picture of `size`, and the rule of its own, given the rule of its own size alone.

    All scales have as many iterations. Together they are worth those of `rule` at most, where it has enough for two at
    each: one counts by its share of the pixels of `size`. The first of a scale only evaluates its start.
    """
    if not sizes:
        return (), rule
    shares = sum(math.prod(each) for each in sizes) / math.prod(size)
    count = max(min(2, rule.iterations), math.floor(rule.iterations / (1 + shares)))
    scales = tuple(Scale(each, dataclasses.replace(rule, iterations=count, is_last=False)) for each in sizes)
    return scales, dataclasses.replace(rule, iterations=count)
