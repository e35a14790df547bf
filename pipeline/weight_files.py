"""Files of trained weights: what is in them, and torchvision's own downloads."""

import contextlib
import http.client
import io
import pickle
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

from .errors import WeightsError
from .storage import hash_file


class Downloadable(Protocol):
    """One of torchvision's sets of weights, as its enumerations name them."""

    def get_state_dict(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]: ...


def download_path(name: str) -> Path:
    """Where torchvision keeps its file `name`, or will once it is downloaded."""
    return Path(str(torch.hub.get_dir())) / "checkpoints" / name


def download_state_dict(weights: Downloadable, path: Path, network: str, remedy: str) -> Mapping[str, Any]:
    """torchvision's weights of `network`, from `path` in its cache or else from its server.

    Raises `WeightsError` when they cannot be had, for which it names the `remedy`, or are not what they should be.
    """
    try:
        if path.is_file() and not hash_file(path).startswith(path.stem.rpartition("-")[2]):
            # torchvision looks at the hash only when it downloads, and would unpickle whatever is there.
            raise RuntimeError("its hash is not the one in its name")
        # torch.hub tells of a download on stdout, which belongs to whoever reads our JSON.
        with contextlib.redirect_stdout(io.StringIO()):
            return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise WeightsError(
            f"torchvision's {network} weights could not be downloaded ({_first_line(error)}): {remedy}"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise WeightsError(
            f"torchvision's weights {path} are corrupted ({_first_line(error)}): delete the file and try again"
        ) from error


def read_state_dict(path: Path, what: str) -> Mapping[str, Any]:
    """The state dict in a `.safetensors` file, or in one that torch has pickled.

    Raises `WeightsError` for a file that is damaged or something else; `what` names the weights in it.
    """
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{what} {path} cannot be read as safetensors: {_first_line(error)}") from error
    try:
        # weights_only: a pickle can run code, and weight files travel from hand to hand.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damaged pickles end in whatever they happen to say: KeyError, IndexError, TypeError ...
        raise WeightsError(
            f"{what} {path} cannot be read as a state dict of tensors ({type(error).__name__}): "
            "the file is damaged, or is something else; get it again"
        ) from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{what} {path} hold a {type(state).__name__}, not a state dict")
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
