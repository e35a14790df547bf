"""Fields in the library's messages → the flags of the command line.

The library's messages name a field of a request, or a setting, in backquotes: `batch`, `mode='photos'`. On the command
line they have other names.
"""

import dataclasses
import re
from typing import TypeVar

from ..events import Event, FrameFailed, JobDone, Notice

FLAGS = {
    "address": "--address",
    "batch": "--batch",
    "codec": "--codec",
    "compare": "--compare",
    "crf": "--crf",
    "device": "--device",
    "encoder.weights": "--weights",
    "executor": "--executor",
    "flow_folder": "--flow",
    "force": "--force",
    "frames": "--frames",
    "image_format": "--format",
    "iterations": "--iterations",
    "job": "--job",
    "memory": "--memory",
    "mode='photos'": "--photos",
    "mode='sequence'": "--sequence",
    "output": "--output",
    "overrides": "--set",
    "pixel_format": "--pixel-format",
    "precision": "--precision",
    "rate": "--fps",
    "segments": "--segments",
    "shots.cuts": "--cuts",
    "size": "--size",
    "strip": "--strip",
    "style_weights": "--style-weight",
    "video_stream": "--video-stream",
    "stylize(force=True)": "stylize --force",
}

_FIELD = re.compile(r"`([a-z_.]+)(?:=([^`]*))?`|`([^`]+)`")

AnyEvent = TypeVar("AnyEvent", bound=Event)


def with_flags(text: str) -> str:
    """The text with flags instead of fields: `--batch`, `--photos`, `--device auto`."""

    def flag(found: re.Match[str]) -> str:
        whole = found[0][1:-1]
        if whole in FLAGS:
            return FLAGS[whole]
        name, value = found[1], found[2]
        if name not in FLAGS:
            return found[0]
        return FLAGS[name] if value is None else f"{FLAGS[name]} {value.strip(chr(39))}"

    return _FIELD.sub(flag, text)


def event_with_flags(event: AnyEvent) -> AnyEvent:
    """The event with flags in its messages."""
    if isinstance(event, Notice):
        return dataclasses.replace(event, text=with_flags(event.text))
    if isinstance(event, FrameFailed):
        return dataclasses.replace(event, message=with_flags(event.message))
    if isinstance(event, JobDone):
        failed, not_kept = (tuple(map(with_flags, lines)) for lines in (event.failed, event.not_kept))
        return dataclasses.replace(event, failed=failed, not_kept=not_kept)
    return event
