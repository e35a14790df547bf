"""Jobs that are moved: what lies together is found together, and hashes decide."""

import shutil
from pathlib import Path

import pytest

from impasto.errors import InputError, JobMismatchError, OutputError
from impasto.job.cleaning import clean_job
from impasto.job.job import Job
from impasto.job.records import FrameState
from impasto.job.status import status_of
from impasto.job.verification import find_problems
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import resume, stylize
from tests.conftest import TINY
from tests.support.clips import H264, ffmpeg, moving_source
from tests.support.trees import tree, whole_tree
from tests.support.unpainted import unpainted

SETTINGS = load_settings("default", (*TINY, "size=none", "flow.method=dis", "shots.detect=false"))


@pytest.fixture
def old(tmp_path: Path, style_file: Path) -> Path:
    """A folder with content, style, photos, and room for results."""
    folder = tmp_path / "old"
    (folder / "photos" / "in").mkdir(parents=True)
    ffmpeg(*moving_source("10", 0.5), *H264, folder / "clip.mp4")
    for name in ("style.png", "photos/a.png", "photos/in/b.png"):
        shutil.copy(style_file, folder / name)
    return folder


def asked(folder: Path, content: str = "clip.mp4", output: str = "o.mp4", **more: object) -> Request:
    return Request((folder / content,), (folder / "style.png",), folder / output, SETTINGS, **more)  # type: ignore[arg-type]


def lose_a_frame(job: Path) -> Path:
    """Removes a painted frame, so that something is left to do."""
    with Job.read(job) as read:
        path = read.frames(FrameState.DONE)[1].path
    path.unlink()
    return path


@pytest.mark.parametrize("again", ["resume", "the same command"])
@pytest.mark.parametrize("content", ["clip.mp4", "photos"])
def test_what_moves_together_goes_on(old: Path, tmp_path: Path, content: str, again: str) -> None:
    output = "o.mp4" if content == "clip.mp4" else "painted"
    stylize(asked(old, content, output, compare=True), executor_factory=unpainted)
    before = tree(old)
    new = tmp_path / "elsewhere" / "new"
    new.parent.mkdir()
    old.rename(new)
    job = new / f"{output}.impasto"
    with Job.read(job) as moved:
        assert find_problems(moved) == []
        assert status_of(moved).output == new / output and status_of(moved).finished
    lost = lose_a_frame(job)
    assert lost.is_relative_to(new)
    if again == "resume":
        done = resume(job, executor_factory=unpainted)
    else:
        done = stylize(asked(new, content, output, compare=True), executor_factory=unpainted)
    assert done.painted_count == 1 and done.output == new / output
    assert tree(new) == before
    assert not old.exists()
    # And once more.
    newer = tmp_path / "newer"
    new.rename(newer)
    lose_a_frame(newer / job.name)
    assert resume(newer / job.name, executor_factory=unpainted).painted_count == 1
    with Job.open(newer / job.name) as again_moved:
        assert find_problems(again_moved) == []
        clean_job(again_moved)


def test_a_copy_leaves_the_original_alone(old: Path, tmp_path: Path) -> None:
    stylize(asked(old), executor_factory=unpainted)
    original, copy = whole_tree(old), tmp_path / "copy"
    shutil.copytree(old, copy)
    (copy / "o.mp4").unlink()
    assert resume(copy / "o.mp4.impasto", executor_factory=unpainted).output == copy / "o.mp4"
    assert (copy / "o.mp4").is_file()
    assert whole_tree(old) == original


def test_the_job_alone_is_moved_and_its_files_are_named(old: Path, tmp_path: Path) -> None:
    stylize(asked(old), executor_factory=unpainted)
    (old / "o.mp4").unlink()
    job, clip, style = tmp_path / "there" / "o.mp4.impasto", tmp_path / "film.mp4", tmp_path / "look.png"
    job.parent.mkdir()
    (old / "o.mp4.impasto").rename(job)
    (old / "clip.mp4").rename(clip)
    (old / "style.png").rename(style)
    with pytest.raises(InputError, match=r"clip.mp4 is not found by its hash \(nothing is at .*\): .*o.mp4.impasto --content"):
        resume(job, executor_factory=unpainted)
    other = tmp_path / "other.mp4"
    ffmpeg(*moving_source("10", 0.4), *H264, other)
    with pytest.raises(JobMismatchError, match="content"):
        resume(job, content=[other], styles=[style], executor_factory=unpainted)
    done = resume(job, content=[clip], styles=[style], executor_factory=unpainted)
    assert done.output == job.parent / "o.mp4" and done.output.is_file()
    # From now on they are known.
    done.output.unlink()
    assert resume(job, executor_factory=unpainted).output.is_file()


def test_a_job_elsewhere_keeps_its_output(old: Path, tmp_path: Path) -> None:
    """Where the job did not lie beside its output, only the job moves."""
    job = tmp_path / "scratch" / "job"
    stylize(asked(old, job=job), executor_factory=unpainted)
    moved = tmp_path / "other" / "disk" / "job"
    moved.parent.mkdir(parents=True)
    job.rename(moved)
    (old / "o.mp4").unlink()
    assert resume(moved, executor_factory=unpainted).output == old / "o.mp4"
    again = stylize(asked(old, job=moved), executor_factory=unpainted)
    assert again.painted_count == 0


def test_a_file_at_the_new_place_is_never_taken_for_ones_own(old: Path, tmp_path: Path) -> None:
    stylize(asked(old), executor_factory=unpainted)
    new = tmp_path / "new"
    old.rename(new)
    (new / "o.mp4").write_bytes(b"somebody else's")
    with pytest.raises(OutputError, match="has changed since this job wrote it"):
        resume(new / "o.mp4.impasto", executor_factory=unpainted)
    assert (new / "o.mp4").read_bytes() == b"somebody else's"


def test_another_content_at_the_new_place_is_refused(old: Path, tmp_path: Path) -> None:
    stylize(asked(old), executor_factory=unpainted)
    new = tmp_path / "new"
    old.rename(new)
    ffmpeg(*moving_source("10", 0.4), *H264, new / "clip.mp4")
    with pytest.raises(JobMismatchError, match=r"clip\.mp4 is another file, nothing is at .*old/clip.mp4"):
        resume(new / "o.mp4.impasto", executor_factory=unpainted)
