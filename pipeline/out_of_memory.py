"""Recognises the errors by which Python, torch, CUDA and OpenCV report that memory ran out."""

import torch

_MESSAGES = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "Insufficient memory")
"""In messages of torch on a CPU, of the CUDA runtime, of cuBLAS and cuDNN, and of OpenCV, which have no type of their
own for it."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out; any other `RuntimeError` is a bug and must not be taken for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        message in str(error) for message in _MESSAGES
    )
