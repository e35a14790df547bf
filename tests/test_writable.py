"""Outputs that cannot be written are found before the content is read."""

import errno
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto import storage
from impasto.errors import OutputError
from impasto.job.folder import comparison_path, default_folder
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.dry_run import dry_run
from impasto.run.job_run import stylize
from tests.conftest import TINY
from tests.support.clips import ffmpeg, moving_source
from tests.support.unprivileged import let_others_enter, not_as_root


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A folder in which we may make nothing."""
    folder = tmp_path / "ro"
    folder.mkdir()
    let_others_enter(tmp_path)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)


def test_a_folder_is_tried_and_left_as_it_was(closed: Path, tmp_path: Path) -> None:
    storage.require_writable(tmp_path / "new" / "folders")
    assert [path.name for path in tmp_path.iterdir()] == ["ro"]
    with not_as_root():
        for path in (closed / "o.png", closed / "below" / "it"):
            with pytest.raises(PermissionError) as refused:
                storage.require_writable(path)
            assert refused.value.filename == str(closed)


@pytest.mark.parametrize("which", ["output", "job", "compare", "folder"])
@pytest.mark.parametrize("is_dry", [False, True])
def test_nothing_is_read_for_an_output_that_cannot_be_written(
    tmp_path: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch, which: str, is_dry: bool
) -> None:
    clip, refused = tmp_path / "clip.mkv", tmp_path / "ro"
    refused.mkdir()
    ffmpeg(*moving_source("10", 0.3), clip)
    output = {"output": refused / "o.mp4", "folder": refused / "deep" / "frames"}.get(which, tmp_path / "out" / "o.mp4")
    if which == "compare":
        output = refused / "o.mp4"
    job = refused / "job" if which == "job" else tmp_path / "job"

    def require(path: Path) -> None:
        # To root nothing is forbidden: the system's answer for this folder is handed in.
        if path.is_relative_to(refused):
            raise PermissionError(13, "Permission denied", str(refused))

    monkeypatch.setattr(storage, "require_writable", require)
    monkeypatch.setattr("impasto.plan.film_planner.scan_film", lambda *_: pytest.fail("the content was read"))
    settings = load_settings("default", (*TINY, "size=none"))
    request = Request((clip,), (style_file,), output, settings, job=job, compare=which == "compare")
    with pytest.raises(
        OutputError, match=r"not allowed to write .*ro: Permission denied: choose another `(output|job)`"
    ):
        (dry_run if is_dry else stylize)(request)
    assert not job.exists()


LONG = "n" * 252


def refusals(request: Request, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a dry run and a run say; neither may have read the content, or have made anything."""
    monkeypatch.setattr("impasto.plan.film_planner.scan_film", lambda *_: pytest.fail("the content was read"))
    before, told = sorted(Path.cwd().rglob("*")), []
    for run in (dry_run, stylize):
        with pytest.raises(OutputError) as raised:
            run(request)
        told.append(str(raised.value))
    assert sorted(Path.cwd().rglob("*")) == before
    return told


