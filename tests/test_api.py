"""The Python API: what `import impasto` offers, and that its results are those of the command line."""

import dataclasses
import inspect
import json
import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import impasto
from impasto import events
from impasto.api.arguments import load_changed_settings
from impasto.cli.main import app
from impasto.media.images import read_image, write_image
from impasto.plan.request import Request
from impasto.torch_settings import thread_limit

from .conftest import SAMPLES

TINY = {
    "size": 64,
    "style.layers": {"relu1_1": 1, "relu2_1": 1, "relu3_1": 1},
    "content.layers": {"relu3_1": 1},
    "iterations": {"first": 4, "next": 2},
}


def in_fresh_process(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a script, given as its text or as the name of its file."""
    folders = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        [sys.executable, *([] if script.endswith(".py") else ["-c"]), script, *arguments],
        env={**os.environ, "PYTHONPATH": folders},
        capture_output=True,
        text=True,
        check=False,
    )


# Names


def test_all_is_sorted_and_holds_every_public_name() -> None:
    assert impasto.__all__ == sorted(impasto.__all__)
    from impasto import errors
    from impasto.api import jobs, measuring, pictures

    functions = {
        name
        for module in (jobs, measuring, pictures)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    }
    public = {name for name in functions if not name.startswith("_")}
    kinds = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    records = {kind.__name__ for kind in events.Event.__args__}
    assert public | kinds | records <= set(impasto.__all__)


@pytest.mark.parametrize("name", impasto.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    value = getattr(impasto, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__ is not None
        assert not value.__doc__.startswith(f"{name}("), "dataclasses that have none are given their signature"


def test_type_checkers_see_the_same_names() -> None:
    """Names under TYPE_CHECKING are those of `__all__`: otherwise editors would miss some, or show some too many."""
    import ast

    tree = ast.parse(Path(impasto.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    names = [alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted([*names, "__version__"]) == impasto.__all__


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'stilize'"):
        getattr(impasto, "stilize")  # noqa: B009
    assert not hasattr(impasto, "_request")


def test_importing_costs_no_heavy_library() -> None:
    """Nor do listing the names, the errors, the records and a look at a job's status."""
    script = """
import json, sys
import impasto
shown = dir(impasto)
impasto.InputError, impasto.JobDone, impasto.stylize, impasto.status, impasto.StopSignal
heavy = [name for name in ("torch", "cv2", "av", "matplotlib", "numpy", "PIL") if name in sys.modules]
print(json.dumps({"missing": sorted(set(impasto.__all__) - set(shown)), "heavy": heavy}))
"""
    done = in_fresh_process(script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"missing": [], "heavy": []}


@pytest.mark.slow
def test_every_name_is_imported_in_a_fresh_process() -> None:
    done = in_fresh_process("from impasto import *; print(stylize.__name__, JobDone.__name__, __version__)")
    assert done.stdout.split() == ["stylize", "JobDone", impasto.__version__], done.stderr


def test_jobs_take_every_field_of_a_request() -> None:
    fields = {field.name for field in dataclasses.fields(Request)} - {"styles"}
    options = set(inspect.signature(impasto.stylize).parameters)
    assert fields < options
    own = {"style", "config", "size", "weights", "on_event", "stop"}
    assert options - fields == own
    assert set(inspect.signature(impasto.dry_run).parameters) == options - {"stop"}


# One picture in memory


@pytest.mark.parametrize("threads", [1, 2])
def test_a_picture_has_the_bits_of_the_command(
    tmp_path: Path, content_file: Path, style_file: Path, threads: int
) -> None:
    with thread_limit(threads, torch.device("cpu")):
        compare_with_command(tmp_path, content_file, style_file)


def compare_with_command(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    painted = impasto.stylize_image(content_file, style_file, settings=TINY, device="cpu")
    overrides = [f"--set={key}={json.dumps(value)}" for key, value in TINY.items()]
    output = tmp_path / "painted.png"
    command = ["stylize", str(content_file), "--style", str(style_file), "--output", str(output), "--device", "cpu"]
    result = CliRunner().invoke(app, [*command, *overrides])
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(painted, read_image(output))


def test_paths_images_and_arrays_give_the_same_bits(
    tmp_path: Path, content_file: Path, style_file: Path, content_array: np.ndarray, style_array: np.ndarray
) -> None:
    before = content_array.copy()
    from_paths = impasto.stylize_image(str(content_file), style_file, settings=TINY, device="cpu")
    with Image.open(content_file) as content, Image.open(style_file) as style:
        from_images = impasto.stylize_image(content, [style], settings=TINY, device="cpu")
    from_arrays = impasto.stylize_image(content_array, style_array, settings=TINY, device="cpu")
    # A view that runs backwards, as OpenCV's channels turned round.
    view = np.ascontiguousarray(content_array[..., ::-1])[..., ::-1]
    from_view = impasto.stylize_image(view, style_array, settings=TINY, device="cpu")
    for other in (from_images, from_arrays, from_view):
        np.testing.assert_array_equal(from_paths, other)
    assert from_paths.shape == (43, 64, 3)
    assert from_paths.dtype == np.uint8
    np.testing.assert_array_equal(content_array, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["content.png", "style.png"], "no file is written"


@pytest.mark.slow
def test_an_image_is_read_as_its_file_is(tmp_path: Path, content_array: np.ndarray, style_array: np.ndarray) -> None:
    """Turned by EXIF, of 16-bit grey, with a palette, with alpha."""
    turned = Image.Exif()
    turned[0x0112] = 6
    image = Image.fromarray(content_array)
    image.save(tmp_path / "turned.jpg", exif=turned, quality=95)
    image.convert("P").save(tmp_path / "palette.png")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    Image.fromarray(content_array[..., 0].astype(np.uint16) * 257).save(tmp_path / "grey.png")
    for path in sorted(tmp_path.iterdir()):
        with Image.open(path) as opened:
            from_image = impasto.stylize_image(opened, style_array, settings=TINY, device="cpu")
        from_path = impasto.stylize_image(path, style_array, settings=TINY, device="cpu")
        np.testing.assert_array_equal(from_image, from_path, err_msg=path.name)


def test_size_weights_and_preset_are_shorthands_of_settings(
    content_array: np.ndarray, style_array: np.ndarray, tmp_path: Path
) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("base: default\niterations: {first: 3}\n", encoding="utf-8")
    short = impasto.stylize_image(
        content_array, style_array, size=40, weights="bundled", config=own, settings=TINY | {"iterations": {"first": 3}}
    )
    changed = TINY | {"size": 40, "encoder.weights": "bundled", "iterations": {"first": 3}}
    np.testing.assert_array_equal(short, impasto.stylize_image(content_array, style_array, settings=changed))
    assert max(short.shape) == 40


@pytest.mark.slow
def test_styles_are_blended_by_their_weights(content_array: np.ndarray, style_array: np.ndarray) -> None:
    other = np.ascontiguousarray(255 - style_array)

    def painted(style: object, *weights: float) -> np.ndarray:
        return impasto.stylize_image(content_array, style, settings=TINY, style_weights=weights)  # type: ignore[arg-type]

    first = painted(style_array)
    np.testing.assert_array_equal(painted([style_array, other], 2, 0), first)
    assert (painted([style_array, other]) != first).any()
    np.testing.assert_array_equal(painted([style_array, other]), painted((style_array, other), 3, 3))


def test_a_start_from_a_file_is_its_picture(content_array: np.ndarray, style_array: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / "start.png", style_array)
    settings = TINY | {"start.first": tmp_path / "start.png"}
    from_file = impasto.stylize_image(content_array, style_array, settings=settings)
    assert (from_file != impasto.stylize_image(content_array, style_array, settings=TINY)).any()


def test_progress_of_a_picture(content_array: np.ndarray, style_array: np.ndarray) -> None:
    seen: list[impasto.Event] = []
    impasto.stylize_image(content_array, style_array, settings=TINY, device="cpu", on_event=seen.append)
    started, *progress = seen
    assert isinstance(started, impasto.FrameStarted)
    assert (started.size, started.start, started.iterations) == ((43, 64), "content", 4)
    assert [event.iteration for event in progress if isinstance(event, impasto.FrameProgress)] == [1, 2, 3, 4]
    assert len(progress) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((64, 64, 3)), "content is an array of float64: give uint8"),
        (np.zeros((64, 64, 3), np.uint16), "content is an array of uint16: give uint8"),
        (np.zeros((64, 64), np.uint8), "content is an array of shape 64×64: give H×W×3"),
        (np.zeros((64, 64, 4), np.uint8), "content is an array of shape 64×64×4: give H×W×3"),
        (np.zeros((0, 64, 3), np.uint8), "content is an array of shape 0×64×3: give H×W×3"),
        (np.uint8(3), "content is a uint8: give a path"),
        (None, "content is a NoneType: give a path"),
        (np.zeros((2, 64, 3), np.uint8), "content is 64×2 pixels; layer relu3_1 needs at least 4×4"),
        (Image.new("F", (64, 64)), "cannot read image content: its pixels are floating-point numbers"),
        ("missing.png", "cannot read image missing.png: No such file"),
        ("clip.mp4", "content clip.mp4 is a video: paint it with stylize"),
        (".", "it is a folder; name an image in it"),
    ],
)
def test_wrong_pictures_are_named(content: object, message: str, style_array: np.ndarray) -> None:
    with pytest.raises(impasto.InputError, match=message.replace("(", r"\(")):
        impasto.stylize_image(content, style_array, settings=TINY)  # type: ignore[arg-type]
    if "pixels; layer" not in message:
        with pytest.raises(impasto.InputError, match=message.replace("content", "style").replace("(", r"\(")[:20]):
            impasto.stylize_image(style_array, content, settings=TINY)  # type: ignore[arg-type]


