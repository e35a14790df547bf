"""Large pictures: at one scale, coarse to fine, and with each statistic of style; measured, and on a sheet.

Six photos, each in a style of its own, at 512 and at 1536 pixels. Every figure is of a finished job in `BENCH_FOLDER`
(default: `bench` beside the project): a run that is cut off goes on where it stopped. `sheet-SIZE.png` there has all
pictures, a photo in each row.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from impasto.media.images import read_image
from impasto.pictures import fit_within, resize, size_of
from tests.benchmarks.common import BIN, DATA, ROOT, machine, show
from tests.benchmarks.stills_measures import StillMeasures, dots, measure_still

FOLDER = Path(os.environ.get("BENCH_FOLDER", ROOT / "bench")) / "stills"
SAMPLES = ROOT / "samples"
SIZES = (512, 1536)
ITERATIONS = 100
"""What each picture costs, in iterations at its own size."""

PAIRS = (
    (DATA / "images" / "tubingen.jpg", DATA / "images" / "starry_night.jpg"),
    (DATA / "images" / "golden_gate.jpg", DATA / "images" / "the_scream.jpg"),
    (SAMPLES / "landscape.jpg", DATA / "images" / "shipwreck.jpg"),
    (DATA / "sintel" / "cave_2" / "frame_0001.png", SAMPLES / "style.png"),
    (DATA / "sintel" / "market_5" / "frame_0001.png", DATA / "images" / "starry_night.jpg"),
    (DATA / "sintel" / "ambush_4" / "frame_0001.png", DATA / "images" / "the_scream.jpg"),
)

ROWS: dict[str, tuple[str, ...]] = {
    "one scale": ("scales.from=none",),
    "coarse to fine": (),
    "gram_moments": ("style.statistics=gram_moments",),
    "wasserstein": ("style.statistics=wasserstein",),
}

THUMBNAIL = 480
"""Longer side of a picture on the sheet."""


@dataclass(frozen=True)
class Painted:
    """A painted picture, and what it took."""

    path: Path
    seconds: float
    peak_bytes: int


def run() -> None:
    pairs = [pair for pair in PAIRS if all(path.is_file() for path in pair)]
    if len(pairs) < len(PAIRS):
        Console().print(f"skipped: {len(PAIRS) - len(pairs)} of {len(PAIRS)} photos, as files are not at {DATA}")
    for size in SIZES:
        # Those that are smaller than half of it would only repeat what is known.
        fitting = [pair for pair in pairs if max(size_of(read_image(pair[0]))) >= size / 2]
        if fitting:
            _table(fitting, size)


def _table(pairs: list[tuple[Path, Path]], size: int) -> None:
    rows, sheet, limits = [], [[pair[0] for pair in pairs]], []
    for row in ROWS:
        painted = [_paint(content, style, size, row) for content, style in pairs]
        measures = [_measure(each.path, *pair) for each, pair in zip(painted, pairs, strict=True)]
        rows.append(_line(row, painted, measures))
        sheet.append([each.path for each in painted])
    for content, style in pairs:
        reduced = _reduced(read_image(content), size)
        limits.append(1.5 * max(dots(reduced), dots(_reduced(read_image(style), max(size_of(reduced))))))
    path = FOLDER / f"sheet-{size}.png"
    _save_sheet(path, sheet)
    show(
        f"{len(pairs)} photos of at most {size} pixels, {ITERATIONS} iterations each ({machine()})",
        ("", "s", "GiB", "content k", "style k", "at ½", "at ¼", "sliced W ×1000", "dots ‰", "near limit ‰"),
        rows,
        [
            "Medians. Content, and style of the picture as it is and reduced to a half and a quarter; sliced "
            "Wasserstein distance of style at relu2_2, relu3_3 and relu4_3, mean; pixels that stand out from all "
            "their neighbours; "
            "energy above 0.42 cycles a pixel.",
            f"1.5 times the dots of content or style, whichever has more: {statistics.median(limits):.2f} ‰. "
            f"The sheet: {path}",
        ],
    )


def _line(row: str, painted: list[Painted], measures: list[StillMeasures]) -> tuple[str, ...]:
    def median(values: list[float], digits: int = 0) -> str:
        return f"{statistics.median(values):.{digits}f}"

    return (
        row,
        median([each.seconds for each in painted]),
        median([each.peak_bytes / 2**30 for each in painted], 1),
        median([each.content_distance / 1000 for each in measures]),
        *(median([each.style_loss[place] / 1000 for each in measures]) for place in range(3)),
        median([1000 * statistics.fmean(each.wasserstein) for each in measures], 1),
        median([each.dots for each in measures], 2),
        median([each.energy_near_limit for each in measures], 1),
    )


def _paint(content: Path, style: Path, size: int, row: str) -> Painted:
    """The painting of one pair; painted now, in a process of its own, where it was not yet."""
    name = f"{content.parent.name}-{content.stem}-{size}-{row.replace(' ', '-').replace(':', '')}"
    output, facts = FOLDER / f"{name}.png", FOLDER / f"{name}.json"
    if not facts.is_file():
        output.parent.mkdir(parents=True, exist_ok=True)
        changes = [word for change in ("iterations.tolerance=0", *ROWS[row]) for word in ("--set", change)]
        command = [str(BIN / "impasto"), "stylize", str(content), "--style", str(style), "--output", str(output)]
        command += ["--size", str(size), "--iterations", str(ITERATIONS), "--quiet", *changes]
        began = time.perf_counter()
        # In a process between, so that its children are this picture's alone.
        peak = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.stills", *command],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=ROOT,
        ).stdout.split()[-1]
        facts.write_text(json.dumps({"seconds": time.perf_counter() - began, "peak_bytes": int(peak)}))
    return Painted(output, **json.loads(facts.read_text()))


def _measure(painting: Path, content: Path, style: Path) -> StillMeasures:
    result = read_image(painting)
    # The style at the size at which its strokes are laid down.
    return measure_still(
        result, resize(read_image(content), size_of(result)), _reduced(read_image(style), max(size_of(result)))
    )


def _reduced(picture: np.ndarray, size: int) -> np.ndarray:
    return resize(picture, fit_within(size_of(picture), size))


def _save_sheet(path: Path, columns: list[list[Path]]) -> None:
    """A picture with a column for each list of paths."""
    thumbnails = [[_thumbnail(each) for each in column] for column in columns]
    heights = [max(column[row].height for column in thumbnails) for row in range(len(columns[0]))]
    sheet = Image.new("RGB", (THUMBNAIL * len(columns), sum(heights)), "white")
    for x, column in enumerate(thumbnails):
        y = 0
        for picture, height in zip(column, heights, strict=True):
            sheet.paste(picture, (x * THUMBNAIL, y))
            y += height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _thumbnail(path: Path) -> Image.Image:
    picture = read_image(path)
    height, width = size_of(picture)
    scale = THUMBNAIL / max(height, width)
    return Image.fromarray(resize(picture, (round(height * scale), round(width * scale))))


def _run_and_tell_peak(command: list[str]) -> None:
    """Runs a command and prints the peak memory of its processes in bytes."""
    subprocess.run(command, check=True)
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)


if __name__ == "__main__":
    _run_and_tell_peak(sys.argv[1:])
