"""Jobs that are moved: what lies together is found together, and hashes decide."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from impasto import storage
from impasto.cli.engine import Engine
from impasto.cli.main import app
from impasto.cli.session import CommandState
from impasto.errors import InputError, Interrupted, JobMismatchError, OutputError, PartialError
from impasto.events import Event, FrameDone, JobDone, Listener, Notice, StopSignal
from impasto.job.cleaning import clean_job
from impasto.job.job import Job
from impasto.job.records import FrameState
from impasto.job.status import status_of
from impasto.job.verification import find_problems
from impasto.media.images import write_image
from impasto.paint.encoder_weights import bundled_path
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import resume, stylize
from impasto.storage import hash_file
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
    by_another_way = f"photos/in/../../{output}"
    stylize(asked(old, content, by_another_way, compare=True), executor_factory=unpainted)
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
    with pytest.raises(
        InputError, match=r"clip.mp4 is not found by its hash \(nothing is at .*o.mp4.impasto --content"
    ):
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
    with pytest.raises(OutputError, match=r"o\.mp4 exists and is not what this job wrote: move it away"):
        resume(new / "o.mp4.impasto", executor_factory=unpainted)
    assert (new / "o.mp4").read_bytes() == b"somebody else's"


def test_another_content_at_the_new_place_is_refused(old: Path, tmp_path: Path) -> None:
    stylize(asked(old), executor_factory=unpainted)
    new = tmp_path / "new"
    old.rename(new)
    ffmpeg(*moving_source("10", 0.4), *H264, new / "clip.mp4")
    with pytest.raises(JobMismatchError, match=r"clip\.mp4 is another file, nothing is at .*old/clip.mp4"):
        resume(new / "o.mp4.impasto", executor_factory=unpainted)


def begin(asked: Request) -> None:
    """Paints a frame or two, and is stopped."""
    stop = StopSignal()

    def stopping(event: Event) -> None:
        if isinstance(event, FrameDone):
            stop.request()

    with pytest.raises(Interrupted):
        stylize(asked, stopping, stop, executor_factory=unpainted)


def whole(asked: Request, folder: Path) -> dict[str, str]:
    """What an uninterrupted run makes of it, in a folder of its own."""
    output = folder / "whole" / asked.output.name
    stylize(replace(asked, output=output, job=None), executor_factory=unpainted)
    return tree(output.parent)


def other_files(folder: Path) -> None:
    """Files of somebody else with the names of the job's."""
    ffmpeg(*moving_source("10", 0.3), *H264, folder / "clip.mp4")
    for name in ("style.png", "start.png"):
        write_image(folder / name, np.zeros((48, 60, 3), np.uint8))
    (folder / "weights.bin").write_bytes(b"no weights")


def with_files(old: Path) -> Request:
    """A job whose settings name files as well."""
    shutil.copy(bundled_path(), old / "weights.bin")
    shutil.copy(old / "style.png", old / "start.png")
    changes = (f"start.first={old / 'start.png'}", f"encoder.weights={old / 'weights.bin'}")
    settings = load_settings("default", (*TINY, "size=none", "flow.method=dis", "shots.detect=false", *changes))
    return replace(asked(old), settings=settings)


@pytest.mark.parametrize("right", ["old", "new"])
def test_hashes_decide_between_files_of_one_name(old: Path, tmp_path: Path, right: str) -> None:
    """The others are beside the moved job, or come to where its files were."""
    begin(job := with_files(old))
    made = whole(job, tmp_path)
    new = tmp_path / "new"
    if right == "new":
        old.rename(new)
        old.mkdir()
        other_files(old)
    else:
        new.mkdir()
        other_files(new)
        (old / "o.mp4.impasto").rename(new / "o.mp4.impasto")
    before = whole_tree(old)
    done = resume(new / "o.mp4.impasto", executor_factory=unpainted)
    assert done.output == new / "o.mp4"
    assert {name: sha256 for name, sha256 in tree(new).items() if name.startswith("o.mp4")} == made
    assert whole_tree(old) == before
    with Job.read(done.job) as read:
        assert Path(read.invocation["content"][0]).parent == (old if right == "old" else new)
        assert Path(read.invocation["settings"]["start"]["first"]).parent == (old if right == "old" else new)