def test_a_damaged_image_object_is_an_input_error(tmp_path: Path, content_file: Path, style_array: np.ndarray) -> None:
    data = content_file.read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    with Image.open(tmp_path / "cut.png") as opened, pytest.raises(impasto.InputError, match="cannot be decoded"):
        impasto.stylize_image(opened, style_array, settings=TINY)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"settings": {"style.wait": 3}}, impasto.SettingsError, "unknown setting 'style.wait'; did you mean style.w"),
        ({"settings": {"style.weight": "much"}}, impasto.SettingsError, "setting style.weight = 'much' is not valid"),
        ({"settings": {3: 4}}, impasto.SettingsError, "setting 3 is no dotted key"),
        ({"settings": ["style.weight=3"]}, impasto.SettingsError, "settings is a list: give a dict"),
        ({"size": 3}, impasto.SettingsError, "setting size = 3 is not valid"),
        ({"config": "nosuch"}, impasto.SettingsError, "no preset 'nosuch'; the presets are default"),
        ({"config": 3}, impasto.SettingsError, "config is a int"),
        ({"weights": "none.pth"}, impasto.WeightsError, "none.pth"),
        ({"device": "tpu"}, impasto.DeviceError, "device 'tpu' is not one of auto, cpu"),
        ({"device": None}, impasto.DeviceError, "device None is not a name"),
        ({"weights": 3}, impasto.UsageError, "weights is a int: give a path"),
        ({"style_weights": (1, 2)}, impasto.UsageError, "2 style weights for 1 style"),
        ({"style_weights": 1.0}, impasto.UsageError, "style_weights 1.0 is not a list of numbers"),
        ({"style_weights": "1"}, impasto.UsageError, "style_weights '1' is not a list of numbers"),
        ({"style": []}, impasto.UsageError, "style is an empty list"),
    ],
)
def test_wrong_arguments_are_named(
    options: dict[str, object], kind: type[Exception], message: str, content_array: np.ndarray, style_array: np.ndarray
) -> None:
    with pytest.raises(kind, match=message):
        impasto.stylize_image(content_array, **{"style": style_array, **options})  # type: ignore[arg-type]


