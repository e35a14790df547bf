"""Memory: what painting takes, what is free, and one line where there is not enough, in every command."""

import inspect
import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import impasto
from impasto.errors import InputError, OutOfMemoryError
from impasto.events import StopSignal, ignore
from impasto.media import images
from impasto.out_of_memory import is_out_of_memory, out_of_memory_error
from impasto.paint import encoder_weights, objective
from impasto.paint.encoder_weights import EncoderWeights, load_weights
from impasto.paint.painter import Painter
from impasto.paint.tiles import TWO_PASSES, Tile, tiles_of
from impasto.pictures import Size
from impasto.plan import tile_sides
from impasto.plan.inputs import read_inputs
from impasto.plan.memory import _container_free, cpu_memory_free, worker_bytes
from impasto.plan.planner import plan_frames
from impasto.plan.request import Request
from impasto.plan.tile_sides import SIDES, plan_tiles, tile_for
from impasto.presets import load_settings
from impasto.report.measure import measure
from impasto.run import dry_run as planned
from tests.conftest import TINY

PAINT = """
import re, sys, numpy as np, impasto
rng = np.random.default_rng(0)
content, style = (rng.integers(0, 255, (int(sys.argv[1]), int(sys.argv[2]), 3), dtype=np.uint8) for _ in range(2))
impasto.stylize_image(content, style[:64, :64], settings={"iterations.first": 4}, device="cpu")
# Not getrusage's number, which counts what the process that started this one had.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc")
@pytest.mark.parametrize("size", [(192, 256)])
def test_the_rule_is_that_of_a_painting(size: tuple[int, int]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PAINT, *map(str, size)], check=True, capture_output=True, text=True, cwd="/"
    )
    measured = int(done.stdout)
    settings = load_settings("default", [("iterations.first", 4)])
    assert 0.7 < worker_bytes(settings, size, [(64, 64)], is_film=False) / measured < 1.5


def test_memory_grows_with_the_picture_and_what_is_kept() -> None:
    few, many = (load_settings("default", [("optimizer.history", count)]) for count in (5, 20))
    small, large = (256, 256), (1024, 1024)
    of_few, of_many = (worker_bytes(settings, large, [small], is_film=False) for settings in (few, many))
    assert worker_bytes(few, small, [small], is_film=False) < of_few < of_many
    assert worker_bytes(few, large, [small], 2, is_film=False) > 1.5 * of_few
    assert worker_bytes(few, large, [small], is_film=True) > of_few


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    groups, folder = tmp_path / "cgroup", tmp_path / "fs" / "job"
    folder.mkdir(parents=True)
    groups.write_text("0::/job\n")
    for name, text in (
        ("memory.max", "3000"),
        ("memory.current", "2000"),
        ("memory.stat", "anon 5\ninactive_file 500\n"),
    ):
        (folder / name).write_text(text)
    assert _container_free(tmp_path / "fs", groups) == 1500
    (folder / "memory.max").write_text("max")
    assert _container_free(tmp_path / "fs", groups) == 1 << 60
    assert 0 < cpu_memory_free() < 1 << 50


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("could not create a primitive"),
    ],
    ids=repr,
)
def test_lack_of_memory_is_known_by_all_its_names(error: Exception) -> None:
    assert is_out_of_memory(error)
    assert isinstance(out_of_memory_error(error), OutOfMemoryError)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


def dry_run(folder: Path, limit: int | None, *arguments: str) -> "subprocess.CompletedProcess[str]":
    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    command = [sys.executable, "-m", "impasto", "stylize", "photo.png", "--style", "style.png", "--output", "o.png"]
    return subprocess.run(
        [*command, "--device", "cpu", "--dry-run", *arguments],
        cwd=folder,
        preexec_fn=limited,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, size in (("photo.png", (1600, 2000)), ("style.png", (64, 64))):
        Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8)).save(tmp_path / name)
    return tmp_path


def test_a_dry_run_tells_the_memory_of_a_large_picture(folder: Path) -> None:
    """Measured on a part of it: the whole would take more than this process may have. So it is painted in tiles."""
    done = dry_run(folder, 8 << 30, "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["tile"] in SIDES
    assert 2e9 < record["memory_bytes"] < record["memory_free_bytes"]
    assert record["seconds"] > record["seconds_per_iteration"] > 0


def test_a_dry_run_counts_the_time_of_tiles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their margins, and that their features are computed twice; of a picture that is whole at its smaller scales, in
    part."""
    monkeypatch.setattr(planned, "iteration_seconds", lambda _, sample, __: float(sample.size))

    def plan(memory: int, *overrides: str) -> planned.DryRun:
        paths = (folder / "photo.png",), (folder / "style.png",), folder / "o.png"
        return planned.dry_run(Request(*paths, load_settings("default", overrides), device="cpu", memory=memory))

    whole, tiled = plan(1 << 40, "scales.from=none"), plan(7 << 30, "scales.from=none")
    assert whole.tile is None and tiled.tile == 1024
    # Four tiles, with a margin of 80 pixels at each of the two sides within the picture.
    padded = (1600 + 2 * 80) * (2000 + 2 * 80) / (1600 * 2000)
    assert tiled.seconds / whole.seconds == pytest.approx(TWO_PASSES * padded, rel=0.1)
    assert tiled.seconds_per_iteration * 300 == pytest.approx(tiled.seconds)
    in_part = plan(7 << 30, "scales.from=1000")
    assert 1.1 * whole.seconds < in_part.seconds < 0.9 * tiled.seconds


