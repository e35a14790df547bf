"""The content of a film at painting size, and its motion, read ahead while the device paints.

Everything here follows from the content alone. Reading, resizing, flow and masks happen in one thread of their
own; what the next frame needs is asked for before the current one is painted, and is there when its turn comes.
"""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from .. import storage
from ..errors import FrameError, InputError
from ..media.frame_reader import FrameReader
from ..pictures import Size, fit_within, resize, size_of, to_tensor
from .dis import plain_dis
from .flo_files import FloFolder
from .flow import FlowEstimator, to_flow, to_mask, working_size
from .occlusion import color_agreement, in_frame_mask, visibility_mask
from .static import STILL_FAR, STILL_NEAR, eroded_mask, static_pixels
from .warp import warp

STILL_REFERENCES = ((8, 4), (32, 16), (128, 64))
"""(frames back, step): what stands still looks as it did in frames about so far back. Slow motion is told from the
trembling of the estimate by the last of them. They are every so-many-th frame of the shot, so that few are kept."""

_store_turn = threading.Lock()
"""Of the readers of one film that come upon the same pair of frames at the same time, the second finds it kept."""

_FLOWS_KEPT = 3
_BLOCK = 16


@dataclass(frozen=True)
class FlowLink:
    """The way from a frame to another of its shot.

    `index` is the other frame's and `content` that frame at painting size, `flow` H×W×2 float32 from this frame to it
    (see `pipeline.temporal`), `visibility` H×W float32 in [0, 1]: where both show the same thing.
    """

    index: int
    content: np.ndarray
    flow: np.ndarray
    visibility: np.ndarray


@dataclass(frozen=True)
class MotionFrame:
    """A frame of the content at painting size (H×W×3 uint8), with its links in the order that was asked for.

    `alpha` is H×W uint8 at the content's own size, None where all is opaque.
    """

    content: np.ndarray
    links: tuple[FlowLink, ...]
    alpha: np.ndarray | None


