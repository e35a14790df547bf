"""Content that is out to do harm, through whole jobs: one line says what is wrong, and the others go on."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from impasto.errors import ImpastoError, InputError, OutputError, PartialError, SettingsError, UsageError
from impasto.events import Event, FrameFailed, JobStarted, Notice
from impasto.media import color as color_module
from impasto.media import image_file, video_reader
from impasto.media.codecs import Encoding
from impasto.media.timing import Timing
from impasto.media.video_writer import VideoWriter
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import stylize
from impasto.settings import Settings
from tests.conftest import TINY
from tests.support.clips import H264, ffmpeg, moving_source, numbered, sine
from tests.support.mutants import make_seeds

Paint = Callable[..., list[Event]]


@pytest.fixture
def paint(style_file: Path, tmp_path: Path) -> Paint:
    """Paints content to an output below `tmp_path`; gives what was told."""
    settings = load_settings("default", (*TINY, "iterations={first: 1, next: 1}", "flow.method=dis"))

    def run(content: Path, output: str, **more: object) -> list[Event]:
        events: list[Event] = []
        listener = more.pop("listener", None)

        def listen(event: Event) -> None:
            events.append(event)
            if callable(listener):
                listener(event)

        style = more.pop("style", style_file)
        own = more.pop("settings", settings)
        assert isinstance(style, Path) and isinstance(own, Settings)
        request = Request((content,), (style,), tmp_path / output, own, device="cpu", **more)  # type: ignore[arg-type]
        stylize(request, listen)
        return events

    return run


def notices(events: list[Event]) -> str:
    return "\n".join(event.text for event in events if isinstance(event, Notice))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- what is no file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pipe", "endless"])
@pytest.mark.parametrize("name", ["x.png", "x.mp4"])
@pytest.mark.parametrize("output", ["o.png", "o.mp4", "o"])
def test_what_never_ends_is_not_read(tmp_path: Path, paint: Paint, kind: str, name: str, output: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(InputError, match="neither a file nor a folder"):
        paint(path, output)
    with pytest.raises(InputError, match="not a regular file"):
        paint(tmp_path / "style.png", "o", style=path)


def test_in_a_folder_it_is_passed_over(tmp_path: Path, paint: Paint) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(tmp_path / "style.png", tmp_path / "in" / "a.png")
    os.mkfifo(tmp_path / "in" / "b.png")
    (tmp_path / "in" / "c.png").symlink_to("/dev/zero")
    assert "passed over: 2 .png" in notices(paint(tmp_path / "in", "out"))
    assert files(tmp_path / "out") == ["a.png"]


@pytest.mark.parametrize("output", ["o.png", "o.mkv", "out"])
def test_force_overwrites_files_alone(tmp_path: Path, paint: Paint, content_file: Path, output: str) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(content_file, tmp_path / "in" / "a.png")
    pipe = tmp_path / "out" / "a.png" if output == "out" else tmp_path / output
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="no regular file"):
        paint(content_file if output == "o.png" else tmp_path / "in", output, force=True)
    assert pipe.is_fifo()


# --- places -----------------------------------------------------------------------------------------------------------


def test_no_link_in_the_output_leads_into_the_content(tmp_path: Path, paint: Paint, content_file: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for name in ("b.png", "sub/a.png"):
        shutil.copy(content_file, tmp_path / "in" / name)
    before = files(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to("../in", target_is_directory=True)
    with pytest.raises(OutputError, match=r"out/sub/a\.png lies inside the content"):
        paint(tmp_path / "in", "out")
    assert files(tmp_path / "in") == before
    # A link that leads nowhere yet is not followed, nor replaced.
    (tmp_path / "o.png").symlink_to("in/new.png")
    with pytest.raises(OutputError, match="leads nowhere"):
        paint(content_file, "o.png")
    assert files(tmp_path / "in") == before and (tmp_path / "o.png").is_symlink()


def test_links_that_lead_round_in_a_circle(tmp_path: Path, paint: Paint, content_file: Path) -> None:
    """As an output it leads nowhere, and is replaced as any such link; as a job's folder it is refused."""
    for name, other in (("o.png", "o2.png"), ("o2.png", "o.png"), ("o.yaml", "o.yaml"), ("job", "job")):
        (tmp_path / name).symlink_to(other)
    with pytest.raises(OutputError, match="choose another `job`"):
        paint(content_file, "x.png", job=tmp_path / "job")
    with pytest.raises(InputError, match="does not exist"):
        paint(tmp_path / "o.png", "x.png")
    (tmp_path / "own.yaml").write_text("base: o.yaml")
    with pytest.raises(SettingsError, match=r"o\.yaml"):
        load_settings(str(tmp_path / "own.yaml"))
    paint(content_file, "o.png")
    assert (tmp_path / "o.png").is_file() and not (tmp_path / "o.png").is_symlink()
    assert (tmp_path / "o2.png").is_symlink()


