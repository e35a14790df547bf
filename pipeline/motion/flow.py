"""TODO: motion.flow."""

from typing import Protocol

import cv2
import numpy as np
import torch

from ..pictures import Size, fit_within

WORKING_FACTOR = 2.5
"""The flow is estimated on frames this many times the painting's size, where they have as much: motion
of thin things and borders is lost at the painting's size, and its average over a pixel is more exact."""

WORKING_LEAST = 512
"""The longer side of small paintings' working frames, in pixels; never more than the source has."""

WORKING_MOST = 1024
"""The longer side of working frames at most, in pixels."""


class FlowEstimator(Protocol):
    """Whatever makes flow out of two frames."""

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Flow a → b and flow b → a, both `H×W×2` float32 in pixels of `size`.

        `a` and `b` are frames of one size, the source's, which `size` (the painting's) need not be.
        The same frames give the same bits.
        """
        ...


def resize_flow(flow: np.ndarray, size: Size) -> np.ndarray:
    """`H×W×2` flow brought to `size`, its vectors scaled per axis; area-averaged where it shrinks, else bilinear."""
    height, width = flow.shape[:2]
    if (height, width) == size:
        return flow.astype(np.float32)
    resized = resample_flow(flow.astype(np.float32), size)
    return resized * np.array([size[1] / width, size[0] / height], np.float32)


def working_size(source: Size, painting: Size) -> Size:
    """The size at which the flow of a painting is estimated, of the shape of the source and no larger."""
    side = min(max(round(WORKING_FACTOR * max(painting)), WORKING_LEAST), WORKING_MOST)
    return fit_within(source, side)


def resample_flow(values: np.ndarray, size: Size) -> np.ndarray:
    """`H×W` or `H×W×C` at `size`: averaged over areas along an axis that shrinks, bilinear along one that grows."""
    smaller = min(size[0], values.shape[0]), min(size[1], values.shape[1])
    if values.shape[:2] != smaller:
        values = cv2.resize(values, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != size:
        values = cv2.resize(values, size[::-1], interpolation=cv2.INTER_LINEAR)
    return values


def require_frames(a: np.ndarray, b: np.ndarray) -> None:
    for frame in (a, b):
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
            raise ValueError(f"a frame is H×W×3 uint8, and this one is {frame.shape} {frame.dtype}")
    if a.shape != b.shape:
        raise ValueError(f"flow is between frames of one size, and these are {a.shape} and {b.shape}")


def to_flow(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """A flow as an H×W×2 float32 array to 1×2×H×W."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).permute(2, 0, 1).unsqueeze(0)


def to_mask(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """A mask as an H×W float32 array to 1×1×H×W."""
    return torch.from_numpy(array).to(device)[None, None]
