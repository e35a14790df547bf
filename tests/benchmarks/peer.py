"""Time to the same picture: pastiche, the nearest well-kept tool that can be installed, against impasto.

Both run as whole processes, start-up included, one after the other on the same cores, with the same
weights and pastiche's own loss: 0.01 · mean square at relu4_2, and 10/C² a layer on Gram/(H·W) at
relu1_1 … relu5_1. What counts is the objective of the picture that is saved.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml

from impasto.media.images import read_image
from impasto.paint.batch import paint_one
from impasto.paint.costs import iteration_seconds
from impasto.paint.encoder_weights import load_weights
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask
from impasto.presets import parse_settings
from impasto.settings import Settings
from tests.benchmarks.common import (
    BIN,
    CONTENT,
    STYLE,
    has_data,
    machine,
    matrix_rate,
    operations_an_iteration,
    pictures,
    show,
)

PEER_STEPS = 300
MOST_ITERATIONS = 150

LOSS = {
    "content": {"weight": 1, "layers": {"relu4_2": 0.01}},
    "style": {
        "weight": 1,
        "gram": "hw",
        "layers": {
            f"relu{block}_1": 10 / channels**2 for block, channels in enumerate((64, 128, 256, 512, 512), start=1)
        },
    },
    "total_variation": {"weight": 0, "dots": 0},
}


def run() -> None:
    if not has_data():
        return
    with tempfile.TemporaryDirectory() as folder:
        _run(Path(folder))


def _run(folder: Path) -> None:
    content, style = pictures()
    settings = parse_settings({**LOSS, "iterations": {"first": MOST_ITERATIONS, "tolerance": 0}})
    painter = Painter(settings, load_weights("bundled"), [style], [1.0], torch.device("cpu"))

    theirs = folder / "pastiche.png"
    peer_seconds = _timed(
        *(sys.executable, "-m", "pastiche", "--content", str(CONTENT), "--styles", str(STYLE), "--output", str(theirs)),
        *("--num-steps", str(PEER_STEPS), "--size", "256", "--style-size", "240", "--device", "cpu", "--seed", "0"),
        "--no-verbose",
    )
    target = painter.measure(read_image(theirs), content).objective

    iterations = _iterations_to(painter, content, target)
    ours = folder / "impasto.png"
    config = folder / "loss.yaml"
    config.write_text(yaml.safe_dump(LOSS))
    own_seconds = _timed(
        *(str(BIN / "impasto"), "stylize", str(CONTENT), "--style", str(STYLE), "--output", str(ours), "--quiet"),
        *("--config", str(config), "--iterations", str(iterations), "--set", "iterations.tolerance=0"),
    )
    reached = painter.measure(read_image(ours), content).objective

    rate = painter_rate(painter, settings, content)
    show(
        f"Time to the objective that pastiche saves after {PEER_STEPS} steps, 256×192 ({machine()})",
        ("tool", "iterations", "saved objective", "time / pastiche's", "its time / this"),
        [
            ("pastiche", str(PEER_STEPS), f"{target:.0f}", "1.00", "1.0"),
            (
                "impasto",
                str(iterations),
                f"{reached:.0f}",
                f"{own_seconds / peer_seconds:.2f}",
                f"{peer_seconds / own_seconds:.1f}",
            ),
        ],
        [
            f"the target is {'reached' if reached <= target else 'MISSED'}; whole processes, start-up included: "
            f"{peer_seconds:.1f} s and {own_seconds:.1f} s",
            f"one iteration runs at {rate:.0%} of this machine's own rate for a 2048³ matrix product "
            "(convolutions alone counted; Winograd's algorithm needs fewer operations than are counted)",
        ],
    )


def _timed(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def _iterations_to(painter: Painter, content: np.ndarray, target: float) -> int:
    """Fewest iterations after which the saved picture is at or under `target`."""
    trace = paint_one(painter, FrameTask(0, content, "content", StopRule(MOST_ITERATIONS))).trace
    first = next((place for place, losses in enumerate(trace, start=1) if losses.objective <= target), None)
    if first is None:
        raise SystemExit(f"the target {target:.0f} is not reached in {MOST_ITERATIONS} iterations")
    for iterations in range(first, MOST_ITERATIONS):
        # Saving rounds to 8 bits, which may cost the last thousandth.
        image = paint_one(painter, FrameTask(0, content, "content", StopRule(iterations))).image
        if painter.measure(image, content).objective <= target:
            return iterations
    return MOST_ITERATIONS


def painter_rate(painter: Painter, settings: Settings, content: np.ndarray) -> float:
    """Operations a second of one iteration over those of a plain matrix product, measured in turn."""
    shares = []
    for _ in range(3):
        limit = matrix_rate()
        seconds = iteration_seconds(painter, content, 5)
        height, width = content.shape[:2]
        shares.append(operations_an_iteration((height, width), tuple(settings.layers)) / seconds / limit)
    return sorted(shares)[1]
