"""Compute devices: selection by name, and the context for computing on them."""

import contextlib
from collections.abc import Iterator

import torch

from ..choices import Precision
from ..errors import DeviceError, ImpastoError, OutOfMemoryError
from ..out_of_memory import is_out_of_memory
from ..pictures import Size
from ..torch_settings import reproducible


def pick_devices(name: str) -> tuple[torch.device, ...]:
    """The devices called `auto` (every GPU, else the CPU), `cpu`, `cuda` (every GPU), or `cuda:0,cuda:2`.

    Raises `DeviceError` for a name that is none of these and for a device that this machine lacks.
    """
    if not isinstance(name, str):
        raise DeviceError(f"device {name!r} is not a name: use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = tuple(torch.device("cuda", index) for index in range(count))
    if name == "auto":
        return gpus or (torch.device("cpu"),)
    if name == "cuda" and gpus:
        return gpus
    picked = [_device(part.strip(), name, count) for part in name.split(",")]
    if len(set(picked)) < len(picked):
        raise DeviceError(f"device {name} lists the same device twice: list each once")
    if len(picked) > 1 and any(device.type == "cpu" for device in picked):
        raise DeviceError(f"device {name} mixes the CPU with GPUs: use either the CPU alone or GPUs")
    return tuple(picked)


def pick_device(name: str) -> torch.device:
    """The first of `pick_devices`."""
    return pick_devices(name)[0]


def _device(name: str, whole: str, count: int) -> torch.device:
    expected = "not one of auto, cpu, cuda, cuda:N, or several as in cuda:0,cuda:1"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {whole!r} is {expected}") from error
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(
            f"device {whole} is not available: this machine has {count} usable CUDA devices; use `device='auto'`"
        )
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {whole!r} is {expected}")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else torch.device("cpu")


def device_label(device: torch.device) -> str:
    """The device for people: `cpu (2 threads)`, `cuda:0 (NVIDIA …)`."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return "cpu (1 thread)" if threads == 1 else f"cpu ({threads} threads)"
    return f"{device} ({torch.cuda.get_device_name(device)})"


@contextlib.contextmanager
def computing(device: torch.device, size: Size, precision: Precision = "fp32") -> Iterator[None]:
    """The context for painting and measuring pictures of a size (height, width): `reproducible`, and with one error
    for all kinds of exhausted memory. Raises `OutOfMemoryError`."""
    # What is not bf16 on a GPU is TF32 then: see `precision`. Streams, events and graphs are those of the current
    # device, whatever tensors they are for.
    current = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with current, reproducible(device, tf32=precision != "fp32"):
        try:
            yield
        except Exception as error:
            if isinstance(error, ImpastoError) or not is_out_of_memory(error):
                raise
            height, width = size
            raise OutOfMemoryError(
                f"not enough memory on {device} to paint {width}×{height} pixels: use a smaller `size`"
            ) from error
