"""The picture that an optimisation starts from. Pure functions of their arguments.

All take and give 1×3×H×W images in [0, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..pictures import Size

_LEAST_VARIANCE = (4 / 255) ** 2
"""Added to the variances of a content before it is matched, so that the noise of a flat or nearly
black frame is not stretched to the contrast of the style."""


@dataclass(frozen=True)
class ColorStatistics:
    """Mean (3) and covariance (3×3) of the colours of one or more pictures, float64."""

    mean: torch.Tensor
    covariance: torch.Tensor

    def to(self, device: torch.device) -> "ColorStatistics":
        return ColorStatistics(self.mean.to(device), self.covariance.to(device))


def color_statistics(images: Sequence[torch.Tensor], blend: Sequence[float]) -> ColorStatistics:
    """Mean and covariance of the mixture of `images`, each weighted by its entry of `blend`."""
    total = sum(blend)
    mean = images[0].new_zeros(3, dtype=torch.float64)
    second_moment = images[0].new_zeros(3, 3, dtype=torch.float64)
    for image, weight in zip(images, blend, strict=True):
        colors = image[0].flatten(1).double()
        mean = mean + weight / total * colors.mean(1)
        second_moment = second_moment + weight / total * (colors @ colors.T) / colors.shape[1]
    return ColorStatistics(mean, second_moment - mean.outer(mean))


def matched(content: torch.Tensor, style: ColorStatistics, own: ColorStatistics | None = None) -> torch.Tensor:
    """The content in the colours of the style, its mean and covariance brought to the style's.

    The linear map is that of optimal transport between two normal distributions (Pitié and Kokaram
    2007, "Monge-Kantorovitch"), which of all maps with that result changes the colours least. `own` are the
    content's statistics, or those of the film that it is a frame of: then all its frames are mapped alike.
    Colours that leave the range are clamped.
    """
    own = own or color_statistics([content], [1.0])
    colors = content[0].flatten(1).double()
    moved = transport(own, style) @ (colors - own.mean.unsqueeze(1)) + style.mean.unsqueeze(1)
    result: torch.Tensor = moved.to(content.dtype).view_as(content).clamp(0, 1)
    return result


def transport(own: ColorStatistics, style: ColorStatistics) -> torch.Tensor:
    """The 3×3 matrix, float64, by which `matched` maps differences of colour."""
    spread = _LEAST_VARIANCE * torch.eye(3, dtype=torch.float64, device=own.covariance.device)
    root = _square_root(own.covariance + spread)
    inverse = torch.linalg.inv(root)
    matrix: torch.Tensor = inverse @ _square_root(root @ style.covariance @ root) @ inverse
    return matrix


def noise(size: Size, seed: int, index: int) -> torch.Tensor:
    """Uniform white noise for frame `index`; the same bits on every machine and device."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)
    return torch.rand(1, 3, *size, generator=generator)


def softened(image: torch.Tensor) -> torch.Tensor:
    """The picture drawn a tenth towards mid-grey: a start where no pixel sits at the end of the range."""
    return 0.05 + 0.9 * image


def _square_root(matrix: torch.Tensor) -> torch.Tensor:
    """Symmetric square root of a symmetric positive semidefinite 3×3 matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: torch.Tensor = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    return root
