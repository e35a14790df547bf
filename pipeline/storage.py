"""Atomic, durable writes: every file that the pipeline keeps is written, renamed and removed by this module.

A file is complete or it is absent. It is written to a temporary name in its own folder, flushed to the disk and renamed
to its final name, and the folder is flushed. Neither a killed process nor a power cut leaves half a file.
"""

import contextlib
import errno
import hashlib
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from .errors import StorageError

TEMPORARY_MARK = ".impasto-partial"
"""Part of the name of every partial file; a partial file may be deleted when the process that wrote it has ended."""

NAME_BYTES = 255
"""The longest name of a file that disks take."""

_BLOCK_BYTES = 1 << 20
_CHECKSUM_BYTES = hashlib.sha256().digest_size


def temporary_beside(path: Path) -> Path:
    """Returns a hidden name in the folder of `path`, with its suffix, for a file that is not yet complete.

    It holds a digest of the name, which may already be as long as the file system allows, and the process id, so that
    two processes that write the same file do not collide.
    """
    return path.with_name(f"{_digest(path)}-{os.getpid()}{path.suffix}")


def _digest(path: Path) -> str:
    return f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]}{TEMPORARY_MARK}"


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, and renames it to `path` when the block ends without an error.

    When the block raises, the temporary file is removed and `path` is unchanged. Errors of the operating system (disk
    full, no permission) are raised as `StorageError`.
    """
    temporary = temporary_beside(path)
    try:
        make_folder(path.parent)
        yield temporary
        flush(temporary)
        os.replace(temporary, path)
        flush(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes `data` as the content of `path`, atomically and durably. Raises `StorageError`."""
    with atomic_file(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Changes bytes of a file that is not finished yet, in place. Raises `StorageError`."""
    try:
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)
    except OSError as error:
        raise storage_error(error, path) from error


def move(source: Path, target: Path) -> None:
    """Renames a complete file durably, or copies it when `target` is on another disk. Raises `StorageError`."""
    try:
        make_folder(target.parent)
        try:
            flush(source)
            os.replace(source, target)
            flush(target.parent)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
    except OSError as error:
        raise storage_error(error, target) from error
    copy(source, target)
    remove(source)


def copy(source: Path, target: Path) -> None:
    """Copies a complete file durably. Raises `StorageError`."""
    with atomic_file(target) as temporary:
        shutil.copyfile(source, temporary)


def write_checksummed(path: Path, data: bytes) -> None:
    """Writes `data` after a header that holds its SHA-256 checksum; `read_checksummed` reads the file."""
    write_bytes(path, hashlib.sha256(data).digest() + data)


def read_checksummed(path: Path) -> bytes | None:
    """Returns the data that `write_checksummed` wrote; None when the file is missing or does not match its checksum."""
    try:
        with open(path, "rb") as file:
            checksum, data = file.read(_CHECKSUM_BYTES), file.read()
    except OSError:
        return None
    return data if hashlib.sha256(data).digest() == checksum else None


def append_line(path: Path, line: str) -> None:
    """Adds a line to a log, without a flush: no result depends on it. Raises `OSError`."""
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{line}\n")


def make_folder(path: Path) -> None:
    """Makes a folder and its missing parents, durably: a power cut that takes a folder's name takes its files.

    Raises `OSError`.
    """
    missing = []
    ancestor = path
    while not ancestor.exists() and ancestor != ancestor.parent:
        missing.append(ancestor)
        ancestor = ancestor.parent
    path.mkdir(parents=True, exist_ok=True)
    for made in reversed(missing):
        with contextlib.suppress(PermissionError):  # A user may be allowed to write to a folder, and not to read it.
            flush(made.parent)


def remove(*paths: Path) -> None:
    """Removes the files that exist, durably. Raises `StorageError`."""
    folders = set()
    for path in paths:
        try:
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        except OSError as error:
            raise storage_error(error, path) from error
    for folder in folders:
        try:
            flush(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise storage_error(error, folder) from error


def remove_folder(path: Path) -> None:
    """Removes a folder with its content, if it exists. Raises `StorageError`."""
    try:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)
    except OSError as error:
        raise storage_error(error, path) from error


def flush(path: Path) -> None:
    """Has the operating system write a file's data, or a folder's list of names, to the disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_partial(path: Path) -> bool:
    """Whether the name is that of a partial file, as an interrupted `atomic_file` leaves it."""
    return TEMPORARY_MARK in path.name and path.name.startswith(".")


def remove_partial_files(folder: Path) -> None:
    """Removes the partial files in `folder`, but not in its subfolders."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if is_partial(entry):
                entry.unlink(missing_ok=True)


def remove_partial_files_of(paths: Iterable[Path]) -> None:
    """Removes the partial files of these paths, unless the process that writes one is alive."""
    wanted: dict[Path, set[str]] = {}
    for path in paths:
        wanted.setdefault(path.parent, set()).add(_digest(path))
    for folder, digests in wanted.items():
        with contextlib.suppress(OSError):
            for entry in folder.iterdir():
                digest, _, rest = entry.name.rpartition("-")
                if digest in digests and not _is_alive(rest.partition(".")[0]):
                    entry.unlink(missing_ok=True)


def _is_alive(process: str) -> bool:
    if not process.isdecimal() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's bytes, in hexadecimal. Raises `OSError`."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class FileHashes:
    """SHA-256 of files, remembered for as long as a file does not change: a film takes long to read."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def of(self, path: Path) -> str:
        """Returns what `hash_file` returns. Raises `OSError`."""
        state = path.stat()
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        if key not in self._known:
            self._known[key] = hash_file(path)
        return self._known[key]


def is_taken(path: Path) -> bool:
    """Whether something has this name, a link that leads nowhere as well."""
    return os.path.lexists(path)


def may_be_file(path: Path) -> bool:
    """Whether a file is at a path, or may be: in a folder that may not be entered. Opening it says which."""
    try:
        return path.is_file()
    except PermissionError:
        return True


def read_problem(error: OSError) -> str:
    """Why a file cannot be read, and the remedy."""
    if isinstance(error, PermissionError):
        return "reading it is not allowed here; change its permissions"
    return f"{error.strerror or error}; check the name, and the disk that it is on"


def real_path(path: Path) -> Path:
    """Returns the path with its symbolic links resolved. Never raises, unlike `Path.resolve`: circular links stay."""
    return Path(os.path.realpath(path))


def disk_of(folder: Path) -> int:
    """Returns a number that folders on the same disk share; the folder need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return folder.stat().st_dev


def free_bytes(folder: Path) -> int:
    """Returns the free space on the disk of `folder`, which need not exist yet."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    return shutil.disk_usage(existing).free


def require_writable(path: Path) -> None:
    """Raises the `OSError` that making a file or folder at `path`, with its missing parents, would meet.

    Tries it, as what the system says of permissions is not all that decides: in the folder, or in the nearest there is
    of folders to be made. The file has no name, so that even a process that is killed leaves nothing behind; where the
    file system takes only files with names, it is partial.
    """
    path = path.absolute()
    missing, folder = [path.name], path.parent
    while not _is_folder(folder):
        missing.append(folder.name)
        folder = folder.parent
    for name in missing:
        with contextlib.suppress(FileNotFoundError):
            (folder / name).lstat()  # Too long a name, for one.
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=f"{TEMPORARY_MARK}-"):
            pass
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(folder)) from error


