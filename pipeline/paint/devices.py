"""TODO: paint.devices."""

import torch

from ..errors import DeviceError


def pick_devices(name: str) -> tuple[torch.device, ...]:
    """The devices called `auto` (every GPU, else the CPU), `cpu`, `cuda` (every GPU), or `cuda:0,cuda:2`."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = tuple(torch.device("cuda", index) for index in range(count))
    if name == "auto":
        return gpus or (torch.device("cpu"),)
    if name == "cuda" and gpus:
        return gpus
    picked = [_device(part.strip(), name, count) for part in name.split(",")]
    if len(set(picked)) < len(picked):
        raise DeviceError(f"device {name} names one twice: name each once")
    if len(picked) > 1 and any(device.type == "cpu" for device in picked):
        raise DeviceError(f"device {name}: the CPU does not go with others; use it alone, or leave it out")
    return tuple(picked)


def pick_device(name: str) -> torch.device:
    """The first of `pick_devices`."""
    return pick_devices(name)[0]


def _device(name: str, whole: str, count: int) -> torch.device:
    what = "not one of auto, cpu, cuda, cuda:N, or some of these as in cuda:0,cuda:1"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"device {whole!r} is {what}") from error
    if device.type == "cuda" and (device.index or 0) >= count:
        raise DeviceError(
            f"device {whole} is not there: this machine has {count} usable CUDA devices; use `device='auto'`"
        )
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {whole!r} is {what}")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else torch.device("cpu")


def device_label(device: torch.device) -> str:
    """The device as a person knows it: `cpu (2 threads)`, `cuda:0 (NVIDIA …)`."""
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return "cpu (1 thread)" if threads == 1 else f"cpu ({threads} threads)"
    return f"{device} ({torch.cuda.get_device_name(device)})"


_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED")
"""In the words of torch on a CPU, of the CUDA runtime, and of the libraries beside it, all in plain RuntimeErrors."""


def is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)
