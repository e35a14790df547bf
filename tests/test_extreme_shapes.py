"""Pictures of extreme shape and size, as style, content and output: painted, or refused before there is a job."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from impasto.errors import InputError, OutputError, PartialError, UsageError
from impasto.events import Event, FrameFailed
from impasto.job.folder import default_folder
from impasto.media.codecs import Encoding
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.painter import Painter
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.dry_run import dry_run
from impasto.run.job_run import stylize

TINY = ("iterations={first: 2, next: 1}", "style.layers={relu1_1: 1, relu4_1: 1}", "content.layers={relu3_1: 1}")
SIDE = 8
"""The smallest side that these layers take."""


def picture(path: Path, height: int, width: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    noise = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(noise).save(path)
    return path


def request(content: Path, style: Path, output: Path, *overrides: str, **fields: object) -> Request:
    settings = load_settings("default", [*TINY, *overrides])
    return Request((content,), (style,), output, settings, device="cpu", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_a_long_style_keeps_what_the_layers_need(weights: EncoderWeights, content_array: np.ndarray, scale: float):
    scroll = np.random.default_rng(1).integers(0, 256, (12, 600, 3), np.uint8)
    # Its shorter side at the least, and its shape kept.
    reduced = np.asarray(Image.fromarray(scroll).resize((400, SIDE), Image.Resampling.LANCZOS))
    settings = load_settings("default", [*TINY, f"style.scale={scale}"])
    losses = [
        Painter(settings, weights, [style], [1.0], torch.device("cpu")).measure(content_array, content_array)
        for style in (scroll, reduced)
    ]
    assert losses[0] == losses[1]


def test_a_long_style_is_painted_with(tmp_path: Path):
    content, scroll = picture(tmp_path / "c.png", 48, 64), picture(tmp_path / "scroll.png", 10, 700)
    assert stylize(request(content, scroll, tmp_path / "o.png")).painted_count == 1


@pytest.mark.parametrize(
    ("size", "overrides", "message"),
    [
        ((20, 400), ("size=64",), r"`size=64`, is 64×3 pixels; .* use `size=160` or more"),
        ((SIDE - 1, 400), ("size=64",), "use a larger picture"),
        ((SIDE - 1, 400), (), "use a larger picture"),
    ],
)
@pytest.mark.parametrize("kind", ["image", "photos", "film"])
def test_content_that_is_too_thin_is_refused_before_the_job(
    tmp_path: Path, style_file: Path, size: tuple[int, int], overrides: tuple[str, ...], message: str, kind: str
):
    photo = picture(tmp_path / "photos" / "c.png", *size)
    content = photo if kind == "image" else photo.parent
    output = tmp_path / {"image": "o.png", "photos": "o", "film": "o.mkv"}[kind]
    for run in (dry_run, stylize):
        with pytest.raises(InputError, match=message):
            run(request(content, style_file, output, *overrides))
    assert not default_folder(output).exists()


def test_photos_that_are_large_enough_are_painted_beside_one_that_is_not(tmp_path: Path, style_file: Path):
    small, good = picture(tmp_path / "photos" / "a.png", SIDE - 1, 64), picture(tmp_path / "photos" / "b.png", 48, 64)
    asked = request(small.parent, style_file, tmp_path / "o")
    assert dry_run(asked).size == (48, 64)
    with pytest.raises(PartialError, match=r"1 of 2 photos .*a.png"):
        stylize(asked)
    assert (tmp_path / "o" / good.name).is_file()


def test_a_larger_size_is_advised_where_it_helps(tmp_path: Path, style_file: Path):
    for name, height in (("a.png", SIDE - 1), ("b.png", 20), ("c.png", 400)):
        picture(tmp_path / "photos" / name, height, 400)
    events: list[Event] = []
    with pytest.raises(PartialError):
        stylize(request(tmp_path / "photos", style_file, tmp_path / "o", "size=64"), events.append)
    failed = [event.message for event in events if isinstance(event, FrameFailed)]
    assert failed[0].endswith("use a larger picture or shallower layers")
    assert failed[1].endswith("use `size=160` or more, or shallower layers")


def test_a_picture_too_wide_for_the_format_is_refused_before_the_job(tmp_path: Path, style_file: Path):
    content = picture(tmp_path / "photos" / "wide.png", SIDE, 9_000)
    # WebP holds 16,383 pixels a side.
    with pytest.raises(OutputError, match="and this picture has 18000"):
        stylize(request(content, style_file, tmp_path / "o.webp", compare=True))
    picture(content, SIDE, 16_400)
    with pytest.raises(OutputError, match="webp holds at most 16383"):
        stylize(request(content, style_file, tmp_path / "o.webp"))
    # H.264 and AV1 as well, of which AV1 holds fewer rows.
    with pytest.raises(UsageError, match=r"too large for H\.264"):
        stylize(request(content.parent, style_file, tmp_path / "o.mp4"))
    assert [path.name for path in tmp_path.iterdir() if "impasto" in path.name] == []
    with pytest.raises(UsageError, match="16384×8704"):
        Encoding("av1").choose(".mkv", (9_000, 64), has_alpha=False)
