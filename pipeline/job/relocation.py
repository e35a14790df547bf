"""A job that was moved, or whose output was: where the files are now that its store names by their old paths.

Files of the output move with the output. Those that are read are found by their hashes, see `plan.moved_inputs`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .folder import comparison_path, default_folder


def moved_along(path: Path, old: Path, new: Path) -> Path:
    """Where `path` is if it was moved together with a folder, from `old` to `new`."""
    return Path(os.path.normpath(new / os.path.relpath(path, old)))


@dataclass(frozen=True)
class Relocation:
    """The move of a job and its output. Both paths are absolute."""

    old_output: Path
    new_output: Path

    @classmethod
    def find(cls, recorded: str | None, folder: Path, output: str, content: Sequence[str] = ()) -> Self | None:
        """The move of a job that was `recorded` in another folder than the one it is in; None where it was not moved.

        The output moves along where the job lay beside it, where its old folder has gone, and where the output or the
        content is found to have moved along.
        """
        if recorded is None:
            return None
        old, new, old_output = Path(recorded), Path(os.path.abspath(folder)), Path(output)
        if old == new or _is_same(old, new):
            return None
        moved = moved_along(old_output, old, new)
        found = any(_is_there(moved_along(Path(path), old, new)) for path in (output, *content))
        along = default_folder(old_output) == old or not _is_there(old_output.parent) or found
        return cls(old_output, moved if along and _is_there(moved.parent) else old_output)

    def output(self, path: str) -> str:
        """Where a file of the output is: the output itself, a painting in it, or a comparison beside it."""
        output, normal = (self.old_output, self.new_output), Path(os.path.normpath(path))
        for old, new in (output, tuple(map(comparison_path, output))):
            if normal.is_relative_to(old):
                return str(new / normal.relative_to(old))
        return path

    def recipe(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe with the output where it is now."""
        return {**values, "output": str(self.new_output)}

    def plan(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The plan with the files that it may overwrite where they are now."""
        replaced = values.get("replaced_files") or {}
        return {**values, "replaced_files": {self.output(path): sha256 for path, sha256 in replaced.items()}}

    def invocation(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """What was asked for, with the output where it is now."""
        return {**values, "output": str(self.new_output)}


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _is_same(old: Path, new: Path) -> bool:
    """Whether one folder has two names, by a link."""
    try:
        return old.samefile(new)
    except OSError:
        return False
