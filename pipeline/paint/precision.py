"""The precision of the encoder's features: which a device has, and which one `auto` means.

`fp32`
    Everything in single precision.
`tf32`
    Convolutions of a GPU round their inputs to 10 bits of mantissa. The result is that of `fp32`.
`bf16`
    Features and their gradients are kept in 7 bits of mantissa, and the last iterations of a picture are computed
    exactly, in `tf32` on a GPU and in `fp32` on a CPU.

Whatever the precision, losses, sums and the numbers of the optimizer are in single precision, and a saved picture is
measured in `fp32`.
"""

import os

import torch

from ..choices import Precision, PrecisionSetting
from ..errors import DeviceError

_TENSOR_CORES = (8, 0)
"""Compute capability from which GPUs have matrix units for TF32 and bf16."""

_BF16_UNITS = ("avx512_bf16", "amx_bf16")
"""Features of a CPU that multiply bf16. Without one of them bf16 is emulated, and slower than `fp32`."""

_ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Environment variables by which a user keeps oneDNN from the newer instructions of a CPU."""


_BF16_LIMITS = ("BF16", "FP16", "AMX", "AVX10")
"""Parts of the values of these variables that leave bf16 in."""


def precisions_of(device: torch.device) -> tuple[Precision, ...]:
    """The precisions that a device has units for, the fastest first."""
    if device.type == "cuda":
        has_tensor_cores = torch.cuda.get_device_capability(device) >= _TENSOR_CORES
        return ("bf16", "tf32", "fp32") if has_tensor_cores else ("fp32",)
    return ("bf16", "fp32") if _cpu_has_bf16() else ("fp32",)


def _cpu_has_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    if not any(capabilities.get(name) for name in _BF16_UNITS):
        return False
    limits = (os.environ.get(name, "").upper() for name in _ISA_VARIABLES)
    return all(limit in ("", "ALL", "DEFAULT") or any(it in limit for it in _BF16_LIMITS) for limit in limits)


def choose_precision(setting: PrecisionSetting, *devices: torch.device) -> Precision:
    """The precision that a setting means on some devices: `auto` is the fastest that all of them have.

    Raises `DeviceError` for one that a device has no units for: it would take longer than `fp32` there.
    """
    if setting == "auto":
        return next(it for it in precisions_of(devices[0]) if all(it in precisions_of(each) for each in devices))
    for device in devices:
        require_precision(setting, device, "use `precision='auto'`")
    return setting


def require_precision(precision: Precision, device: torch.device, remedy: str) -> None:
    """Raises `DeviceError` with the remedy unless a device has units for a precision."""
    available = precisions_of(device)
    if precision not in available:
        raise DeviceError(f"{device} has no units for {precision}, but for {' and '.join(available)}: {remedy}")
