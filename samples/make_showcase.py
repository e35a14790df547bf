"""Paints the samples for the README: `painted.jpg`, and `clip-painted.jpg`, a strip of frames.

    python samples/make_showcase.py [--out DIR]

Takes about ten minutes on two cores. Unlike the samples themselves, painted pictures differ in their last bits between
machines.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from impasto.media.images import read_image
from impasto.media.video_reader import read_frames
from impasto.pictures import resize
from impasto.plan.request import FrameRange, Request
from impasto.presets import load_settings
from impasto.run.job_run import stylize

FOLDER = Path(__file__).resolve().parent

STRIP_RUNS = (FrameRange(0, 9), FrameRange(26, 35))
"""The beginnings of the two shots; the strip shows the first and the last frame of each."""
STRIP_WIDTH = 240
GAP = 6


def paint_landscape(out: Path, work: Path) -> None:
    settings = load_settings("default", ["size=512", "iterations.first=200"])
    job = work / "landscape"
    stylize(
        Request(
            (FOLDER / "landscape.jpg",), (FOLDER / "style.png",), out / "painted.jpg", settings, job=job, force=True
        )
    )


def paint_strip(out: Path, work: Path) -> None:
    """Frames of the clip above, the same frames painted below."""
    settings = load_settings("default", [f"size={STRIP_WIDTH}", "iterations={first: 150, next: 30}"])
    originals, paintings = [], []
    for run in STRIP_RUNS:
        painted = work / f"{run.start}"
        stylize(Request((FOLDER / "clip.mp4",), (FOLDER / "style.png",), painted, settings, frames=run))
        for index in (run.start, (run.stop or 0) - 1):
            painting = read_image(painted / f"{index:06d}.png")
            (original,) = (frame.image for frame in read_frames(FOLDER / "clip.mp4", index, index + 1))
            paintings.append(painting)
            originals.append(resize(original, (painting.shape[0], painting.shape[1])))
    rows = [_row(originals), _row(paintings)]
    white = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    Image.fromarray(np.concatenate([rows[0], white, rows[1]])).save(out / "clip-painted.jpg", quality=90, subsampling=0)


def _row(pictures: list[np.ndarray]) -> np.ndarray:
    white = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, white)]
    return np.concatenate(parts[:-1], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Paints the samples for the README.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures (default: beside this file)")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as work:
        paint_strip(out, Path(work))
        paint_landscape(out, Path(work))


if __name__ == "__main__":
    main()
