"""A shot in segments: divided where it gains, the same bits whoever paints it, and no seam where two segments meet."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from impasto import storage
from impasto.errors import InputError, Interrupted, JobMismatchError, PartialError
from impasto.events import Event, FrameStarted
from impasto.job.job import Job
from impasto.job.records import FrameRecord
from impasto.job.verification import find_problems
from impasto.media import images
from impasto.motion import flow as flow_module
from impasto.pictures import to_tensor
from impasto.plan import resources
from impasto.plan.inputs import read_inputs
from impasto.plan.request import Request
from impasto.plan.scheduler import Chain, critical_path, simulate
from impasto.plan.segments import (
    CROSSFADE_FRAMES,
    KEYFRAME_WORK,
    MIN_GAIN,
    MIN_SEGMENT_FRAMES,
    Segments,
    plan_keyframes,
)
from impasto.report import stability
from impasto.run.dry_run import dry_run
from impasto.run.frame_loop import FrameLoop
from impasto.run.job_run import JobRun, resume, stylize
from impasto.run.reader_slots import FlowEstimators
from samples import scenes
from tests.support.trees import tree
from tests.test_cli import FAST, refused
from tests.test_film import ONE_SHOT, stop_after, write_flows
from tests.test_painting import Faults
from tests.test_resume import SERVER, flipped, killed_at, no_traces
from tests.test_run import SIZE, notices, of_kind, read, request, settings, write_clip, write_frames

COUNT = 20
"""Two segments of ten frames: keyframes are 0 and 10."""

SCENE = scenes.pan(SIZE, COUNT, 3)


@pytest.fixture(scope="session", autouse=True)
def _server() -> None:
    SERVER.set_forkserver_preload(["tests.test_resume"])


# --- the plan ---------------------------------------------------------------------------------------------------------


def shots_of(lengths: Sequence[int]) -> list[range]:
    starts = np.cumsum([0, *lengths]).tolist()
    return [range(start, start + length) for start, length in zip(starts[:-1], lengths, strict=True)]


@pytest.mark.parametrize(
    ("lengths", "segments", "keyframes"),
    [
        ([48], 4, (0, 12, 24, 36)),
        ([48], 1, ()),
        ([15], 2, ()),
        ([16], 2, (0, 8)),
        ([31], 4, (0, 10, 20)),  # no room for a fourth
        ([30, 10, 17], 3, (0, 10, 20, 40, 48)),
    ],
)
def test_a_shot_is_divided_as_it_is_told(lengths: list[int], segments: int, keyframes: tuple[int, ...]) -> None:
    for workers in (1, 8):
        assert plan_keyframes(shots_of(lengths), segments, workers, 300, 60) == keyframes


@pytest.mark.parametrize(
    ("lengths", "workers", "counts"),
    [
        ([1000], 1, [1]),
        ([100] * 8, 8, [1] * 8),
        ([100] * 8, 4, [1] * 8),
        ([1000], 4, [4]),
        ([1000, 100, 100, 100], 4, [4, 1, 1, 1]),
        ([300, 300], 6, [3, 3]),
        ([17], 8, [2]),
        ([12], 8, [1]),
    ],
)
def test_a_shot_is_divided_where_workers_would_wait_for_it(lengths: list[int], workers: int, counts: list[int]) -> None:
    shots = shots_of(lengths)
    segments = Segments(plan_keyframes(shots, None, workers, 300, 60), (shot.start for shot in shots))
    assert [len({segments.segment_start(index, shot.start) for index in shot}) for shot in shots] == counts


def times_of(shots: Sequence[range], keyframes: Sequence[int], cold: float, warm: float) -> list[Chain]:
    segments = Segments(keyframes, (shot.start for shot in shots))
    frames = []
    for shot in shots:
        for index in shot:
            work = cold if index == shot.start else warm
            if index != shot.start and segments.is_keyframe(index, shot.start):
                work = KEYFRAME_WORK * warm
            frames.append((index, shot.start, work))
    return segments.chains(frames)[0]


LENGTHS = st.lists(st.integers(1, 120), min_size=1, max_size=6)


@given(LENGTHS, st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 12), st.floats(1, 20))
def test_every_plan_has_long_segments_and_gains(
    lengths: list[int], segments: int | None, workers: int, cold: float
) -> None:
    shots = shots_of(lengths)
    keyframes = plan_keyframes(shots, segments, workers, cold, 1.0)
    assert list(keyframes) == sorted(set(keyframes))
    divided = 0
    for shot in shots:
        own = [keyframe for keyframe in keyframes if keyframe in shot]
        if not own:
            continue
        assert own[0] == shot.start and len(own) > 1
        sizes = np.diff([*own, shot.stop])
        assert sizes.min() >= MIN_SEGMENT_FRAMES and sizes.max() - sizes.min() <= 1
        assert segments is None or len(own) <= segments
        divided += 1
        if segments is None:
            alone = critical_path(times_of([shot], (), cold, 1.0))
            total = sum(chain.work for chain in times_of(shots, (), cold, 1.0))
            assert alone > total / workers, "it held the others up"
            assert critical_path(times_of([shot], own, cold, 1.0)) <= (1 - MIN_GAIN) * alone + 1e-9
    if segments is not None:
        assert divided == (sum(length >= 2 * MIN_SEGMENT_FRAMES for length in lengths) if segments > 1 else 0)


# --- what waits for what ----------------------------------------------------------------------------------------------


def test_a_divided_shot_has_a_short_critical_path() -> None:
    segments = Segments((0, 12, 24, 36), (0,))
    chains, keys = segments.chains((index, 0, 1.0) for index in range(48))
    assert critical_path(chains) == 4 + 11, "the keyframes, and the last segment"
    assert len(chains) == 4 + 4 and sum(chain.frames for chain in chains) == 48
    of = {key: next(index for index in range(48) if keys[index] == key) for key in range(8)}
    assert [of[key] for key in range(8)] == [0, 12, 1, 24, 13, 36, 25, 37], "an order in which one worker can go"
    after = {of[chain.key]: tuple(of[other] for other in chain.after) for chain in chains}
    assert after == {0: (), 12: (0,), 1: (0, 12), 24: (12,), 13: (12, 24), 36: (24,), 25: (24, 36), 37: (36,)}


def test_what_is_painted_already_is_not_waited_for() -> None:
    segments = Segments((0, 12, 24, 36), (0,))
    chains, keys = segments.chains((index, 0, 1.0) for index in (0, 24, 25, 26))
    after = {chain.key: chain.after for chain in chains}
    assert after[keys[24]] == (keys[0],) and after[keys[25]] == (keys[24],), "keyframe 12 is there"
    assert critical_path(chains) == 4


def test_a_shot_in_one_piece_is_one_chain() -> None:
    segments = Segments((10, 20), (0, 10, 30))
    frames = [(index, shot, 1.0) for shot, stop in ((0, 10), (10, 30), (30, 35)) for index in range(shot, stop)]
    chains, keys = segments.chains(frames * 3)  # as in three passes
    assert {keys[index] for index in range(10)} == {0} and {keys[index] for index in range(30, 35)} == {5}
    assert [chain.frames for chain in chains] == [30, 3, 3, 27, 27, 15]
    assert (segments.segment_start(5, 0), segments.next_keyframe(5, 0), segments.crossfades_with(5, 0)) == (
        0,
        None,
        None,
    )
    assert (segments.segment_start(19, 10), segments.next_keyframe(19, 10), segments.crossfades_with(19, 10)) == (
        10,
        20,
        20,
    )
    assert (segments.segment_start(20, 10), segments.next_keyframe(20, 10), segments.earlier_keyframes(20, 10)) == (
        20,
        None,
        [10],
    )
    assert segments.crossfades_with(10, 10) is None, "a keyframe meets none"


@given(LENGTHS, st.integers(2, 5), st.integers(1, 5))
def test_each_frame_comes_after_what_it_may_follow_from(lengths: list[int], parts: int, workers: int) -> None:
    shots = shots_of(lengths)
    segments = Segments(plan_keyframes(shots, parts, 1, 1, 1), (shot.start for shot in shots))
    chains, keys = segments.chains((index, shot.start, 1.0) for shot in shots for index in shot)
    turns = list(simulate(chains, workers))
    begun = {key: sorted(turn.begin for turn in turns if turn.chain == key) for key in set(keys.values())}
    order: dict[int, list[int]] = {}
    for index in sorted(keys):
        order.setdefault(keys[index], []).append(index)
    at = {index: begun[key][place] for key, own in order.items() for place, index in enumerate(own)}
    for shot in shots:
        for index in shot:
            begin, met = segments.segment_start(index, shot.start), segments.crossfades_with(index, shot.start)
            sources = [
                *range(begin, index),
                *segments.earlier_keyframes(index, shot.start),
                *([] if met is None else [met]),
            ]
            assert all(at[source] <= at[index] - 1 for source in sources), index
            assert met is None or index < met <= index + CROSSFADE_FRAMES


# --- whole jobs -------------------------------------------------------------------------------------------------------


def film(folder: Path, name: str = "o", *own: str, segments: int | None = 2, **more: Any) -> Request:
    """The sequence in `folder`, to a video: its frames are in the job's folder."""
    more = {"executor": "inline", **more}
    own = settings(ONE_SHOT, *own)
    return request(
        folder / "in", folder / "style.png", folder / f"{name}.mp4", mode="sequence", settings=own, segments=segments,
        **more,
    )  # fmt: skip


