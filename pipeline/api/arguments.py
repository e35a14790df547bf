"""Arguments of the API → what the pipeline takes; what does not fit is refused with the argument's name."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InputError, SettingsError, UsageError

if TYPE_CHECKING:
    from ..media.codecs import Encoding
    from ..plan.request import FrameRange, Request
    from ..settings import Settings

StrPath: TypeAlias = str | os.PathLike[str]
"""A path as a string or an `os.PathLike`."""


def job_request(
    content: StrPath | Sequence[StrPath],
    style: StrPath | Sequence[StrPath],
    output: StrPath,
    config: StrPath,
    settings: Mapping[str, Any] | None,
    size: int | None,
    weights: StrPath | None,
    style_weights: Sequence[float],
    frames: "str | FrameRange | None",
    rate: Fraction | float | str | None,
    job: StrPath | None,
    memory: int | str | None,
    encoding: "Encoding | None",
    **fields: Any,
) -> "Request":
    """The request that the arguments of `stylize` and `dry_run` are; `fields` go into it as they are.

    Raises `UsageError` and its kinds.
    """
    from ..media.codecs import Encoding
    from ..plan.request import FrameRange, Request, parse_memory

    if not isinstance(frames, str | FrameRange | None):
        raise UsageError(f"frames is a {type(frames).__name__}: give 'A:B' or a FrameRange")
    if not isinstance(encoding, Encoding | None):
        raise UsageError(f"encoding is a {type(encoding).__name__}: give an Encoding, as Encoding('hevc', crf=20)")

    return Request(
        content=as_paths(content, "content"),
        styles=as_paths(style, "style"),
        output=as_path(output, "output"),
        settings=load_changed_settings(config, settings, size, weights),
        style_weights=as_weights(style_weights),
        frames=FrameRange() if frames is None else FrameRange.parse(frames) if isinstance(frames, str) else frames,
        rate=None if rate is None else _rate(rate),
        job=None if job is None else as_path(job, "job"),
        memory=parse_memory(memory) if isinstance(memory, str) else memory,
        encoding=encoding or Encoding(),
        **fields,
    )


def load_changed_settings(
    config: StrPath, changes: Mapping[str, Any] | None, size: int | None, weights: StrPath | None
) -> "Settings":
    """Settings of a preset or file with `changes` on top, and then `size` and `weights` where they are given.

    Raises `SettingsError`.
    """
    from ..presets import load_settings

    if changes is not None and not isinstance(changes, Mapping):
        raise SettingsError(f"settings is a {type(changes).__name__}: give a dict, as {{'style.weight': 300}}")
    overrides: list[tuple[str, Any]] = []
    for key, value in _dotted(changes or {}):
        overrides.append((key, os.fspath(value) if isinstance(value, os.PathLike) else value))
    if size is not None:
        overrides.append(("size", size))
    if weights is not None:
        overrides.append(("encoder.weights", str(as_path(weights, "weights"))))
    return load_settings(os.fspath(config) if isinstance(config, os.PathLike) else config, overrides)


def _dotted(changes: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(Dotted key, value) of each change: a nested section changes its own keys only, and layers as a whole."""
    for key, value in changes.items():
        if not isinstance(key, str):
            raise SettingsError(f"setting {key!r} is no dotted key, as in 'style.weight'")
        if isinstance(value, Mapping) and key.rpartition(".")[2] != "layers":
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def as_paths(value: StrPath | Sequence[StrPath], what: str) -> tuple[Path, ...]:
    """One or several paths. Raises `InputError` for anything else, such as an array."""
    values = [value] if isinstance(value, str | os.PathLike) else value
    if not isinstance(values, list | tuple) or not all(isinstance(each, str | os.PathLike) for each in values):
        raise InputError(f"{what} is a {type(value).__name__}: give a path or a list of paths (arrays: stylize_image)")
    if not values:
        raise UsageError(f"{what} is an empty list: give one path or more")
    return tuple(as_path(each, what) for each in values)


def as_path(value: StrPath, what: str) -> Path:
    """One path. Raises `UsageError` for anything else."""
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{what} is a {type(value).__name__}: give a path")
    if not os.fspath(value):
        raise UsageError(f"{what} is an empty string: give a path")
    if "\0" in os.fsdecode(value):
        raise UsageError(f"{what} {value!r} holds a NUL character: give a path without")
    return Path(value)


def as_weights(values: object) -> tuple[float, ...]:
    """The weights of styles as floats. Raises `UsageError` for anything but numbers in a list, tuple or array."""
    try:
        if isinstance(values, Iterable) and not isinstance(values, str):
            return tuple(map(float, values))
    except (TypeError, ValueError):
        pass
    raise UsageError(f"style_weights {values!r} is not a list of numbers: give one for each style")


def _rate(value: Fraction | float | str) -> Fraction:
    """Frames per second; decimals are taken as they are written, 23.976 as 2997/125."""
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"rate {value!r} is not a rate: give 24, 23.976, '30000/1001' or a Fraction") from None
