"""Paints the pictures of README and docs: `painted.jpg`, and `clip-painted.jpg`, a strip of frames; `scales.jpg`
and `dots.jpg` compare settings.

    python samples/make_showcase.py [--out DIR] [--only painted clip-painted scales dots]

Takes about twenty minutes on two cores. Unlike the samples themselves, painted pictures differ in their last bits
between machines.
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


BRIEF = "iterations.first=150"

DETAILS = (np.s_[40:180, 30:270], np.s_[250:390, 360:600])
"""Rows and columns of the landscape, at its own size, that `dots.jpg` shows at 200 %: sky, and a dark shore."""


def paint_landscape(out: Path, work: Path) -> None:
    Image.fromarray(_landscape(work, "size=512", "iterations.first=200")).save(out / "painted.jpg", quality=95)


def paint_scales(out: Path, work: Path) -> None:
    """The landscape at one scale, and coarse to fine."""
    pair = [_landscape(work, BRIEF, "scales.from=none"), _landscape(work, BRIEF)]
    Image.fromarray(_row(pair)).save(out / "scales.jpg", quality=90, subsampling=0)


def paint_dots(out: Path, work: Path) -> None:
    """Details without the loss of dots above, with it below."""
    pair = [_landscape(work, BRIEF, "total_variation.dots=0"), _landscape(work, BRIEF)]
    rows = [_row([painting[detail].repeat(2, 0).repeat(2, 1) for detail in DETAILS]) for painting in pair]
    Image.fromarray(_stack(rows)).save(out / "dots.jpg", quality=90, subsampling=0)


def _landscape(work: Path, *changes: str) -> np.ndarray:
    """The landscape, painted with some settings changed, once for each `work`."""
    output = work / f"{'-'.join(changes)}.png"
    settings = load_settings("default", changes)
    stylize(Request((FOLDER / "landscape.jpg",), (FOLDER / "style.png",), output, settings))
    return read_image(output)


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
    Image.fromarray(_stack(rows)).save(out / "clip-painted.jpg", quality=90, subsampling=0)


def _row(pictures: list[np.ndarray]) -> np.ndarray:
    white = np.full((pictures[0].shape[0], GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, white)]
    return np.concatenate(parts[:-1], axis=1)


def _stack(rows: list[np.ndarray]) -> np.ndarray:
    white = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    parts = [part for row in rows for part in (row, white)]
    return np.concatenate(parts[:-1])


SHOWCASE = {"clip-painted": paint_strip, "painted": paint_landscape, "scales": paint_scales, "dots": paint_dots}


def main() -> None:
    parser = argparse.ArgumentParser(description="Paints the samples for the README and docs.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures (default: beside this file)")
    parser.add_argument("--only", nargs="+", choices=SHOWCASE, default=SHOWCASE, help="pictures (default: all)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        for name in chosen.only:
            SHOWCASE[name](chosen.out, Path(work))


if __name__ == "__main__":
    main()
