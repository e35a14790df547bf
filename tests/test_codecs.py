"""Each codec in each container that is said to hold it: the frames come back, in time, in size and in colour."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from impasto.errors import MediaError, UsageError
from impasto.media import codecs
from impasto.media.codecs import CODECS, Encoding, pixel_formats, trial_problem
from impasto.media.containers import OUTPUT_SUFFIXES
from impasto.media.timing import Timing
from impasto.media.video_reader import probe, read_frames, scan
from impasto.media.video_writer import VideoWriter
from tests.support.clips import number, numbered
from tests.support.seeds import numpy_stream

PAIRS = [(name, suffix) for name, codec in CODECS.items() for suffix in codec.suffixes if not codec.needs_gpu]
ON_GPU = sorted(name for name, codec in CODECS.items() if codec.needs_gpu)


def write(
    path: Path, frames: list[np.ndarray], encoding: Encoding, timing: Timing | None = None, has_alpha: bool = False
) -> VideoWriter:
    height, width = frames[0].shape[:2]
    timing = timing or Timing.constant(25, len(frames))
    with VideoWriter(path, (height, width), timing, encoding=encoding, has_alpha=has_alpha, preset="veryfast") as made:
        for frame in frames:
            made.write(frame)
    return made


def smooth(size: tuple[int, int]) -> np.ndarray:
    """Soft colours: what chroma of half the size keeps."""
    y, x = np.mgrid[: size[0], : size[1]]
    red, green, blue = 40 + 160 * x / size[1], 60 + 120 * y / size[0], 200 - 120 * x / size[1]
    return np.dstack([red, green, blue]).round().astype(np.uint8)


@pytest.mark.sweep(8)
@pytest.mark.parametrize(("name", "suffix"), PAIRS)
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_every_codec_gives_back_what_it_was_given(
    tmp_path: Path, name: str, suffix: str, size: tuple[int, int]
) -> None:
    path = tmp_path / f"clip{suffix}"
    # Late in its ticks, and uneven.
    times = Timing(Fraction(1, 1000), (0, 40, 90, 120, 400, 440), None, 60)
    made = write(path, [numbered(index, size) for index in range(6)], Encoding(name), times)
    found = scan(path)
    tick = Fraction(1, 100) if suffix == ".gif" else Fraction(1, 1000)
    assert len(found.times) == 6 and found.damage is None
    for ticks, given in zip(found.times, times.times, strict=True):
        assert abs(ticks * found.time_base - given * times.time_base) <= tick
    assert probe(path).size == size
    assert probe(path).codec == name
    assert [number(frame.image) for frame in read_frames(path)] == list(range(6))
    odd = bool(size[0] % 2)
    assert bool([note for note in made.notes if "4:4:4" in note]) == (odd and name in ("h264", "hevc"))
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        if name not in ("gif", "ffv1"):
            assert int(context.color_primaries) == int(context.color_trc) == 1


@pytest.mark.parametrize(("name", "suffix"), [pair for pair in PAIRS if pair[0] != "gif"])
def test_colours_stay(tmp_path: Path, name: str, suffix: str) -> None:
    path, picture = tmp_path / f"clip{suffix}", smooth((96, 128))
    write(path, [picture] * 3, Encoding(name))
    for frame in read_frames(path):
        error = np.abs(frame.image.astype(int) - picture)
        assert error.mean() < 2 and error.max() < 12, (error.mean(), error.max())


@pytest.mark.parametrize("has_alpha", [False, True])
def test_ffv1_loses_nothing(tmp_path: Path, has_alpha: bool) -> None:
    path, noise = tmp_path / "clip.mkv", numpy_stream(0)
    frames = [noise.integers(0, 256, (33, 47, 4 if has_alpha else 3), dtype=np.uint8) for _ in range(4)]
    assert write(path, frames, Encoding("ffv1"), has_alpha=has_alpha).notes == []
    for frame, given in zip(read_frames(path), frames, strict=True):
        assert np.array_equal(frame.image, given[..., :3])


def decoded_alpha(path: Path, decoder: str | None = None) -> np.ndarray:
    """The alpha of the first frame; libvpx alone reads that of VP9."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = av.CodecContext.create(decoder, "r") if decoder else stream.codec_context
        for packet in container.demux(stream):
            for frame in context.decode(packet):
                return frame.reformat(format="rgba").to_ndarray()[..., 3]  # type: ignore[no-any-return]
    raise AssertionError("no frame")


