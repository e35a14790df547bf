"""The command `configs`: presets and settings."""

import sys
from typing import Annotated

import typer

from .options import JsonOption
from .output import print_json, print_line
from .session import session


def configs(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Preset or file to print in full.")] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="Explain every setting: default, allowed values, meaning.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the presets, print one in full, or explain every setting."""
    with session(context, as_json=as_json):
        if keys:
            _print_keys(as_json)
        elif name is not None:
            _print_preset(name, as_json)
        else:
            _print_presets(as_json)


def _print_keys(as_json: bool) -> None:
    from ..setting_help import documented_fields

    for key, default, allowed, meaning in documented_fields():
        if as_json:
            record = {"key": key, "default": default, "allowed": allowed, "meaning": meaning}
            print_json({"event": "setting", **record})
        else:
            print_line(f"[bold]{key}[/] = {default}\n    {meaning}\n    allowed: {allowed}", markup=True)


def _print_preset(name: str, as_json: bool) -> None:
    from ..presets import load_settings, to_values, to_yaml

    settings = load_settings(name)
    if as_json:
        print_json({"event": "config", "name": name, "settings": to_values(settings)})
    else:
        sys.stdout.write(to_yaml(settings))


def _print_presets(as_json: bool) -> None:
    from ..presets import load_settings, preset_names

    for name in preset_names():
        settings = load_settings(name)
        if as_json:
            print_json({"event": "config", "name": name, "description": settings.description})
        else:
            print_line(f"[bold]{name:12}[/] {settings.description} ({settings.tuned_for} weights)", markup=True)