def test_too_little_memory_for_the_smallest_tiles_is_refused(folder: Path) -> None:
    done = dry_run(folder, None, "--memory", "1500MB")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    found = re.fullmatch(
        r"impasto: photo.png of 2000×1600 pixels takes (\d\.\d) GB of memory, and 1.5 GB may be used: paint it with "
        r"--size (\d+), or more --memory",
        line,
    )
    assert found is not None, line
    assert 256 < int(found[2]) < 2000 and float(found[1]) > 1.5


def test_tiles_are_as_large_as_fit() -> None:
    settings = load_settings("default")

    def bytes_of(size: Size, tile: int | None) -> int:
        return worker_bytes(settings, size, [(600, 800)], is_film=False, tile=tile)

    photo = (3024, 4032)
    needed = [bytes_of(photo, side) for side in SIDES[:-1]]
    assert needed == sorted(needed) and needed[-1] < bytes_of(photo, None)
    for side, least, more in zip(SIDES, needed, (*needed[1:], bytes_of(photo, None)), strict=False):
        assert tile_for(photo, more - 1, bytes_of) == side or least == more
    assert tile_for(photo, bytes_of(photo, None), bytes_of) is None
    assert tile_for(photo, 0, bytes_of) == SIDES[0]
    assert tile_for((200, 256), 0, bytes_of) is None  # Tiles would be no smaller.


def test_the_larger_scales_of_a_picture_are_painted_in_tiles_as_well(folder: Path) -> None:
    chosen = load_settings("default", ["scales.from=256"])
    whole = worker_bytes(chosen, (1158, 1448), [], is_film=False)
    photo, style, output = folder / "photo.png", folder / "style.png", folder / "o.png"
    inputs = read_inputs(Request((photo,), (style,), output, chosen, device="cpu", memory=whole - 1))
    plan = plan_frames(inputs, ignore, StopSignal())
    assert set(plan_tiles(inputs, plan, {}, 1)) == {(1600, 2000), (1158, 1448)}
    assert plan_tiles(inputs, plan, {(1600, 2000): 2}, 1) == {}, "side by side they are whole"


