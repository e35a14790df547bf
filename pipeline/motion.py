"""The content of a film at painting size, and its motion, read ahead while the device paints.

Everything here follows from the content alone. Reading, resizing, flow and masks happen in one thread of their
own; what the next frame needs is asked for before the current one is painted, and is there when its turn comes.
"""

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch.nn import functional

from pipeline import storage, temporal
from pipeline.content import FrameReader
from pipeline.errors import FrameError, InputError
from pipeline.flow import FloFolder, FlowEstimator, plain_dis, working_size
from pipeline.frames import fit_within, resize, size_of, to_tensor

ANCHORS = ((8, 4), (32, 16), (128, 64))
"""(frames back, step): what stands still looks as it did in frames about so far back. Slow motion is told from the
trembling of the estimate by the last of them. They are every so-many-th frame of the shot, so that few are kept."""

STILL_BLUR = 0.06
"""Standard deviation, as a share of the longer side, of the neighbourhood whose mean flow says what stands still."""

STILL_LEAST_BLUR = 14.0
"""The same in pixels, at least."""

_FLOWS_KEPT = 3
_BLOCK = 16


@dataclass(frozen=True)
class Link:
    """The way from a frame to another of its shot.

    `index` is the other frame's and `content` that frame at painting size, `flow` H×W×2 float32 from this frame to it
    (see `pipeline.temporal`), `trust` H×W float32 in [0, 1]: where both show the same thing.
    """

    index: int
    content: np.ndarray
    flow: np.ndarray
    trust: np.ndarray


@dataclass(frozen=True)
class MotionFrame:
    """A frame of the content at painting size (H×W×3 uint8), with its links in the order that was asked for.

    `alpha` is H×W uint8 at the content's own size, None where all is opaque.
    """

    content: np.ndarray
    links: tuple[Link, ...]
    alpha: np.ndarray | None


