"""A file is whole or it is not there, whatever happens while it is written."""

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto import storage
from impasto.errors import StorageError
from impasto.storage import TEMPORARY_MARK, atomic_file, free_bytes, hash_file, remove_partial_files, write_bytes

ROOT = Path(__file__).resolve().parent.parent


def child(script: str, *arguments: str | Path) -> "subprocess.Popen[str]":
    """A Python process that runs `script` with the project on its path."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_written_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.bin"
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    write_bytes(path, b"newer")
    assert path.read_bytes() == b"newer"
    assert names(path.parent) == {"file.bin"}


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "x")])
@pytest.mark.parametrize("existing", [b"old", None])
def test_an_error_leaves_everything_as_it_was(tmp_path: Path, error: BaseException, existing: bytes | None) -> None:
    path = tmp_path / "file.bin"
    if existing is not None:
        path.write_bytes(existing)
    with pytest.raises((type(error), StorageError)), atomic_file(path) as temporary:
        temporary.write_bytes(b"half")
        raise error
    assert (path.read_bytes() if path.exists() else None) == existing
    assert names(tmp_path) == ({"file.bin"} if existing is not None else set())


def test_errors_of_others_keep_their_type(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "x"):
        raise ZeroDivisionError


def test_a_file_that_was_never_written_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError), atomic_file(tmp_path / "x"):
        pass


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left on the disk"),
        (errno.EDQUOT, "your quota on the disk is used up"),
        (errno.EFBIG, "is larger than its disk takes; choose another disk"),
        (errno.EACCES, "not allowed to write"),
        (errno.EROFS, "its disk is read-only; choose a place on another"),
        (errno.EIO, "could not write"),
    ],
)
def test_what_the_disk_says_is_told_in_one_line(tmp_path: Path, number: int, said: str) -> None:
    path = tmp_path / "file.bin"
    with pytest.raises(StorageError) as caught, atomic_file(path):
        raise OSError(number, os.strerror(number))
    message = str(caught.value)
    assert said in message
    assert str(path) in message
    assert "\n" not in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match="no space left"), atomic_file(path) as temporary:
        temporary.symlink_to("/dev/full")
        with open(temporary, "wb") as file:
            file.write(b"x" * 100_000)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file.bin"}


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    script = """
import resource, signal, sys
from pathlib import Path
from impasto.errors import StorageError
from impasto.storage import write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_bytes(Path(sys.argv[1]), b"x" * 100_000)
except StorageError as error:
    print(error)
"""
    process = child(script, path)
    out, err = process.communicate(timeout=60)
    assert err == ""
    assert out.startswith(f"{path} is larger than a file may be here; raise the limit of 1000 bytes (ulimit -f)")
    assert out.count("\n") == 1
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == {"file.bin"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB, where the user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount program")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_small_disk(small_disk: Path) -> None:
    path = small_disk / "file.bin"
    write_bytes(path, b"x" * 20_000)
    with pytest.raises(StorageError, match="no space left"):
        write_bytes(path, b"y" * 100_000)
    assert path.read_bytes() == b"x" * 20_000
    assert names(small_disk) == {"file.bin"}


def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    script = """
import itertools, sys
from pathlib import Path
from impasto.storage import write_bytes
for letter in itertools.cycle(b"abc"):
    write_bytes(Path(sys.argv[1]), bytes([letter]) * 3_000_000)
    print(letter, flush=True)
"""
    for delay in (0.0, 0.003, 0.007, 0.011):
        process = child(script, path)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        data = path.read_bytes()
        assert len(data) == 3_000_000
        assert len(set(data)) == 1
        remove_partial_files(tmp_path)
        assert names(tmp_path) == {"file.bin"}


def test_two_processes_that_write_one_file(tmp_path: Path) -> None:
    """Two jobs with the same output, say: the file is whole at any time, and of one of them."""
    path = tmp_path / "file.bin"
    script = """
import sys
from pathlib import Path
from impasto.storage import write_bytes
for _ in range(60):
    write_bytes(Path(sys.argv[1]), sys.argv[2].encode() * 3_000_000)
