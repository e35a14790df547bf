"""The content of a film at the painting's size, with flow and occlusion masks, read ahead while the device paints."""

import itertools
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from ..errors import FrameError, ImpastoError, InputError
from ..media.frame_reader import FrameReader
from ..out_of_memory import is_out_of_memory
from ..pictures import Size, size_of, to_tensor
from .chaining import FlowChains
from .flo_files import FloFolder
from .flow import FlowEstimator, to_flow, to_mask
from .flow_pool import FlowPool
from .frame_cache import FrameCache
from .occlusion import link_visibility, visibility_mask
from .pair_flow import CachedFlow, FileFlow, PairFlow
from .static import StaticRegions, reference_indices


@dataclass(frozen=True)
class FlowLink:
    """Flow and visibility from a frame to another of its shot."""

    index: int
    """Of the other frame."""
    content: np.ndarray
    """The other frame, `H×W×3` uint8 at the painting's size."""
    flow: np.ndarray
    """From this frame to the other, `H×W×2` float32 (see `motion.flow`)."""
    visibility: np.ndarray
    """`H×W` float32 in [0, 1]: 1 where both frames show the same surface, 0 where it is occluded."""


@dataclass(frozen=True)
class MotionFrame:
    """A frame of the content with its links."""

    content: np.ndarray
    """`H×W×3` uint8 at the painting's size."""
    links: tuple[FlowLink, ...]
    """In the order that was asked for: neighbours, then keyframes."""
    alpha: np.ndarray | None
    """`H×W` uint8 at the content's own size; None where all is opaque."""
    own_size: Size
    """The content's own size."""
    reading_share: float
    """The share of reading in the time that it took; the rest is flow and masks."""

    @property
    def picture_bytes(self) -> int:
        """The memory that it takes without its links."""
        return self.content.nbytes + (0 if self.alpha is None else self.alpha.nbytes)


@dataclass(frozen=True)
class _Request:
    index: int
    neighbours: tuple[int, ...]
    shot: int | None
    keyframes: tuple[int, ...]

    @property
    def nearby(self) -> tuple[int, ...]:
        return (self.index, *self.neighbours)