@pytest.mark.parametrize(
    ("name", "suffix", "decoder"),
    [("prores", ".mov", None), ("ffv1", ".mkv", None), ("vp9", ".webm", "libvpx-vp9"), ("gif", ".gif", None)],
)
def test_transparency_is_kept_where_it_can_be(tmp_path: Path, name: str, suffix: str, decoder: str | None) -> None:
    path = tmp_path / f"clip{suffix}"
    alpha = np.zeros((64, 96), np.uint8)
    alpha[16:48, 24:72] = 255
    if name != "gif":
        alpha[:, 72:] = 100
    made = write(path, [np.dstack([smooth((64, 96)), alpha])] * 2, Encoding(name), has_alpha=True)
    assert made.notes == []
    assert np.abs(decoded_alpha(path, decoder).astype(int) - alpha).mean() < 3


def test_transparency_that_is_lost_is_told(tmp_path: Path) -> None:
    frames = [np.dstack([smooth((48, 64)), np.full((48, 64), 7, np.uint8)])] * 2
    assert "which H.264 does not hold: ProRes" in write(tmp_path / "a.mp4", frames, Encoding(), has_alpha=True).notes[0]
    asked = Encoding("prores", pixel_format="yuv422p10le")
    assert "which yuv422p10le does not hold" in write(tmp_path / "a.mov", frames, asked, has_alpha=True).notes[0]


