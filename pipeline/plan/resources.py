"""TODO: plan.resources."""

import os
from collections.abc import Callable


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


THREAD_GAIN = 0.9
"""Sums that are split over n threads are n to this power as fast (measured: 1.84 and 1.91 times with two): a worker for
each core is faster, if all are busy."""

WIDTH_GAIN = 0.02
"""What is gained by more pictures side by side, as a share of the time, for their memory to be worth it."""

WORKER_BYTES = 800 << 20
PIXEL_BYTES = 4096
"""What a worker takes, and each pixel of its picture besides, on a CPU."""


def best_threads(total: float, longest: float, pixels: float, cores: int, memory_bytes: float) -> int:
    """Over how many threads sums are best split on a CPU, the cores that are left being for other workers.

    `total` is the work of all chains and `longest` that of the longest, which one worker has to do; `pixels` are those
    of a picture. Deterministic, as bits follow from it.
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
    """How many pictures of a size, at most `most`, a device best paints side by side.

    `total` is the work of all chains and `longest` that of the longest, in iterations of a picture; `seconds` is what
    an iteration of so many pictures takes. All places of a batch are always evaluated: where but one chain is left,
    the others are wasted. The fewest that are within `WIDTH_GAIN` of the best.
    """
    times = {width: max(total / (width * devices), longest) * seconds(width) for width in range(1, most + 1)}
    least = min(times.values())
    return next(width for width, time in times.items() if time <= (1 + WIDTH_GAIN) * least)


def physical_memory_bytes() -> int:
    """The memory of this machine; as if there were much where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 1 << 40