def test_no_film_is_read_twice_to_find_it(old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(asked(old))
    new = tmp_path / "new"
    new.mkdir()
    other_files(new)
    (old / "o.mp4.impasto").rename(new / "o.mp4.impasto")
    read: list[Path] = []

    def counting(path: Path) -> str:
        read.append(path)
        return hash_file(path)

    monkeypatch.setattr(storage, "hash_file", counting)
    resume(new / "o.mp4.impasto", executor_factory=unpainted)
    assert [path for path in read if path.name == "clip.mp4"] == [new / "clip.mp4", old / "clip.mp4"]


def test_where_to_look_is_not_forgotten(old: Path, tmp_path: Path) -> None:
    """Neither by a run that does not find them, nor by one that only cleans."""
    stylize(asked(old), executor_factory=unpainted)
    new, away = tmp_path / "new", tmp_path / "away.mp4"
    old.rename(new)
    (new / "clip.mp4").rename(away)
    with pytest.raises(InputError, match=r"clip\.mp4 is not found"):
        resume(new / "o.mp4.impasto", executor_factory=unpainted)
    with Job.open(new / "o.mp4.impasto") as job:
        clean_job(job)
    with pytest.raises(InputError, match=f"nothing is at {new / 'clip.mp4'} and {old / 'clip.mp4'}"):
        resume(new / "o.mp4.impasto", executor_factory=unpainted)
    away.rename(new / "clip.mp4")
    assert resume(new / "o.mp4.impasto", executor_factory=unpainted).painted_count == 0


@pytest.mark.parametrize("content", ["clip.mp4", "photos"])
def test_what_was_painted_at_the_old_place_is_copied(old: Path, tmp_path: Path, content: str) -> None:
    """The job folder alone was moved, finished or not."""
    output = "o.mp4" if content == "clip.mp4" else "painted"
    job = asked(old, content, output, compare=True)
    made = whole(job, tmp_path)
    begin(job) if content == "photos" else stylize(job, executor_factory=unpainted)
    new = tmp_path / "new"
    new.mkdir()
    (old / f"{output}.impasto").rename(new / f"{output}.impasto")
    before, said = whole_tree(old), list[Event]()
    done = resume(new / f"{output}.impasto", said.append, executor_factory=unpainted)
    assert done.painted_count == (1 if content == "photos" else 0)
    are = "is" if content == "photos" else "are"
    assert any(f"which this job wrote, {are} copied" in event.text for event in said if isinstance(event, Notice))
    assert (tree(new), whole_tree(old)) == (made, before)


@pytest.mark.parametrize("content", ["clip.mp4", "photos"])
def test_the_output_is_to_be_elsewhere(old: Path, tmp_path: Path, content: str) -> None:
    """Of a finished job that was moved; what is there goes along, or is made again."""
    output = "o.mp4" if content == "clip.mp4" else "painted"
    stylize(asked(old, content, output, compare=True), executor_factory=unpainted)
    new = tmp_path / "new"
    old.rename(new)
    before, job, named = tree(new), new / f"{output}.impasto", tmp_path / "far" / "away" / f"other-{output}"
    done = resume(job, output=named, executor_factory=unpainted)
    assert (done.output, done.painted_count) == (named, 0)
    assert tree(new) == before
    own = {f"other-{name}": before[name] for name in before if name.partition("/")[0].replace("-compare", "") == output}
    assert tree(named.parent) == own
    with Job.read(job) as read:
        assert find_problems(read) == [] and status_of(read).output == named
    # It is moved by hand, to another name.
    renamed = named.with_name(f"again-{named.name}")
    named.rename(renamed)
    named.with_stem(f"{named.stem}-compare").rename(renamed.with_stem(f"{renamed.stem}-compare"))
    assert resume(job, output=renamed, executor_factory=unpainted).painted_count == 0
    assert not named.exists()


def test_an_output_that_cannot_be_named_anew(old: Path, tmp_path: Path) -> None:
    begin(asked(old))
    job = old / "o.mp4.impasto"
    for name in ("o.webm", "folder"):
        with pytest.raises(OutputError, match=r"of another kind than the job's .*that ends in .mp4"):
            resume(job, output=tmp_path / name, executor_factory=unpainted)
    (tmp_path / "taken.mp4").write_bytes(b"somebody else's")
    with pytest.raises(OutputError, match=r"taken.mp4 exists and is not what this job wrote"):
        resume(job, output=tmp_path / "taken.mp4", executor_factory=unpainted)
    (tmp_path / "link.mp4").symlink_to("nothing.mp4")
    for name, said in (("link.mp4", "is a link that leads nowhere"), (job / "p.mp4", "lies inside the job's folder")):
        with pytest.raises(OutputError, match=said):
            resume(job, output=tmp_path / name, executor_factory=unpainted)
    assert (tmp_path / "link.mp4").is_symlink()
    with Job.read(job) as read:
        assert status_of(read).output == old / "o.mp4"
    assert resume(job, executor_factory=unpainted).output == old / "o.mp4"


@pytest.mark.parametrize("named", [True, False], ids=["the output is named", "the job is moved"])
@pytest.mark.parametrize("taken", ["written", "to be painted", "to be compared"])
def test_files_in_the_way_are_found_before_painting(old: Path, tmp_path: Path, taken: str, named: bool) -> None:
    """They stay, nothing is painted, and once they are moved away what was painted is copied."""
    begin(asked(old, "photos", "painted", compare=True))
    made = whole(asked(old, "photos", "painted", compare=True), tmp_path)
    job, new = old / "painted.impasto", tmp_path / "new"
    with Job.read(job) as read:
        frames = read.frames(FrameState.DONE if taken == "written" else FrameState.PENDING)
        path = new / frames[0].path.relative_to(old)
    if taken == "to be compared":
        path = new / "painted-compare" / path.relative_to(new / "painted")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    if taken == "written":
        (new / "painted-compare").mkdir()
        (new / "painted-compare" / path.relative_to(new / "painted")).mkdir(parents=True)
    exists = "and 1 more exist and are" if taken == "written" else "exists and is"
    if not named:
        job = job.rename(new / job.name)
    output = new / "painted" if named else None
    before = whole_tree(old), tree(new)
    with pytest.raises(OutputError, match=f"{path} {exists} not what this job wrote: move (it|them) away"):
        resume(job, output=output, executor_factory=unpainted)
    assert (whole_tree(old).keys(), tree(new)) == (before[0].keys(), before[1])
    with Job.read(job) as read:
        assert status_of(read).output == (old if named else new) / "painted"
        assert len(read.frames(FrameState.DONE)) == 1
    path.unlink()
    shutil.rmtree(new / "painted-compare", ignore_errors=True)
    assert resume(job, output=output, executor_factory=unpainted).painted_count == 1
    assert tree(new) == made


def test_a_painting_that_a_killed_run_did_not_record_moves_along(old: Path, tmp_path: Path) -> None:
    begin(asked(old, "photos", "painted"))
    made = whole(asked(old, "photos", "painted"), tmp_path)
    with Job.read(old / "painted.impasto") as read:
        pending = read.frames(FrameState.PENDING)[0].path.relative_to(old)
    (old / pending).parent.mkdir(exist_ok=True)
    shutil.copyfile(tmp_path / "whole" / pending, old / pending)
    new = tmp_path / "new"
    old.rename(new)
    assert resume(new / "painted.impasto", executor_factory=unpainted).painted_count == 1
    assert {name: sha256 for name, sha256 in tree(new).items() if name.startswith("painted/")} == made


def test_a_killed_copy_leaves_nothing_where_the_output_does_not_go(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stylize(asked(old), executor_factory=unpainted)
    job, first = old / "o.mp4.impasto", tmp_path / "first" / "o.mp4"

    def killed(source: Path, target: Path) -> None:
        target.parent.mkdir()
        storage.temporary_beside(target).write_bytes(source.read_bytes()[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(storage, "copy", killed)
        resume(job, output=first, executor_factory=unpainted)
    assert len(list(first.parent.iterdir())) == 1
    assert resume(job, output=tmp_path / "then.mp4", executor_factory=unpainted).painted_count == 0
    assert list(first.parent.iterdir()) == []


def test_a_file_is_no_folder_for_photos(old: Path) -> None:
    begin(asked(old, "photos", "painted"))
    (old / "notes.txt").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"notes\.txt is a file, and the output of this content is a folder"):
        resume(old / "painted.impasto", output=old / "notes.txt", executor_factory=unpainted)


def test_a_copy_whose_job_lies_elsewhere_has_its_own_output(old: Path, tmp_path: Path) -> None:
    begin(asked(old, "photos", "painted", job=old / "scratch" / "job"))
    before, copy = whole_tree(old), tmp_path / "copy"
    shutil.copytree(old, copy)
    assert resume(copy / "scratch" / "job", executor_factory=unpainted).output == copy / "painted"
    assert whole_tree(old) == before


def test_a_folder_is_named_for_many_photos(old: Path, tmp_path: Path) -> None:
    """And one of two styles, the other of which is where it was."""
    shutil.copy(old / "style.png", old / "second.png")
    write_image(old / "style.png", np.zeros((48, 60, 3), np.uint8))
    photos = (old / "photos" / "in" / "b.png", old / "photos" / "a.png")
    begin(replace(asked(old, output="painted"), content=photos, styles=(old / "style.png", old / "second.png")))
    away, look = tmp_path / "away", tmp_path / "look.png"
    away.mkdir()
    for photo in photos:
        photo.rename(away / photo.name)
    (old / "second.png").rename(look)
    job = old / "painted.impasto"
    with pytest.raises(JobMismatchError, match="is one more than the job has"):
        resume(job, content=[away], styles=[look, old / "style.png", away / "c.png"], executor_factory=unpainted)
    done = resume(job, content=[away], styles=[look], executor_factory=unpainted)
    assert done.frame_count == 2 and {path.name for path in done.output.iterdir()} == {"a.png", "b.png"}
    with Job.read(job) as read:
        assert read.invocation["content"] == [str(away / photo.name) for photo in photos]


def test_a_folder_is_named_for_a_film_with_another_name(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And for a style. Of its files only those of the same size are read."""
    begin(asked(old))
    films, job = tmp_path / "films", old / "o.mp4.impasto"
    (films / "below").mkdir(parents=True)
    other_files(films / "below")
    shutil.copy(old / "clip.mp4", films / "below" / "same.mp4")
    (films / "b.mp4").write_bytes(bytes((old / "clip.mp4").stat().st_size))
    (films / "a.mp4").write_bytes(b"another")
    (old / "clip.mp4").rename(tmp_path / "clip.mp4")
    with pytest.raises(
        InputError, match=f"{films} holds no file with its hash, nothing is at {films / 'clip.mp4'} and "
    ):
        resume(job, content=[films], executor_factory=unpainted)
    (tmp_path / "clip.mp4").rename(films / "c.mp4")
    (old / "style.png").rename(films / "look")
    read: list[str] = []

    def counting(path: Path) -> str:
        read.append(path.name)
        return hash_file(path)

    with monkeypatch.context() as patched:
        patched.setattr(storage, "hash_file", counting)
        resume(job, content=[films], styles=[films], executor_factory=unpainted)
    assert {"b.mp4", "c.mp4", "look"} <= set(read) and "a.mp4" not in read
    with Job.read(job) as known:
        assert (known.invocation["content"], known.invocation["styles"]) == (
            [str(films / "c.mp4")],
            [str(films / "look")],
        )


@pytest.mark.parametrize(
    ("change", "said"), [("edit", "has another in/b.png"), ("add", "holds c.png"), ("remove", "lacks a.png")]
)
def test_a_folder_of_photos_that_has_changed(old: Path, tmp_path: Path, change: str, said: str) -> None:
    begin(asked(old, "photos", "painted"))
    new = tmp_path / "new"
    old.rename(new)
    if change == "remove":
        (new / "photos" / "a.png").unlink()
    else:
        name = "in/b.png" if change == "edit" else "c.png"
        write_image(new / "photos" / name, np.zeros((48, 60, 3), np.uint8))
    with pytest.raises(JobMismatchError, match=said):
        resume(new / "painted.impasto", executor_factory=unpainted)


def test_overwriting_by_force_is_limited_to_the_same_files_at_the_new_place(old: Path, tmp_path: Path) -> None:
    (old / "painted" / "in").mkdir(parents=True)
    for name in ("a.png", "in/b.png"):
        (old / "painted" / name).write_bytes(b"old")
    begin(asked(old, "photos", "painted", force=True))
    new = tmp_path / "new"
    old.rename(new)
    with Job.read(new / "painted.impasto") as job:
        pending = job.frames(FrameState.PENDING)[0].path
    pending.write_bytes(b"mine")
    with pytest.raises(PartialError, match="has appeared since the job began and is kept"):
        resume(new / "painted.impasto", executor_factory=unpainted)
    assert pending.read_bytes() == b"mine"


class RecordingEngine(Engine):
    """Takes the arguments of `resume` and paints nothing."""

    def resume(self, job: Path, listener: Listener, stop: StopSignal, *files: object) -> JobDone:  # type: ignore[override]
        self.given = (job, *files)
        raise OutputError("nothing is painted here")


def test_the_command_hands_over_what_is_named(old: Path) -> None:
    begin(asked(old))
    engine, job = RecordingEngine(), old / "o.mp4.impasto"
    named = ["--content", "a", "--content", "b", "--style", "s.png", "--output", "o.mp4"]
    result = CliRunner().invoke(app, ["resume", str(job), *named], obj=CommandState(engine=engine))
    assert result.exit_code == OutputError.exit_code
    assert engine.given == (job, None, None, None, (Path("a"), Path("b")), (Path("s.png"),), Path("o.mp4"))
