"""A request: content, styles, output and options of a job, which keeps it as plain JSON."""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, get_args

from ..errors import SettingsError, UsageError
from ..job.folder import default_folder
from ..media.codecs import Encoding
from ..media.content import Mode
from ..media.image_file import FORMATS
from ..paint.painter import style_blend
from ..paint.task import COLD_STARTS
from ..presets import parse_settings, to_values
from ..settings import Settings

EXECUTORS = ("auto", "inline", "processes", "ray")
"""How frames are handed to devices; `auto` takes `processes` where several workers are faster, else `inline`."""

_UNITS = {"kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}

MOST_RATE = 1000
"""The highest frame rate, in frames a second, that a video is written with."""


@dataclass(frozen=True)
class FrameRange:
    """The frames `[start, stop)` of a video or sequence; `stop` None means to the end."""

    start: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        for value in (self.start, 0 if self.stop is None else self.stop):
            if not isinstance(value, int) or isinstance(value, bool):
                raise SettingsError(f"frame range of {value!r}: frames are whole numbers, as in FrameRange(0, 48)")
        if self.start < 0:
            raise SettingsError(f"frame range {self} starts below 0: frames are counted from 0")
        if self.stop is not None and self.stop <= self.start:
            raise SettingsError(f"frame range {self} holds no frame: B must be greater than A in A:B")

    def __str__(self) -> str:
        return f"{self.start}:{'' if self.stop is None else self.stop}"

    @classmethod
    def parse(cls, text: str) -> "FrameRange":
        """Reads `A:B`, `A:` or `:B`. Raises `SettingsError` for anything else, and for an empty range."""
        match = re.fullmatch(r"(\d{0,12}):(\d{0,12})", text.strip())
        if match is None:
            raise SettingsError(
                f"frame range {text!r} is not of the form A:B, with frames counted from 0 and B left out"
            )
        return cls(int(match[1] or 0), int(match[2]) if match[2] else None)

    def clip(self, frame_count: int) -> range:
        """The indices that the range takes out of `frame_count` frames."""
        return range(frame_count)[self.start : self.stop]


def parse_memory(text: str) -> int:
    """The bytes of a text as `6GB`, `1.5 GiB` or `800MB`. Raises `UsageError`."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) *([kmg]i?b)", text.strip().lower(), re.ASCII)
    if match is None or not (count := int(float(match[1]) * _UNITS[match[2]])):
        raise UsageError(f"`memory` {text!r} is not an amount of memory: write 6GB, 800MB or 5.5GiB")
    return count


@dataclass(frozen=True)
class Request:
    """What is to be painted, how and where.

    Raises `UsageError` on construction for fields that are out of range or exclude each other. Messages name fields in
    backquotes, which the command line replaces by its flags.
    """

    content: tuple[Path, ...]
    """An image, images, a folder or a video."""

    styles: tuple[Path, ...]
    """Style images, at least one."""

    output: Path
    """Image, video or folder to make, by its ending."""

    settings: Settings

    style_weights: tuple[float, ...] = ()
    """One for each style, of any sum; empty for equal ones."""

    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:N`, or several of these separated by commas."""

    executor: str = "auto"
    """One of `EXECUTORS`."""

    address: str | None = None
    """Address of a Ray cluster; None for one of this machine alone."""

    batch: int | None = None
    """The most pictures that a device paints side by side; None for as many as are worth their memory on a GPU, and
    one on a CPU."""

    memory: int | None = None
    """Bytes that all workers on a CPU may take together, or each GPU; None for a share of what is free. Pictures for
    which it is too little are painted in tiles."""

    segments: int | None = None
    """Segments that each shot is divided into; None for as many as its devices gain by."""

    video_stream: int | None = None
    """Index, in a video with several streams of pictures, of the one that is painted; None for the one that players
    show."""

    mode: Mode = "auto"
    """Whether images are the frames of a film (`sequence`) or independent (`photos`)."""

    frames: FrameRange = field(default_factory=FrameRange)
    """The part of a video or sequence that is painted."""

    rate: Fraction | None = None
    """Frames a second of a video made from a sequence."""

    job: Path | None = None
    """Folder of the job; None for `OUTPUT.impasto` beside the output."""

    force: bool = False
    """Overwrite the output, and start an existing job over."""

    image_format: str | None = None
    """Format of painted photos, one of `image_file.FORMATS`; None for the format of each photo."""

    strip: bool = False
    """Leave out metadata."""

    encoding: Encoding = field(default_factory=Encoding)
    """How a video is encoded."""

    compare: bool = False
    """Write content and result side by side as well, at `job.folder.comparison_path`."""

    def __post_init__(self) -> None:
        for name, paths in (("content", self.content), ("styles", self.styles)):
            if not paths:
                raise UsageError(f"`{name}` is empty: name at least one path")
        style_blend(self.style_weights, len(self.styles))
        if self.executor not in EXECUTORS:
            raise UsageError(f"`executor` {self.executor!r} is not one of {', '.join(EXECUTORS)}")
        if self.address is not None and self.executor != "ray":
            raise UsageError("`address` is that of a Ray cluster: it goes with `executor='ray'`")
        for name, count in (("batch", self.batch), ("segments", self.segments), ("memory", self.memory)):
            if count is not None and (type(count) is not int or count < 1):
                raise UsageError(f"`{name}` {count!r} is out of range: a whole number from 1, or none for automatic")
        if self.video_stream is not None and (type(self.video_stream) is not int or self.video_stream < 0):
            raise UsageError(f"`video_stream` {self.video_stream!r} is out of range: a whole number from 0")
        if self.mode not in get_args(Mode):
            raise UsageError(f"`mode` {self.mode!r} is not one of {', '.join(get_args(Mode))}")
        if self.rate is not None and not 0 < self.rate <= MOST_RATE:
            raise UsageError(f"`rate` {self.rate} is out of range: over 0, at most {MOST_RATE}")
        if self.image_format is not None and self.image_format not in FORMATS:
            raise UsageError(f"`image_format` {self.image_format!r} is not one of {', '.join(FORMATS)}")

    @property
    def job_folder(self) -> Path:
        """The folder that records the job's progress."""
        return self.job if self.job is not None else default_folder(self.output)

    def to_values(self) -> dict[str, Any]:
        """Plain JSON values, with absolute paths, from which `from_values` makes the request again; `job` is the folder
        from which files that are moved together with it are found."""
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
            "job": os.path.abspath(self.job_folder),
            "settings": settings,
            "device": self.device,
            "executor": self.executor,
            "address": self.address,
            "batch": self.batch,
            "memory": self.memory,
            "segments": self.segments,
            "video_stream": self.video_stream,
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
        """The request that `to_values` wrote, for the job in the folder `job`."""
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
            memory=values.get("memory"),
            segments=values.get("segments"),
            video_stream=values["video_stream"],
            mode=values["mode"],
            frames=FrameRange(*values["frames"]),
            rate=None if values["rate"] is None else Fraction(values["rate"]),
            job=job,
            image_format=values["image_format"],
            strip=values["strip"],
            encoding=Encoding(**values["encoding"]),
            compare=values["compare"],
        )
