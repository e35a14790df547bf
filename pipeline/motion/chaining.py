"""Flow to distant keyframes, chained from each frame to the next.

No estimator follows motion over dozens of frames at once. The steps between neighbours are estimated instead and
composed; the visibility along the chain is the product of that of its steps.
"""

from pathlib import Path

import numpy as np
import torch

from .. import storage
from ..pictures import Size
from .flow import to_flow
from .occlusion import in_frame_mask, visibility_mask
from .pair_flow import STORE_LOCK, PairFlow
from .warp import warp


def compose(step: torch.Tensor, visibility: torch.Tensor | float, onward: torch.Tensor) -> torch.Tensor:
    """The chain a → c from the flow a → b with its visibility (`1×2×H×W`, `1×1×H×W`) and the chain b → c.

    A chain is `1×3×H×W`: dx, dy and visibility. That of b is sampled where the step points.
    """
    sampled = warp(onward, step, "bilinear")
    return torch.cat([step + sampled[:, :2], visibility * sampled[:, 2:]], 1)


class FlowChains:
    """Chains of flow between a frame and a keyframe, before or after it, along stored flow between neighbours.

    Chains to later keyframes are stored in `folder`, since every frame before the keyframe needs one.
    """

    def __init__(self, flows: PairFlow, folder: Path | None) -> None:
        self._flows = flows
        self._folder = folder

    def is_complete(self, index: int, keyframe: int) -> bool:
        """Whether no frame between has to be read for the chain."""
        here, last = sorted((index, keyframe))
        while here != last:
            before, here = here, self._next_index(here, last)
            if not self._flows.is_stored(before, here):
                return False
        return True

    def flow_to(self, index: int, keyframe: int, size: Size) -> tuple[np.ndarray, torch.Tensor]:
        """Flow index → keyframe, `H×W×2` float32 in pixels of `size`, and its visibility mask, `1×1×H×W`.

        Composed from the keyframe's end, or from the nearest frame on the way whose chain is stored.
        """
        indices, chain = [index], None
        while indices[-1] != keyframe and (chain := self._load(indices[-1], keyframe, size)) is None:
            indices.append(self._next_index(indices[-1], keyframe))
        if chain is None:
            chain = torch.zeros(1, 3, *size)
            chain[:, 2] = 1
        while len(indices) > 1:
            following = indices.pop()
            flow, back = self._flows.flow(indices[-1], following, size, store=True)
            step = to_flow(flow)
            visibility = visibility_mask(step, None if back is None else to_flow(back))
            chain = compose(step, visibility * self._flows.reliability(indices[-1], following, size), chain)
            if keyframe > index:
                self._store(indices[-1], keyframe, chain)
        chained, visible = chain[:, :2], chain[:, 2:]
        return np.ascontiguousarray(chained[0].permute(1, 2, 0).numpy()), visible * in_frame_mask(chained)

    def _next_index(self, index: int, keyframe: int) -> int:
        """The next frame of the chain, past those that could not be read and so have no flow."""
        direction = 1 if keyframe > index else -1
        following = index + direction
        while following != keyframe and not self._flows.is_stored(index, following):
            following += direction
        return following

    def _store(self, index: int, keyframe: int, chain: torch.Tensor) -> None:
        if self._folder is not None:
            with STORE_LOCK:
                path = self._folder / f"{index}-to-{keyframe}"
                storage.write_checksummed(path, chain.numpy().astype("<f4").tobytes())

    def _load(self, index: int, keyframe: int, size: Size) -> torch.Tensor | None:
        """A stored chain; None where it is not there, damaged or of another size."""
        data = None if self._folder is None else storage.read_checksummed(self._folder / f"{index}-to-{keyframe}")
        if data is None or len(data) != 3 * 4 * size[0] * size[1]:
            return None
        return torch.from_numpy(np.frombuffer(data, "<f4").astype(np.float32).reshape(1, 3, *size))
