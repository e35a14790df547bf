"""The optimisation loop never makes the host wait for a device, which a CUDA graph of an iteration needs as well.

The device is torch's `meta`, whose tensors have no values: asking for one fails, as does mixing them with those of
the host, and every operation can be listed.
"""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from impasto.paint.adam import Adam
from impasto.paint.encoder import Encoder
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.lbfgs import Lbfgs
from impasto.paint.minimizer import Minimizer
from impasto.paint.objective import Objective, Targets, TemporalReference
from impasto.paint.painter import loss_weights
from impasto.paint.statistics import Moments, Statistics, StyleTarget, make_target
from impasto.presets import load_settings

CHANNELS = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512}


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


class OnDevice(TorchDispatchMode):
    """Notes the operations that have a tensor of the host as their input or result."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.of_host: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.count += 1
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device.type != "meta" for tensor in tensors):
            self.of_host.append(str(function))
        return result


@pytest.mark.parametrize("method", [Lbfgs, Adam])
@pytest.mark.parametrize(
    ("preset", "statistics"),
    [("default", "gram"), ("default", "gram_moments"), ("default", "wasserstein"), ("d2l", "gram")],
)
def test_an_iteration_asks_nothing_of_the_host(
    method: type[Minimizer], preset: str, statistics: Statistics, weights: EncoderWeights
) -> None:
    settings = load_settings(preset, [f"style.statistics={statistics}"])
    numbers, width = loss_weights(settings), 2
    styles: dict[str, StyleTarget] = {}
    for name in numbers.style_layers:
        channels = CHANNELS[f"relu{name[4:]}"]
        means = None if statistics == "gram" else meta(1, channels)
        styles[name] = make_target(name, Moments(meta(1, channels, channels), means), statistics, numbers.gram)
    reference = TemporalReference((meta(width, 3, 48, 64),), (meta(width, 1, 48, 64),))
    content = {name: meta(width, 512, 6, 8) for name in numbers.content_layers}
    targets = Targets(content, styles, reference, meta(width), width)
    encoders = [Encoder(weights, numbers.layers, dtype=dtype).to("meta") for dtype in (torch.bfloat16, torch.float32)]
    minimizer: Any = method([Objective(each, numbers, targets) for each in encoders], meta(width, 3, 48, 64), None)
    for stage in (0, 1):
        minimizer._iterate(stage)  # What is made once is made now.
        with OnDevice() as seen:
            minimizer._iterate(stage)
        assert seen.count > 400 and not seen.of_host