def require_replaceable(path: Path) -> None:
    """Raises the `OSError` that replacing an existing file would meet, besides those of `require_writable`."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    except OSError as error:
        # A file that may not be written may be replaced, but for one that is marked as immutable.
        if error.errno == errno.EPERM:
            raise
    status, folder = path.stat(), path.parent.stat()
    if folder.st_mode & stat.S_ISVTX and os.geteuid() not in (0, status.st_uid, folder.st_uid):
        raise PermissionError(errno.EPERM, "it belongs to another user", str(path))


def _is_folder(path: Path) -> bool:
    """Whether a folder is there; False where nothing is. Raises `OSError` where something else is, or a link that leads
    nowhere."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            reason = f"it is a symbolic link to {path.readlink()}, which is not there"
            raise FileNotFoundError(errno.ENOENT, reason, str(path)) from None
        return False
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, "it is a file and no folder", str(path))
    return True


def storage_error(error: OSError, path: Path) -> StorageError:
    """Returns the `StorageError` for an `OSError` at `path`: one line with the remedy."""
    problem, remedy = write_problem(error, path)
    return StorageError(f"{problem}; {remedy}" if remedy else problem)


def write_problem(error: OSError, path: Path) -> tuple[str, str]:
    """Why `path` cannot be written, and the remedy: empty where only another path or other permissions are one."""
    again = "and run the same command again"
    match error.errno:
        case errno.ENOSPC:
            return f"no space left on the disk while writing {path}", f"free some {again}"
        case errno.EDQUOT:
            return f"your quota on the disk is used up while writing {path}", f"free some space {again}"
        case errno.EFBIG:
            limit = file_size_limit()
            if limit is None:
                return f"{path} is larger than its disk takes", f"choose another disk {again}"
            return f"{path} is larger than a file may be here", f"raise the limit of {limit} bytes (ulimit -f) {again}"
        case errno.EROFS:
            return f"could not write {path}: its disk is read-only", "choose a place on another"
        case errno.EACCES | errno.EPERM:
            return f"not allowed to write {path}: {error.strerror}", ""
        case errno.ENAMETOOLONG:
            return f"could not write {path}: a name in it is too long for the disk", ""
        case errno.ENOENT if error.strerror in (None, os.strerror(errno.ENOENT)):
            return f"could not write {path}: its folder cannot be made or was removed", "choose another folder"
        case errno.EIO:
            return f"could not write {path}: {error.strerror}", f"check the disk {again}"
    return f"could not write {path}: {error.strerror or error}", ""


def file_size_limit() -> int | None:
    """The largest file, in bytes, that the limits of this process allow (`ulimit -f`); None without a limit."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
