"""Recognises the errors by which Python, torch, CUDA and OpenCV report that memory ran out, and raises our own."""

import contextlib
import errno
import sys
from collections.abc import Iterator

from .errors import ImpastoError, OutOfMemoryError

_MESSAGES = (
    *("can't allocate memory", "Cannot allocate memory", "out of memory", "ALLOC_FAILED", "Insufficient memory"),
    *("bad_alloc", "bad allocation", "failed to map segment", "can't start new thread"),
    *("could not create a primitive", "could not create a memory"),
)
"""In messages of torch on a CPU, of the operating system, of the CUDA runtime, of cuBLAS and cuDNN, of OpenCV, of C++,
of libraries that are loaded, of Python's threads, each of which takes memory, and of oneDNN, which does not say why.
None has a type of its own for it."""

_LONGEST_REASON = 120


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; any other `RuntimeError` is a bug and must not be taken for it."""
    torch = sys.modules.get("torch")  # Commands that do not paint start without it.
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return _says_so(str(error))


def out_of_memory_error(error: BaseException) -> OutOfMemoryError:
    """What is raised for an error that says that memory ran out, where it is not known what for."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    # numpy, for one, has a page of advice around it.
    telling = [line for line in lines if _says_so(line)] or [" ".join(lines), type(error).__name__]
    reason = next(filter(None, telling))[:_LONGEST_REASON]
    return OutOfMemoryError(f"not enough memory ({reason}): end other programs, or use a smaller `size`")


def raise_if_out_of_memory(error: BaseException) -> None:
    """Raises `OutOfMemoryError` where `error` says that memory ran out: the file that is read is not to blame."""
    if is_out_of_memory(error):
        raise out_of_memory_error(error) from error


def _says_so(text: str) -> bool:
    return any(message in text for message in _MESSAGES)


@contextlib.contextmanager
def translated_memory_errors() -> Iterator[None]:
    """Raises `OutOfMemoryError` for every error of other libraries that says that memory ran out."""
    try:
        yield
    except ImpastoError:
        raise
    except Exception as error:
        raise_if_out_of_memory(error)
        raise
