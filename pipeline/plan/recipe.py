"""What decides the result of a job, as plain JSON values: a job is continued only with an equal recipe."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import storage
from ..errors import JobMismatchError
from ..job.job import Job
from ..motion.flo_files import FloFolder
from ..presets import listed, to_values
from ..settings import Settings
from .inputs import Inputs

ENGINE = 9
"""Raised when the same settings and content give other pictures than before."""

_DECIDING_NOTHING = ("description", "tuned_for")


def make_recipe(
    inputs: Inputs, weights_sha256: str, hash_of: Callable[[Path], str] = storage.hash_file
) -> dict[str, Any]:
    """The recipe of a request. Files are named by the hashes of their contents, since their paths decide nothing."""
    request, content = inputs.request, inputs.content
    total = sum(inputs.blend)
    return {
        "engine": ENGINE,
        "settings": _hashed_settings(inputs, weights_sha256, hash_of),
        "styles": {
            f"{number}": f"{hash_of(path)} × {weight / total:.9g}"
            for number, (path, weight) in enumerate(zip(request.styles, inputs.blend, strict=True), start=1)
        },
        "content": {
            "kind": str(content.kind),
            "order": content.order_hash(),
            "files": content.fingerprint(hash_of),
        },
        "frames": str(request.frames),
        "rate": None if request.rate is None else str(request.rate),
        "output": os.path.abspath(request.output),
        "batch": "auto" if request.batch is None else request.batch,
        "image_format": request.image_format,
        "strip": request.strip,
        "encoding": dataclasses.asdict(request.encoding),
        **({} if request.video_stream is None else {"video_stream": request.video_stream}),
        **({} if request.segments is None else {"segments": request.segments}),
    }


def require_same_version(job: Job) -> None:
    """Raises `JobMismatchError` for a job of a version that paints otherwise or has other settings, which no command of
    this version continues."""
    recipe = job.recipe
    engine, own, now = recipe.get("engine"), _setting_names(recipe["settings"]), _setting_names(to_values(Settings()))
    different = [] if engine == ENGINE else [f"engine: {engine} → {ENGINE}"]
    different += [f"settings.{name} is new" for name in now if name not in own]
    different += [f"there is no settings.{name} any more" for name in own if name not in now]
    if different:
        raise JobMismatchError(
            f"the job in {job.folder} was made by another version of impasto ({listed(different)}): finish it with "
            "that version, choose another `output`, or start over with `stylize(force=True)`",
            different,
        )


def _setting_names(settings: Mapping[str, Any]) -> list[str]:
    """The settings that decide the result, as `name` or `section.name`."""
    names: list[str] = []
    for name, values in settings.items():
        names += [f"{name}.{key}" for key in values] if isinstance(values, Mapping) else [name]
    return [name for name in names if name not in _DECIDING_NOTHING]


def _hashed_settings(inputs: Inputs, weights_sha256: str, hash_of: Callable[[Path], str]) -> dict[str, Any]:
    """The settings with hashes instead of paths, without those that decide nothing."""
    settings, flow = to_values(inputs.settings), inputs.settings.flow
    for key in _DECIDING_NOTHING:
        settings.pop(key)
    settings["encoder"]["weights"] = weights_sha256
    if inputs.start_picture is not None:
        settings["start"]["first"] = hash_of(Path(inputs.settings.start.first))
    if flow.weights != "torchvision" and Path(flow.weights).is_file():
        settings["flow"]["weights"] = hash_of(Path(flow.weights))
    settings["flow"]["folder"] = FloFolder(Path(flow.folder)).fingerprint() if flow.folder is not None else None
    return settings
