"""Colour statistics of pictures: mean and covariance, from tensors at once or frame by frame from a whole film."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

SAMPLE_STEP = 8
"""`ColorSums` takes one pixel in this many, across and down: a film has far more than its statistics need."""


@dataclass(frozen=True)
class ColorStatistics:
    """Mean (3) and covariance (3×3) of colours in [0, 1], float64."""

    mean: torch.Tensor
    covariance: torch.Tensor

    @classmethod
    def from_moments(cls, mean: torch.Tensor, second_moment: torch.Tensor) -> "ColorStatistics":
        """From E[c] (3) and E[c·cᵀ] (3×3)."""
        return cls(mean, second_moment - mean.outer(mean))

    def to(self, device: torch.device) -> "ColorStatistics":
        return ColorStatistics(self.mean.to(device), self.covariance.to(device))


def color_statistics(images: Sequence[torch.Tensor], blend: Sequence[float]) -> ColorStatistics:
    """Statistics of the mixture of `images` (1×3×H×W in [0, 1]), each weighted by its entry of `blend`."""
    total = sum(blend)
    mean = images[0].new_zeros(3, dtype=torch.float64)
    second_moment = images[0].new_zeros(3, 3, dtype=torch.float64)
    for image, weight in zip(images, blend, strict=True):
        colors = image[0].flatten(1).double()
        mean = mean + weight / total * colors.mean(1)
        second_moment = second_moment + weight / total * (colors @ colors.T) / colors.shape[1]
    return ColorStatistics.from_moments(mean, second_moment)


class ColorSums:
    """Statistics of a film, gathered frame by frame."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = np.zeros(3)
        self._products = np.zeros((3, 3))

    def add(self, image: np.ndarray) -> None:
        """Adds a frame, H×W×3 uint8."""
        colors = image[::SAMPLE_STEP, ::SAMPLE_STEP].reshape(-1, 3) / 255.0
        self._count += len(colors)
        self._sum += colors.sum(0)
        self._products += colors.T @ colors

    def statistics(self) -> ColorStatistics:
        count = max(1, self._count)
        return ColorStatistics.from_moments(
            torch.from_numpy(self._sum / count), torch.from_numpy(self._products / count)
        )
