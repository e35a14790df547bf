"""Pictures in memory: arrays, tensors and sizes, and the conventions for them.

They hold everywhere, unless a docstring says otherwise:

- Image arrays are H×W×3, uint8 (uint16 where 16 bits are read or written), RGB.
- Image tensors are B×3×H×W, float32, RGB, sRGB as stored, in [0, 1]. "Pixels" are image tensors normalised by
  ImageNet's mean and standard deviation, which the encoder takes.
- Sizes are (height, width).
- Indices count from 0, and ranges are half-open: [start, stop).

Conventions of flows and masks are in `motion/warp.py`.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

if TYPE_CHECKING:  # Processes that see only arrays start without torch, which takes seconds to import.
    import torch

Size: TypeAlias = tuple[int, int]
"""(height, width) in pixels."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_tensor(array: np.ndarray, device: torch.device | str = "cpu") -> torch.Tensor:
    """H×W×3 uint8 array as a 1×3×H×W float32 tensor in [0, 1]."""
    import torch

    tensor = torch.tensor(array, device=device)
    return tensor.permute(2, 0, 1).unsqueeze(0).to(torch.float32).div_(255).contiguous()


def to_array(image: torch.Tensor) -> np.ndarray:
    """1×3×H×W or 3×H×W tensor as an H×W×3 uint8 array, clamped to [0, 1] and rounded to nearest.

    Rounding down would darken a video by half a level per frame, since each frame starts from the previous one as
    saved.
    """
    import torch

    if image.dim() == 4:
        (image,) = image
    quantised = image.detach().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(quantised.permute(1, 2, 0).cpu().numpy())


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Images in [0, 1] as ImageNet-normalised pixels."""
    mean, std = _imagenet_statistics(images.device, images.dtype)
    return (images - mean) / std


def denormalize(pixels: torch.Tensor) -> torch.Tensor:
    """ImageNet-normalised pixels as images: the inverse of `normalize`."""
    mean, std = _imagenet_statistics(pixels.device, pixels.dtype)
    return pixels * std + mean


@functools.cache
def _imagenet_statistics(device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """ImageNet's mean and standard deviation, 1×3×1×1 each: kept, as a copy to a GPU makes the host wait."""
    import torch

    mean, std = (
        torch.tensor(values, dtype=dtype, device=device).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return mean, std


def size_of(array: np.ndarray) -> Size:
    """(height, width) of an H×W or H×W×C array."""
    return array.shape[0], array.shape[1]


def fit_within(size: Size, longer_side: int | None) -> Size:
    """The size with the same aspect ratio whose longer side is at most `longer_side`; never larger than `size`."""
    height, width = size
    if longer_side is None or max(size) <= longer_side:
        return size
    scale = longer_side / max(size)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(array: np.ndarray, size: Size) -> np.ndarray:
    """H×W×3 uint8 array resampled to `size` with a Lanczos filter (a = 3, antialiased when reducing)."""
    if array.shape[:2] == size:
        return array
    height, width = size
    return np.asarray(Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS))


def enlarge(picture: np.ndarray, content: np.ndarray) -> np.ndarray:
    """`picture` enlarged to the size of `content`, with the detail of the content that is lost at its own size.

    Both are H×W×3 uint8. The detail is a level of the content's Laplacian pyramid (Burt and Adelson 1983), so the
    reduced content is enlarged to the content itself.
    """
    size = size_of(content)
    blurred = resize(resize(content, size_of(picture)), size)
    detail = content.astype(np.int16) - blurred
    enlarged: np.ndarray = np.clip(resize(picture, size) + detail, 0, 255).astype(np.uint8)
    return enlarged


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """B×C×H×W convolved with a Gaussian of standard deviation `sigma` pixels; borders are replicated."""
    import torch
    from torch.nn import functional

    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    weights = torch.exp(-offsets.square() / (2 * sigma * sigma))
    weights = weights / weights.sum()
    channels = images.shape[1]
    padded = functional.pad(images, (radius, radius, radius, radius), mode="replicate")
    across = functional.conv2d(padded, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return functional.conv2d(across, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
