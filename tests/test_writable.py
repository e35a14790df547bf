"""Outputs that cannot be written are found before the content is read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from impasto import storage
from impasto.errors import OutputError, StorageError
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
        for folder in (closed, closed / "below" / "it"):
            with pytest.raises(StorageError, match=f"not allowed to write {closed}: Permission denied"):
                storage.require_writable(folder)


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

    def require(folder: Path) -> None:
        # To root nothing is forbidden: the system's answer for this folder is handed in.
        if folder.is_relative_to(refused):
            raise storage.storage_error(PermissionError(13, "Permission denied"), refused)

    monkeypatch.setattr(storage, "require_writable", require)
    monkeypatch.setattr("impasto.plan.film_planner.scan_film", lambda *_: pytest.fail("the content was read"))
    settings = load_settings("default", (*TINY, "size=none"))
    request = Request((clip,), (style_file,), output, settings, job=job, compare=which == "compare")
    with pytest.raises(
        OutputError, match=r"not allowed to write .*ro: Permission denied: choose another `(output|job)`"
    ):
        (dry_run if is_dry else stylize)(request)
    assert not job.exists()
