"""Photos as people have them: misnamed, of several pictures, of kinds that are not read, and not theirs to read."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, TiffImagePlugin

from impasto.errors import InputError, PartialError
from impasto.events import Notice
from impasto.media import image_file, images
from impasto.media.find_content import resolve_content
from impasto.media.image_folders import list_images
from impasto.media.video_reader import probe
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.dry_run import dry_run
from impasto.run.job_run import resume, stylize
from tests.conftest import TINY
from tests.support.clips import ffmpeg, moving_source
from tests.support.unpainted import unpainted
from tests.support.unprivileged import let_others_enter, not_as_root


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A folder that others may enter."""
    let_others_enter(tmp_path)
    return tmp_path


def picture(level: int = 100) -> Image.Image:
    return Image.fromarray(np.full((48, 64, 3), level, np.uint8))


def request(content: Path, style: Path, output: Path) -> Request:
    return Request((content,), (style,), output, load_settings("default", (*TINY, "size=none")))


def save_raw(path: Path, *, is_dng: bool) -> None:
    """A TIFF as cameras write it: a small preview first, which points to the picture of the sensor."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[254] = 1
    tags[330] = 8
    if is_dng:
        tags[50706] = b"\1\4\0\0"
        tags.tagtype[50706] = 1
    else:
        tags[271] = "NIKON CORPORATION"
    picture().save(path, format="TIFF", tiffinfo=tags)


@pytest.mark.parametrize("name", ["a.dng", "a.nef", "a.tif", "a.jpg"])
@pytest.mark.parametrize("is_dng", [True, False])
def test_camera_raw_is_refused_whatever_it_is_called(tmp_path: Path, style_file: Path, name: str, is_dng: bool) -> None:
    path = tmp_path / name
    save_raw(path, is_dng=is_dng)
    with pytest.raises(InputError, match=r"camera RAW.*develop it first"):
        stylize(request(path, style_file, tmp_path / "o.png"))
    with pytest.raises(InputError, match=r"camera RAW.*develop it first"):
        stylize(request(style_file, path, tmp_path / "o.png"))
    assert not (tmp_path / "o.png.impasto").exists()


@pytest.mark.parametrize("head", [b"II*\0\x10\0\0\0CR\x02\0", b"\0\0\0\x18ftypcrx ", b"FUJIFILMCCD-RAW 0201", b"IIU\0"])
def test_camera_raw_of_other_kinds_is_called_that(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(head + bytes(200))
    with pytest.raises(InputError, match="camera RAW"):
        images.read_image(path)


def test_pixels_of_floating_point_numbers_are_named_before_painting(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.new("F", (64, 48), 0.5).save(path)
    for read in (images.read_image, images.image_facts, images.image_size):
        with pytest.raises(InputError, match="its pixels are floating-point numbers; convert it to 16 bits"):
            read(path)


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "PNG", "WEBP", "TIFF", "BMP"])
def test_what_an_image_is_decides_and_not_its_name(tmp_path: Path, style_file: Path, kind: str) -> None:
    if kind == "HEIF" and not image_file.heif_is_there():
        pytest.skip("pillow-heif is not installed")
    path = tmp_path / "a.jpg"
    picture().save(path, format=kind)
    stylize(request(path, style_file, tmp_path / "o.jpg"), executor_factory=unpainted)
    assert np.abs(images.read_image(tmp_path / "o.jpg").astype(int) - 100).max() < 6


def test_a_heic_without_its_package_says_what_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_file, "heif_is_there", lambda: False)
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\0\0\0\x1cftypheic" + bytes(100))
    with pytest.raises(InputError, match="pip install pillow-heif"):
        images.read_image(path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jpg", b"GIF89a" + bytes(50), "a GIF, which counts as a video; to paint it"),
        ("a.png", b"\0\0\0\x18ftypisom" + bytes(50), r"a video \(MP4 or MOV\)"),
        ("a.png", b"%PDF-1.7" + bytes(50), "a PDF, which is not read; save it as PNG or JPEG"),
        ("a.png", b"\xff\x0a" + bytes(50), "a JPEG XL, which is not read"),
        ("a.jpg", b"\xff\xd8\xff\xf7" + bytes(50), "a JPEG-LS, which is not read"),
        ("a.png", b"\x89PNG" + bytes(50), "a PNG whose header is damaged"),
        ("a.png", b"version https://git-lfs.github.com", "a pointer of Git LFS"),
    ],
)
def test_what_is_no_image_is_called_what_it_is(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        images.read_image(tmp_path / name)


def test_an_image_named_as_a_video_is_called_an_image(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.mp4", format="PNG")
    with pytest.raises(InputError, match="it is a PNG"):
        probe(tmp_path / "a.mp4")


def test_a_gif_named_as_an_image_is_called_a_video_where_a_video_is_the_output(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", format="GIF")
    with pytest.raises(InputError, match=r"is a GIF.*: give its name the ending"):
        resolve_content([tmp_path / "a.jpg"], tmp_path / "o.mp4", "auto")


def test_a_codec_without_a_decoder_is_called_that(tmp_path: Path) -> None:
    ffmpeg(*moving_source(seconds=0.1), "-c:v", "libx264", tmp_path / "a.mp4")
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(InputError, match="no decoder for its codec"):
        probe(tmp_path / "b.mp4")


def test_a_png_with_a_large_profile_or_text_is_read(tmp_path: Path) -> None:
    """As every viewer shows it; Pillow's own limits are as before afterwards."""
    before = PngImagePlugin.MAX_TEXT_CHUNK
    text = PngImagePlugin.PngInfo()
    text.add_itxt("Comment", "x" * 3_000_000, zip=True)
    picture().save(tmp_path / "text.png", pnginfo=text)
    data = bytearray((tmp_path / "text.png").read_bytes())
    profile = b"icc\0\0" + zlib.compress(bytes(3_000_000))
    chunk = b"iCCP" + profile
    chunk = len(profile).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    (tmp_path / "profile.png").write_bytes(data[:33] + chunk + data[33:])
    for name in ("text.png", "profile.png"):
        assert np.array_equal(images.read_image(tmp_path / name), np.asarray(picture())), name
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