"""
    processes = [child(script, path, letter) for letter in "ab"]
    while any(process.poll() is None for process in processes):
        if path.exists():
            data = path.read_bytes()
            assert len(data) == 3_000_000
            assert len(set(data)) == 1
    for process in processes:
        assert process.communicate()[1] == ""
        assert process.returncode == 0
    assert names(tmp_path) == {"file.bin"}


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files and folders that the operating system is asked to put on the disk, in order."""
    paths: list[Path] = []
    fsync = os.fsync

    def flushing(descriptor: int) -> None:
        paths.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", flushing)
    return paths


def test_the_file_is_on_the_disk_before_its_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flushed: list[Path]
) -> None:
    replace = os.replace

    def replacing(source: Path, target: Path) -> None:
        flushed.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replacing)
    write_bytes(tmp_path / "x", b"x")
    assert flushed == [storage.temporary_beside(tmp_path / "x"), tmp_path / "x", tmp_path]


def test_a_new_folder_is_on_the_disk_in_the_one_above_it(tmp_path: Path, flushed: list[Path]) -> None:
    """A power cut that takes the name of a folder takes all that was flushed into it."""
    storage.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert flushed == [tmp_path, tmp_path / "a"]
    storage.make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2


def test_what_is_removed_is_gone_durably(tmp_path: Path, flushed: list[Path]) -> None:
    paths = [tmp_path / "a", tmp_path / "b", tmp_path / "folder" / "c"]
    for path in paths[:1] + paths[2:]:
        write_bytes(path, b"x")
    flushed.clear()
    storage.remove(*paths)
    assert names(tmp_path) == {"folder"} and names(tmp_path / "folder") == set()
    assert sorted(flushed) == [tmp_path, tmp_path / "folder"]
    with pytest.raises(StorageError, match="folder"):
        storage.remove(tmp_path / "folder")
    storage.remove_folder(tmp_path / "folder")
    storage.remove_folder(tmp_path / "folder")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("data", [b"", b"x", b"x" * 100_000])
def test_a_checksummed_file_is_read_as_it_was_written_or_not_at_all(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "checksummed"
    assert storage.read_checksummed(path) is None
    storage.write_checksummed(path, data)
    assert storage.read_checksummed(path) == data
    whole = path.read_bytes()
    for place in {0, 31, len(whole) // 2, len(whole) - 1}:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert storage.read_checksummed(path) is None
        path.write_bytes(whole[:place])
        assert storage.read_checksummed(path) is None
    path.write_bytes(whole + b"x")
    assert storage.read_checksummed(path) is None


def test_temporary_names_are_hidden_and_keep_their_ending(tmp_path: Path) -> None:
    temporary = storage.temporary_beside(tmp_path / "frame.png")
    assert temporary.parent == tmp_path
    assert temporary.suffix == ".png"
    assert temporary.name.startswith(".")
    assert TEMPORARY_MARK in temporary.name


@pytest.mark.parametrize("name", ["L" * 251 + ".png", "画" * 83 + ".png"], ids=["latin", "chinese"])
def test_a_name_as_long_as_the_disk_takes(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")  # The disk takes the name.
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"


def test_partial_files_are_removed_and_others_kept(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    kept = [tmp_path / "a.png", tmp_path / f"a{TEMPORARY_MARK}.png", tmp_path / "below" / f".a{TEMPORARY_MARK}-1.png"]
    for path in [*kept, storage.temporary_beside(tmp_path / "a.png"), tmp_path / f".b{TEMPORARY_MARK}-1"]:
        path.write_bytes(b"x")
    remove_partial_files(tmp_path)
    remove_partial_files(tmp_path / "not there")
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_hash_is_sha_256(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    assert hash_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()


def test_free_bytes_of_a_folder_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    usage = shutil.disk_usage

    def asking(path: Path) -> object:
        asked.append(path)
        return usage(path)

    monkeypatch.setattr(shutil, "disk_usage", asking)
    assert 0 < free_bytes(tmp_path / "a" / "b") <= usage(tmp_path).total
    assert free_bytes(tmp_path) > 0
    monkeypatch.chdir(tmp_path)
    assert free_bytes(Path("a/b")) > 0
    assert asked == [tmp_path] * 3
