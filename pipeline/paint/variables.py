"""The variable z that an optimizer changes, and how it maps to the pixels of a picture.

Both kinds map between z, images (B×3×H×W in [0, 1]) and pixels (B×3×H×W, ImageNet-normalised, as the encoder
takes them).
"""

import torch

from ..choices import VariableKind
from ..pictures import denormalize, normalize

GAMUT_MARGIN = 0.4 / 255
"""Distance from black and white that a bounded variable starts with: at the ends the slope of the sine is 0.

It is less than half a level of 8 bits, so a picture that is saved, read and bounded again keeps its blacks and
whites however often that happens."""


class BoundedVariable:
    """x = ½ + ½ sin z: every z is a picture within the gamut."""

    def to_images(self, z: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.5 * torch.sin(z)

    def to_pixels(self, z: torch.Tensor) -> torch.Tensor:
        return normalize(self.to_images(z))

    def from_images(self, images: torch.Tensor) -> torch.Tensor:
        return torch.asin(2 * images.clamp(GAMUT_MARGIN, 1 - GAMUT_MARGIN) - 1)


class FreeVariable:
    """z are the ImageNet-normalised pixels themselves, without bounds, as in textbooks."""

    def to_images(self, z: torch.Tensor) -> torch.Tensor:
        return denormalize(z)

    def to_pixels(self, z: torch.Tensor) -> torch.Tensor:
        return z

    def from_images(self, images: torch.Tensor) -> torch.Tensor:
        return normalize(images)


Variable = BoundedVariable | FreeVariable


def make_variable(kind: VariableKind) -> Variable:
    return BoundedVariable() if kind == "bounded" else FreeVariable()
