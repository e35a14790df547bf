"""Optical flow: its convention, its resampling, and what an estimator is.

Convention
    Flow a → b gives (dx, dy) in pixels on the grid of a: what is at x in a is at x + flow(x) in b. Arrays of flow are
    `H×W×2` float32, tensors `B×2×H×W`. dx counts to the right, dy downwards; integers are pixel centres, and the frame
    is the rectangle of its pixel centres, [0, W - 1] × [0, H - 1]. To bring picture b onto the grid of a, sample it at
    x + flow(a → b): the previous result comes onto the current frame by the flow current → previous.
    Flow brought to another size has its vectors scaled too, each axis by its own factor (`resize_flow`). Frames are
    `H×W×3` uint8 RGB, sizes (height, width); OpenCV's channel orders and (x, y) sizes do not leave the function that
    calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from ..pictures import Size, fit_within, size_of

if TYPE_CHECKING:  # Processes that estimate flow start without torch.
    import torch

WORKING_FACTOR = 2.5
"""Flow is estimated on frames this many times the painting's size, where the source has as much: at the painting's size
the motion of thin objects and of borders is lost, and the average over a pixel is more exact."""

WORKING_MIN_SIDE = 512
"""The longer side in pixels of the working frames of small paintings; never more than the source has."""

WORKING_MAX_SIDE = 1024
"""The longer side of working frames at most, in pixels."""


class FlowEstimator(Protocol):
    """Estimates the flow between two frames (`DisFlow`, `RaftFlow`)."""

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Flow a → b and flow b → a, both `H×W×2` float32 in pixels of `size`.

        `a` and `b` are frames of one size, the source's, which may differ from `size`, the painting's.
        The same frames give the same bits.
        """
        ...


def resize_flow(flow: np.ndarray, size: Size) -> np.ndarray:
    """`H×W×2` flow at `size`, its vectors scaled per axis; area-averaged where it shrinks, else bilinear."""
    height, width = flow.shape[:2]
    if (height, width) == size:
        return flow.astype(np.float32)
    resized = resample(flow.astype(np.float32), size)
    return resized * np.array([size[1] / width, size[0] / height], np.float32)


def working_size(source: Size, painting: Size) -> Size:
    """The size at which the flow of a painting is estimated: of the source's shape and no larger."""
    side = min(max(round(WORKING_FACTOR * max(painting)), WORKING_MIN_SIDE), WORKING_MAX_SIDE)
    return fit_within(source, side)


def resample(values: np.ndarray, size: Size) -> np.ndarray:
    """`H×W` or `H×W×C` at `size`: averaged over areas along an axis that shrinks, bilinear along one that grows."""
    smaller = min(size[0], values.shape[0]), min(size[1], values.shape[1])
    if values.shape[:2] != smaller:
        values = cv2.resize(values, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != size:
        values = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)
    return values


def pixel_grid(size: Size) -> np.ndarray:
    """Where each pixel is, (x, y): `H×W×2` float32."""
    height, width = size
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0] = np.arange(width)
    grid[..., 1] = np.arange(height)[:, None]
    return grid


def flow_positions(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where `flow` (`H×W×2`) points to, (x, y) in pixels as `H×W×2`, and whether that is in the frame (`in_frame`)."""
    positions = pixel_grid(size_of(flow)) + flow
    return positions, in_frame(positions, size_of(flow))


def in_frame(positions: np.ndarray, size: Size) -> np.ndarray:
    """1 where positions (x, y), `H×W×2`, lie in a frame of `size`, else 0: `H×W` uint8."""
    return np.minimum(cv2.inRange(positions, np.zeros(2), np.array([size[1] - 1, size[0] - 1], np.float64)), 1)


def sample_at(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """`values` (`H×W×C`) at positions (x, y), `h×w×2`, interpolated linearly and replicated beyond the border."""
    # The second map is for positions whose x and y are apart.
    sampled = cv2.remap(values, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
    return np.asarray(sampled)


def require_frames(a: np.ndarray, b: np.ndarray) -> None:
    """Raises `ValueError` unless both are `H×W×3` uint8 frames of one size."""
    for frame in (a, b):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame is H×W×3 uint8, and this one is {frame.shape} {frame.dtype}")
    if a.shape != b.shape:
        raise ValueError(f"flow is between frames of one size, and these are {a.shape} and {b.shape}")


def to_flow(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """A flow as an `H×W×2` float32 array to `1×2×H×W`."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(device).permute(2, 0, 1).unsqueeze(0)


def to_mask(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """A mask as an `H×W` float32 array to `1×1×H×W`."""
    import torch

    return torch.from_numpy(array).to(device)[None, None]
