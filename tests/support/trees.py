"""The files below a folder by their hashes, to compare what two runs have made."""

from pathlib import Path, PurePath

from impasto.storage import hash_file

_OF_THE_RUN = ("job.db", "job.db-journal", "job.copy", "log.txt", "lock")


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash, without what tells of the run and not of the result."""
    return {name: sha256 for name, sha256 in whole_tree(folder).items() if not _tells_of_the_run(PurePath(name))}


def whole_tree(folder: Path) -> dict[str, str]:
    """Every file below a folder with its hash."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def _tells_of_the_run(path: PurePath) -> bool:
    return path.name in _OF_THE_RUN or "plots" in path.parts
