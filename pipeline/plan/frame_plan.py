"""The frames of a job before any is painted."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from ..job.records import PlannedFrame
from ..media.frame_index import FrameIndex
from ..pictures import Size
from .execution_plan import FilmPlan
from .scheduler import Chain
from .segments import Segments


@dataclass(frozen=True)
class FramePlan:
    """Which frames are painted, at which size, and which of them depend on each other."""

    frames: tuple[PlannedFrame, ...]
    """One for each frame and pass."""

    sizes: tuple[Size, ...]
    """(height, width) of each painting; (0, 0) for a photo that cannot be read, which will not be painted."""

    film: FilmPlan | None = None
    """What concerns a video or sequence; None for photos."""

    segments: Segments = field(default_factory=lambda: Segments((), ()))
    """How shots are divided."""

    frame_index: FrameIndex | None = None
    """Times and checksums of all frames of a video."""

    not_kept: tuple[tuple[str, str], ...] = ()
    """(What the output cannot keep of the content, the name of the file that it concerns; empty where there is only
    one.)"""

    @cached_property
    def pixels(self) -> tuple[int, ...]:
        """The number of pixels of each painting."""
        return tuple(height * width for height, width in self.sizes)

    @cached_property
    def mean_pixels(self) -> float:
        """The mean number of pixels of a painting."""
        return statistics.fmean(self.pixels)

    def chains(self, cost: Callable[[Size], float] = lambda _: 1.0) -> list[Chain]:
        """Chains of frames that are painted in order; their work is iterations times pixels, times the cost of a pixel
        of a painting of a size."""
        costs = {size: cost(size) * math.prod(size) for size in set(self.sizes)}
        frames = zip(self.frames, self.sizes, strict=True)
        chains, _ = self.segments.chains((frame.index, frame.shot, frame.work * costs[size]) for frame, size in frames)
        return chains
