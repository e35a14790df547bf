"""Settings: what they are called, what they may be, and the presets that set them.

Each setting is a field with its meaning, unit, range and default, and this is the only place where
a default stands. A preset is a YAML file in `configs/`; a file of the user's may name one as its
`base` and change what it likes; `--set KEY=VALUE` changes single settings on top.
"""

import contextlib
import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import pydantic
import yaml
from pydantic import BaseModel

from . import storage
from .errors import SettingsError
from .layers import require_layer
from .settings import Section, Settings

PRESET_FOLDER = Path(str(resources.files(f"{__package__}.configs")))
"""Where the presets lie, a YAML file each."""


def preset_names() -> list[str]:
    """The presets in `configs/`, `default` first."""
    names = sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))
    return sorted(names, key=lambda name: (name != "default", name))


def load_settings(config: str = "default", overrides: Sequence[str | tuple[str, Any]] = ()) -> Settings:
    """Settings of a preset or file, with overrides on top: `KEY=VALUE` with the value in YAML, or (key, value).

    Raises `SettingsError` for a preset or file that is not there, YAML that cannot be read, an unknown
    key, and a value of the wrong type or out of range; the message names what is allowed.
    """
    values = _read_values(config, ())
    for override in overrides:
        _set_value(values, *(_read_override(override) if isinstance(override, str) else override))
    return parse_settings(values)


