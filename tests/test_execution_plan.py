"""The plan that a job keeps: written as JSON and read again."""

import dataclasses
import json
from fractions import Fraction

import pytest

from impasto.media.color import VideoColor
from impasto.plan.execution_plan import ExecutionPlan, FilmPlan

PHOTOS = ExecutionPlan(
    threads=2,
    mean_pixels=1 / 3,
    flow_method="dis",
    precision="bf16",
    environment={"device": "cpu", "torch": "2.11"},
    widths={(48, 64): 4, (64, 48): 2},
    tiles={(3024, 4032): 512},
    size_order=(1, 0, 2),
    replaced_files={"/there/ü.png": "00"},
)
FILM = FilmPlan(
    first=7,
    time_base=Fraction(1001, 24000),
    rate=Fraction(24000, 1001),
    last_duration=None,
    is_partial=True,
    has_alpha=False,
    plays=0,
    has_jumps=False,
    color=VideoColor("bt709", "tv", None, "bt709"),
    color_mean=(0.1, 0.2, 0.3),
    color_covariance=((0.1, 0.0, 0.0), (0.0, 0.2, 0.0), (0.0, 0.0, 1 / 3)),
    keyframes=(7, 15),
)
SEQUENCE = dataclasses.replace(FILM, rate=None, color=None, last_duration=3, keyframes=())


@pytest.mark.parametrize("film", [None, FILM, SEQUENCE])
def test_a_plan_survives_json(film: FilmPlan | None) -> None:
    plan = dataclasses.replace(PHOTOS, film=film)
    assert ExecutionPlan.from_values(json.loads(json.dumps(plan.to_values()))) == plan


def test_segments_follow_the_keyframes_of_the_plan() -> None:
    segments = dataclasses.replace(PHOTOS, film=FILM).segments([7, 30])
    assert (segments.count, segments.segment_start(20, 7), segments.segment_start(31, 30)) == (2, 15, 30)
    assert not PHOTOS.segments(range(3))
