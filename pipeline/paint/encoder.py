"""VGG-19 as a frozen feature extractor, with its layers by name (see `layers.py`).

The input is ImageNet-normalised RGB (`pictures.normalize`), whichever weights are loaded. Weights trained for another
input convention are converted when they are loaded. The original weights take BGR in 0–255 minus a mean colour: scale
and channel order are folded into the first convolution, and the difference of the means becomes `first_shift`, which is
subtracted before the input is padded. In training, zero padding was the mean colour around the picture; so it is here,
and features at the borders are exact too.
"""

from collections.abc import Collection, Iterable, Sequence

import torch
from torch import nn
from torch.nn import functional

from ..choices import Padding, Pooling
from ..errors import SettingsError
from ..layers import LAYERS, deepest, require_layer
from .encoder_weights import EncoderWeights


class Encoder(nn.Module):
    """VGG-19 (Simonyan and Zisserman 2015) up to the deepest of `layers`, with frozen parameters.

    `pooling` is `max` as trained, or `average` (Gatys et al. 2016, section 2: smoother results). `padding` is that of
    the first convolution: `zeros` as trained, or `replicate`, which keeps the edge that zeros draw out of the style.
    """

    first_shift: torch.Tensor

    def __init__(
        self,
        weights: EncoderWeights,
        layers: Iterable[str],
        pooling: Pooling = "max",
        padding: Padding = "zeros",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.layers = frozenset(require_layer(name) for name in layers)
        if not self.layers:
            raise SettingsError("an encoder needs layers to compute: name at least one")
        self.pooling = pooling
        self.padding = padding
        self._sequence = _pooled_first(LAYERS[: LAYERS.index(deepest(self.layers)) + 1], self.layers, pooling)
        self.convolutions = nn.ModuleDict()
        for name in self._sequence:
            if name.startswith("conv"):
                weight, bias = weights.convolutions[name]
                if name == "conv1_1" and dtype == torch.bfloat16:
                    # For what is left of the pixels as well: see `_split`.
                    weight = torch.cat((weight, weight), 1)
                # On "meta", or torch would draw random weights first, for a quarter of a second.
                convolution = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=3, padding=1, device="meta")
                convolution.weight = nn.Parameter(weight.to(dtype, copy=True))
                convolution.bias = nn.Parameter(bias.to(dtype, copy=True))
                if dtype == torch.bfloat16:
                    convolution.to(memory_format=torch.channels_last)
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
            x = _replicated(x)
        if self.dtype == torch.bfloat16:
            x = _split(x)
        for name in self._sequence:
            if name.startswith("conv"):
                x = self.convolutions[name](x)
            elif name.startswith("relu"):
                # In place where the values before the ReLU are not returned: a third less memory.
                x = functional.relu(x, inplace="conv" + name[4:] not in self.layers)
            elif self.pooling == "max":
                x = functional.max_pool2d(x, 2)
            else:
                x = functional.avg_pool2d(x, 2)
            if name in self.layers:
                features[name] = x
        return features


def _pooled_first(sequence: Sequence[str], layers: Collection[str], pooling: Pooling) -> tuple[str, ...]:
    """The sequence with max pooling before the ReLU where neither's values are in `layers`.

    Both orders give the same values and gradients, and this one needs a quarter of the work.
    """
    names = list(sequence)
    for place in range(1, len(names)):
        relu, pool = names[place - 1 : place + 1]
        if pooling == "max" and pool.startswith("pool") and not {relu, pool} & set(layers):
            names[place - 1 : place + 1] = [pool, relu]
    return tuple(names)


def _replicated(x: torch.Tensor) -> torch.Tensor:
    """B×C×H×W with a border of one pixel that repeats the edge. torch's own padding adds its gradients on a GPU in an
    order that changes from run to run."""
    x = torch.cat((x[..., :1], x, x[..., -1:]), 3)
    return torch.cat((x[..., :1, :], x, x[..., -1:, :]), 2)


def _split(x: torch.Tensor) -> torch.Tensor:
    """Pixels (B×3×H×W) in bf16, and what is left of them, B×6×H×W in bf16: both together have 16 bits of mantissa.

    In bf16 alone a level of 255 would be lost. The gradient is that of the first three channels.
    """
    high = x.to(torch.bfloat16)
    low = (x.detach() - high.detach()).to(torch.bfloat16)
    return torch.cat((high, low), 1).contiguous(memory_format=torch.channels_last)
