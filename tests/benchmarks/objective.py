"""How low the objective of the saved picture is after so many iterations, for variants of the optimizer."""

from collections.abc import Callable

import numpy as np
import torch

from impasto.paint.batch import paint_one
from impasto.paint.encoder_weights import load_weights
from impasto.paint.painter import Painter
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask
from impasto.pictures import resize
from impasto.presets import load_settings
from tests.benchmarks.common import has_data, machine, pictures, show

COUNTS = (60, 120)

VARIANTS: dict[str, tuple[str, ...]] = {
    "default": (),
    "start in the style's colours": ("start.first=matched",),
    "no smoothing preconditioner": ("optimizer.smoothing=0",),
    "smoothing 0.5": ("optimizer.smoothing=0.5",),
    "10 pairs of history": ("optimizer.history=10",),
    "Adam on the bounded variable": ("optimizer.method=adam",),
    "L-BFGS on free pixels, clamped when saved": ("optimizer.variable=free",),
}


def run() -> None:
    if not has_data():
        return
    content, style = pictures()
    weights = load_weights("bundled")
    rows = []
    for name, overrides in VARIANTS.items():
        settings = load_settings("default", ("iterations.tolerance=0", *overrides))
        painter = Painter(settings, weights, [style], [1.0], torch.device("cpu"))
        start = settings.start.first

        def paint(iterations: int, painter: Painter = painter, start: str = start) -> np.ndarray:
            return paint_one(painter, FrameTask(0, content, start, StopRule(iterations))).image  # type: ignore[arg-type]

        rows.append((name, *_saved(painter, content, paint)))
    rows.append(("half the size first (a quarter of the cost each)", *_coarse_first(content, style)))
    show(
        f"Objective of the saved picture, thousands, 256×192 ({machine()})",
        ("variant", *(f"{count} iterations" for count in COUNTS)),
        rows,
    )


def _saved(painter: Painter, content: np.ndarray, paint: Callable[[int], np.ndarray]) -> list[str]:
    return [f"{painter.measure(paint(count), content).objective / 1000:.0f}" for count in COUNTS]


def _coarse_first(content: np.ndarray, style: np.ndarray) -> list[str]:
    """A third of the cost at half the size, the details of the content added back, the rest at full size."""
    settings = load_settings("default", ("iterations.tolerance=0",))
    weights = load_weights("bundled")
    painter = Painter(settings, weights, [style], [1.0], torch.device("cpu"))
    size = (content.shape[0], content.shape[1])
    half = resize(content, (size[0] // 2, size[1] // 2))

    def paint(cost: int) -> np.ndarray:
        coarse = paint_one(painter, FrameTask(0, half, "content", StopRule(cost // 3 * 4))).image
        change = resize(coarse, size).astype(int) - resize(half, size).astype(int)
        start = np.clip(content + change, 0, 255).astype(np.uint8)
        return paint_one(painter, FrameTask(0, content, "given", StopRule(cost - cost // 3), start)).image

    return _saved(painter, content, paint)
