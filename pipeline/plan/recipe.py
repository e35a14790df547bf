"""What decides the result of a job, as plain JSON values: a job is continued only with an equal recipe."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import storage
from ..motion.flo_files import FloFolder
from ..presets import to_values
from .inputs import Inputs

ENGINE = 8
"""Raised when the same settings and content give other pictures than before."""


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


def _hashed_settings(inputs: Inputs, weights_sha256: str, hash_of: Callable[[Path], str]) -> dict[str, Any]:
    """The settings with hashes instead of paths, without `description` and `tuned_for`."""
    settings, flow = to_values(inputs.settings), inputs.settings.flow
    for key in ("description", "tuned_for"):
        settings.pop(key)
    settings["encoder"]["weights"] = weights_sha256
    if inputs.start_picture is not None:
        settings["start"]["first"] = hash_of(Path(inputs.settings.start.first))
    if flow.weights != "torchvision" and Path(flow.weights).is_file():
        settings["flow"]["weights"] = hash_of(Path(flow.weights))
    settings["flow"]["folder"] = FloFolder(Path(flow.folder)).fingerprint() if flow.folder is not None else None
    return settings
