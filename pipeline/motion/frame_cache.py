"""The last frames of a film that were read, at the painting's size and at the size at which flow is estimated."""

import contextlib
import time
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..media.frame_reader import FrameReader
from ..pictures import Size, fit_within, resize, size_of
from .flow import working_size

BLOCK = 16
"""Frames read at once where frames are taken in descending order."""


@dataclass(frozen=True)
class CachedFrame:
    """A frame of the content, `H×W×3` uint8 at two sizes."""

    content: np.ndarray
    """At the painting's size."""
    source: np.ndarray
    """At the working size of flow."""
    alpha: np.ndarray | None
    """`H×W` uint8 at the content's own size; None where all is opaque."""
    own_size: Size
    """The content's own size."""


class FrameCache:
    """Reads frames by index and keeps the last `capacity` of them, with a block more if `backward`.

    The painting's `longer_side` in pixels is None for the content's own size. With `has_flow` the working size of flow
    is kept too. `backward` says that frames are taken in descending order, for which they are read in blocks: a video
    is decoded from its beginning to get one frame back.
    """

    def __init__(
        self, reader: FrameReader, longer_side: int | None, capacity: int, *, has_flow: bool, backward: bool
    ) -> None:
        self._reader = reader
        self._longer_side = longer_side
        self._capacity = 0
        self._has_flow = has_flow
        self._backward = backward
        self._frames: OrderedDict[int, CachedFrame] = OrderedDict()
        self.read_seconds = 0.0
        """The time that reading has taken so far."""
        self.ensure_capacity(capacity)

    def ensure_capacity(self, count: int) -> None:
        """Keeps at least `count` frames from now on, and with them a block where they are taken backward."""
        self._capacity = max(self._capacity, count + (BLOCK if self._backward else 0))

    def frame(self, index: int) -> CachedFrame:
        """The frame, read where it is not kept. Raises `InputError` when it cannot be read."""
        if index not in self._frames:
            if self._backward and self._frames and index < min(self._frames):
                # The farthest are given up first: the nearest are needed beside those of the block.
                for kept in sorted(self._frames, reverse=True):
                    self._frames.move_to_end(kept)
                for earlier in range(max(0, index - BLOCK + 1), index):
                    # A frame of the block that cannot be read is reported when it is asked for itself.
                    with contextlib.suppress(InputError):
                        self._read(earlier)
            self._read(index)
        return self._frames[index]

    def content(self, index: int) -> np.ndarray:
        """The frame at the painting's size."""
        return self.frame(index).content

    def source(self, index: int) -> np.ndarray:
        """The frame at the working size of flow."""
        return self.frame(index).source

    def _read(self, index: int) -> None:
        if index in self._frames:
            return
        began = time.perf_counter()
        try:
            self._frames[index] = self._decode(index)
        finally:
            self.read_seconds += time.perf_counter() - began
        while len(self._frames) > self._capacity:
            self._frames.popitem(last=False)

    def _decode(self, index: int) -> CachedFrame:
        array, alpha = self._reader.read(index)
        size = fit_within(size_of(array), self._longer_side)
        content = resize(array, size)
        source = resize(array, working_size(size_of(array), size)) if self._has_flow else content
        return CachedFrame(content, source, alpha, size_of(array))
