"""impasto paints photos, folders of photos and videos in the style of a picture, by optimising pixels (Gatys et al.).

    import impasto

    picture = impasto.stylize_image("photo.jpg", "painting.jpg", size=768)
    result = impasto.stylize("clip.mp4", style="painting.jpg", output="painted.mp4")

`stylize_image` paints one picture in memory and `measure_image` measures one. `stylize`, `resume`, `dry_run`, `status`,
`verify`, `clean` and `measure` do what the commands of these names do. Nothing prints: progress is handed to `on_event`
as records (`FrameDone`, `JobDone` and others), and failures are raised as kinds of `ImpastoError`.

Names are imported when they are first used: `import impasto` loads neither torch nor OpenCV.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.jobs import clean, dry_run, resume, status, stylize, verify
    from .api.measuring import Measurement, measure
    from .api.pictures import measure_image, stylize_image
    from .errors import (
        DeviceError,
        FrameError,
        ImpastoError,
        InputError,
        Interrupted,
        JobError,
        JobLockedError,
        JobMismatchError,
        MediaError,
        OutOfMemoryError,
        OutputError,
        PartialError,
        SettingsError,
        StorageError,
        UsageError,
        WeightsError,
        WorkerLostError,
    )
    from .events import (
        Assembling,
        Event,
        FrameDone,
        FrameFailed,
        FrameProgress,
        FrameStarted,
        JobDone,
        JobStarted,
        Losses,
        Notice,
        Scanning,
        StopSignal,
        to_record,
    )
    from .job.status import DevicePace, JobStatus
    from .media.codecs import Encoding
    from .plan.request import FrameRange
    from .presets import load_settings, preset_names
    from .report.stability import Stability
    from .report.summary import Measured, Summary
    from .run.dry_run import DryRun
    from .settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Assembling",
    "DeviceError",
    "DevicePace",
    "DryRun",
    "Encoding",
    "Event",
    "FrameDone",
    "FrameError",
    "FrameFailed",
    "FrameProgress",
    "FrameRange",
    "FrameStarted",
    "ImpastoError",
    "InputError",
    "Interrupted",
    "JobDone",
    "JobError",
    "JobLockedError",
    "JobMismatchError",
    "JobStarted",
    "JobStatus",
    "Losses",
    "Measured",
    "Measurement",
    "MediaError",
    "Notice",
    "OutOfMemoryError",
    "OutputError",
    "PartialError",
    "Scanning",
    "Settings",
    "SettingsError",
    "Stability",
    "StopSignal",
    "StorageError",
    "Summary",
    "UsageError",
    "WeightsError",
    "WorkerLostError",
    "__version__",
    "clean",
    "dry_run",
    "load_settings",
    "measure",
    "measure_image",
    "preset_names",
    "resume",
    "status",
    "stylize",
    "stylize_image",
    "to_record",
    "verify",
]

_MODULES = {
    "api.jobs": ("clean", "dry_run", "resume", "status", "stylize", "verify"),
    "api.measuring": ("Measurement", "measure"),
    "api.pictures": ("measure_image", "stylize_image"),
    "events": (
        *("Assembling", "Event", "FrameDone", "FrameFailed", "FrameProgress", "FrameStarted", "JobDone", "JobStarted"),
        *("Losses", "Notice", "Scanning", "StopSignal", "to_record"),
    ),
    "job.status": ("DevicePace", "JobStatus"),
    "media.codecs": ("Encoding",),
    "plan.request": ("FrameRange",),
    "presets": ("load_settings", "preset_names"),
    "report.stability": ("Stability",),
    "report.summary": ("Measured", "Summary"),
    "run.dry_run": ("DryRun",),
    "settings": ("Settings",),
}
"""The module that each name of `__all__` is imported from; names that are not here are those of `errors`."""


def __getattr__(name: str) -> Any:
    """The public name `name`, imported when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = next((module for module, names in _MODULES.items() if name in names), "errors")
    value = getattr(importlib.import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Every public name, imported or not, for `dir()` and completion."""
    return sorted({*globals(), *__all__})
