"""The picture that an optimisation starts from. Pure functions: all take and return 1×3×H×W images in [0, 1]."""

import torch

from ..pictures import Size
from .colors import ColorStatistics, color_statistics

_ADDED_VARIANCE = (4 / 255) ** 2
"""Added to the variances of a content before its colours are matched, so that the noise of a flat or nearly black
frame is not stretched to the contrast of the style."""


def matched(content: torch.Tensor, style: ColorStatistics, own: ColorStatistics | None = None) -> torch.Tensor:
    """The content with the mean colour and colour covariance of the style.

    `transport` gives the linear map. `own` are the content's statistics, or those of the film that it is a frame of:
    then all its frames are mapped alike. Colours that leave the gamut are clamped.
    """
    own = own or color_statistics([content], [1.0])
    colors = content[0].flatten(1).double()
    moved = transport(own, style) @ (colors - own.mean.unsqueeze(1)) + style.mean.unsqueeze(1)
    result: torch.Tensor = moved.to(content.dtype).view_as(content).clamp(0, 1)
    return result


def transport(own: ColorStatistics, style: ColorStatistics) -> torch.Tensor:
    """The 3×3 matrix, float64, that maps differences of content colours to differences of style colours.

    It is the optimal transport between two normal distributions (Pitié and Kokaram 2007, "Monge-Kantorovitch"),
    which of all linear maps to the style's covariance changes the colours least.
    """
    spread = _ADDED_VARIANCE * torch.eye(3, dtype=torch.float64, device=own.covariance.device)
    root = _square_root(own.covariance + spread)
    inverse = torch.linalg.inv(root)
    matrix: torch.Tensor = inverse @ _square_root(root @ style.covariance @ root) @ inverse
    return matrix


def noise(size: Size, seed: int, index: int) -> torch.Tensor:
    """Uniform white noise for frame `index`; the same bits on every machine and device."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + index) % 2**63)
    return torch.rand(1, 3, *size, generator=generator)


def softened(image: torch.Tensor) -> torch.Tensor:
    """The picture with a tenth of mid-grey mixed in: a start where no pixel is at the end of its range."""
    return 0.05 + 0.9 * image


def _square_root(matrix: torch.Tensor) -> torch.Tensor:
    """Symmetric square root of a symmetric positive semidefinite 3×3 matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    root: torch.Tensor = vectors @ torch.diag(values.clamp(min=0).sqrt()) @ vectors.T
    return root