def parse_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from nested plain values, as YAML or JSON gives them; see `load_settings` for the errors."""
    try:
        settings = Settings.model_validate(values)
    except pydantic.ValidationError as error:
        raise SettingsError(_explain(error.errors()[0])) from error
    for section in ("content", "style"):
        for name, weight in getattr(settings, section).layers.items():
            require_layer(name)
            if not 0 <= weight <= 1e12:
                raise SettingsError(f"{section}.layers.{name} = {weight:g}: a layer's weight is at least 0")
        if not any(getattr(settings, section).layers.values()):
            raise SettingsError(
                f"{section}.layers: every weight is 0; leave one layer its weight, or set {section}.weight=0"
            )
    if not (settings.content.weight or settings.style.weight or settings.total_variation.weight):
        raise SettingsError(
            "content.weight, style.weight and total_variation.weight are all 0: nothing would be painted"
        )
    _require_film_settings(settings)
    return settings


def _require_film_settings(settings: Settings) -> None:
    distances = settings.temporal.distances
    if any(distance < 1 for distance in distances) or list(distances) != sorted(set(distances)):
        shown = ", ".join(map(str, distances))
        raise SettingsError(f"temporal.distances = {shown}: frames back, at least 1, ascending and each once")
    if any(cut < 0 for cut in settings.shots.cuts):
        raise SettingsError(f"shots.cuts holds {min(settings.shots.cuts)}: frames are counted from 0")
    if settings.flow.method == "files" and settings.flow.folder is None:
        raise SettingsError("flow.method = files needs flow.folder, the folder of the .flo files")
    if settings.flow.method in ("dis", "raft") and settings.flow.folder is not None:
        raise SettingsError(
            f"flow.folder = {settings.flow.folder} is not read with flow.method = {settings.flow.method}: "
            "leave out the one or the other"
        )
    if settings.passes.count > 1:
        # Silently these would have no effect, and a film is too dear to find that out at its end.
        what = f"in {settings.passes.count} passes (passes.count) a frame"
        if settings.start.next != "warped":
            raise SettingsError(
                f"start.next = {settings.start.next}: {what} starts from its own last pass: set start.next=warped"
            )
        if distances != (1,):
            shown = ", ".join(map(str, distances))
            raise SettingsError(
                f"temporal.distances = {shown}: {what} is held to the neighbour just painted: set "
                "temporal.distances=[1]"
            )


def to_values(settings: Settings) -> dict[str, Any]:
    """Nested plain values that `parse_settings` turns back into the same settings."""
    return settings.model_dump(mode="json")


def to_yaml(settings: Settings) -> str:
    """The settings in full, as a file that `--config` reads."""
    return yaml.safe_dump(to_values(settings), sort_keys=False, allow_unicode=True, width=110)


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values as `(dotted.key, value)` pairs."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def fingerprint(values: Mapping[str, Any]) -> str:
    """SHA-256 of nested plain values, whatever the order of their keys."""
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line for each leaf that differs: `key: old → new`."""
    old, new = dict(flatten(before)), dict(flatten(after))
    return [
        f"{key}: {old.get(key, '(not set)')} → {new.get(key, '(not set)')}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]


def documented_fields() -> Iterator[tuple[str, str, str, str]]:
    """(dotted key, default, allowed, meaning) of every setting, for help texts and the README."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key, inner in section.model_fields.items():
                yield f"{name}.{key}", _shown(inner.default), _allowed(inner), inner.description or ""
        else:
            yield name, _shown(field.default), _allowed(field), field.description or ""


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {weight:g}" for key, weight in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _read_values(config: str, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The nested values of a preset or file, with those of its `base` beneath them; `seen` are the files above it."""
    is_file = config.endswith((".yaml", ".yml")) or "/" in config
    path = Path(config) if is_file else PRESET_FOLDER / f"{config}.yaml"
    if not path.is_file():
        hint = "" if is_file else f"; the presets are {', '.join(preset_names())}, or give a .yaml file"
        raise SettingsError(f"no {'settings file' if is_file else 'preset'} {config!r}{hint}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError, OSError, RecursionError) as error:
        # ValueError: a date that is none, bytes that are no text. RecursionError: a thousand brackets.
        first = (str(error).splitlines() or [""])[0]
        raise SettingsError(f"settings file {path} is not readable as YAML: {first}") from error
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise SettingsError(f"settings file {path} holds a {type(values).__name__}, not keys and values")
    base = values.pop("base", None)
    if base is None:
        return values
    seen = (*seen, storage.real_path(path))
    if not isinstance(base, str):
        raise SettingsError(f"settings file {path}: base = {base!r} must name a preset or file")
    if base.endswith((".yaml", ".yml")):
        base = str(path.parent / base)  # as the file's author sees it, wherever the command is typed
        if storage.real_path(Path(base)) in seen:
            raise SettingsError(f"settings file {path}: base = {base!r} leads back to a file that it is the base of")
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
        # YAML 1.1 takes 1e4 for a word; everybody else takes it for a number.
        with contextlib.suppress(ValueError):
            value = float(value)
    return key, value


def _set_value(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, leaf = key.split(".")
    node = values
    for part in parents:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise SettingsError(_unknown(key))
    node[leaf] = value


def _explain(error: Any) -> str:
    """One line for a person from one of pydantic's errors."""
    location = [str(part) for part in error["loc"] if part != "[key]"]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        return _unknown(key)
    field = _field_at(location)
    allowed = f"; allowed: {_allowed(field)}, default {_shown(field.default)}" if field is not None else ""
    if field is None:
        return f"{key} = {error['input']!r}: {error['msg'].lower()}"
    return f"setting {key} = {error['input']!r} is not valid{allowed}"


def _unknown(key: str) -> str:
    known = [name for name, *_ in documented_fields()]
    section = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == section]
    sections = [] if section else list(dict.fromkeys(name.split(".")[0] for name in known))
    close = difflib.get_close_matches(key, [*sections, *known], 1, cutoff=0.5)
    siblings = sections or siblings
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown setting {key!r}{hint} (allowed: {', '.join(siblings or known)})"


def _field_at(location: Sequence[str]) -> Any:
    model: Any = Settings
    field: Any = None
    for part in location:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in model.model_fields:
            return field
        field = model.model_fields[part]
        model = field.annotation
    return None if isinstance(model, type) and issubclass(model, BaseModel) else field


def _allowed(field: Any) -> str:
    annotation = field.annotation
    optional = ""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (part for part in typing.get_args(annotation) if part is not type(None))
        optional = "none or "
    if typing.get_origin(annotation) is Literal:
        return ", ".join(typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        return "a list of whole numbers, as [1, 2, 4]"
    if annotation is bool:
        return "true, false"
    if annotation is str:
        return f"{optional}text"
    if typing.get_origin(annotation) is dict:
        return "layer names with weights, as {relu1_1: 1, relu2_1: 0.5}"
    low = high = ""
    for rule in field.metadata:
        low = low or (f"{rule.ge:g}" if hasattr(rule, "ge") else f"over {rule.gt:g}" if hasattr(rule, "gt") else "")
        high = high or (f"{rule.le:g}" if hasattr(rule, "le") else f"under {rule.lt:g}" if hasattr(rule, "lt") else "")
    kind = "a whole number" if annotation is int else "a number"
    return f"{optional}{kind} from {low} to {high}"
