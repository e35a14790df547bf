"""Reads settings: from the presets in `configs/`, from files, and from single overrides; and compares them.

A preset is a YAML file in `configs/`. A user's file may name a preset or another file as its `base` and change some
of its settings; overrides (`KEY=VALUE`) change single settings on top. `settings.py` defines the settings.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import pydantic
import yaml

from . import storage
from .errors import SettingsError
from .layers import require_layer
from .setting_help import explain_error, explain_unknown
from .settings import Settings

PRESET_FOLDER = Path(str(resources.files(f"{__package__}.configs")))
"""The folder of the presets, one YAML file each."""

_MOST_DIFFERENCES_SHOWN = 5


def preset_names() -> list[str]:
    """The presets in `configs/`, `default` first."""
    names = sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))
    return sorted(names, key=lambda name: (name != "default", name))


def load_settings(config: str = "default", overrides: Sequence[str | tuple[str, Any]] = ()) -> Settings:
    """Settings of a preset or file, with overrides on top: `KEY=VALUE` with the value in YAML, or (key, value).

    Raises `SettingsError` for a missing preset or file, invalid YAML, an unknown key, and a value of the wrong type
    or out of range; the message says what is allowed.
    """
    if not isinstance(config, str):
        raise SettingsError(f"config is a {type(config).__name__}: give the name of a preset or the path of a file")
    values = _read_values(config, ())
    for override in overrides:
        _set_value(values, *(_read_override(override) if isinstance(override, str) else override))
    return parse_settings(values)


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from nested plain values, as YAML or JSON gives them; see `load_settings` for the errors."""
    try:
        settings = Settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise SettingsError(explain_error(error.errors()[0])) from error
    for section in ("content", "style"):
        for name, weight in getattr(settings, section).layers.items():
            require_layer(name)
            if not 0 <= weight <= 1e12:
                raise SettingsError(
                    f"{section}.layers.{name} = {weight:g}: use a weight that is at least 0 and at most 1e12"
                )
        if not any(getattr(settings, section).layers.values()):
            raise SettingsError(
                f"{section}.layers: every weight is 0; give one layer a weight above 0, or set {section}.weight=0"
            )
    if not (settings.content.weight or settings.style.weight or settings.total_variation.weight):
        raise SettingsError(
            "content.weight, style.weight and total_variation.weight are all 0: set one of them above 0"
        )
    _check_film_settings(settings)
    return settings


def _check_film_settings(settings: Settings) -> None:
    """Raises `SettingsError` for settings of videos and sequences that contradict each other."""
    distances = settings.temporal.distances
    if any(distance < 1 for distance in distances) or list(distances) != sorted(set(distances)):
        shown = ", ".join(map(str, distances))
        raise SettingsError(f"temporal.distances = {shown}: give distances in frames, from 1, ascending and each once")
    if any(cut < 0 for cut in settings.shots.cuts):
        raise SettingsError(f"shots.cuts holds {min(settings.shots.cuts)}: give indices of frames, which count from 0")
    if settings.flow.method == "files" and settings.flow.folder is None:
        raise SettingsError("flow.method = files needs a folder: set flow.folder to that of the .flo files")
    if settings.flow.method in ("dis", "raft") and settings.flow.folder is not None:
        raise SettingsError(
            f"flow.folder = {settings.flow.folder} is not used with flow.method = {settings.flow.method}: "
            "set flow.method=files or leave flow.folder out"
        )
    if settings.passes.count > 1:
        # Ignored silently, these would cost hours of painting before anyone noticed.
        what = f"in {settings.passes.count} passes (passes.count) a frame"
        if settings.start.next != "warped":
            raise SettingsError(
                f"start.next = {settings.start.next}: {what} starts from its own last pass: set start.next=warped"
            )
        if distances != (1,):
            shown = ", ".join(map(str, distances))
            raise SettingsError(
                f"temporal.distances = {shown}: {what} is compared with the neighbour just painted alone: "
                "set temporal.distances=[1]"
            )


def to_values(settings: Settings) -> dict[str, Any]:
    """Nested plain values, from which `parse_settings` makes the same settings."""
    return settings.model_dump(mode="json", by_alias=True)


def to_yaml(settings: Settings) -> str:
    """The settings in full, as a settings file."""
    return yaml.safe_dump(to_values(settings), sort_keys=False, allow_unicode=True, width=110)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as `(dotted.key, value)` pairs."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def fingerprint(values: Mapping[str, Any]) -> str:
    """SHA-256 of nested plain values; the order of their keys does not matter."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each value that differs: `key: old → new`."""
    old, new = dict(flatten(before)), dict(flatten(after))
    return [
        f"{key}: {old.get(key, '(not set)')} → {new.get(key, '(not set)')}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]


def listed(lines: Sequence[str]) -> str:
    """The lines of `differences` in one, for a message; of many the first."""
    more = len(lines) - _MOST_DIFFERENCES_SHOWN
    return "; ".join((*lines[:_MOST_DIFFERENCES_SHOWN], *([f"and {more} more"] if more > 0 else ())))


def _read_values(config: str, seen: tuple[Path, ...]) -> dict[str, Any]:
    """Nested values of a preset or file, merged over those of its `base`. `seen` are the files that it is a base of."""
    is_file = config.endswith((".yaml", ".yml")) or "/" in config
    path = Path(config) if is_file else PRESET_FOLDER / f"{config}.yaml"
    if not storage.may_be_file(path):
        hint = "" if is_file else f"; the presets are {', '.join(preset_names())}, or give a .yaml file"
        raise SettingsError(f"no {'settings file' if is_file else 'preset'} {config!r}{hint}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {storage.read_problem(error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: an impossible date, or bytes that are not UTF-8. RecursionError: a thousand brackets.
        first = (str(error).splitlines() or [""])[0]
        raise SettingsError(f"settings file {path} is not readable as YAML: {first}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise SettingsError(f"settings file {path} holds a {type(values).__name__} instead of keys and values")
    base = values.pop("base", None)
    if base is None:
        return values
    seen = (*seen, storage.real_path(path))
    if not isinstance(base, str):
        raise SettingsError(f"settings file {path}: base = {base!r} must name a preset or file")
    if base.endswith((".yaml", ".yml")):
        base = str(path.parent / base)  # relative to the file that names it, not to the working directory
        if storage.real_path(Path(base)) in seen:
            raise SettingsError(
                f"settings file {path}: base = {base!r} leads back to this file: remove one of the bases"
            )
    return _merge(_read_values(base, seen), values)


def _merge(base: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`changes` over `base`, section by section. Layers are replaced as a whole, not joined."""
    merged = dict(base)
    for key, value in changes.items():
        if key != "layers" and isinstance(value, Mapping) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _read_override(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    key = key.strip()
    if not equals or not key:
        raise SettingsError(f"`overrides` {override!r} is not of the form KEY=VALUE, as in style.weight=200")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"`overrides` {override!r}: the value is not readable as YAML") from error
    if isinstance(value, str):
        # In YAML 1.1, 1e4 is a string.
        with contextlib.suppress(ValueError):
            value = float(value)
    return key, value


def _set_value(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    node = values
    for part in parents:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise SettingsError(explain_unknown(key))
    node[leaf] = value
