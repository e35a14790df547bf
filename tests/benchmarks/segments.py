"""One long shot in segments against the same one frame after the other: seams, objective, what has to wait.

Every figure is of finished jobs, in `BENCH_FOLDER` (default: `bench` beside the project), as of `temporal`.
"""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from impasto.job.job import Job
from impasto.job.records import FrameRecord
from impasto.media.images import read_image, write_image
from impasto.motion import flow as flow_module
from impasto.paint.encoder_weights import load_weights
from impasto.paint.painter import Painter
from impasto.pictures import Size, to_tensor
from impasto.plan.execution_plan import ExecutionPlan
from impasto.plan.request import Request
from impasto.plan.scheduler import critical_path
from impasto.plan.segments import Segments
from impasto.presets import load_settings
from impasto.report import stability
from impasto.report.appearance import sharpness
from impasto.run.job_run import stylize
from samples import scenes
from tests.benchmarks.common import DATA, ROOT, machine, show
from tests.benchmarks.temporal import FOLDER

SIZE: Size = (96, 160)
FRAMES = 48
SEGMENTS = 4
KINDS = ("pan", "zoom", "rotation")
BESIDE_SEAM = 3
"""Frames on each side of a seam that are shown."""


@dataclasses.dataclass(frozen=True)
class Painted:
    """The frames of a finished job, their records, and how it was divided."""

    pictures: list[np.ndarray]
    records: list[FrameRecord]
    segments: Segments

    @property
    def sharpness(self) -> list[float]:
        return [sharpness(picture) for picture in self.pictures]

    def longest(self, *, iterations: bool) -> float:
        """The longest chain of frames that wait for each other: how many they are, or their iterations."""
        works = [(one.index, one.shot, float(one.iterations or 0) if iterations else 1.0) for one in self.records]
        return critical_path(self.segments.chains(works)[0])


def run() -> None:
    style_path = DATA / "images" / "starry_night.jpg"
    if not style_path.is_file():
        style_path = ROOT / "samples" / "style.png"
    style = read_image(style_path)
    painter = Painter(load_settings("default"), load_weights("bundled"), [style], [1.0], torch.device("cpu"))
    rows = []
    for kind in KINDS:
        scene = getattr(scenes, kind)(SIZE, FRAMES, 3, **({} if kind == "pan" else SLOW[kind]))
        rows.append((kind, *_figures(scene, kind, painter, style_path)))
    show(
        f"{FRAMES} frames of {SIZE[1]}×{SIZE[0]} in {SEGMENTS} segments, by the same in one ({machine()})",
        ("", "E at seams", "E inside", "worst seam", "E in one", "objective", "sharpness", "frames", "iterations"),
        rows,
        [
            "E: warping error × 1000 along exact flow; worst seam: by the mean inside; objective, sharpness: means, by "
            "those in one; frames, iterations: of the longest chain that wait for each other, by all in one"
        ],
    )


SLOW: dict[str, dict[str, float]] = {"zoom": {"rate": 1.01}, "rotation": {"degrees": 0.75}}
"""So that after 48 frames something is left of the first."""


def _figures(scene: scenes.Scene, kind: str, painter: Painter, style: Path) -> tuple[str, ...]:
    one, divided = (_painted(scene, kind, style, segments) for segments in (1, SEGMENTS))
    errors = [_error(scene, divided.pictures, index) for index in range(1, FRAMES)]
    seams = [index for index in divided.segments.keyframes if index]
    at_seams = [errors[index - 1] for index in seams]
    inside = statistics.fmean(error for index, error in enumerate(errors, start=1) if index not in seams)
    in_one = statistics.fmean(_error(scene, one.pictures, index) for index in range(1, FRAMES))
    objectives = [
        statistics.fmean(
            painter.measure(picture, scene.frame(index)).objective for index, picture in enumerate(job.pictures)
        )
        for job in (divided, one)
    ]
    _sheet(FOLDER / f"segments-{kind}.png", one.pictures, divided.pictures, seams)
    return (
        " ".join(f"{error * 1000:.2f}" for error in at_seams),
        f"{inside * 1000:.2f}",
        f"{max(at_seams) / inside:.2f}",
        f"{in_one * 1000:.2f}",
        f"{objectives[0] / objectives[1]:.3f}",
        f"{statistics.fmean(divided.sharpness) / statistics.fmean(one.sharpness):.3f}",
        f"{divided.longest(iterations=False) / one.longest(iterations=False):.2f}",
        f"{divided.longest(iterations=True) / one.longest(iterations=True):.2f}",
    )


def _error(scene: scenes.Scene, pictures: Sequence[np.ndarray], index: int) -> float:
    """Between a frame and the one before, over what both show."""
    shown = torch.from_numpy((~scene.occluded(index, index - 1)).astype(np.float32))[None, None]
    flow = flow_module.to_flow(scene.flow(index, index - 1))
    return stability.warping_error(to_tensor(pictures[index]), to_tensor(pictures[index - 1]), flow, shown).item()


def _painted(scene: scenes.Scene, kind: str, style: Path, segments: int) -> Painted:
    frames = FOLDER / "content" / f"segments-{kind}"
    for index in range(FRAMES):
        if not (frames / f"{index:04d}.png").exists():
            write_image(frames / f"{index:04d}.png", scene.frame(index))
    settings = load_settings("default", ["iterations.tolerance=0", "shots.detect=false"])
    output = FOLDER / "painted" / f"segments-{kind}" / f"{segments}"
    stylize(Request((frames,), (style,), output, settings, mode="sequence", executor="inline", segments=segments))
    with Job.read(output.with_name(output.name + ".impasto")) as job:
        records = job.frames()
        divided = ExecutionPlan.from_values(job.plan).segments(record.shot for record in records)
    return Painted([read_image(record.path) for record in records], records, divided)


def _sheet(path: Path, one: Sequence[np.ndarray], divided: Sequence[np.ndarray], seams: Sequence[int]) -> None:
    """The frames beside each seam: painted one after the other, and below in segments."""
    rows = [
        np.concatenate(pictures[seam - BESIDE_SEAM : seam + BESIDE_SEAM], axis=1)
        for seam in seams
        for pictures in (one, divided)
    ]
    write_image(path, np.concatenate(rows))
