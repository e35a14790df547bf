"""Paints the samples for the README: `painted.jpg`, and `clip-painted.jpg`, a strip of frames.

    python samples/make_showcase.py [--out DIR]

Takes a quarter of an hour on two cores. Unlike the samples themselves, painted pictures differ in
their last bits from machine to machine.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parent))

from pipeline.config import load_settings  # noqa: E402
from pipeline.media import read_frames  # noqa: E402
from pipeline.run import Request, stylize  # noqa: E402

STRIP_FRAMES = (2, 16, 30, 44)
STRIP_WIDTH = 320
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
    settings = load_settings("default", [f"size={STRIP_WIDTH}", "iterations={first: 150, next: 20}"])
    painted = work / "clip.mp4"
    stylize(Request((FOLDER / "clip.mp4",), (FOLDER / "style.png",), painted, settings))
    rows = [_row(FOLDER / "clip.mp4"), _row(painted)]
    white = np.full((GAP, rows[0].shape[1], 3), 255, np.uint8)
    Image.fromarray(np.concatenate([rows[0], white, rows[1]])).save(out / "clip-painted.jpg", quality=90, subsampling=0)


def _row(video: Path) -> np.ndarray:
    frames = [frame.image for frame in read_frames(video) if frame.index in STRIP_FRAMES]
    height = round(STRIP_WIDTH * frames[0].shape[0] / frames[0].shape[1])
    white = np.full((height, GAP, 3), 255, np.uint8)
    parts: list[np.ndarray] = []
    for frame in frames:
        picture = Image.fromarray(frame).resize((STRIP_WIDTH, height), Image.Resampling.LANCZOS)
        parts += [np.asarray(picture), white]
    return np.concatenate(parts[:-1], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Paints the samples for the README.")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the pictures (default: beside this file)")
    out: Path = parser.parse_args().out
    with tempfile.TemporaryDirectory() as work:
        paint_landscape(out, Path(work))
        paint_strip(out, Path(work))


if __name__ == "__main__":
    main()
