"""Whether the file or folder at a path is an input of a job, by the hashes in the job's recipe."""

import re
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, WeightsError
from ..job.job import Job
from ..job.records import FrameState
from ..media.content import UNREADABLE, ContentKind
from ..media.image_folders import list_images
from ..motion.flo_files import FloFolder
from ..paint.encoder_weights import EncoderWeights
from ..storage import FileHashes


@dataclass(frozen=True)
class Check:
    """Tells the file or folder that is looked for from others."""

    problem: Callable[[Path], str | None]
    """What keeps the one at a path from being it, in words that follow its name."""

    is_by_hash: bool = False
    """Whether it is a file with one hash, which it is known by under any name."""


MISSING, IS_FOLDER, _ANOTHER = "is missing", "is a folder", "is another file"


class InputChecks:
    """Makes the checks for the inputs of one job. What was hashed or loaded for them need not be read again."""

    def __init__(self, hashes: FileHashes, load_weights: Callable[[str], EncoderWeights]) -> None:
        self._hashes = hashes
        self._load_weights = load_weights

    def of_file(self, sha256: str) -> Check:
        """For a file with this hash."""
        return Check(lambda path: _problem_of_kind(path) or self._difference(path, {sha256}), is_by_hash=True)

    def of_weights(self, sha256: str) -> Check:
        """For a file of the encoder's weights with these values."""

        def check(path: Path) -> str | None:
            if (problem := _problem_of_kind(path)) is not None:
                return problem
            try:
                return None if self._load_weights(str(path)).sha256 == sha256 else _ANOTHER
            except WeightsError:
                return "holds no weights of VGG-19"

        return Check(check)

    def of_flow(self, fingerprint: str) -> Check:
        """For a folder of flow files."""

        def check(path: Path) -> str | None:
            if (problem := _problem_of_kind(path, is_folder=True)) is not None:
                return problem
            try:
                return None if FloFolder(path).fingerprint() == fingerprint else "holds other flow"
            except (InputError, OSError):
                return "cannot be read"

        return Check(check)

    def of_content(self, job: Job) -> list[Check]:
        """For each path of the job's content, in order."""
        recipe, paths = job.recipe["content"], [Path(path) for path in job.invocation["content"]]
        if recipe["kind"] in (ContentKind.IMAGE, ContentKind.VIDEO):
            return [self.of_file(sha256) for sha256 in recipe["files"].values()]
        # A photo that failed may have been replaced by one that can be painted.
        known = _hashes_by_name(recipe["files"], (frame.name for frame in job.frames(FrameState.FAILED)))
        is_all = len(paths) == 1
        return [
            self._of_image(known[path.name]) if path.name in known else self._of_folder(known, is_all=is_all)
            for path in paths
        ]

    def _of_image(self, known: set[str]) -> Check:
        return Check(lambda path: _problem_of_kind(path) or self._difference(path, known))

    def _of_folder(self, known: Mapping[str, set[str]], *, is_all: bool) -> Check:
        """For a folder that holds images of the content and no others; all of them where it `is_all` of the content."""

        def check(path: Path) -> str | None:
            if (problem := _problem_of_kind(path, is_folder=True)) is not None:
                return problem
            try:
                images = {image.relative_to(path).as_posix(): image for image in list_images(path).paths}
            except InputError:
                return "may not be listed"
            if other := images.keys() - known.keys():
                return f"holds {min(other)}, which the content has not"
            if lacking := known.keys() - images.keys() if is_all or not images else ():
                return f"lacks {min(lacking)}"
            differing = (name for name, image in images.items() if self._difference(image, known[name]))
            return next((f"has another {name}" for name in differing), None)

        return Check(check)

    def _difference(self, path: Path, known: set[str]) -> str | None:
        if UNREADABLE in known:
            return None
        try:
            return None if self._hashes.of(path) in known else _ANOTHER
        except OSError as error:
            return f"cannot be read ({error.strerror})"


def _problem_of_kind(path: Path, *, is_folder: bool = False) -> str | None:
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return "lies in a folder that may not be entered"
    except (OSError, ValueError):
        return MISSING
    if stat.S_ISDIR(mode) == is_folder:
        return None
    return "is a file" if is_folder else IS_FOLDER


def _hashes_by_name(files: Mapping[str, str], replaceable: Iterable[str]) -> dict[str, set[str]]:
    """The hashes that images of a name have; several where photos of several folders have one name, and `UNREADABLE`
    where any image will do."""
    known: dict[str, set[str]] = {}
    for name, sha256 in (*files.items(), *((name, UNREADABLE) for name in replaceable)):
        # The number that tells photos with one name apart.
        known.setdefault(re.sub(r" \(\d+\)$", "", name), set()).add(sha256)
    return known