def test_a_file_that_may_not_be_read_is_called_that(open_path: Path) -> None:
    photo, video = open_path / "a.png", open_path / "a.mkv"
    picture().save(photo)
    ffmpeg(*moving_source(seconds=0.1), video)
    for path in (photo, video):
        path.chmod(0)
    with not_as_root():
        with pytest.raises(InputError, match=r"a\.png: reading it is not allowed here; change its permissions"):
            images.read_image(photo)
        with pytest.raises(InputError, match=r"a\.mkv: reading it is not allowed here; change its permissions"):
            probe(video)


def test_a_folder_that_may_not_be_listed_is_named_and_the_others_are_painted(
    open_path: Path, style_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = open_path / "card"
    closed = card / "closed"
    for folder in (
        card / "DCIM",
        closed,
        *(card / name for name in ("@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")),
    ):
        folder.mkdir(parents=True)
        picture().save(folder / "a.png")
    (card / "._a.png").write_bytes(b"AppleDouble")
    closed.chmod(0)
    with not_as_root():
        listing = list_images(card)
        with pytest.raises(InputError, match=f"cannot list the images in {closed}: reading it is not allowed"):
            list_images(closed)
        with pytest.raises(InputError, match="its frames would be missing"):
            resolve_content([card], open_path / "o", "sequence")
        content = resolve_content([card], open_path / "o", "auto")
    assert (listing.paths, listing.unreadable) == ([card / "DCIM" / "a.png"], (closed,))
    # The job itself needs programs that only we may start: it is handed what was listed.
    monkeypatch.setattr("impasto.plan.inputs.resolve_content", lambda *_: content)
    asked = request(card, style_file, open_path / "o")
    with pytest.raises(PartialError, match=f"{closed} may not be listed") as error:
        stylize(asked, executor_factory=unpainted)
    assert error.value.exit_code == 3
    assert [path.name for path in (open_path / "o").rglob("*.png")] == ["a.png"]
    with pytest.raises(PartialError, match="may not be listed"):
        resume(asked.job_folder)


def test_photos_that_cannot_be_painted_are_told_before_painting(tmp_path: Path, style_file: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture().save(folder / "a.png")
    (folder / "b.jpg").write_bytes(b"%PDF-1.7" + bytes(50))
    picture().resize((64, 2)).save(folder / "c.png")
    told: list[str] = []
    dry_run(
        request(folder, style_file, tmp_path / "o"),
        lambda event: told.append(event.text) if isinstance(event, Notice) else None,
    )
    (line,) = (text for text in told if "cannot be painted" in text)
    assert line.startswith("2 of 3 photos cannot be painted (first: cannot read image ") and "it is a PDF" in line


def test_files_of_several_pictures_are_counted(tmp_path: Path, style_file: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    others = [picture(50), picture(150)]
    picture().save(folder / "pages.tif", save_all=True, append_images=others)
    picture().save(folder / "moving.webp", save_all=True, append_images=others, lossless=True)
    picture().save(folder / "moving.png", save_all=True, append_images=others)
    picture().save(folder / "both.jpg", format="MPO", save_all=True, append_images=others[:1])
    picture().save(folder / "plain.jpg")
    picture().save(folder / "new.avif")
    for name in ("saved.jfif", "old.jif", "other.JPE"):
        picture().save(folder / name, format="JPEG")
    picture().save(folder / "pair.mpo", save_all=True, append_images=[picture(32)])
    picture().save(folder / "old.gif")
    for name in ("raw.nef", "Notes of Dr. Who", *(f"a.e{number}" for number in range(9))):
        (folder / name).write_bytes(b"x")
    done = stylize(request(folder, style_file, tmp_path / "o"), executor_factory=unpainted)
    assert set(done.not_kept) == {
        "files in the content that are no images are passed over: 1 .gif, 1 .nef (camera RAW), 1 without an ending, "
        "1 .e0, 1 .e1, 1 .e2, 1 .e3, 1 .e4, 4 with other endings",
        "moving.png and 2 more: the first of its 3 pictures is painted",
        "both.jpg and 1 more: the first of its 2 pictures is painted",
    }
    painted = {path.name for path in (tmp_path / "o").iterdir()}
    jpegs = {"both.jpg", "plain.jpg", "new.jpg", "saved.jpg", "old.jpg", "other.jpg", "pair.jpg"}
    assert painted == {"pages.tif", "moving.webp", "moving.png"} | jpegs
