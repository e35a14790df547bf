"""VGG-19 as a frozen feature extractor, with its layers by name.

The network of Simonyan and Zisserman (2015) up to the deepest layer in use. Layers are named
`conv4_2` (before the ReLU), `relu4_2` (after it) and `pool4`.

Input convention: ImageNet-normalised RGB (`frames.normalize`), whatever weights are held. Weights
trained for another convention are folded into the first convolution when they are loaded. The
original weights take BGR in 0–255 minus a mean colour; the scale and the channel order go into the
convolution's weights and the difference of the means into `first_shift`, which is subtracted from
the input before it is padded, so that the zero padding of the original (its mean colour around the
picture) is kept exactly and not only in the interior.
"""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from ..errors import SettingsError
from ..layers import LAYERS, deepest, require_layer
from .encoder_weights import EncoderWeights

Pooling = Literal["max", "average"]
Padding = Literal["zeros", "replicate"]


class Encoder(nn.Module):
    """VGG-19 cut after the deepest of `layers`, its parameters frozen.

    `pooling` is `max` as trained, or `average` (Gatys et al. 2016, section 2: smoother results).
    `padding` is that of the first convolution: `zeros` as trained, or `replicate`, which keeps the
    frame around the picture out of the style.
    """

    first_shift: torch.Tensor

    def __init__(
        self,
        weights: EncoderWeights,
        layers: Iterable[str],
        pooling: Pooling = "max",
        padding: Padding = "zeros",
    ) -> None:
        super().__init__()
        self.layers = frozenset(require_layer(name) for name in layers)
        if not self.layers:
            raise SettingsError("an encoder without layers has nothing to compute; name at least one")
        self.pooling = pooling
        self.padding = padding
        self._sequence = LAYERS[: LAYERS.index(deepest(self.layers)) + 1]
        self.convolutions = nn.ModuleDict()
        for name in self._sequence:
            if name.startswith("conv"):
                weight, bias = weights.convolutions[name]
                convolution = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=3, padding=1)
                convolution.weight.data = weight.clone()
                convolution.bias.data = bias.clone()  # type: ignore[union-attr]
                self.convolutions[name] = convolution
        if padding == "replicate":
            self.convolutions["conv1_1"].padding = (0, 0)  # type: ignore[assignment]
        self.register_buffer("first_shift", torch.tensor(weights.first_shift).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.eval()

    def forward(self, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Features of `pixels` (B×3×H×W, ImageNet-normalised RGB) at each of `layers`, B×C×h×w."""
        features: dict[str, torch.Tensor] = {}
        x = pixels - self.first_shift
        if self.padding == "replicate":
            x = functional.pad(x, (1, 1, 1, 1), mode="replicate")
        for name in self._sequence:
            if name.startswith("conv"):
                x = self.convolutions[name](x)
            elif name.startswith("relu"):
                # In place where nobody holds the values before the ReLU: a third less memory.
                x = functional.relu(x, inplace="conv" + name[4:] not in self.layers)
            elif self.pooling == "max":
                x = functional.max_pool2d(x, 2)
            else:
                x = functional.avg_pool2d(x, 2)
            if name in self.layers:
                features[name] = x
        return features
