"""Reads files of trained weights, and downloads torchvision's."""

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
from .out_of_memory import raise_if_out_of_memory
from .storage import hash_file, read_problem


class Downloadable(Protocol):
    """A member of one of torchvision's `WeightsEnum`s."""

    def get_state_dict(self, *args: Any, **kwargs: Any) -> Mapping[str, Any]: ...


def download_path(name: str) -> Path:
    """Path of torchvision's file `name` in its cache, whether it is downloaded or not."""
    return Path(str(torch.hub.get_dir())) / "checkpoints" / name


def download_state_dict(weights: Downloadable, path: Path, network: str, remedy: str) -> Mapping[str, Any]:
    """torchvision's weights of `network`, from `path` in its cache or else from its server.

    Raises `WeightsError` if the download fails, or if the file is corrupted. The message has `remedy`, which says what
    to use instead, after the one that also helps a job which was begun with these weights.
    """
    try:
        if path.is_file() and not hash_file(path).startswith(path.stem.rpartition("-")[2]):
            # torchvision checks the hash of downloads only, and would unpickle any cached file.
            raise RuntimeError("its hash differs from the one in its name")
        # torch.hub reports downloads on stdout, where a program may be reading our JSON.
        with contextlib.redirect_stdout(io.StringIO()):
            return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise_if_out_of_memory(error)
        raise WeightsError(
            f"torchvision's {network} weights could not be downloaded ({_first_line(error)}): "
            f"put the file at {path}, or {remedy}"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise_if_out_of_memory(error)
        raise WeightsError(
            f"torchvision's weights {path} are corrupted ({_first_line(error)}): delete the file and try again"
        ) from error


def read_state_dict(path: Path, what: str) -> Mapping[str, Any]:
    """The state dict in a `.safetensors` file or in one that torch pickled.

    Raises `WeightsError` for a file that is damaged or something else; `what` names the weights in the message.
    """
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise WeightsError(f"{what} {path} cannot be read: {read_problem(error)}") from error
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise_if_out_of_memory(error)
            raise WeightsError(f"{what} {path} cannot be read as safetensors: {_first_line(error)}") from error
    try:
        # weights_only: a pickle can run code, and weight files come from anywhere.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise_if_out_of_memory(error)
        # A damaged pickle can raise almost anything: KeyError, IndexError, TypeError …
        raise WeightsError(
            f"{what} {path} cannot be read as a state dict of tensors ({type(error).__name__}): "
            "the file is damaged or something else; download it again"
        ) from error
    if not isinstance(state, Mapping):
        raise WeightsError(f"{what} {path} hold a {type(state).__name__}, not a state dict: give a file of one")
    return state


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