@pytest.fixture
def here(tmp_path: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    ffmpeg(*moving_source("10", 0.3), tmp_path / "clip.mkv")
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "gone").symlink_to("/nowhere/at/all")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "there-compare.mp4").write_bytes(b"mine")
    (tmp_path / "foreign.mp4.impasto" / "frames").mkdir(parents=True)
    (tmp_path / "file.mp4.impasto").write_bytes(b"mine")
    (tmp_path / "folder.mp4").mkdir()
    os.link(tmp_path / "clip.mkv", tmp_path / "hard.mkv")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(output: str, **more: object) -> Request:
    settings = load_settings("default", (*TINY, "size=none"))
    return Request((Path("clip.mkv"),), (Path("style.png"),), Path(output), settings, device="cpu", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("output", "fields", "message"),
    [
        ("file/o.mp4", {}, "file: it is a file and no folder: choose another `output`"),
        ("gone/o.mp4", {}, "gone: it is a symbolic link to /nowhere/at/all, which is not there: choose another"),
        ("gone/deep/o", {}, "which is not there: choose another `output`"),
        ("circle/o.mp4", {}, "circle: Too many levels of symbolic links: choose another `output`"),
        (f"{LONG}.mp4", {"job": "job"}, "a name in it is too long for the disk: choose another `output`"),
        (f"{LONG[:245]}.mp4", {"job": "job", "compare": True}, "too long for the disk: choose another `output`"),
        (f"new/{LONG}nnnn/o.mp4", {}, "too long for the disk: choose another `output`"),
        ("o.mp4", {"job": "file/job"}, "file: it is a file and no folder: choose another `job`"),
        ("o.mp4", {"job": "gone/job"}, "which is not there: choose another `job`"),
        ("there.mp4", {"compare": True}, "there-compare.mp4, for `compare`, exists: choose another `output`"),
        ("foreign.mp4", {}, "foreign.mp4.impasto holds frames and no job: name another with `job`"),
        ("file.mp4", {"force": True}, "the job's folder file.mp4.impasto is a file: remove it, or name another `job`"),
        ("folder.mp4", {"force": True}, "output folder.mp4 is a folder: name a file"),
        ("file", {"force": True}, "output file is a file, and the output of this content is a folder: name another"),
        ("hard.mkv", {"force": True}, "painting would overwrite hard.mkv, which is read: name another output"),
        ("clip.mkv", {"force": True}, "output clip.mkv is the content itself: name another place"),
    ],
)
def test_places_where_nothing_can_be_written(
    here: Path, output: str, fields: dict[str, object], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {name: Path(value) if isinstance(value, str) else value for name, value in fields.items()}
    for told in refusals(asked(output, **fields), monkeypatch):
        assert message in told


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.EACCES, "not allowed to write .*: choose another `output`, or change the permissions"),
        (errno.EROFS, "its disk is read-only: choose another `output`"),
        (errno.EIO, "Input/output error: choose another `output`"),
    ],
)
def test_what_the_system_refuses(here: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str) -> None:
    def refuse(**_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(storage.tempfile, "TemporaryFile", refuse)
    for told in refusals(asked("new/o.mp4"), monkeypatch):
        assert re.search(message, told)


def test_an_output_in_a_folder_that_may_not_be_entered(here: Path, closed: Path, style_file: Path) -> None:
    closed.chmod(0o600)
    with not_as_root(), pytest.raises(OutputError, match=r"not allowed to write ro/o\.mp4: .*choose another `output`"):
        dry_run(asked("ro/o.mp4"))


def test_an_output_that_force_could_not_replace(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = here / "o.mp4"
    output.write_bytes(b"mine")
    if shutil.which("chattr") is None or subprocess.run(["chattr", "+i", output], check=False).returncode:
        pytest.skip("no file can be marked as immutable here")
    try:
        for told in refusals(asked("o.mp4", force=True), monkeypatch):
            assert "not allowed to write o.mp4: Operation not permitted" in told
    finally:
        subprocess.run(["chattr", "-i", output], check=True)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("-", "output - is standard output, and only files are written: choose another `output`"),
        ("/dev/null", "output /dev/null is no regular file, and only files are written"),
        ("/dev/stdout", "output /dev/stdout is no regular file"),
        ("pipe", "output pipe is no regular file"),
        ("https://a.example/o.mp4", "is a URL, and only files are written"),
        ("~/o.mp4", "output ~/o.mp4 is not in the home folder: a shell replaces ~ only at the start of a word"),
        ("~name/o.mp4", "write the whole path"),
    ],
)
def test_what_is_no_place_for_an_output(here: Path, output: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(here / "pipe")
    for told in refusals(asked(output), monkeypatch):
        assert message in told
    if not output.startswith("/"):
        for told in refusals(asked("o.mp4", job=Path(output)), monkeypatch):
            assert told.startswith("job ")


def test_folders_may_have_the_names_of_other_things(here: Path) -> None:
    for name in ("~", "-", "file:"):
        (here / name).mkdir()
        dry_run(asked(f"{name}/o.mp4"))


def test_an_output_larger_than_a_file_may_be(tmp_path: Path, style_file: Path) -> None:
    """The encoder is a process of its own, which the system ends for it."""
    ffmpeg("-f", "lavfi", "-i", "nullsrc=s=64x48:r=10:d=1,noise=alls=100:allf=t", "-c:v", "ffv1", tmp_path / "in.mkv")
    options = "--iterations 1,1 --codec ffv1 --set start.first=content --device cpu --quiet"
    command = f"{shlex.quote(sys.executable)} -m impasto stylize in.mkv --style style.png --output o.mkv {options}"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 60; {command}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (
        "impasto: o.mkv.impasto/output.mkv is larger than a file may be here; "
        "raise the limit of 61440 bytes (ulimit -f) and run the same command again\n"
    )


@pytest.mark.parametrize("output", [".", "..", "o.mp4", "../o"])
def test_what_lies_beside_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    """The current folder and the one above it have names of their own, too."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    whole = Path(os.path.abspath(output))
    for beside, name in (
        (default_folder(Path(output)), f"{whole.name}.impasto"),
        (comparison_path(Path(output)), f"{whole.stem}-compare{whole.suffix}"),
    ):
        assert Path(os.path.abspath(beside)) == whole.parent / name
