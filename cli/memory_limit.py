"""Whether torch, OpenCV and the encoder fit into the memory that a process may take, before they are imported.

Where they do not, C++ ends the process while it loads them, or Python is left without the memory for a message. So it
is tried in a child process, but only under a limit (`ulimit -v`) that is low enough for doubt: it costs seconds.
"""

import mmap
import resource

from ..errors import OutOfMemoryError
from ..out_of_memory import is_out_of_memory
from .formatting import format_bytes

_ROOMY_BYTES = 6 << 30
"""With so much address space they load: with CUDA they take 3.7 GB of it."""

_ENCODER_BYTES = 400 << 20
"""What the encoder and the smallest picture take besides."""

_LOADING_SECONDS = 120.0


def require_room_for_libraries() -> None:
    """Raises `OutOfMemoryError` where the limits of this process do not let the libraries load."""
    limits = [resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    lowest = min((limit for limit in limits if limit != resource.RLIM_INFINITY), default=_ROOMY_BYTES)
    if lowest >= _ROOMY_BYTES:
        return
    from ..child_processes import Child

    child = Child("cli.memory_limit", "load_libraries", timeout=_LOADING_SECONDS)
    try:
        child.receive()
    except EOFError:
        reason = child.exit_reason()
        if is_out_of_memory(RuntimeError(reason)) or "MemoryError" in reason:
            raise OutOfMemoryError(
                f"not enough memory to load torch and the encoder: this process may take at most "
                f"{format_bytes(lowest)} (ulimit -v); raise that limit"
            ) from None
    except TimeoutError:
        pass
    finally:
        child.close()


def load_libraries(descriptor: int) -> None:
    """Imports what the commands import that paint and measure, in a child process, and tells the parent."""
    from ..child_processes import Parent
    from ..report import measure
    from ..run import dry_run

    del measure, dry_run
    with mmap.mmap(-1, _ENCODER_BYTES):
        Parent(descriptor).send("loaded")
