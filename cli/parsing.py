"""Option values → settings and numbers; what cannot be read is refused with the option's name."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError, UsageError

if TYPE_CHECKING:
    from ..settings import Settings


def settings_from_options(
    config: str,
    overrides: list[str] | None,
    size: int | None,
    iterations: str | None,
    weights: str | None,
    cuts: str | None = None,
    precision: str | None = None,
) -> "Settings":
    """Settings of a preset or file, with those of `--set` and then those of the other options on top.

    Raises `SettingsError` for what cannot be read, is unknown or out of range.
    """
    from ..presets import load_settings

    changes: list[str | tuple[str, Any]] = list(overrides or [])
    if size is not None:
        changes.append(("size", size))
    if iterations is not None:
        changes += _iteration_changes(iterations, load_settings(config, changes).passes.count)
    if weights is not None:
        changes.append(("encoder.weights", weights))
    if precision is not None:
        changes.append(("precision", precision))
    if cuts is not None:
        from ..shots.boundaries import parse_cuts

        parsed = parse_cuts(cuts)
        # An empty list of cuts turns detection off too.
        changes += [("shots.detect", parsed == "auto"), ("shots.cuts", [] if isinstance(parsed, str) else list(parsed))]
    return load_settings(config, changes)


def _iteration_changes(text: str, passes: int) -> list[str | tuple[str, Any]]:
    """The settings that `--iterations FIRST[,NEXT]` changes, with so many passes."""
    parts = text.split(",")
    if not 1 <= len(parts) <= 2 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise SettingsError(f"--iterations {text!r} is not of the form FIRST or FIRST,NEXT, as in 300,40")
    if any(len(part.strip()) > 9 for part in parts):
        raise SettingsError(f"--iterations {text[:20]}… is out of range: at most 1000000")
    changes: list[str | tuple[str, Any]] = [
        (f"iterations.{key}", int(part)) for key, part in zip(("first", "next"), parts, strict=False)
    ]
    if passes > 1:
        if len(parts) > 1:
            raise SettingsError(
                f"--iterations {text}: the {passes} passes of these settings all have the same number of iterations: "
                "give one number"
            )
        changes.append(("passes.iterations", int(parts[0])))
    return changes


def parse_image_format(text: str | None) -> str | None:
    """The name of an image format, in lower case and without a dot; `jpeg` and `tif` are taken as well."""
    from ..media.image_file import FORMATS

    if text is None:
        return None
    name = {"jpeg": "jpg", "tif": "tiff"}.get(text.lower().lstrip("."), text.lower().lstrip("."))
    if name not in FORMATS:
        raise UsageError(f"--format {text!r} is not one of {', '.join(FORMATS)}")
    return name


def parse_rate(text: str) -> Fraction:
    """A frame rate: `24`, `23.976`, `30000/1001`."""
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise UsageError(f"--fps {text!r} is not a rate: write 24, 23.976 or 30000/1001") from None


def parse_count(option: str, text: str) -> int | None:
    """A count of at least 1; None for `auto`."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UsageError(f"{option} {text!r} is neither auto nor a whole number from 1")
    return int(text)