@pytest.mark.parametrize("what", ["photos", "sequence", "video"])
def test_what_vanishes_while_it_is_painted(tmp_path: Path, paint: Paint, content_file: Path, what: str) -> None:
    """It was there when the job was planned."""
    folder = tmp_path / "in"
    folder.mkdir()
    for index in range(3):
        shutil.copy(content_file, folder / f"{index}.png")
    content = folder
    if what == "video":
        content = tmp_path / "in.mp4"
        ffmpeg(*moving_source(seconds=0.12), *H264, content)

    def vanish(event: Event) -> None:
        if isinstance(event, JobStarted):
            (content if what == "video" else folder / "1.png").unlink()

    with pytest.raises(ImpastoError, match=r"1\.png|in\.mp4") as caught:
        paint(content, "o" if what == "photos" else "o.mp4", listener=vanish)
    assert "\n" not in str(caught.value)
    if what == "photos":
        assert isinstance(caught.value, PartialError) and files(tmp_path / "o") == ["0.png", "2.png"]
    elif what == "sequence":
        assert isinstance(caught.value, PartialError) and "holds the nearest" in str(caught.value)
        assert len(list(video_reader.read_frames(tmp_path / "o.mp4"))) == 3
    else:
        assert not (tmp_path / "o.mp4").exists()


# --- claims -----------------------------------------------------------------------------------------------------------


def _png(side: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def _bmp(side: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1054, 0, 0, 54) + header + bytes(1000)


def _tiff(side: int) -> bytes:
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1), (278, side), (279, 100)]
    listed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + listed + bytes(304)


def _webp(side: int) -> bytes:
    canvas = bytes([16, 0, 0, 0]) + (side - 1).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas + b"VP8L" + struct.pack("<I", 16) + b"\x2f" + b"\xff" * 15
    return b"RIFF" + struct.pack("<I", len(body)) + body