def test_pictures_without_a_plan_are_in_tiles_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Painted and measured by the API, and measured by the command."""
    rng = np.random.default_rng(0)
    content, style = (rng.integers(0, 255, (*size, 3), dtype=np.uint8) for size in ((48, 368), (64, 64)))
    paths = [tmp_path / "content.png", tmp_path / "style.png"]
    for path, array in zip(paths, (content, style), strict=True):
        Image.fromarray(array).save(path)
    changes = {"content.layers": {"relu3_1": 1}, "style.layers": {"relu3_1": 1}, "iterations.first": 2}
    cuts: list[Size] = []

    def painted() -> np.ndarray:
        return impasto.stylize_image(content, style, settings=changes | {"precision": "fp32"})

    def measured_by_api() -> float:
        return impasto.measure_image(content, content, style, settings=changes).objective

    def measured_by_command() -> float:
        (measures,) = measure(paths[0], paths[0], paths[1:], load_settings("default", list(changes.items())))
        return measures.losses.objective

    def spied(size: Size, side: int, layers: frozenset[str]) -> tuple[Tile, ...]:
        cuts.append(size)
        return tiles_of(size, side, layers)

    monkeypatch.setattr(objective, "tiles_of", spied)
    results = {each: each() for each in (painted, measured_by_api, measured_by_command)}
    assert not cuts
    monkeypatch.setattr(tile_sides, "usable_memory", lambda *_: 0)
    for each, whole in results.items():
        np.testing.assert_allclose(each(), whole, rtol=1e-5, atol=1 if each is painted else 0)
        assert (48, 368) in cuts
        cuts.clear()


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("overrides", [[], [("optimizer.method", "adam")], [("content.layers", {"relu1_1": 1})]])
def test_more_is_kept_of_layers_near_the_input_and_of_lbfgs(kind: str, overrides: list[tuple[str, object]]) -> None:
    default, changed = (load_settings("default", list(own)) for own in ([], overrides))
    of_default, of_changed = (
        worker_bytes(each, (1500, 2000), [], is_film=False, tile=256, kind=kind) for each in (default, changed)
    )
    names = [name for name, _ in overrides]
    assert ("content.layers" in names) == (of_changed > of_default)
    assert ("optimizer.method" in names) == (of_changed < of_default)


@pytest.mark.parametrize("limit", [1 << 29, 2 << 30, 3200 << 20, 3600 << 20])
def test_too_little_memory_is_one_line(folder: Path, limit: int) -> None:
    """Also where C++ would end the process as it loads torch (3.2 GB), or the weights find no room (3.6 GB); or where
    the smallest tiles are too large."""
    done = dry_run(folder, limit)
    assert done.returncode in (0, 1, 2), done.stderr
    if done.returncode:
        (line,) = done.stderr.splitlines()
        assert line.startswith("impasto: not enough memory" if done.returncode == 1 else "impasto: photo.png of 2000")


SHORT = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"


def test_no_file_is_to_blame_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object, **__: object) -> None:
        raise RuntimeError(SHORT)

    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "image.png")
    monkeypatch.setattr(Image, "open", short)
    with pytest.raises(InputError, match="not enough memory to decode it"):
        images.read_image(tmp_path / "image.png")
    make = inspect.unwrap(encoder_weights._from_bundled_state)
    monkeypatch.setattr(encoder_weights, "_from_bundled_state", make)
    monkeypatch.setattr(torch.Tensor, "index_select", short)
    with pytest.raises(OutOfMemoryError, match="can't allocate memory"):
        load_weights("bundled")
    monkeypatch.setattr(torch, "load", short)
    with pytest.raises(OutOfMemoryError, match="can't allocate memory"):
        load_weights("bundled")


def test_a_style_too_large_for_the_memory_is_named(monkeypatch: pytest.MonkeyPatch, weights: EncoderWeights) -> None:
    def short(*_: object) -> None:
        raise RuntimeError(SHORT)

    noise = np.random.default_rng(0).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    painter = Painter(load_settings("default", TINY), weights, [noise], [1.0], torch.device("cpu"))
    monkeypatch.setattr("impasto.paint.painter.style_targets", short)
    with pytest.raises(OutOfMemoryError, match="for the style at 80×64 pixels: use a smaller `size`"):
        painter.objective(np.zeros((80, 80, 3), np.uint8))


def test_the_reason_is_the_line_that_names_it() -> None:
    advice = ImportError("IMPORTANT: PLEASE READ THIS\n\nlibx.so: failed to map segment from shared object\n")
    assert "memory (libx.so: failed to map segment from shared object): end" in str(out_of_memory_error(advice))
