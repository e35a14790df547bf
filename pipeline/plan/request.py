"""What one command asks for, as a record that a job keeps."""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

from ..errors import SettingsError
from ..job.folder import default_folder
from ..media.codecs import Encoding
from ..media.content import Mode
from ..paint.task import COLD_STARTS
from ..presets import parse_settings, to_values
from ..settings import Settings


@dataclass(frozen=True)
class FrameRange:
    """The frames `[start, stop)` of a video or sequence; `stop` None means to the end."""

    start: int = 0
    stop: int | None = None

    @classmethod
    def parse(cls, text: str) -> "FrameRange":
        """Reads `A:B`, `A:` or `:B`. Raises `SettingsError` for anything else, and for an empty range."""
        match = re.fullmatch(r"(\d{0,12}):(\d{0,12})", text.strip())
        if match is None:
            raise SettingsError(
                f"frame range {text!r} is not of the form A:B, with frames counted from 0 and B left out"
            )
        start = int(match[1] or 0)
        stop = int(match[2]) if match[2] else None
        if stop is not None and stop <= start:
            raise SettingsError(f"frame range {text!r} holds no frame: B must be greater than A")
        return cls(start, stop)

    def clip(self, frame_count: int) -> range:
        """The indices that the range takes out of `frame_count` frames."""
        return range(frame_count)[self.start : self.stop]


EXECUTORS = ("auto", "inline", "processes", "ray")


@dataclass(frozen=True)
class Request:
    """What one command asks for.

    `style_weights` are one for each style (of any sum), or empty for equal ones. `job` is the job's
    folder, None for `OUTPUT.impasto` beside the output. `rate`: frames a second of a video made from a
    sequence. `force` overwrites the output and starts an existing job over.
    `batch` is how many pictures a device paints side by side at most, None: as many as pay on a GPU, else 1.
    `executor` is one of `EXECUTORS`, and `address` that of a Ray cluster, None for one of this machine alone.
    `segments` is into how many each shot is divided, None for what its devices gain by.
    `image_format` is that of painted photos, one of `images.FORMATS`, None for the one that each has; `strip` leaves
    out metadata; `encoding` says how a video is encoded. `compare` writes content and result side by side, at
    `assembly.compare_path`.
    """

    content: tuple[Path, ...]
    styles: tuple[Path, ...]
    output: Path
    settings: Settings
    style_weights: tuple[float, ...] = ()
    device: str = "auto"
    executor: str = "auto"
    address: str | None = None
    batch: int | None = None
    segments: int | None = None
    mode: Mode = "auto"
    frames: FrameRange = field(default_factory=FrameRange)
    rate: Fraction | None = None
    job: Path | None = None
    force: bool = False
    image_format: str | None = None
    strip: bool = False
    encoding: Encoding = field(default_factory=Encoding)
    compare: bool = False

    @property
    def job_folder(self) -> Path:
        return self.job if self.job is not None else default_folder(self.output)

    def to_values(self) -> dict[str, Any]:
        """Plain JSON values from which `from_values` makes the request again, wherever it is run."""
        settings = to_values(self.settings)
        if self.settings.start.first not in COLD_STARTS:
            settings["start"]["first"] = os.path.abspath(self.settings.start.first)
        if self.settings.encoder.weights not in ("bundled", "torchvision"):
            settings["encoder"]["weights"] = os.path.abspath(self.settings.encoder.weights)
        if self.settings.flow.weights != "torchvision":
            settings["flow"]["weights"] = os.path.abspath(self.settings.flow.weights)
        if self.settings.flow.folder is not None:
            settings["flow"]["folder"] = os.path.abspath(self.settings.flow.folder)
        return {
            "content": [os.path.abspath(path) for path in self.content],
            "styles": [os.path.abspath(path) for path in self.styles],
            "style_weights": list(self.style_weights),
            "output": os.path.abspath(self.output),
            "settings": settings,
            "device": self.device,
            "executor": self.executor,
            "address": self.address,
            "batch": self.batch,
            "segments": self.segments,
            "mode": self.mode,
            "frames": [self.frames.start, self.frames.stop],
            "rate": None if self.rate is None else str(self.rate),
            "image_format": self.image_format,
            "strip": self.strip,
            "encoding": dataclasses.asdict(self.encoding),
            "compare": self.compare,
        }

    @classmethod
    def from_values(cls, values: Mapping[str, Any], job: Path) -> Self:
        """The request that a job in the folder `job` was made by."""
        return cls(
            content=tuple(map(Path, values["content"])),
            styles=tuple(map(Path, values["styles"])),
            style_weights=tuple(values["style_weights"]),
            output=Path(values["output"]),
            settings=parse_settings(values["settings"]),
            device=values["device"],
            executor=values["executor"],
            address=values["address"],
            batch=values["batch"],
            segments=values.get("segments"),
            mode=values["mode"],
            frames=FrameRange(*values["frames"]),
            rate=None if values["rate"] is None else Fraction(values["rate"]),
            job=job,
            image_format=values["image_format"],
            strip=values["strip"],
            encoding=Encoding(**values["encoding"]),
            compare=values["compare"],
        )