def test_pictures_that_claim_to_be_enormous(tmp_path: Path, paint: Paint, content_file: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    made = {"a.png": _png, "b.bmp": _bmp, "c.tif": _tiff, "d.webp": _webp}
    for name, make in made.items():
        (folder / name).write_bytes(make(100_000))
        with pytest.raises(InputError, match="claims 10000 megapixels, and at most 200"):
            paint(content_file, "o.png", style=folder / name)
    shutil.copy(content_file, folder / "good.png")
    failed: list[FrameFailed] = []
    with pytest.raises(PartialError, match="4 of 5 photos could not be painted"):
        paint(folder, "out", listener=lambda event: failed.append(event) if isinstance(event, FrameFailed) else None)
    assert all("claims 10000 megapixels" in event.message for event in failed)
    assert files(tmp_path / "out") == ["good.png"]


def test_videos_that_claim_a_thousand_million_frames(tmp_path: Path, paint: Paint) -> None:
    many = struct.pack("<I", 10**9)
    ffmpeg(*moving_source(seconds=0.12), "-c:v", "mpeg4", tmp_path / "a.avi")
    data = bytearray((tmp_path / "a.avi").read_bytes())
    for place in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        data[place : place + 4] = many
    (tmp_path / "a.avi").write_bytes(data)
    told = notices(paint(tmp_path / "a.avi", "o.mkv"))
    assert "is damaged, and its good frames are painted: 3 of 1000000000 frames can be read" in told
    assert video_reader.scan(tmp_path / "o.mkv").frame_count == 3

    ffmpeg(*moving_source(seconds=0.12), *H264, tmp_path / "a.mp4")
    data = bytearray((tmp_path / "a.mp4").read_bytes())
    # All samples of one byte, and in one chunk: an index that would take gigabytes.
    for name, offset, values in (("stsz", 8, (1, 10**9)), ("stts", 12, (10**9,)), ("stsc", 16, (10**9,))):
        place = data.index(name.encode()) + offset
        data[place : place + 4 * len(values)] = struct.pack(f">{len(values)}I", *values)
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(InputError, match=r"cannot read video .*a\.mp4"):
        paint(tmp_path / "a.mp4", "o.mp4")


def test_frames_that_are_years_apart(tmp_path: Path, paint: Paint) -> None:
    path = tmp_path / "slow.mkv"
    ffmpeg(*moving_source(seconds=0.12), *H264, "-vf", "setpts=PTS*1e9", path)
    for output in ("o.webm", "o.mp4"):
        paint(path, output)
        assert video_reader.scan(tmp_path / output).frame_count == 3


def test_a_size_that_the_codec_does_not_hold_is_refused_first(tmp_path: Path, paint: Paint) -> None:
    path = tmp_path / "a.mkv"
    ffmpeg(*moving_source(seconds=0.12), "-vf", "scale=33:15,setsar=1", "-c:v", "ffv1", path)
    with pytest.raises(UsageError, match=r"33×15 has an odd side.* yuv420p"):
        paint(path, "o.mp4", encoding=Encoding(pixel_format="yuv420p"))
    with pytest.raises(UsageError, match=r"33×15 is too small for HEVC"):
        paint(path, "o.mp4", encoding=Encoding("hevc"))
    assert not (tmp_path / "o.mp4.impasto").exists()


# --- broken parts of films --------------------------------------------------------------------------------------------


def test_broken_sound_costs_the_sound(tmp_path: Path, paint: Paint) -> None:
    """The paintings of a night are not thrown away for it."""
    path = tmp_path / "a.webm"
    vorbis = ["-c:v", "libvpx", "-deadline", "realtime", "-c:a", "libvorbis", "-fflags", "+bitexact"]
    ffmpeg(*moving_source(seconds=0.12), *sine(0.12), *vorbis, path)
    data = bytearray(path.read_bytes())
    codebooks = data.index(b"\x05vorbis") + 60
    data[codebooks : codebooks + 40] = bytes(40)
    path.write_bytes(data)
    told = notices(paint(path, "o.mov"))
    assert f"left out, as broken in {path}: the sound" in told
    assert video_reader.scan(tmp_path / "o.mov").frame_count == 3
    assert not video_reader.probe(tmp_path / "o.mov").has_audio
    assert [name for name in files(tmp_path) if "partial" in name] == []


def test_a_kind_of_side_data_without_a_name(tmp_path: Path) -> None:
    """The EXIF of a picture comes with its frame, and PyAV does not know it."""
    if not image_file.heif_is_there():
        pytest.skip("pillow-heif is not installed")
    seeds = make_seeds(tmp_path)
    (data,) = (seed.data for seed in seeds if seed.suffix == ".heic")
    path = tmp_path / "photo.mov"
    # Under its own brand it is refused as an image.
    path.write_bytes(data[:8] + b"isom" + data[12:])
    assert video_reader.probe(path).codec == "hevc"


def test_a_playlist_is_no_image(tmp_path: Path, paint: Paint) -> None:
    secret = tmp_path / "secret.ts"
    ffmpeg(*moving_source(seconds=0.12), *H264, secret)
    path = tmp_path / "list.m3u8"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{json.dumps(secret.name)}\n#EXT-X-ENDLIST\n")
    for output in ("o.mp4", "o"):
        with pytest.raises(InputError, match=r"list\.m3u8 is a playlist, which only names a video"):
            paint(path, output)
    with pytest.raises(InputError, match="it is a playlist"):
        paint(path, "o.png")
    shutil.copy(path, tmp_path / "list.mp4")
    with pytest.raises(InputError, match="it is a playlist"):
        paint(tmp_path / "list.mp4", "o.mp4")


def test_colours_of_every_name_are_written(tmp_path: Path) -> None:
    """What reading calls them, writing knows."""
    kinds = {
        "matrix": color_module._MATRICES,
        "primaries": color_module.PRIMARIES,
        "transfer": color_module.TRANSFERS,
    }
    path = tmp_path / "a.mkv"
    for kind, names in kinds.items():
        for name in names.values():
            color = color_module.VideoColor(**{kind: name})
            with VideoWriter(path, (16, 16), Timing.constant(25, 1), color=color, preset="ultrafast") as writer:
                writer.write(numbered(3, (16, 16)))
            kept = getattr(video_reader.probe(path).color, kind)
            computed = kind != "matrix" or name in color_module.SWSCALE_MATRICES
            # High dynamic range is reduced when it is read, light and its logarithm are coded for a screen, and
            # Matroska has no number for one of the primaries.
            is_other = name in ("smpte2084", "arib-std-b67", "linear", "log100", "log316", "jedec-p22")
            assert kept == {"bt2020c": "bt2020nc"}.get(name, name) or not computed or is_other, (kind, name)


def test_the_style_is_a_picture_too(tmp_path: Path, paint: Paint, content_file: Path) -> None:
    for name, data in {"cut.png": content_file.read_bytes()[:200], "none.jpg": b"", "text.png": b"text"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            paint(content_file, "o.png", style=tmp_path / name)