# Jobs


@pytest.fixture
def frames_folder(tmp_path: Path, content_array: np.ndarray) -> Path:
    folder = tmp_path / "frames"
    for index in range(3):
        write_image(folder / f"f{index}.png", np.roll(content_array, index, axis=1))
    return folder


def test_a_job_ends_with_what_its_last_event_says(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    seen: list[impasto.Event] = []
    output = tmp_path / "out" / "painted.png"
    output.parent.mkdir()
    result = impasto.stylize(content_file, style=style_file, output=output, settings=TINY, on_event=seen.append)
    assert result == seen[-1]
    assert (result.output, result.painted_count) == (output, 1)
    painted = impasto.stylize_image(content_file, style_file, settings=TINY)
    np.testing.assert_array_equal(read_image(output), painted)
    again = impasto.stylize([str(content_file)], style=[str(style_file)], output=str(output), settings=TINY)
    assert again.painted_count == 0
    assert impasto.status(result.job).finished
    assert impasto.verify(str(result.job)) == []
    output.write_bytes(b"")
    frame, whole = impasto.verify(result.job)
    assert frame.startswith("frame 0 (content.png): ")
    assert whole.startswith("output: ")


def test_an_interrupted_job_goes_on_to_the_same_bits(tmp_path: Path, frames_folder: Path, style_file: Path) -> None:
    """Ctrl-C reaches a script as KeyboardInterrupt, wherever it is."""

    def paint(output: Path, on_event: events.Listener | None = None) -> impasto.JobDone:
        return impasto.stylize(
            frames_folder, style=style_file, output=output, settings=TINY, mode="sequence", on_event=on_event
        )

    whole = paint(tmp_path / "whole")

    def interrupt(event: impasto.Event) -> None:
        if isinstance(event, impasto.FrameDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paint(tmp_path / "stopped", interrupt)
    status = impasto.status(tmp_path / "stopped.impasto")
    assert 1 <= status.done_count < 3
    assert not status.finished
    assert status.owner is None
    result = impasto.resume(tmp_path / "stopped.impasto")
    assert result.painted_count == 3 - status.done_count
    for painted in sorted(whole.output.iterdir()):
        assert painted.read_bytes() == (result.output / painted.name).read_bytes()


def test_a_stop_request_ends_a_job(tmp_path: Path, frames_folder: Path, style_file: Path) -> None:
    stop = impasto.StopSignal()

    def on_event(event: impasto.Event) -> None:
        if isinstance(event, impasto.FrameDone):
            stop.request()

    with pytest.raises(impasto.Interrupted):
        impasto.stylize(
            frames_folder,
            style=style_file,
            output=tmp_path / "o",
            settings=TINY,
            mode="sequence",
            on_event=on_event,
            stop=stop,
        )
    assert impasto.resume(tmp_path / "o.impasto").painted_count >= 1


@pytest.mark.parametrize("executor", ["inline", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_script_that_is_interrupted_leaves_a_job(
    tmp_path: Path, frames_folder: Path, style_file: Path, executor: str
) -> None:
    """A plain script, which worker processes must not run again, stopped by a real signal."""
    script = """
import os, signal, sys
import impasto
def on_event(event):
    if isinstance(event, impasto.FrameProgress) and event.index == 1:
        os.kill(os.getpid(), signal.SIGINT)
content, style, output, executor = sys.argv[1:]
settings = {"size": 64, "iterations": {"first": 4, "next": 2}, "style.layers": {"relu1_1": 1}}
impasto.stylize(
    content, style=style, output=output, mode="sequence", settings=settings, executor=executor, on_event=on_event
)
"""
    (tmp_path / "script.py").write_text(script, encoding="utf-8")
    arguments = [str(frames_folder), str(style_file), str(tmp_path / "o"), executor]
    done = in_fresh_process(str(tmp_path / "script.py"), *arguments)
    assert "KeyboardInterrupt" in done.stderr
    assert done.returncode == -signal.SIGINT
    result = impasto.resume(tmp_path / "o.impasto")
    assert result.frame_count == 3
    assert impasto.verify(result.job) == []


def test_a_dry_run_says_what_would_be_done(tmp_path: Path, frames_folder: Path, style_file: Path) -> None:
    plan = impasto.dry_run(
        frames_folder, style=style_file, output=tmp_path / "o.mp4", settings=TINY, frames="0:2", rate=23.976
    )
    assert (plan.kind, plan.frame_count, plan.iterations) == ("sequence", 2, 6)
    assert not plan.output.exists()
    assert not plan.job.exists()


def test_a_job_takes_all_options(tmp_path: Path, frames_folder: Path, style_file: Path) -> None:
    output = tmp_path / "painted.mkv"
    result = impasto.stylize(
        frames_folder,
        style=[style_file, SAMPLES / "style.png"],
        style_weights=[1, 2],
        output=output,
        settings=TINY,
        frames=impasto.FrameRange(1, 3),
        rate="30000/1001",
        job=tmp_path / "elsewhere",
        encoding=impasto.Encoding("ffv1"),
        compare=True,
        executor="inline",
        batch=1,
        segments=1,
    )
    assert result.job == tmp_path / "elsewhere"
    assert result.frame_count == 2
    assert (tmp_path / "painted-compare.mkv").exists()
    from impasto.media.decoding import probe

    assert probe(output).rate == Fraction(30000, 1001)
    removed = impasto.clean(result.job)
    assert len(removed) >= 2
    assert not any(path.exists() for path in removed)
    assert output.exists()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"content": np.zeros((64, 64, 3), np.uint8)}, impasto.InputError, "content is a ndarray: give a path"),
        ({"content": []}, impasto.UsageError, "content is an empty list"),
        ({"content": "missing.png"}, impasto.InputError, "content missing.png does not exist"),
        ({"style": "missing.png"}, impasto.InputError, "cannot read image missing.png"),
        ({"rate": "often"}, impasto.UsageError, "rate 'often' is not a rate"),
        ({"frames": "x"}, impasto.SettingsError, "frame range 'x'"),
        ({"frames": (0, 3)}, impasto.UsageError, "frames is a tuple: give 'A:B'"),
        ({"encoding": "hevc"}, impasto.UsageError, "encoding is a str: give an Encoding"),
        ({"output": None}, impasto.UsageError, "output is a NoneType: give a path"),
        ({"job": 3}, impasto.UsageError, "job is a int: give a path"),
        ({"batch": "3"}, impasto.UsageError, "`batch` '3' is out of range"),
        ({"style_weights": None}, impasto.UsageError, "style_weights None is not a list of numbers"),
        ({"executor": "threads"}, impasto.UsageError, "threads"),
        ({"settings": {"sise": 64}}, impasto.SettingsError, "did you mean size"),
    ],
)
def test_wrong_jobs_are_named(
    options: dict[str, object],
    kind: type[Exception],
    message: str,
    content_file: Path,
    style_file: Path,
    tmp_path: Path,
) -> None:
    arguments = {"content": content_file, "style": style_file, "output": tmp_path / "o.png", "settings": TINY}
    with pytest.raises(kind, match=message):
        impasto.stylize(**{**arguments, **options})  # type: ignore[arg-type]
    assert not (tmp_path / "o.png.impasto").exists()