def still_references(index: int, shot: int) -> tuple[int, ...]:
    """The earlier frames that tell what stands still in frame `index` of the shot that begins with frame `shot`."""
    found = {max(shot, shot + (index - back - shot) // step * step) for back, step in STILL_REFERENCES}
    return tuple(sorted(found - {index}))


def _is_reference_later(index: int, now: int, shot: int) -> bool:
    """Whether frame `index` will be among the still references of a frame after `now`."""
    return any((index - shot) % step == 0 and now - index < back + step for back, step in STILL_REFERENCES)


@dataclass(frozen=True)
class _Wanted:
    index: int
    others: tuple[int, ...]
    shot: int | None
    far: tuple[int, ...] = ()


class MotionReader:
    """Reads frames of one film and the motion between them. A context manager.

    `others` of a frame are frames of the same shot, and `shot` is the first of them: with it, what stands still is
    found, where links get a flow of exactly 0. Without links no `estimator` is needed. Each pair's flow is computed
    once, in both directions; in a `flow_store` it is kept on the disk for later passes. `frames_kept` covers the
    distance between linked frames. `backward` says that frames are taken in descending order too, for which they
    are read in blocks.

    The way to `far` frames, before or after, leads from each frame to the next. Their flows are kept on the disk, in
    `way_store` where not all are, and in memory are no more frames than otherwise.
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
        way_store: Path | None = None,
    ) -> None:
        self._reader = reader
        self._estimator = estimator
        self._longer_side = longer_side
        self._sources: OrderedDict[int, np.ndarray] = OrderedDict()
        self._contents: OrderedDict[int, np.ndarray] = OrderedDict()
        self._alphas: dict[int, np.ndarray | None] = {}
        self._still_references: dict[int, np.ndarray] = {}
        self._far: dict[int, np.ndarray] = {}
        self._flows: OrderedDict[tuple[int, int], tuple[np.ndarray | None, np.ndarray | None]] = OrderedDict()
        self._frames_kept = frames_kept + (_BLOCK if backward else 0)
        self._backward = backward
        self._store = flow_store or way_store
        self._stores_all = flow_store is not None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="motion")
        self._ahead: dict[_Wanted, Future[MotionFrame]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def prepare(self, index: int, others: Sequence[int] = (), shot: int | None = None, far: Sequence[int] = ()) -> None:
        """Begins to read a frame that `take` will be asked for next."""
        wanted = _Wanted(index, tuple(others), shot, tuple(far))
        if wanted not in self._ahead:
            self._ahead[wanted] = self._thread.submit(self._read, wanted)

    def take(
        self, index: int, others: Sequence[int] = (), shot: int | None = None, far: Sequence[int] = ()
    ) -> MotionFrame:
        """The frame with a link to each of `others`, but for distant ones that the flow files leave out, and of `far`.

        Raises `InputError` when the frame cannot be read, and `FrameError` when its motion cannot be estimated.
        """
        self.prepare(index, others, shot, far)
        try:
            return self._ahead[_Wanted(index, tuple(others), shot, tuple(far))].result()
        except (MemoryError, RuntimeError) as error:
            raise FrameError(f"the motion of frame {index} could not be estimated: {error}") from error
        finally:
            # What was asked for and is not wanted after all would only take up memory.
            self._ahead.clear()

    # --- in the thread ---

    def _read(self, wanted: _Wanted) -> MotionFrame:
        index, shot, has_links = wanted.index, wanted.shot, bool(wanted.others or wanted.far)
        looked_at = still_references(index, shot) if has_links and shot is not None else ()
        # Where frames between were set aside, the way goes past them.
        near = (index, *wanted.others)
        self._frames_kept = max(self._frames_kept, max(near) - min(near) + 2)
        self._far = {other: content for other, content in self._far.items() if other in wanted.far}
        kept = [other for other in wanted.far if self._is_way_kept(*sorted((index, other)))]
        for other in kept:
            if other not in self._far:
                self._far[other] = self._content(other)
        behind = [other for other in wanted.far if other < index and other not in kept]
        way = [min(behind)] if behind else []
        # In ascending order and without gaps, as a video is decoded.
        first = min(
            *near,
            index,
            *(looked for looked in looked_at if looked not in self._still_references),
            *behind,
        )
        for place in range(first, max(near) + 1):
            try:
                content = self._content(place)
            except InputError:
                if place in near or place in wanted.far:
                    raise
                continue  # It could not be painted either.
            if shot is not None and _is_reference_later(place, index - 1, shot):
                self._still_references[place] = content
            if place in wanted.far:
                self._far[place] = content
            if way and way[-1] < place <= index:
                self._keep_flow(way[-1], place)
                way.append(place)
        if shot is not None:
            self._still_references = {
                place: content
                for place, content in self._still_references.items()
                if place >= shot and _is_reference_later(place, index - 1, shot)
            }
        content, alpha = self._content(index), self._alphas[index]
        still: np.ndarray | None = None
        links = []
        for other in wanted.others:
            if abs(index - other) > 1 and not self._has_flow(index, other):
                continue
            flow, back = self._flow(index, other)
            there = self._content(other)
            if still is None:
                still = self._still(content, there, flow, looked_at)
            flow = flow * (1 - still[..., None])
            path_visibility = visibility_mask(to_flow(flow), None if back is None else to_flow(back))
            reliable = self._reliable(index, other, size_of(content))
            links.append(self._link(other, content, there, flow, path_visibility * reliable, still, reliable))
        for other in wanted.far:
            if other > index and other not in kept:
                self._read_on(index, other)
            there = self._far[other]
            flow, path_visibility = self._chained(index, other, size_of(content))
            still_there = self._far_still(content, there, still, looked_at)
            flow = flow * (1 - still_there[..., None])
            reliable = self._reliable(index, other, size_of(content))
            links.append(self._link(other, content, there, flow, path_visibility, still_there, reliable))
        return MotionFrame(content, tuple(links), alpha)

    def _still(
        self,
        content: np.ndarray,
        there: np.ndarray,
        flow: np.ndarray,
        looked_at: Sequence[int],
        threshold: float = STILL_NEAR,
    ) -> np.ndarray:
        """Where the content stands still, H×W float32 in [0, 1]: nowhere without frames to look at.

        There it neither moves from the other frame (`there`, along `flow`) nor from those farther back, and looks as it
        did then: the flow of a small thing that passes may be missed, its colours are not.
        """
        nowhere = np.zeros(flow.shape[:2], np.float32)
        # Most frames move all over, and then nothing more has to be estimated.
        if not looked_at or np.linalg.norm(flow, axis=2).min() >= 2 * threshold:
            return nowhere
        still = static_pixels(content, there, flow, threshold)
        for index in looked_at:
            if not still.any() or index not in self._still_references:
                return nowhere
            earlier = self._still_references[index]
            still = still * static_pixels(content, earlier, plain_dis(content, earlier), STILL_FAR)
        return eroded_mask(still)

    def _far_still(
        self, content: np.ndarray, there: np.ndarray, near: np.ndarray | None, looked_at: Sequence[int]
    ) -> np.ndarray:
        """The same towards a far frame, `near` being where it stands still towards the one before, if that is known.

        What trembles from frame to frame adds up along the way: the flow that counts is that between the two alone.
        """
        if near is not None and not near.any():
            return near
        flow = plain_dis(content, there)
        if near is None:
            return self._still(content, there, flow, looked_at, STILL_FAR)
        return np.asarray(near * eroded_mask(static_pixels(content, there, flow, STILL_FAR)))

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

    # --- the way to a far frame ---

    def _is_way_kept(self, first: int, last: int) -> bool:
        """Whether no frame between has to be read for the way from one to the other."""
        if isinstance(self._estimator, FloFolder):
            return True
        place = first
        while place != last:
            before, place = place, self._next_on_way(place, last, 1)
            if not self._kept_at(before, place).is_file():
                return False
        return True

    def _kept_at(self, first: int, second: int) -> Path:
        """Where the flow between two frames is kept, if it is."""
        assert self._store is not None, "the way to far frames is kept on the disk"
        return self._store / f"{first}-{second}"

    def _keep_flow(self, first: int, second: int) -> None:
        """Makes sure of the flow between two frames on the disk, the later of which is being read."""
        if isinstance(self._estimator, FloFolder) or self._kept_at(first, second).is_file():
            return
        self._flows.pop((first, second), None)
        self._flow(first, second, keep=True)

    def _read_on(self, index: int, other: int) -> None:
        """Reads on to a later frame, past those that cannot be read."""
        before = index
        for place in range(index, other + 1):
            try:
                content = self._content(place)
            except InputError:
                if place == other:
                    raise
                continue
            if place > before:
                self._keep_flow(before, place)
                before = place
        self._far[other] = content

    def _chained(self, index: int, other: int, size: Size) -> tuple[np.ndarray, torch.Tensor]:
        """The flow index → other, chained from each frame to the next, and its visibility mask (1×1×H×W), the product
        of those of all steps.

        From the far end on: a step, and from where it leads what the next frame has found. What leads to a later frame
        is kept, as every frame on the way needs it.
        """
        direction = 1 if other > index else -1
        places, kept = [index], None
        while places[-1] != other and (kept := self._read_chained(places[-1], other, size)) is None:
            places.append(self._next_on_way(places[-1], other, direction))
        chained = torch.zeros(1, 3, *size) if kept is None else kept
        if kept is None:
            chained[:, 2] = 1
        while len(places) > 1:
            following = places.pop()
            way, back = self._flow(places[-1], following, keep=True)
            step = to_flow(way)
            step_visibility = visibility_mask(step, None if back is None else to_flow(back))
            step_visibility = step_visibility * self._reliable(places[-1], following, size)
            onward = warp(chained, step, "bilinear")
            chained = torch.cat([step + onward[:, :2], step_visibility * onward[:, 2:]], 1)
            if other > index and self._store is not None:
                with _store_turn:
                    path = self._store / f"{places[-1]}-to-{other}"
                    storage.write_checksummed(path, chained.numpy().astype("<f4").tobytes())
        flow, visibility = chained[:, :2], chained[:, 2:] * in_frame_mask(chained[:, :2])
        return np.ascontiguousarray(flow[0].permute(1, 2, 0).numpy()), visibility

    def _read_chained(self, index: int, other: int, size: Size) -> torch.Tensor | None:
        """What `_chained` has found and kept, 1×3×H×W."""
        kept = None if self._store is None else storage.read_checksummed(self._store / f"{index}-to-{other}")
        if kept is None or len(kept) != 3 * 4 * size[0] * size[1]:
            return None
        return torch.from_numpy(np.frombuffer(kept, "<f4").astype(np.float32).reshape(1, 3, *size))

    def _next_on_way(self, place: int, other: int, direction: int) -> int:
        """The next frame on the way, past those that could not be read."""
        following = place + direction
        if not isinstance(self._estimator, FloFolder):
            while following != other and not self._kept_at(*sorted((place, following))).is_file():
                following += direction
        return following

    # --- between two frames ---

    def _flow(self, index: int, other: int, *, keep: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """Flow index → other and, where it is known, other → index; `keep` puts it into the store."""
        pair = min(index, other), max(index, other)
        if pair not in self._flows:
            self._flows[pair] = self._both_ways(*pair, keep=keep)
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

    def _reliable(self, index: int, other: int, size: Size) -> torch.Tensor | float:
        """What a file says of the flow index → other (1×1×H×W), 1 where none does."""
        files = self._estimator
        reliable = files.reliable(index, other, size) if isinstance(files, FloFolder) else None
        return 1.0 if reliable is None else to_mask(reliable)

    def _has_flow(self, index: int, other: int) -> bool:
        files = self._estimator
        return not isinstance(files, FloFolder) or files.path_of(index, other).is_file()

    def _both_ways(self, first: int, second: int, *, keep: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
        size = size_of(next(reversed(self._contents.values())))
        if isinstance(self._estimator, FloFolder):
            return self._estimator.read(first, second, size), self._estimator.read(second, first, size)
        if self._store is None:
            return self._estimated(first, second, size)
        kept = self._kept_flow(first, second, size)
        if kept is not None:
            return kept
        with _store_turn:
            kept = self._kept_flow(first, second, size)
            if kept is not None:
                return kept
            flows = self._estimated(first, second, size)
            if keep or self._stores_all:
                storage.write_checksummed(self._kept_at(first, second), np.stack(flows).astype("<f4").tobytes())
            return flows

    def _kept_flow(self, first: int, second: int, size: Size) -> tuple[np.ndarray, np.ndarray] | None:
        """Both ways from the store; None where they were not kept yet, or have changed since."""
        kept = storage.read_checksummed(self._kept_at(first, second))
        if kept is None or len(kept) != 2 * 2 * 4 * size[0] * size[1]:
            return None
        forward, backward = np.frombuffer(kept, "<f4").reshape(2, *size, 2).astype(np.float32)
        return forward, backward

    def _estimated(self, first: int, second: int, size: Size) -> tuple[np.ndarray, np.ndarray]:
        assert self._estimator is not None and not isinstance(self._estimator, FloFolder)
        return self._estimator.pair(self._source(first), self._source(second), size)

    def _link(
        self,
        other: int,
        content: np.ndarray,
        there: np.ndarray,
        flow: np.ndarray,
        path_visibility: torch.Tensor,
        still: np.ndarray,
        reliable: torch.Tensor | float,
    ) -> FlowLink:
        """A link along `flow`, visible where frame `other`, warped along it, shows what `content` does.

        Both the flow (`path_visibility`) and the colours have to say so. A static region occludes nothing, whatever
        noise makes of its flow, except for what a flow file says of it (`reliable`).
        """
        here, other_there = to_tensor(content), to_tensor(there)
        moved = warp(other_there, to_flow(flow), "bilinear")
        mask = path_visibility * color_agreement(here, moved)
        if still.any():
            # Unlike noise, what passed there since then is seen.
            mask = torch.maximum(mask, to_mask(still) * color_agreement(here, other_there) * reliable)
        return FlowLink(other, there, flow, np.asarray(mask[0, 0].numpy()))
