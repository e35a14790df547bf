"""What is decided before the first frame is painted, as a record that the job keeps.

Whoever continues a job follows the plan that it was made with: thread counts, batch widths and keyframes decide the
last bits of its pictures, on whichever machine they are painted.
"""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import torch

from ..choices import FlowMethod, Precision
from ..job.folder import file_problem
from ..media.color import VideoColor
from ..media.timing import Timing
from ..paint.colors import ColorStatistics
from ..pictures import Size
from .segments import Segments


@dataclass(frozen=True)
class FilmPlan:
    """What a scan of a video or sequence found, and how its shots are divided."""

    first: int
    """Index in the content of the first frame that is painted."""

    time_base: Fraction
    """Seconds a tick of the frames' presentation times."""

    rate: Fraction | None
    """Frames a second where it is constant, else None."""

    last_duration: int | None
    """Ticks that the last painted frame is shown; None where the file does not say."""

    is_partial: bool
    """Whether the content has frames that are not painted."""

    has_alpha: bool
    """Whether any frame of the content has transparent pixels."""

    plays: int
    """How often an animation is played, 0 for ever."""

    has_jumps: bool
    """Whether the clock of a video jumps, so that its sound has to be put on one time line."""

    color: VideoColor | None
    """The colour tags of a video; None for a sequence of images."""

    color_mean: tuple[float, ...]
    """Mean R, G, B of the content in [0, 1]; where cold starts are matched to the style, it is what is matched."""

    color_covariance: tuple[tuple[float, ...], ...]
    """Covariance of R, G, B of the content, 3×3."""

    keyframes: tuple[int, ...]
    """First frames of the segments of all divided shots, ascending."""

    def timing(self, times: tuple[int, ...]) -> Timing:
        """The timing of the film whose frames are shown at `times`, in ticks."""
        return Timing(self.time_base, times, self.rate, self.last_duration)

    @property
    def color_statistics(self) -> ColorStatistics:
        """Mean and covariance of the content's colours, as tensors."""
        return ColorStatistics(
            torch.tensor(self.color_mean, dtype=torch.float64),
            torch.tensor(self.color_covariance, dtype=torch.float64),
        )

    def to_values(self) -> dict[str, Any]:
        """Plain JSON values, read by `from_values`."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values["time_base"] = str(self.time_base)
        values["rate"] = None if self.rate is None else str(self.rate)
        values["color"] = None if self.color is None else dataclasses.asdict(self.color)
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_values` wrote."""
        rate, color = values["rate"], values["color"]
        return cls(
            first=values["first"],
            time_base=Fraction(values["time_base"]),
            rate=None if rate is None else Fraction(rate),
            last_duration=values["last_duration"],
            is_partial=values["is_partial"],
            has_alpha=values["has_alpha"],
            plays=values["plays"],
            has_jumps=values["has_jumps"],
            color=None if color is None else VideoColor(**color),
            color_mean=tuple(values["color_mean"]),
            color_covariance=tuple(map(tuple, values["color_covariance"])),
            keyframes=tuple(values["keyframes"]),
        )


@dataclass(frozen=True)
class ExecutionPlan:
    """How the frames of a job are painted; decided once, when the job is made."""

    threads: int
    """Threads over which a worker splits its sums on a CPU."""

    mean_pixels: float
    """Mean number of pixels of a painting."""

    flow_method: FlowMethod
    """How optical flow is had; the setting `flow.method` with `auto` decided."""

    precision: Precision
    """The precision of the encoder's features; the setting `precision` with `auto` decided."""

    environment: Mapping[str, str]
    """What else the last bits depend on: `device` (`cpu` or a GPU's name) and the version of `torch`."""

    widths: Mapping[Size, int] = field(default_factory=dict)
    """How many pictures of a size are painted side by side, by (height, width); 1 where a size is missing."""

    tiles: Mapping[Size, int] = field(default_factory=dict)
    """The side of the tiles in which pictures of a size are evaluated, by (height, width); whole where a size is
    missing."""

    size_order: tuple[int, ...] = ()
    """Indices of photos in the order in which they are painted, so that those of one size follow each other; empty
    where they are painted in the order of the content."""

    replaced_files: Mapping[str, str] = field(default_factory=dict)
    """Files that the job may overwrite, as `force` was given: SHA-256 by absolute path."""

    film: FilmPlan | None = None
    """What concerns a video or sequence; None for photos."""

    @property
    def first_frame(self) -> int:
        """Index in the content of the first frame that is painted."""
        return self.film.first if self.film is not None else 0

    def may_overwrite(self, path: Path, job_folder: Path) -> bool:
        """Whether a job may overwrite an existing file: its own, or one that `force` was given for and that has not
        changed since."""
        if path.is_relative_to(job_folder):
            return True
        replaced = self.replaced_files.get(os.path.abspath(path))
        return replaced is not None and file_problem(path, replaced) is None

    def segments(self, shots: Iterable[int]) -> Segments:
        """How the shots of the content are divided, given the first frames of all of them."""
        return Segments(self.film.keyframes if self.film is not None else (), shots)

    def to_values(self) -> dict[str, Any]:
        """Plain JSON values, read by `from_values`."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        values["widths"] = [[*size, width] for size, width in self.widths.items()]
        values["tiles"] = [[*size, side] for size, side in self.tiles.items()]
        values["film"] = None if self.film is None else self.film.to_values()
        return values

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_values` wrote."""
        film = values["film"]
        return cls(
            threads=values["threads"],
            mean_pixels=values["mean_pixels"],
            flow_method=values["flow_method"],
            precision=values["precision"],
            environment=values["environment"],
            widths={(height, width): count for height, width, count in values["widths"]},
            tiles={(height, width): side for height, width, side in values.get("tiles", ())},
            size_order=tuple(values["size_order"]),
            replaced_files=values["replaced_files"],
            film=None if film is None else FilmPlan.from_values(film),
        )
