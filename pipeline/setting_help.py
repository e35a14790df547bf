"""Texts about the settings, derived from their fields: the help, and explanations of invalid values."""

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from .settings import Section, Settings


def documented_fields() -> Iterator[tuple[str, str, str, str]]:
    """(dotted key, default, allowed values, meaning) of every setting."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key, inner in named_fields(section).items():
                yield f"{name}.{key}", _yaml(inner.default), _allowed(inner), inner.description or ""
        else:
            yield name, _yaml(field.default), _allowed(field), field.description or ""


def named_fields(section: type[BaseModel]) -> dict[str, Any]:
    """The fields of a section under the names by which they are set."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def explain_error(error: Any) -> str:
    """One line for people from one of pydantic's errors."""
    location = [str(part) for part in error["loc"] if part != "[key]"]
    key = ".".join(location)
    if error["type"] == "extra_forbidden":
        return explain_unknown(key)
    field = _field_at(location)
    if field is None:
        return f"{key} = {error['input']!r}: {error['msg'].lower()}"
    allowed = f"allowed: {_allowed(field)}, default {_yaml(field.default)}"
    return f"setting {key} = {error['input']!r} is not valid; {allowed}"


def explain_unknown(key: str) -> str:
    """One line on a key that is no setting, with the nearest key and its siblings."""
    known = [name for name, *_ in documented_fields()]
    section = key.rpartition(".")[0]
    siblings = [name for name in known if name.rpartition(".")[0] == section]
    sections = [] if section else list(dict.fromkeys(name.split(".")[0] for name in known))
    close = difflib.get_close_matches(key, [*sections, *known], 1, cutoff=0.5)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"unknown setting {key!r}{hint} (allowed: {', '.join(sections or siblings or known)})"


def _field_at(location: Sequence[str]) -> Any:
    """The field at a path of keys; None for a section."""
    model: Any = Settings
    field: Any = None
    for part in location:
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or part not in named_fields(model):
            return field
        field = named_fields(model)[part]
        model = field.annotation
    return None if isinstance(model, type) and issubclass(model, BaseModel) else field


def _allowed(field: Any) -> str:
    """The allowed values of a field, from its type and bounds."""
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


def _yaml(value: Any) -> str:
    """A default as `--set` takes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {weight:g}" for key, weight in value.items()) + "}"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