def test_a_folder_without_a_job_is_a_job_error(tmp_path: Path) -> None:
    for look in (impasto.status, impasto.verify, impasto.clean, impasto.resume):
        with pytest.raises(impasto.JobError):
            look(tmp_path)


# Measuring


def test_measured_losses_are_those_of_the_job(tmp_path: Path, content_file: Path, style_file: Path) -> None:
    output = tmp_path / "painted.png"
    result = impasto.stylize(content_file, style=style_file, output=output, settings=TINY, device="cpu")
    measured = impasto.measure(output, content=content_file, style=style_file, settings=TINY, device="cpu")
    assert result.losses is not None
    assert measured.losses.objective == pytest.approx(result.losses.objective, rel=1e-6)
    assert measured.summary.picture_count == len(measured.pictures) == 1
    in_memory = impasto.measure_image(output, content_file, style_file, settings=TINY, device="cpu")
    assert in_memory == measured.pictures[0].losses


def test_painting_lowers_the_measured_objective(content_array: np.ndarray, style_array: np.ndarray) -> None:
    settings = {**TINY, "size": None}
    painted = impasto.stylize_image(content_array, style_array, settings=settings, device="cpu")
    before, after = (
        impasto.measure_image(picture, content_array, style_array, settings=settings, device="cpu")
        for picture in (content_array, painted)
    )
    assert after.objective < before.objective
    assert before.content == 0


