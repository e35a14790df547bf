"""The same bits on a cluster of Ray, of one machine or three, also where a worker or a machine is lost on the way.

The machines are `ray.cluster_utils.Cluster`'s: real ones in all but that they are on one.
"""

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from impasto.errors import DeviceError, UsageError
from impasto.events import Event, FrameDone, FrameProgress
from impasto.job.job import Job
from impasto.job.records import FrameRecord
from impasto.job.status import status_of
from impasto.media import images
from impasto.media.video_reader import read_frames
from impasto.plan.request import Request
from impasto.run import ray_executor
from impasto.run.job_run import resume, stylize
from tests.test_run import footage, notices, of_kind, request, settings, write_clip, write_frames

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

pytestmark = [
    pytest.mark.timeout(600),
    # What Ray leaves open when it is shut down is its own affair.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SLOW = ("iterations={first: 40, next: 10}",)


@pytest.fixture(scope="module")
def machines() -> Iterator[Any]:
    """A cluster of three machines with a core each."""
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, style_array: Any) -> Path:

    folder = tmp_path_factory.mktemp("material")
    images.write_image(folder / "style.png", style_array)
    write_frames(folder / "photos", footage(8))
    write_clip(folder / "cut.mp4", footage(8))
    stylize(asked(folder, folder / "inline", executor="inline"))
    return folder


def asked(material: Path, folder: Path, content: str = "photos", **more: Any) -> Request:
    output = folder / ("out.mp4" if content.endswith("mp4") else "out")
    return request(material / content, material / "style.png", output, settings=settings(*SLOW), **more)


def records(asked: Request) -> list[FrameRecord]:
    with Job.read(asked.job_folder) as job:
        return job.frames()


def hashes(asked: Request) -> list[str | None]:
    return [record.sha256 for record in records(asked)]


@pytest.mark.slow
def test_three_machines_paint_the_same_bits(material: Path, tmp_path: Path, machines: Any) -> None:
    spread = asked(material, tmp_path, executor="ray", address=machines.address)
    events: list[Event] = []
    stylize(spread, events.append)
    assert hashes(spread) == hashes(asked(material, material / "inline"))
    assert "painting on " in notices(events)
    assert len(of_kind(events, FrameDone)) == 8
    with Job.read(spread.job_folder) as job:
        devices = status_of(job).devices
    assert sum(item.frame_count for item in devices) == 8
    assert all(re.fullmatch(r"[\d.]+ cpu \(1 thread\)", item.device) for item in devices)


@pytest.mark.slow
def test_side_by_side_and_in_segments_the_bits_are_the_same(material: Path, tmp_path: Path, machines: Any) -> None:
    write_frames(tmp_path / "long", footage(20))
    write_frames(tmp_path / "photos", footage(5))
    (tmp_path / "style.png").write_bytes((material / "style.png").read_bytes())
    one_shot = settings("shots.detect=false")
    for content, more in (("photos", {}), ("long", {"mode": "sequence", "segments": 2})):
        jobs = []
        for place, where in (
            ("inline", {"executor": "inline"}),
            ("ray", {"executor": "ray", "address": machines.address}),
        ):
            options: dict[str, Any] = {"batch": 2, **more, **where}
            asked = request(
                tmp_path / content, tmp_path / "style.png", tmp_path / place / content, settings=one_shot, **options
            )
            stylize(asked)
            jobs.append(asked)
        assert hashes(jobs[0]) == hashes(jobs[1]) and None not in hashes(jobs[0])


@pytest.mark.slow
def test_workers_that_are_killed_cost_their_frames(material: Path, tmp_path: Path, machines: Any) -> None:
    spread = asked(material, tmp_path, executor="ray", address=machines.address)
    events: list[Event] = []

    killed: list[int] = []

    def listener(event: Event) -> None:
        events.append(event)
        if isinstance(event, FrameProgress) and not killed:
            killed.extend(painting(machines))
            for process in killed:
                os.kill(process, signal.SIGKILL)

    stylize(spread, listener)
    assert killed
    assert hashes(spread) == hashes(asked(material, material / "inline"))
    assert "was lost" in notices(events) and "tried again" in notices(events)
    assert len(of_kind(events, FrameDone)) == 8


def painting(machines: Any) -> list[int]:
    """The processes of this cluster that paint, under whatever name they go just now."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in machines.list_all_nodes()}
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            name = (entry / "cmdline").read_bytes()
            if parent in raylets and name.startswith(b"ray::_Actor") and b"__init__" not in name:
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_a_machine_is_lost_and_one_joins(material: Path, tmp_path: Path, machines: Any) -> None:
    lost = machines.add_node(num_cpus=1)
    machines.wait_for_nodes()
    spread = asked(material, tmp_path, executor="ray", address=machines.address)
    events: list[Event] = []

    def listener(event: Event) -> None:
        events.append(event)
        if isinstance(event, FrameDone) and len(of_kind(events, FrameDone)) == 1:
            machines.remove_node(lost)
            machines.add_node(num_cpus=1)

    stylize(spread, listener)
    assert hashes(spread) == hashes(asked(material, material / "inline"))


@pytest.mark.slow
def test_a_film_is_the_film_also_when_it_goes_on_elsewhere(material: Path, tmp_path: Path, machines: Any) -> None:
    inline = asked(material, tmp_path / "inline", "cut.mp4", executor="inline")
    stylize(inline)
    spread = asked(material, tmp_path / "spread", "cut.mp4", executor="ray", address=machines.address)
    stylize(spread)
    assert hashes(spread) == hashes(inline)
    assert spread.output.read_bytes() == inline.output.read_bytes()
    # Frames that are lost are painted again by whoever goes on.
    records(spread)[5].path.unlink()
    resume(spread.job_folder, executor="inline")
    assert hashes(spread) == hashes(inline)
    assert len(list(read_frames(spread.output))) == 8


def test_no_cluster_is_one_line(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    with pytest.raises(DeviceError, match=r"no Ray cluster at 127\.0\.0\.1:1 ") as error:
        stylize(request(content_file, style_file, tmp_path / "out.png", executor="ray", address="127.0.0.1:1"))
    assert "\n" not in str(error.value)


def test_an_address_goes_with_ray(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    with pytest.raises(UsageError, match="`address` is that of a Ray cluster"):
        stylize(request(content_file, style_file, tmp_path / "out.png", address="127.0.0.1:1"))


def test_the_package_is_shipped_under_its_own_name() -> None:
    """A checkout's folder has another name, and machines of the cluster import what they get by the folder's."""
    with ray_executor._package_folder() as folder:
        assert folder.name == "impasto"
        shipped = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
        here = Path(ray_executor.__file__).resolve().parent.parent
        assert shipped >= {path.relative_to(here).as_posix() for path in here.rglob("*.py")} >= {"run/ray_executor.py"}
