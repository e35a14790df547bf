"""Files read in threads, some ahead of the one that is asked for."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

AHEAD_BYTES = 128 << 20
"""Bytes of the pictures that are read ahead."""

T = TypeVar("T")


def read_ahead(
    read: Callable[[T], np.ndarray], items: Iterable[T], threads: int, most_bytes: int = AHEAD_BYTES
) -> Generator[np.ndarray, None, None]:
    """The picture that `read` gives for each item, in order. Up to `threads` are read ahead, or as many of the size of
    the one before as `most_bytes` hold, but one at least. What `read` raises is raised in its turn."""
    waiting: deque[Future[np.ndarray]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    ahead = 1
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            while len(waiting) > ahead:
                picture = waiting.popleft().result()
                ahead = max(1, min(threads, most_bytes // picture.nbytes))
                yield picture
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