def test_what_no_call_can_mean_is_named(tmp_path: Path) -> None:
    for call in (impasto.status, impasto.verify, impasto.clean, impasto.resume):
        with pytest.raises(impasto.UsageError, match="job is a NoneType"):
            call(None)  # type: ignore[operator]
    with pytest.raises(impasto.SettingsError, match="config is a NoneType"):
        impasto.load_settings(None)  # type: ignore[arg-type]
    with pytest.raises(impasto.SettingsError, match="whole numbers"):
        impasto.FrameRange("a")  # type: ignore[arg-type]
    with pytest.raises(impasto.UsageError, match="NUL"):
        impasto.status("a\0b")
    for more in ({"cold_iterations": -1}, {"cold_iterations": 1, "cold_every": 0}):
        with pytest.raises(impasto.UsageError, match="cold_"):
            impasto.measure("a.png", content="b.png", style="c.png", **more)


def test_a_nested_section_changes_its_own_keys_only() -> None:
    nested = impasto.load_settings("gatys2016")
    changes = {"style": {"weight": 3}, "content": {"layers": {"relu3_1": 1}}}
    changed = load_changed_settings("gatys2016", changes, None, None)
    assert changed.style == nested.style.model_copy(update={"weight": 3.0})
    assert changed.content.layers == {"relu3_1": 1} and changed.content.weight == nested.content.weight