def anchors(index: int, shot: int) -> tuple[int, ...]:
    """The earlier frames that tell what stands still in frame `index` of the shot that begins with frame `shot`."""
    found = {max(shot, shot + (index - back - shot) // step * step) for back, step in ANCHORS}
    return tuple(sorted(found - {index}))


def _is_anchor_later(index: int, now: int, shot: int) -> bool:
    """Whether frame `index` will be among the anchors of a frame after `now`."""
    return any((index - shot) % step == 0 and now - index < back + step for back, step in ANCHORS)


@dataclass(frozen=True)
class _Wanted:
    index: int
    others: tuple[int, ...]
    shot: int | None


class MotionReader:
    """Reads frames of one film and the motion between them. A context manager.

    `others` of a frame are frames of the same shot, and `shot` is the first of them: with it, what stands still is
    found, where links get a flow of exactly 0. Without links no `estimator` is needed. Each pair's flow is computed
    once, in both directions; in a `flow_store` it is kept on the disk for later passes. `frames_kept` covers the
    distance between linked frames. `backward` says that frames are taken in descending order too, for which they
    are read in blocks.
    """

    def __init__(
        self,
        reader: FrameReader,
        estimator: FlowEstimator | FloFolder | None,
        longer_side: int | None,
        *,
        frames_kept: int = 2,
        backward: bool = False,
        flow_store: Path | None = None,
    ) -> None:
        self._reader = reader
        self._estimator = estimator
        self._longer_side = longer_side
        self._sources: OrderedDict[int, np.ndarray] = OrderedDict()
        self._contents: OrderedDict[int, np.ndarray] = OrderedDict()
        self._alphas: dict[int, np.ndarray | None] = {}
        self._anchors: dict[int, np.ndarray] = {}
        self._flows: OrderedDict[tuple[int, int], tuple[np.ndarray | None, np.ndarray | None]] = OrderedDict()
        self._frames_kept = frames_kept + (_BLOCK if backward else 0)
        self._backward = backward
        self._store = flow_store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="motion")
        self._ahead: dict[_Wanted, Future[MotionFrame]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def prepare(self, index: int, others: Sequence[int] = (), shot: int | None = None) -> None:
        """Begins to read a frame that `take` will be asked for next."""
        wanted = _Wanted(index, tuple(others), shot)
        if wanted not in self._ahead:
            self._ahead[wanted] = self._thread.submit(self._read, wanted)

    def take(self, index: int, others: Sequence[int] = (), shot: int | None = None) -> MotionFrame:
        """The frame with a link to each of `others`; a far one that the flow files leave out is left out.

        Raises `InputError` when the frame cannot be read, and `FrameError` when its motion cannot be estimated.
        """
        self.prepare(index, others, shot)
        try:
            return self._ahead[_Wanted(index, tuple(others), shot)].result()
        except (MemoryError, RuntimeError) as error:
            raise FrameError(f"the motion of frame {index} could not be estimated: {error}") from error
        finally:
            # What was asked for and is not wanted after all would only take up memory.
            self._ahead.clear()

    # --- in the thread ---

    def _read(self, wanted: _Wanted) -> MotionFrame:
        looked_at = anchors(wanted.index, wanted.shot) if wanted.others and wanted.shot is not None else ()
        # In ascending order and without gaps, as a video is decoded.
        first = min((wanted.index, *wanted.others, *(index for index in looked_at if index not in self._anchors)))
        last = max((wanted.index, *wanted.others))
        # Where frames between were set aside, the way goes past them.
        self._frames_kept = max(self._frames_kept, last - min((wanted.index, *wanted.others)) + 2)
        for index in range(first, last + 1):
            try:
                content = self._content(index)
            except InputError:
                if index in (wanted.index, *wanted.others):
                    raise
                continue  # It could not be painted either.
            if wanted.shot is not None and _is_anchor_later(index, wanted.index - 1, wanted.shot):
                self._anchors[index] = content
        if wanted.shot is not None:
            self._anchors = {
                index: content
                for index, content in self._anchors.items()
                if index >= wanted.shot and _is_anchor_later(index, wanted.index - 1, wanted.shot)
            }
        content = self._content(wanted.index)
        still: np.ndarray | None = None
        links = []
        for other in wanted.others:
            if abs(wanted.index - other) > 1 and not self._has_flow(wanted.index, other):
                continue
            flow, back = self._flow(wanted.index, other)
            if still is None:
                still = self._still(content, other, flow, looked_at)
            flow = flow * (1 - still[..., None])
            links.append(Link(other, self._content(other), flow, self._trust(wanted.index, other, flow, back, still)))
        return MotionFrame(content, tuple(links), self._alphas[wanted.index])

    def _still(self, content: np.ndarray, other: int, flow: np.ndarray, looked_at: Sequence[int]) -> np.ndarray:
        """Where the content stands still, H×W float32 in [0, 1]: nowhere without frames to look at.

        There it neither moves from the frame before nor from those farther back, and looks as it did then: the flow
        of a small thing that passes may be missed, its colours are not.
        """
        nowhere = np.zeros(flow.shape[:2], np.float32)
        # Most frames move all over, and then nothing more has to be estimated.
        if not looked_at or np.linalg.norm(flow, axis=2).min() >= 2 * temporal.STILL_NEAR:
            return nowhere
        sigma = max(STILL_LEAST_BLUR, STILL_BLUR * max(flow.shape[:2]))
        here = to_tensor(content)
        still = temporal.settled(temporal.to_flow(flow), sigma, temporal.STILL_NEAR)
        still = still * temporal.likeness(here, to_tensor(self._content(other)))
        for index in looked_at:
            if not still.any() or index not in self._anchors:
                return nowhere
            there = self._anchors[index]
            far = temporal.to_flow(plain_dis(content, there))
            still = still * temporal.settled(far, sigma, temporal.STILL_FAR)
            still = still * temporal.likeness(here, to_tensor(there))
        # What lies beside a change may be part of it.
        radius = round(2 * temporal.LIKENESS_BLUR)
        # Hardly moving is trembling too: half is enough.
        eroded = -functional.max_pool2d(-(2 * still).clamp(max=1), 2 * radius + 1, stride=1, padding=radius)
        return np.asarray(eroded[0, 0].numpy())

    def _content(self, index: int) -> np.ndarray:
        if index not in self._contents:
            if self._backward and self._contents and index < min(self._contents):
                # A video is decoded from its beginning to get one frame back: then rather a whole block.
                # What cannot be read there is another frame's trouble.
                for earlier in range(max(0, index - _BLOCK + 1), index):
                    with contextlib.suppress(InputError):
                        self._keep(earlier)
            self._keep(index)
        return self._contents[index]

    def _keep(self, index: int) -> None:
        if index not in self._contents:
            array, self._alphas[index] = self._reader.read(index)
            size = fit_within(size_of(array), self._longer_side)
            self._contents[index] = resize(array, size)
            if isinstance(self._estimator, FloFolder | None):
                self._sources[index] = self._contents[index]
            else:
                self._sources[index] = resize(array, working_size(size_of(array), size))
            while len(self._contents) > self._frames_kept:
                oldest, _ = self._contents.popitem(last=False)
                del self._sources[oldest], self._alphas[oldest]

    def _source(self, index: int) -> np.ndarray:
        self._content(index)
        return self._sources[index]

    def _flow(self, index: int, other: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Flow index → other and, where it is known, other → index."""
        pair = min(index, other), max(index, other)
        if pair not in self._flows:
            self._flows[pair] = self._both_ways(*pair)
            while len(self._flows) > _FLOWS_KEPT:
                self._flows.popitem(last=False)
        forward, backward = self._flows[pair]
        flow, back = (forward, backward) if index < other else (backward, forward)
        if flow is None:
            assert isinstance(self._estimator, FloFolder)
            missing = self._estimator.path_of(index, other)
            raise InputError(
                f"flow file {missing} is missing: frame {index} is painted from frame {other}; "
                "add it, or cut the film there"
            )
        return flow, back

    def _has_flow(self, index: int, other: int) -> bool:
        files = self._estimator
        return not isinstance(files, FloFolder) or files.path_of(index, other).is_file()

    def _both_ways(self, first: int, second: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        size = size_of(self._content(first))
        if isinstance(self._estimator, FloFolder):
            return self._estimator.read(first, second, size), self._estimator.read(second, first, size)
        assert self._estimator is not None
        if self._store is not None:
            # None where it was not kept yet, or has changed since.
            kept = storage.read_sealed(self._store / f"{first}-{second}")
            if kept is not None and len(kept) == 2 * 2 * 4 * size[0] * size[1]:
                forward, backward = np.frombuffer(kept, "<f4").reshape(2, *size, 2).astype(np.float32)
                return forward, backward
        flows = self._estimator.pair(self._source(first), self._source(second), size)
        if self._store is not None:
            storage.write_sealed(self._store / f"{first}-{second}", np.stack(flows).astype("<f4").tobytes())
        return flows

    def _trust(
        self, index: int, other: int, flow: np.ndarray, back: np.ndarray | None, still: np.ndarray
    ) -> np.ndarray:
        """Where frame `other`, moved along `flow`, shows what frame `index` does: H×W float32 in [0, 1].

        The flow says so, and the colours agree. What stands still hides nothing, whatever noise makes of its flow.
        """
        way = temporal.to_flow(flow)
        here, there = to_tensor(self._content(index)), to_tensor(self._content(other))
        moved = temporal.warp(there, way, "bilinear")
        mask = temporal.trust(way, None if back is None else temporal.to_flow(back)) * temporal.likeness(here, moved)
        if still.any():
            # Unlike noise, what passed there since then is seen.
            mask = torch.maximum(mask, temporal.to_mask(still) * temporal.likeness(here, there))
        trusted = mask[0, 0].numpy()
        if isinstance(self._estimator, FloFolder):
            reliable = self._estimator.reliable(index, other, size_of(flow))
            if reliable is not None:
                trusted = trusted * reliable
        return np.asarray(trusted)
