"""Cores and memory of this machine, and the thread counts and batch widths that use them best.

Estimates of time take the work of all chains and that of the longest: with n workers a job takes no less than either
an n-th of the whole or the longest chain.
"""

import os
from collections.abc import Callable

THREAD_GAIN = 0.9
"""Sums over n threads are n to this power as fast (measured: 1.84 and 1.91 times with two), so that one worker for each
core is faster than threads, as long as all are busy."""

WIDTH_GAIN = 0.02
"""The least share of the time that more pictures side by side must save to be worth their memory."""

WORKER_BYTES = 800 << 20
"""Memory of a worker on a CPU, without its picture."""

PIXEL_BYTES = 4096
"""Memory of a worker on a CPU for each pixel of its picture."""

_MOST_PICTURE_THREADS = 8


def best_threads(total: float, longest: float, pixels: float, cores: int, memory_bytes: float) -> int:
    """The number of threads for each worker on a CPU with which a job takes the least time; a divisor of `cores`.

    `total` is the work of all chains, `longest` that of the critical path, and `pixels` the size of a picture. Bits
    depend on the result: it is a pure function.
    """
    best, least = cores, float("inf")
    for threads in range(cores, 0, -1):
        workers = cores // threads
        if cores % threads or workers * (WORKER_BYTES + PIXEL_BYTES * pixels) > memory_bytes:
            continue
        seconds = max(total / workers, longest) / threads**THREAD_GAIN
        if seconds < least:
            best, least = threads, seconds
    return best


def best_width(total: float, longest: float, most: int, devices: int, seconds: Callable[[int], float]) -> int:
    """The fewest pictures side by side, at most `most`, with which a job takes within `WIDTH_GAIN` of the least time.

    `total` and `longest` are the iterations of all chains and of the longest; `seconds` gives the time of an iteration
    of so many pictures. All slots of a batch are always evaluated: where only one chain is left, the others are wasted.
    """
    times = {width: max(total / (width * devices), longest) * seconds(width) for width in range(1, most + 1)}
    least = min(times.values())
    return next(width for width, time in times.items() if time <= (1 + WIDTH_GAIN) * least)


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def picture_threads(cores: int) -> int:
    """How many threads write the files of paintings, or read them for a film. A core writes about 5 frames of 1080p a
    second, and several GPUs paint more; the other cores are for the content and its optical flow."""
    return max(1, min(_MOST_PICTURE_THREADS, cores // 2))


def physical_memory_bytes() -> int:
    """The memory of this machine; 1 TiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 1 << 40
