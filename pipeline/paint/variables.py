"""TODO: paint.variables."""

from typing import Literal

import torch

from ..pictures import denormalize, normalize

VariableKind = Literal["bounded", "free"]

GAMUT_MARGIN = 0.4 / 255
"""How far from black and white a bounded variable starts, where the slope of the sine is not yet 0.
Less than half a level of 8 bits, so a saved picture that is read, bounded and saved again keeps its
blacks and whites however often."""


class BoundedVariable:
    """Pixels as ½ + ½ sin z: every z is a picture in the range of colours."""

    def to_images(self, z: torch.Tensor) -> torch.Tensor:
        return 0.5 + 0.5 * torch.sin(z)

    def to_pixels(self, z: torch.Tensor) -> torch.Tensor:
        return normalize(self.to_images(z))

    def from_images(self, images: torch.Tensor) -> torch.Tensor:
        return torch.asin(2 * images.clamp(GAMUT_MARGIN, 1 - GAMUT_MARGIN) - 1)


class FreeVariable:
    """ImageNet-normalised pixels without bounds, as textbooks optimise them."""

    def to_images(self, z: torch.Tensor) -> torch.Tensor:
        return denormalize(z)

    def to_pixels(self, z: torch.Tensor) -> torch.Tensor:
        return z

    def from_images(self, images: torch.Tensor) -> torch.Tensor:
        return normalize(images)


Variable = BoundedVariable | FreeVariable


def make_variable(kind: VariableKind) -> Variable:
    return BoundedVariable() if kind == "bounded" else FreeVariable()
