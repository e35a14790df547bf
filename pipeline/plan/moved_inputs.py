"""Where the inputs of a job are now. What belongs to the job is known by its hash; paths are hints where to look."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputError, JobMismatchError
from ..job.job import Job
from ..job.relocation import moved_along
from ..paint.encoder_weights import EncoderWeights
from ..paint.task import COLD_STARTS
from ..storage import FileHashes
from .input_checks import IS_FOLDER, MISSING, Check, InputChecks

_HOLDS_NONE = "holds no file with its hash"


def find_inputs(
    job: Job,
    hashes: FileHashes,
    load_weights: Callable[[str], EncoderWeights],
    content: Sequence[Path] = (),
    styles: Sequence[Path] = (),
) -> dict[str, Any]:
    """The values of a job's request with the paths at which its files are now.

    Looks at the paths that are named as `content` and `styles`, in those of them that are folders under any name, at
    those that lie to the job's folder as they did, beside the folder and the output, and at the old paths. Raises
    `InputError` for a file that is at none of them, and `JobMismatchError` where only others are.
    """
    values, recipe = job.invocation, job.recipe
    places = _Places(job.folder, Path(values["job"]), Path(values["output"]), values.get("sizes", {}))
    checks = InputChecks(hashes, load_weights)
    style_hashes = [text.partition(" ")[0] for text in recipe["styles"].values()]
    return {
        **values,
        "content": _find_all("content", values["content"], content, checks.of_content(job), places),
        "styles": _find_all("style", values["styles"], styles, list(map(checks.of_file, style_hashes)), places),
        "settings": _find_settings(values["settings"], recipe["settings"], checks, places),
    }


def _find_all(
    name: str, recorded: Sequence[str], named: Sequence[Path], checks: Sequence[Check], places: "_Places"
) -> list[str]:
    """Where each of several inputs is. Raises `JobMismatchError` where one that is named is none of them."""
    search = _Search(name, places, tuple(Path(os.path.abspath(path)) for path in named))
    found = [search.find(path, check) for path, check in zip(recorded, checks, strict=True)]
    for path in search.named:
        if path not in search.used:
            problem = f"{path} {search.problems.get(path, 'is one more than the job has')}"
            raise JobMismatchError(f"{name} {problem}: name the {name} that the job was begun with", [problem])
    return found


def _find_settings(
    values: Mapping[str, Any], recipe: Mapping[str, Any], checks: InputChecks, places: "_Places"
) -> dict[str, Any]:
    """The settings with the paths at which their files are now."""
    found = {key: dict(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    for section, key, others, check in (
        ("start", "first", COLD_STARTS, checks.of_file),
        ("encoder", "weights", ("bundled", "torchvision"), checks.of_weights),
        ("flow", "weights", ("torchvision",), checks.of_file),
        ("flow", "folder", (None,), checks.of_flow),
    ):
        path, recorded = values[section][key], recipe[section][key]
        # A file that was not needed, and not there, has its path in the recipe.
        if path not in others and re.fullmatch(r"[0-9a-f]+", recorded):
            found[section][key] = _Search(f"{section}.{key}", places).find(path, check(recorded))
    return found


@dataclass(frozen=True)
class _Places:
    """What the places of inputs are told by."""

    folder: Path
    """The job's folder, as it was named."""

    recorded_folder: Path
    """The job's folder when the paths of its inputs were recorded, absolute."""

    output: Path
    """The job's output, absolute."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of single files of content and style, by the paths that were recorded; of older jobs none."""

    @property
    def is_moved(self) -> bool:
        """Whether the job was moved, or copied, since the paths were recorded."""
        return str(self.recorded_folder) != os.path.abspath(self.folder)

    def of(self, path: Path) -> list[Path]:
        """Where a file may be now that was recorded at a path. The old path is the last: what is there may be a copy
        that another job works on."""
        folder = Path(os.path.abspath(self.folder))
        beside = (folder.parent / path.name, self.output.parent / path.name)
        return list(dict.fromkeys((moved_along(path, self.recorded_folder, folder), *beside, path)))

    def within(self, folder: Path, path: Path) -> list[Path]:
        """The files in a folder, though not below it, that may be the one that was recorded at a path: of its size,
        where that is known, those first whose names are most like its own."""
        size = self.sizes.get(str(path))
        try:
            files = [each for each in folder.iterdir() if each.is_file() and size in (None, each.stat().st_size)]
        except OSError:
            return []
        return sorted(files, key=lambda each: (each.name != path.name, each.suffix != path.suffix, each.name))


@dataclass
class _Search:
    """Looks for the files of one input; `name` is what messages call it."""

    name: str
    places: _Places
    named: tuple[Path, ...] = ()
    """Files, or folders that hold them, that the user names."""

    used: set[Path] = field(default_factory=set)
    """Those of `named` by which something was found."""

    problems: dict[Path, str] = field(default_factory=dict)
    """What is wrong with each path that was looked at."""

    def find(self, recorded: str, check: Check) -> str:
        """The path of the input that was recorded at a path."""
        old = Path(recorded)
        looked_at: dict[Path, str] = {}
        for path in (*self._named_places(old), *self.places.of(old)):
            found, problem = self._look(path, old, check)
            if problem is None:
                self.used |= {found, found.parent} & set(self.named)
                return str(found)
            looked_at[path] = self.problems[path] = problem
        if self.named or self.places.is_moved or looked_at[old] == MISSING:
            self._refuse(recorded, looked_at)
        return recorded  # The comparison with the recipe says all that differs.

    def _look(self, path: Path, old: Path, check: Check) -> tuple[Path, str | None]:
        """(The path, or that of a file in the folder that is named by it; what is wrong with it.)"""
        problem = check.problem(path)
        if problem != IS_FOLDER or path not in self.named or not check.is_by_hash:
            return path, problem
        found = next((each for each in self.places.within(path, old) if check.problem(each) is None), None)
        return (path, _HOLDS_NONE) if found is None else (found, None)

    def _named_places(self, old: Path) -> Iterator[Path]:
        for path in self.named:
            yield path
            if os.path.isdir(path):  # noqa: PTH112 - `Path.is_dir` raises where it may not look
                yield path / old.name

    def _refuse(self, recorded: str, looked_at: Mapping[Path, str]) -> NoReturn:
        differing = [f"{path} {problem}" for path, problem in looked_at.items() if problem != MISSING]
        missing = [str(path) for path, problem in looked_at.items() if problem == MISSING]
        listed = ", ".join((*differing, *([f"nothing is at {' and '.join(missing)}"] if missing else ())))
        remedy = "move it to one of these places"
        if self.name in ("content", "style"):
            remedy = f"say where it is now with: impasto resume {self.places.folder} --{self.name} PATH"
        text = f"{self.name} {recorded} is not found by its hash ({listed}): {remedy}"
        if set(looked_at.values()) - {MISSING, _HOLDS_NONE}:
            raise JobMismatchError(text, differing)
        raise InputError(text)
