"""Flow files, as another program leaves them."""

from pathlib import Path

import numpy as np


def write_flo(path: Path, flow: np.ndarray) -> None:
    """Writes an `H×W×2` flow as a Middlebury `.flo` file: `PIEH`, width, height, then (dx, dy) row by row."""
    height, width = flow.shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PIEH" + np.array([width, height], "<i4").tobytes() + flow.astype("<f4").tobytes())