@pytest.mark.parametrize(
    ("encoding", "suffix", "message"),
    [
        (Encoding("divx"), ".mp4", "`codec` divx is not known: use one of h264, hevc"),
        (Encoding("prores"), ".mp4", ".mp4 does not hold ProRes: name the output .mov or .mkv, or use `codec` h264"),
        (Encoding("h264"), ".webm", ".webm does not hold H.264"),
        (Encoding(crf=52), ".mp4", "`crf` 52 is out of range: H.264 takes 0 (best) to 51"),
        (Encoding(crf=-1), ".webm", "`crf` -1 is out of range: VP9 takes 0 (best) to 63"),
        (Encoding("prores", crf=3), ".mov", "`crf` 3 does not go with ProRes"),
        (Encoding(pixel_format="bgra"), ".mp4", "`pixel_format` bgra is none that H.264 takes: use one of yuv420p"),
        (Encoding(pixel_format="nonsense"), ".mkv", "`pixel_format` nonsense is none"),
        (Encoding(pixel_format="yuv420p"), ".mp4", "65×63 has an odd side, which H.264 does not hold in yuv420p"),
    ],
)
def test_what_does_not_go_together(encoding: Encoding, suffix: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        encoding.choose(suffix, (63, 65), has_alpha=False)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_pixel_formats_are_written_as_asked(tmp_path: Path) -> None:
    picture = smooth((64, 96))
    for name, suffix, pixels in (
        ("h264", ".mp4", "yuv422p10le"),
        ("h264", ".mkv", "yuvj420p"),
        ("hevc", ".mp4", "yuv420p10le"),
        ("hevc", ".mkv", "gbrp"),
        ("av1", ".mkv", "yuv420p10le"),
        ("vp9", ".webm", "yuv444p"),
        ("ffv1", ".mkv", "yuv444p"),
    ):
        path = tmp_path / f"{name}-{pixels}{suffix}"
        write(path, [picture] * 2, Encoding(name, pixel_format=pixels))
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.pix_fmt.removeprefix("yuvj") == pixels.removeprefix("yuvj")
        image = next(iter(read_frames(path))).image
        assert np.abs(image - picture.astype(float)).mean() < 2, pixels


def test_quality_is_what_it_is_asked_to_be(tmp_path: Path) -> None:
    frames = [numpy_stream(index).integers(0, 256, (96, 128, 3), dtype=np.uint8) for index in range(8)]
    sizes = []
    for crf in (5, None, 45):
        path = tmp_path / f"{crf}.mp4"
        write(path, frames, Encoding(crf=crf))
        sizes.append(path.stat().st_size)
    assert sizes[0] > 1.2 * sizes[1] > 3 * sizes[2]


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Notes the trials of encoders; all succeed but that of a picture wider than 4096."""
    tried: list[tuple[object, ...]] = []

    def trial(*arguments: Any) -> str | None:
        tried.append(arguments)
        return "Width 5000 exceeds 4096" if arguments[2][1] > 4096 else None

    monkeypatch.setattr(codecs, "trial_problem", trial)
    return tried


@pytest.mark.parametrize("name", ON_GPU)
def test_an_encoder_of_the_gpu_is_refused_in_one_line_where_it_does_not_work(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where there is a GPU, it is hidden.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    trial_problem.cache_clear()
    with pytest.raises(UsageError) as error:
        Encoding(name).require(".mp4")
    trial_problem.cache_clear()
    text = str(error.value)
    assert text.startswith(f"`codec` {name} does not encode 256×256 in yuv420p on this machine (")
    assert text.endswith(f"): use {name.removesuffix('_nvenc')}") and "\n" not in text and "0x" not in text


def test_an_encoder_of_the_gpu_is_tried_at_its_size_and_told_the_quality(trials: list[tuple[object, ...]]) -> None:
    choice = Encoding("h264_nvenc", crf=21).choose(".mp4", (436, 1024), has_alpha=False)
    assert [(size, pixels) for _, _, size, pixels in trials] == [((256, 256), "yuv420p"), ((436, 1024), "yuv420p")]
    arguments = choice.arguments("medium")
    assert arguments[:2] == ["-c:v", "h264_nvenc"] and arguments[-2:] == ["-cq", "21"] and "-crf" not in arguments
    assert arguments.count("-preset") == 1 and arguments[arguments.index("-b:v") + 1] == "0"
    with pytest.raises(UsageError, match=r"5000×436 in yuv420p on this machine \(Width 5000 exceeds 4096\): use hevc"):
        Encoding("hevc_nvenc").choose(".mkv", (436, 5000), has_alpha=False)
    with pytest.raises(UsageError, match=r"takes 1 \(best\) to 51"):
        Encoding("h264_nvenc", crf=0).require(".mp4")
    with pytest.raises(UsageError, match=r"bgr0 is none that H\.264 by NVENC takes: use one of yuv420p p010le yuv444p"):
        Encoding("h264_nvenc", pixel_format="bgr0").require(".mp4")


def test_an_encoder_of_the_gpu_is_never_chosen_or_proposed(trials: list[tuple[object, ...]]) -> None:
    for suffix in OUTPUT_SUFFIXES:
        assert not Encoding().require(suffix).needs_gpu
    with pytest.raises(UsageError) as error:
        Encoding("gif").require(".mp4")
    assert "nvenc" not in str(error.value) and trials == []


def test_a_trial_encodes() -> None:
    assert trial_problem("libx264", ("-preset", "ultrafast"), (48, 64), "yuv420p") is None
    assert "20000x48" in (trial_problem("libx264", (), (48, 20_000), "yuv420p") or "")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ON_GPU)
def test_an_encoder_of_the_gpu_gives_back_what_it_was_given(tmp_path: Path, name: str) -> None:
    if (problem := trial_problem(name, CODECS[name].options, (256, 384), "yuv420p")) is not None:
        pytest.skip(f"no NVENC here: {problem}")
    path = tmp_path / "clip.mp4"
    write(path, [numbered(index, (256, 384)) for index in range(6)], Encoding(name))
    assert probe(path).codec == name.removesuffix("_nvenc")
    assert [number(frame.image) for frame in read_frames(path)] == list(range(6))


def test_an_ffmpeg_without_the_codec_is_told_before_anything_is_painted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\necho \"Codec 'libx264' is not recognized by FFmpeg.\"\n")
    program.chmod(0o755)
    pixel_formats.cache_clear()
    with monkeypatch.context() as patched:
        patched.setenv("IMAGEIO_FFMPEG_EXE", str(program))
        with pytest.raises(MediaError, match=r"has no encoder libx264: choose another `codec`"):
            Encoding().require(".mp4")
    pixel_formats.cache_clear()
    assert Encoding().require(".mp4").title == "H.264"


def test_every_container_has_its_own_codec_first() -> None:
    for suffix in OUTPUT_SUFFIXES:
        assert (
            next(codec for codec in CODECS.values() if suffix in codec.suffixes) is Encoding().require(suffix)
            or suffix == ".webm"
        )
    assert Encoding().require(".webm").title == "VP9"
    assert "yuv420p" in pixel_formats("libx264")
