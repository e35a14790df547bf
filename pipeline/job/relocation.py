"""A job that was moved: where the files are now that its store names by their old paths.

What was moved together with the job folder is found relative to it; what stayed where it was, by its old path. That a
file is the right one is for its hash to say.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .folder import default_folder


@dataclass(frozen=True)
class Relocation:
    """The move of a job folder. All paths are absolute."""

    old_folder: Path
    new_folder: Path
    old_output: Path
    new_output: Path

    @classmethod
    def find(cls, recorded: str | None, folder: Path, output: str) -> Self | None:
        """The move of a job that was `recorded` in another folder than the one it is in; None where it was not moved.

        The output moves along where the job lay beside it, and where its old folder has gone.
        """
        if recorded is None:
            return None
        old, new, old_output = Path(recorded), Path(os.path.abspath(folder)), Path(output)
        if old == new or _is_same(old, new):
            return None
        moved = _rebased(old_output, old, new)
        along = default_folder(old_output) == old or not old_output.parent.is_dir()
        return cls(old, new, old_output, moved if along and moved.parent.is_dir() else old_output)

    def output(self, path: str) -> str:
        """Where a file of the output is: the output itself, a painting in it, or a comparison beside it."""
        return str(self.new_output.parent / os.path.relpath(path, self.old_output.parent))

    def input(self, path: str) -> str:
        """Where a file is that is read."""
        moved = _rebased(Path(path), self.old_folder, self.new_folder)
        return str(moved) if moved.exists() else path

    def recipe(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe with the output where it is now."""
        return {**values, "output": str(self.new_output)}

    def plan(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The plan with the files that it may overwrite where they are now."""
        replaced = values.get("replaced_files") or {}
        return {**values, "replaced_files": {self.output(path): sha256 for path, sha256 in replaced.items()}}

    def invocation(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What was asked for, with all files where they are now."""
        given = values.get("settings", {})
        settings = {key: dict(value) if isinstance(value, dict) else value for key, value in given.items()}
        for section, key in (("start", "first"), ("encoder", "weights"), ("flow", "weights"), ("flow", "folder")):
            path = settings.get(section, {}).get(key)
            if path is not None and Path(path).is_absolute():
                settings[section][key] = self.input(path)
        return {
            **values,
            "content": [self.input(path) for path in values.get("content", ())],
            "styles": [self.input(path) for path in values.get("styles", ())],
            "output": str(self.new_output),
            "settings": settings,
        }


def _rebased(path: Path, old: Path, new: Path) -> Path:
    return Path(os.path.normpath(new / os.path.relpath(path, old)))


def _is_same(old: Path, new: Path) -> bool:
    """Whether one folder has two names, by a link."""
    try:
        return old.samefile(new)
    except OSError:
        return False