class MotionReader:
    """Reads frames of one film, and the motion between them, in a thread of its own. A context manager.

    A frame's `neighbours` are other frames of its shot, and `shot` is the shot's first frame: with it static regions
    are found, where links have a flow of exactly 0. `keyframes` are distant frames, before or after, to which flow is
    chained from each frame to the next; only flow, no frame between, is kept for that.

    The flow of each pair of frames is computed once, in both directions; a `FlowPool` computes it ahead. In
    `flow_store` all of it is kept on disk for later passes; in `chain_store` only the flow that chains need. Without
    links no `estimator` is needed. `frames_kept` covers the distance between linked frames; `backward` says that frames
    are taken in descending order too. `prefetched_kept` frames at most stay prefetched when another is taken: none for
    a chain, which has one frame after the other.
    """

    def __init__(
        self,
        reader: FrameReader,
        estimator: FlowEstimator | FloFolder | None,
        longer_side: int | None,
        *,
        frames_kept: int = 2,
        backward: bool = False,
        prefetched_kept: int = 0,
        flow_store: Path | None = None,
        chain_store: Path | None = None,
        static_regions: StaticRegions | None = None,
    ) -> None:
        folder = flow_store or chain_store
        has_flow = not isinstance(estimator, FloFolder | None)
        self._frames = FrameCache(reader, longer_side, frames_kept, has_flow=has_flow, backward=backward)
        self._flows: PairFlow
        if isinstance(estimator, FloFolder):
            self._flows = FileFlow(estimator)
        else:
            self._flows = CachedFlow(estimator, self._frames.source, folder, stores_all=flow_store is not None)
        self._chains = FlowChains(self._flows, folder)
        self._pool = estimator if isinstance(estimator, FlowPool) else None
        if self._pool is not None:
            self._pool.readers += 1
        submit = None if self._pool is None else self._pool.submit_plain
        self._static = StaticRegions(submit=submit) if static_regions is None else static_regions
        self._keyframes: dict[int, np.ndarray] = {}
        self._storing: list[tuple[int, int, Size]] = []
        """Pairs of a chain that are begun and not stored yet."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="motion")
        self._prefetched: dict[_Request, Future[MotionFrame]] = {}
        self._prefetched_kept = prefetched_kept
        self._is_closing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        self._thread.shutdown(cancel_futures=True)

    def prefetch(
        self,
        index: int,
        neighbours: Sequence[int] = (),
        shot: int | None = None,
        keyframes: Sequence[int] = (),
        ahead: Iterable[tuple[int, int]] | None = None,
    ) -> None:
        """Begins to read the frame that `take` will be asked for next.

        `ahead` are the pairs of frames whose flow is needed after it, in order, where that is known: a `FlowPool`
        begins to estimate as many of them as it has processes and memory for, and what it has begun of others is
        dropped.
        """
        request = _Request(index, tuple(neighbours), shot, tuple(keyframes))
        if request not in self._prefetched:
            self._prefetched[request] = self._thread.submit(self._read, request, ahead)

    def take(
        self, index: int, neighbours: Sequence[int] = (), shot: int | None = None, keyframes: Sequence[int] = ()
    ) -> MotionFrame:
        """The frame with a link to each of `neighbours` and `keyframes`.

        Neighbours farther than one frame are left out where flow files lack them. Raises `InputError` when the frame
        cannot be read, and `FrameError` when memory does not suffice for its motion.
        """
        self.prefetch(index, neighbours, shot, keyframes)
        future = self._prefetched.pop(_Request(index, tuple(neighbours), shot, tuple(keyframes)))
        try:
            return future.result()
        except Exception as error:
            if isinstance(error, ImpastoError) or not is_out_of_memory(error):
                raise
            raise FrameError(f"the motion of frame {index} could not be estimated: {error}") from error
        finally:
            # What was prefetched and turns out not to be needed would only take up memory.
            while len(self._prefetched) > self._prefetched_kept:
                del self._prefetched[next(iter(self._prefetched))]

    # Everything below runs in the thread.

    def _read(self, request: _Request, ahead: Iterable[tuple[int, int]] | None) -> MotionFrame:
        began, read_before = time.perf_counter(), self._frames.read_seconds
        has_links = bool(request.neighbours or request.keyframes)
        references = reference_indices(request.index, request.shot) if has_links and request.shot is not None else ()
        # Neighbours may lie farther apart where the frames between failed.
        self._frames.ensure_capacity(max(request.nearby) - min(request.nearby) + 2)
        unchained = self._unchained_keyframes(request)
        self._read_in_order(request, references, [other for other in unchained if other < request.index])
        frame = self._frames.frame(request.index)
        self._begin(request, ahead, size_of(frame.content))
        links, static = self._neighbour_links(request, frame.content, references)
        for keyframe in request.keyframes:
            if keyframe > request.index and keyframe in unchained:
                self._read_chain_to(request.index, keyframe)
            links.append(self._keyframe_link(request.index, keyframe, frame.content, static, references))
        reading = self._frames.read_seconds - read_before
        share = min(1.0, reading / max(time.perf_counter() - began, 1e-9))
        return MotionFrame(frame.content, tuple(links), frame.alpha, frame.own_size, share)

    def _begin(self, request: _Request, ahead: Iterable[tuple[int, int]] | None, size: Size) -> None:
        """Has the pool begin the flow of a frame's neighbours and of what comes after it."""
        if self._pool is None:
            return
        own = [(request.index, other) for other in request.neighbours]
        later = None if ahead is None else list(ahead)
        # Where other readers have opened, fewer may be begun than were before: those are kept.
        following = [] if later is None else later[: self._pool.pairs_ahead(size)]
        # What is read ahead is kept until it is taken.
        indices = [*request.nearby, *itertools.chain.from_iterable(following)]
        self._frames.ensure_capacity(max(indices) - min(indices) + 2)
        self._flows.begin([*own, *following], size, later=later)

    def _unchained_keyframes(self, request: _Request) -> list[int]:
        """The keyframes to which flow must still be estimated; the others are read, and forgotten ones dropped."""
        wanted = request.keyframes
        self._keyframes = {index: content for index, content in self._keyframes.items() if index in wanted}
        unchained = [keyframe for keyframe in wanted if not self._chains.is_complete(request.index, keyframe)]
        for keyframe in wanted:
            if keyframe not in unchained and keyframe not in self._keyframes:
                self._keyframes[keyframe] = self._frames.content(keyframe)
        return unchained

    def _read_in_order(self, request: _Request, references: Sequence[int], earlier_keyframes: Sequence[int]) -> None:
        """Reads all that a frame needs in ascending order and without gaps, as a video is decoded.

        On the way it stores the flow of the chain from the farthest of `earlier_keyframes`, and keeps the references.
        """
        index, shot = request.index, request.shot
        missing = [reference for reference in references if reference not in self._static.kept]
        chain_end = min(earlier_keyframes, default=None)
        for current in range(min(*request.nearby, index, *missing, *earlier_keyframes), max(request.nearby) + 1):
            self._require_open()
            try:
                content = self._frames.content(current)
            except InputError:
                if current in request.nearby or current in request.keyframes:
                    raise
                continue  # A frame that is not needed itself; it has failed, or will.
            if shot is not None:
                self._static.keep(current, content, shot, index - 1)
            if current in request.keyframes:
                self._keyframes[current] = content
            if chain_end is not None and chain_end < current <= index:
                self._store_flow(chain_end, current, content)
                chain_end = current
        self._finish_storing()
        if shot is not None:
            self._static.discard_unneeded(shot, index - 1)

    def _read_chain_to(self, index: int, keyframe: int) -> None:
        """Reads on to a later keyframe and stores the flow on the way, past frames that cannot be read."""
        before = index
        for current in range(index, keyframe + 1):
            self._require_open()
            try:
                content = self._frames.content(current)
            except InputError:
                if current == keyframe:
                    raise
                continue
            if current > before:
                self._store_flow(before, current, content)
                before = current
        self._finish_storing()
        self._keyframes[keyframe] = content

    def _store_flow(self, first: int, second: int, content: np.ndarray) -> None:
        """Stores a pair; with a pool it is begun, and stored when as many others as may be ahead are begun after it."""
        if self._flows.is_stored(first, second):
            return
        size = size_of(content)
        self._storing.append((first, second, size))
        self._flows.begin([(first, second)], size)
        self._finish_storing(0 if self._pool is None else self._pool.pairs_ahead(size))

    def _finish_storing(self, most: int = 0) -> None:
        """Stores pairs that were begun, until at most so many are left."""
        while len(self._storing) > most:
            self._require_open()
            self._flows.flow(*self._storing.pop(0), store=True)

    def _require_open(self) -> None:
        """Raises `CancelledError` once the reader is left, as the way to a keyframe may take minutes."""
        if self._is_closing:
            raise CancelledError

    def _neighbour_links(
        self, request: _Request, content: np.ndarray, references: Sequence[int]
    ) -> tuple[list[FlowLink], np.ndarray | None]:
        """Links to the neighbours, and the static mask, found with the first of them; None if there is none."""
        index, size = request.index, size_of(content)
        static: np.ndarray | None = None
        links = []
        for other in request.neighbours:
            if abs(index - other) > 1 and not self._flows.is_available(index, other):
                continue
            flow, back = self._flows.flow(index, other, size)
            other_content = self._frames.content(other)
            if static is None:
                static = self._static.mask(content, other_content, flow, references)
            flow = flow * (1 - static[..., None])
            reliability = self._flows.reliability(index, other, size)
            visible = visibility_mask(to_flow(flow), None if back is None else to_flow(back)) * reliability
            links.append(_link(other, content, other_content, flow, visible, static, reliability))
        return links, static

    def _keyframe_link(
        self, index: int, keyframe: int, content: np.ndarray, static: np.ndarray | None, references: Sequence[int]
    ) -> FlowLink:
        size, other_content = size_of(content), self._keyframes[keyframe]
        flow, visible = self._chains.flow_to(index, keyframe, size)
        static = self._static.mask_to_keyframe(content, other_content, static, references)
        flow = flow * (1 - static[..., None])
        reliability = self._flows.reliability(index, keyframe, size)
        return _link(keyframe, content, other_content, flow, visible, static, reliability)


def _link(
    other: int,
    content: np.ndarray,
    other_content: np.ndarray,
    flow: np.ndarray,
    flow_visibility: torch.Tensor,
    static: np.ndarray,
    reliability: torch.Tensor | float,
) -> FlowLink:
    """A link along `flow`, with the mask of `link_visibility`."""
    mask = link_visibility(
        to_tensor(content),
        to_tensor(other_content),
        to_flow(flow),
        flow_visibility,
        to_mask(static) if static.any() else None,
        reliability,
    )
    return FlowLink(other, other_content, flow, np.asarray(mask[0, 0].numpy()))