def written(folder: Path, scene: scenes.Scene) -> Path:
    write_frames(folder / "in", [scene.frame(t) for t in range(scene.frame_count)])
    images.write_image(folder / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    return folder


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pan in two segments, painted in one process that nobody interrupted: `whole.mp4`."""
    folder = written(tmp_path_factory.mktemp("material"), SCENE)
    stylize(film(folder, "whole"))
    return folder


@pytest.fixture
def elsewhere(material: Path, tmp_path: Path) -> Path:
    """The same film in a folder of its own."""
    for name in ("in", "style.png"):
        (tmp_path / name).symlink_to(material / name)
    return tmp_path


def records(asked: Request) -> list[FrameRecord]:
    with Job.read(asked.job_folder) as job:
        return job.frames()


def hashes(asked: Request) -> list[str | None]:
    return [record.sha256 for record in records(asked)]


def test_frames_follow_from_their_own_segment_and_meet_the_next_keyframe(material: Path) -> None:
    whole = film(material, "whole")
    sources = [record.sources for record in records(whole)]
    assert sources[0] == () and sources[10] == (0,)
    assert sources[1:10] == [(index - 1, 10) for index in range(1, 10)]
    assert sources[11:] == [(index - 1,) for index in range(11, COUNT)]
    assert [record.iterations for record in records(whole)] == [4, *[2] * 9, 4, *[2] * 9], "keyframes may take as many"
    with Job.read(whole.job_folder) as job:
        assert job.plan["film"]["keyframes"] == [0, 10] and find_problems(job) == []
    assert not (whole.job_folder / "frames" / "flow").exists()


@pytest.mark.slow
def test_processes_paint_the_same(material: Path, elsewhere: Path) -> None:
    spread = film(elsewhere, executor="processes")
    events: list[Event] = []
    stylize(spread, events.append)
    assert hashes(spread) == hashes(film(material, "whole"))
    began = [event.index for event in of_kind(events, FrameStarted)]
    assert began[:2] == [0, 10] and began.index(11) < began.index(9), "both segments at a time"
    assert "1 shot is painted in 2 segments" in notices(events)


def test_flow_of_processes_paints_the_same(material: Path, elsewhere: Path) -> None:
    estimators = functools.partial(FlowEstimators, processes=2)
    asked = film(elsewhere)
    JobRun(read_inputs(asked), loop_factory=functools.partial(FrameLoop, make_estimators=estimators)).run()
    assert hashes(asked) == hashes(film(material, "whole"))


@pytest.mark.sweep(1)
@pytest.mark.parametrize("place", ["progress 10", "done 4", "after-rename 12"])
def test_a_killed_film_goes_on_to_the_same(material: Path, elsewhere: Path, place: str) -> None:
    asked = film(elsewhere)
    killed_at(asked, place)
    assert any(digest is None for digest in hashes(asked))
    assert list((asked.job_folder / "frames" / "flow").iterdir())
    resume(asked.job_folder)
    assert tree(asked.job_folder) == tree(film(material, "whole").job_folder)
    no_traces(elsewhere)


@pytest.mark.slow
def test_frames_that_are_gone_come_back(material: Path) -> None:
    """Also their flow, which has gone since."""
    whole = film(material, "whole")
    before = hashes(whole)
    for index in (0, 1, 9, 10, 11):
        flipped(records(whole)[index].path)
    assert resume(whole.job_folder, executor="processes").painted_count == 5
    assert hashes(whole) == before
    assert not (whole.job_folder / "frames" / "flow").exists()
    # As a crash after the last frame leaves it.
    storage.write_checksummed(whole.job_folder / "frames" / "flow" / "0-1", b"flow")
    assert resume(whole.job_folder).painted_count == 0
    assert not (whole.job_folder / "frames" / "flow").exists()


def test_what_a_keyframe_that_fails_would_have_held_together(material: Path, elsewhere: Path) -> None:
    """Its segment starts from the keyframe before, and it is painted later as it would have been."""
    faults = Faults({10: 2})
    asked, whole = film(elsewhere), hashes(film(material, "whole"))
    with pytest.raises(PartialError, match="1 of 20 frames"):
        stylize(asked, executor_factory=faults)
    found = records(asked)
    assert [found[index].sources for index in (1, 9, 11, 12)] == [(0,), (8,), (0,), (11,)]
    assert len([record for record in found if record.sha256]) == COUNT - 1
    faults = Faults({})
    resume(asked.job_folder, executor_factory=faults)
    assert faults.tried == [10]
    again = hashes(asked)
    assert again[10] == whole[10] and [*again[:10], *again[11:]] == [r.sha256 for r in found if r.index != 10]
    # What followed from the keyframe before still does.
    flipped(found[11].path)
    resume(asked.job_folder)
    assert hashes(asked) == again


def test_a_still_scene_stands_still(tmp_path: Path) -> None:
    """Noise moves nothing, over the gap between keyframes neither: all frames are one picture."""
    asked = film(written(tmp_path, scenes.still(SIZE, COUNT, 3)))
    stylize(asked)
    assert len(set(hashes(asked))) == 1
    assert [record.iterations for record in records(asked)] == [4, *[1] * (COUNT - 1)]


def seam_errors(asked: Request, scene: scenes.Scene) -> list[float]:
    """The warping error of each frame to the one before, along exact flow."""
    pictures = [to_tensor(read(record.path)) for record in records(asked)]
    errors = []
    for index in range(1, len(pictures)):
        shown = torch.from_numpy((~scene.occluded(index, index - 1)).astype(np.float32))[None, None]
        flow = flow_module.to_flow(scene.flow(index, index - 1))
        errors.append(stability.warping_error(pictures[index], pictures[index - 1], flow, shown).item())
    return errors


@pytest.mark.slow
def test_no_seam_shows_where_segments_meet(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one does where they are not led up to the next keyframe."""
    patient = "iterations={first: 16, next: 6}"
    led, torn = film(elsewhere, "led", patient), film(elsewhere, "torn", patient)
    stylize(led)
    monkeypatch.setattr(Segments, "crossfades_with", lambda *_: None)
    stylize(torn)
    for asked, most in ((led, 1.25), (torn, np.inf)):
        errors = seam_errors(asked, SCENE)
        inside = np.mean([*errors[:9], *errors[10:]])
        assert errors[9] < most * inside
    assert errors[9] > 1.6 * inside


@pytest.mark.slow
def test_the_plan_is_made_once(material: Path, elsewhere: Path) -> None:
    """For the devices that there are then; whoever goes on paints the same."""
    asked = film(elsewhere, segments=None)
    assert dry_run(asked).segment_count == 0, "one worker has nothing to gain"
    listener, stop = stop_after(5)
    with pytest.raises(Interrupted):
        JobRun(read_inputs(asked), listener, stop, worker_count=2).run()
    stylize(asked)
    assert hashes(asked) == hashes(film(material, "whole"))


def test_another_number_of_segments_is_another_job(material: Path) -> None:
    for segments in (None, 1):
        with pytest.raises(JobMismatchError, match="segments: 2 → "):
            stylize(film(material, "whole", segments=segments))
    assert stylize(film(material, "whole")).painted_count == 0


def test_a_dry_run_tells_of_segments(material: Path) -> None:
    plan = dry_run(film(material, "new"))
    assert (plan.shot_count, plan.segment_count, plan.iterations) == (1, 2, 2 * 4 + 18 * 2)
    undivided = dry_run(film(material, "new", segments=1))
    assert (undivided.segment_count, undivided.iterations) == (0, 4 + 19 * 2)
    assert plan.disk_bytes >= undivided.disk_bytes + (10 * 16 + 9 * 12) * SIZE[0] * SIZE[1], (
        "with the flow over the gap"
    )


def test_a_film_too_short_for_it_is_said(tmp_path: Path) -> None:
    folder = written(tmp_path, scenes.pan(SIZE, 4, 3))
    events: list[Event] = []
    asked = film(folder)
    stylize(asked, events.append)
    assert "no shot is long enough for two segments of 8 frames" in notices(events)
    stylize(one := film(folder, "one", segments=1))
    assert hashes(asked) == hashes(one)


@pytest.mark.slow
def test_a_video_in_segments(tmp_path: Path) -> None:
    """Which is decoded forward: to a keyframe, and then back to what lies before it."""
    write_clip(tmp_path / "in.mp4", [SCENE.frame(t) for t in range(COUNT)])
    images.write_image(tmp_path / "style.png", scenes.pan((48, 60), 1, 8).frame(0))
    asked = request(
        tmp_path / "in.mp4", tmp_path / "style.png", tmp_path / "o.mp4", settings=settings(ONE_SHOT), segments=2
    )
    assert stylize(asked).failed == ()
    assert len(set(hashes(asked))) == COUNT and records(asked)[9].sources == (8, 10)


def test_segments_along_flow_from_files(elsewhere: Path) -> None:
    """From each frame to the next are all that they take; the way on is needed where a keyframe is met."""
    flows = write_flows(elsewhere / "flow", SCENE)
    own = ("flow.method=files", f"flow.folder={flows}")
    kept = (flows / "forward_5_6.flo").read_bytes()
    (flows / "forward_5_6.flo").unlink()
    with pytest.raises(InputError, match=r"forward_5_6\.flo is not in"):
        stylize(film(elsewhere, "o", *own))
    (flows / "forward_5_6.flo").write_bytes(kept)
    asked = film(elsewhere, "o", *own)
    assert stylize(asked).failed == ()
    assert records(asked)[5].sources == (4, 10)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--segments", "0"], "--segments '0' is neither auto nor a whole number from 1"),
        (["--segments", "two"], "--segments 'two' is neither auto"),
        (["--segments", "2", "--set", "passes.count=2", "--iterations", "2"], "--segments 2: a film in 2 passes"),
        (["--segments", "2", "--set", "start.next=previous"], "--segments 2: a film with start.next=previous"),
        (["--segments", "2", "--set", "start.next=content"], "--segments 2: a film with start.next=content"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_segments_that_cannot_be(
    material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["stylize", str(material / "in"), "--style", str(material / "style.png"), "--output", "o.mp4", *FAST]
    refused(2, said, *command, *more)
    assert not list(tmp_path.iterdir())


def test_photos_have_no_segments(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["stylize", str(material / "in"), "--style", str(material / "style.png"), "--output", "o", *FAST]
    refused(2, "--segments divides the shots of a video", *command, "--segments", "2")


def test_the_request_keeps_its_segments(material: Path) -> None:
    for segments in (None, 3):
        asked = film(material, segments=segments)
        values = json.loads(json.dumps(asked.to_values()))
        assert Request.from_values(values, asked.job_folder).segments == segments
    values.pop("segments")  # a job of a version that had none
    assert Request.from_values(values, asked.job_folder).segments is None


def test_cores_are_counted_by_segments() -> None:
    """On a CPU: what a job in segments makes room for, workers are made for."""
    assert resources.best_threads(48, critical_path(times_of([range(48)], (0, 12, 24, 36), 1, 1)), 1e4, 2, 2**35) == 1
    assert resources.best_threads(48, 48, 1e4, 2, 2**35) == 2
