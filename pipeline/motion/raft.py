"""Optical flow by a network: RAFT (Teed and Deng 2020) with weights from torchvision or a file."""

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..errors import WeightsError
from ..pictures import Size, size_of, to_tensor
from ..storage import may_be_file
from ..torch_settings import reproducible
from ..weight_files import download_path, download_state_dict, read_state_dict
from .flow import require_frames, resample, resize_flow, working_size


class RaftFlow:
    """torchvision's RAFT (Teed and Deng 2020) on `device`.

    `weights`: `torchvision`, whose weights are downloaded once, or a `.pth`, `.pt` or `.safetensors` file with a state
    dict of torchvision's network. `model` is the full network or the small one, whose error is half as much again for a
    fifth of the parameters. `sha256` identifies the weights' values.

    Raises `WeightsError` for weights that are missing, damaged or of another network.
    """

    def __init__(
        self, weights: str, device: torch.device | str = "cpu", model: Literal["large", "small"] = "large"
    ) -> None:
        from torchvision.models.optical_flow import raft_large, raft_small

        self._device = torch.device(device)
        network: nn.Module = (raft_large if model == "large" else raft_small)(weights=None)
        self.sha256 = _load_state(network, _state_dict(weights, model), weights, model)
        self._network = network.to(self._device).eval().requires_grad_(False)
        self._lock = threading.Lock()

    def pair(self, a: np.ndarray, b: np.ndarray, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Flow a → b and flow b → a (see `FlowEstimator`), one after the other to save memory."""
        return self._one_way(a, b, size), self._one_way(b, a, size)

    def _one_way(self, a: np.ndarray, b: np.ndarray, size: Size) -> np.ndarray:
        """Flow a → b, `H×W×2` float32 in pixels of `size`. Threads take turns, to save memory."""
        require_frames(a, b)
        work = working_size(size_of(a), size)
        with self._lock:
            image_a, image_b = (self._prepared(frame, work) for frame in (a, b))
            return self._flow(image_a, image_b, work, size)

    def _prepared(self, frame: np.ndarray, work: Size) -> torch.Tensor:
        """A frame as `1×3×H×W` in [-1, 1], its edge replicated at the right and below.

        Sides are multiples of 8, since features are at an eighth, and at least 128, for four levels of correlation.
        """
        image = to_tensor(resample(frame, work), self._device) * 2 - 1
        below, right = (max(128, -(-side // 8) * 8) - side for side in work)
        return functional.pad(image, (0, right, 0, below), mode="replicate")

    def _flow(self, image_a: torch.Tensor, image_b: torch.Tensor, work: Size, size: Size) -> np.ndarray:
        with torch.no_grad(), reproducible(self._device):
            # One flow per iteration; the last is the best.
            estimate: torch.Tensor = self._network(image_a, image_b)[-1]
        flow = estimate[0, :, : work[0], : work[1]].permute(1, 2, 0).float().cpu().numpy()
        return resize_flow(np.ascontiguousarray(flow), size)


def has_raft_weights(weights: str) -> bool:
    """Whether RAFT's weights need no download: the file exists, or torchvision's are in its cache."""
    path = _torchvision_raft("large")[1] if weights == "torchvision" else Path(weights)
    return path.is_file()


def _torchvision_raft(model: Literal["large", "small"]) -> tuple[Any, Path]:
    """torchvision's weights, and the path they are downloaded to."""
    from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

    known = (Raft_Large_Weights if model == "large" else Raft_Small_Weights).DEFAULT
    return known, download_path(str(known.url).rpartition("/")[2])


def _state_dict(weights: str, model: Literal["large", "small"]) -> Mapping[str, Any]:
    if weights == "torchvision":
        known, path = _torchvision_raft(model)
        return download_state_dict(known, path, "RAFT", "set flow.method=dis, which has no weights")
    if not may_be_file(Path(weights)):
        raise WeightsError(f"no flow weights at {weights}: give torchvision, or a .pth, .pt or .safetensors file")
    return read_state_dict(Path(weights), "flow weights")


def _load_state(network: nn.Module, state: Mapping[str, Any], source: str, model: str) -> str:
    """Fills the network and returns the SHA-256 of the values. Raises `WeightsError` for another network's state."""
    own = network.state_dict()
    digest = hashlib.sha256()
    for name, expected in own.items():
        value = state.get(name)
        if not isinstance(value, torch.Tensor):
            raise WeightsError(f"flow weights {source} lack {name}: they are not torchvision's raft_{model}")
        if value.shape != expected.shape:
            raise WeightsError(
                f"flow weights {source} have {tuple(value.shape)} at {name}, raft_{model} has {tuple(expected.shape)}"
            )
        if not torch.isfinite(value).all():
            raise WeightsError(f"flow weights {source} hold non-finite values at {name}: the file is damaged")
        digest.update(value.to(expected.dtype).contiguous().numpy().tobytes())
    if unknown := sorted(map(str, set(state) - set(own))):
        raise WeightsError(f"flow weights {source} hold {unknown[0]}, which raft_{model} does not have")
    network.load_state_dict(dict(state))
    return digest.hexdigest()
