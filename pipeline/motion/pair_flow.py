"""Flow between two frames of a film by their indices: estimated and cached, or read from flow files."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence, Set
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from .. import storage
from ..errors import InputError
from ..pictures import Size
from .flo_files import FloFolder
from .flow import FlowEstimator, to_mask
from .flow_pool import BothWays, FlowPool

PAIRS_IN_MEMORY = 3

STORE_LOCK = threading.Lock()
"""Of several readers that come upon the same pair at the same time, one estimates it and the others load it."""


class PairFlow(Protocol):
    """Flow from frame `index` to frame `other` of one film; sizes are (height, width) of the painting."""

    def flow(self, index: int, other: int, size: Size, *, store: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Flow index → other and other → index, `H×W×2` float32 in pixels of `size`; None for a missing second.

        `store` writes the pair to the disk, for later readers. Raises `InputError` where there is no flow to be had.
        """
        ...

    def begin(
        self, pairs: Sequence[tuple[int, int]], size: Size, *, later: Sequence[tuple[int, int]] | None = None
    ) -> None:
        """Begins to estimate pairs that are needed next, in this order, where that can go on beside other work.

        `later` are those that are needed after them, where that is known: what was begun before and is in neither is
        dropped.
        """
        ...

    def is_available(self, index: int, other: int) -> bool:
        """Whether the flow index → other can be had at all."""
        ...

    def is_stored(self, index: int, other: int) -> bool:
        """Whether the flow of the pair can be had without reading a frame."""
        ...

    def reliability(self, index: int, other: int, size: Size) -> torch.Tensor | float:
        """How reliable the flow index → other is beyond what can be computed from it: `1×1×H×W` in [0, 1], or 1."""
        ...


class CachedFlow:
    """`PairFlow` of an estimator. Each pair is estimated once, in both directions.

    The last `PAIRS_IN_MEMORY` pairs are kept in memory; in `folder` are those that a caller asks to store, or with
    `stores_all` all of them. `source` returns a frame of the film at the flow's working size. A `FlowPool` estimates
    pairs ahead.
    """

    def __init__(
        self,
        estimator: FlowEstimator | None,
        source: Callable[[int], np.ndarray],
        folder: Path | None = None,
        *,
        stores_all: bool = False,
    ) -> None:
        self._estimator = estimator
        self._source = source
        self._folder = folder
        self._stores_all = stores_all
        self._recent: OrderedDict[tuple[int, int], BothWays] = OrderedDict()
        self._begun: dict[tuple[int, int], Future[BothWays]] = {}

    def flow(self, index: int, other: int, size: Size, *, store: bool = False) -> BothWays:
        pair = min(index, other), max(index, other)
        flows = self._recent.get(pair)
        if flows is None:
            flows = self._recent[pair] = self._load_or_estimate(pair, size, store or self._stores_all)
            while len(self._recent) > PAIRS_IN_MEMORY:
                self._recent.popitem(last=False)
        elif store and not self.is_stored(*pair):
            with STORE_LOCK:
                self._write(pair, flows)
        return flows if index < other else flows[::-1]

    def begin(
        self, pairs: Sequence[tuple[int, int]], size: Size, *, later: Sequence[tuple[int, int]] | None = None
    ) -> None:
        if not isinstance(self._estimator, FlowPool):
            return
        wanted = _ascending(pairs)
        if later is not None:
            self._drop_all_but({*wanted, *_ascending(later)})
        for pair in wanted:
            if pair in self._recent or pair in self._begun or (self._folder is not None and self.is_stored(*pair)):
                continue
            # A frame that cannot be read is reported when its flow is asked for.
            with contextlib.suppress(InputError):
                self._begun[pair] = self._submit(self._estimator, pair, size)

    def is_available(self, index: int, other: int) -> bool:
        return True

    def is_stored(self, index: int, other: int) -> bool:
        return self._path((min(index, other), max(index, other))).is_file()

    def reliability(self, index: int, other: int, size: Size) -> float:
        return 1.0

    def _drop_all_but(self, wanted: Set[tuple[int, int]]) -> None:
        for pair in self._begun.keys() - wanted:
            future = self._begun.pop(pair)
            if self._folder is None:  # Else other readers may wait for it too.
                future.cancel()

    def _path(self, pair: tuple[int, int]) -> Path:
        assert self._folder is not None, "flow to distant keyframes needs a folder"
        return self._folder / f"{pair[0]}-{pair[1]}"

    def _load_or_estimate(self, pair: tuple[int, int], size: Size, store: bool) -> BothWays:
        if self._folder is not None and (stored := self._load(pair, size)) is not None:
            return stored
        if isinstance(self._estimator, FlowPool):
            return self._take_begun(self._estimator, pair, size, store)
        if self._folder is None:
            return self._estimate(pair, size)
        with STORE_LOCK:
            stored = self._load(pair, size)
            if stored is not None:
                return stored
            flows = self._estimate(pair, size)
            if store:
                self._write(pair, flows)
            return flows

    def _estimate(self, pair: tuple[int, int], size: Size) -> BothWays:
        assert self._estimator is not None, "links need an estimator of flow"
        return self._estimator.pair(self._source(pair[0]), self._source(pair[1]), size)

    def _take_begun(self, pool: FlowPool, pair: tuple[int, int], size: Size, store: bool) -> BothWays:
        """The pair from one of the pool's processes, begun now if it was not before."""
        future = self._begun.pop(pair, None) or self._submit(pool, pair, size)
        flows = future.result()
        if store:
            with STORE_LOCK:
                if self._load(pair, size) is None:
                    self._write(pair, flows)
        return flows

    def _submit(self, pool: FlowPool, pair: tuple[int, int], size: Size) -> Future[BothWays]:
        a, b = (self._source(index) for index in pair)
        if self._folder is None:
            return pool.submit(a, b, size)
        return pool.submit_once(self._path(pair), lambda: self._load(pair, size), a, b, size)

    def _write(self, pair: tuple[int, int], flows: BothWays) -> None:
        storage.write_checksummed(self._path(pair), np.stack(flows).astype("<f4").tobytes())

    def _load(self, pair: tuple[int, int], size: Size) -> BothWays | None:
        """The pair from the folder; None where it is not there, damaged or of another size."""
        data = storage.read_checksummed(self._path(pair))
        if data is None or len(data) != 2 * 2 * 4 * size[0] * size[1]:
            return None
        forward, backward = np.frombuffer(data, "<f4").reshape(2, *size, 2).astype(np.float32)
        return forward, backward


def _ascending(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(min(pair), max(pair)) for pair in pairs]


class FileFlow:
    """`PairFlow` of flow files; nothing is estimated, cached or stored."""

    def __init__(self, files: FloFolder) -> None:
        self._files = files

    def flow(self, index: int, other: int, size: Size, *, store: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        flow = self._files.read(index, other, size)
        if flow is None:
            raise InputError(
                f"flow file {self._files.path_of(index, other)} is missing: frame {index} is painted from frame "
                f"{other}; add it, or cut the film there"
            )
        return flow, self._files.read(other, index, size)

    def begin(
        self, pairs: Sequence[tuple[int, int]], size: Size, *, later: Sequence[tuple[int, int]] | None = None
    ) -> None:
        pass

    def is_available(self, index: int, other: int) -> bool:
        return self._files.path_of(index, other).is_file()

    def is_stored(self, index: int, other: int) -> bool:
        return True

    def reliability(self, index: int, other: int, size: Size) -> torch.Tensor | float:
        reliable = self._files.reliability(index, other, size)
        return 1.0 if reliable is None else to_mask(reliable)
