"""What cannot be read is called what it is: not allowed, camera RAW, of a kind that is not read, or no picture."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto.errors import ImpastoError, InputError
from impasto.media import image_file
from impasto.media.exif_tags import Tag, TagTree
from impasto.media.find_content import resolve_content
from impasto.media.image_folders import HIDDEN, list_images
from impasto.media.images import image_facts, read_image
from impasto.media.video_reader import probe
from impasto.motion.flo_files import read_flo
from impasto.presets import load_settings
from impasto.shots.boundaries import parse_cuts
from impasto.weight_files import read_state_dict
from tests.test_photo_files import not_as_root, open_path

__all__ = ["open_path"]


def picture() -> Image.Image:
    return Image.fromarray(np.full((48, 64, 3), 100, np.uint8))


def short(number: int, *values: int) -> Tag:
    return Tag(number, 3, len(values), struct.pack(f"<{len(values)}H", *values))


def long(number: int, *values: int) -> Tag:
    return Tag(number, 4, len(values), struct.pack(f"<{len(values)}I", *values))


def directory(*more: Tag, photometric: int = 2, compression: int = 1, bits: int = 8) -> list[Tag]:
    channels = 3 if photometric == 2 else 1
    layout = [short(258, *[bits] * channels), short(259, compression), short(262, photometric), short(277, channels)]
    place = [long(256, 64), long(257, 48), long(278, 48), long(273, 1000), long(279, 48 * 64 * channels * bits // 8)]
    return [*layout, *place, *more]


def tiff(tags: list[Tag], inner: list[Tag] | None = None, mark: bytes = b"") -> bytes:
    """A TIFF of one directory and its pixels; `inner` lies where tag 330 points, `mark` in the header."""
    begin = 8 + len(mark)
    body = TagTree("<", tags).directory(begin)
    data = (b"II*\0" + struct.pack("<I", begin) + mark + body).ljust(1000, b"\0") + bytes(48 * 64 * 8)
    return data if inner is None else data.ljust(30_000, b"\0") + TagTree("<", inner).directory(30_000)


CFA = 32803
RAW = {
    "sensor first (DNG of a telephone)": tiff(directory(photometric=CFA, bits=16)),
    "sensor made linear": tiff(directory(photometric=34892, bits=16)),
    "a version of DNG": tiff(directory(Tag(50706, 1, 4, b"\1\4\0\0"))),
    "preview first, sensor inside (3FR, MEF)": tiff(directory(long(330, 30_000)), directory(photometric=CFA)),
    "reduced preview first (NEF, ARW, SRW)": tiff(directory(long(330, 30_000), long(254, 1)), directory()),
    "compression of a maker (PEF)": tiff(directory(photometric=1, compression=65535)),
    "compression of a maker inside (NEF)": tiff(directory(long(330, 30_000)), directory(compression=34713)),
    "CR2": tiff(directory(), mark=b"CR\2\0" + bytes(4)),
    "IIQ": tiff(directory(), mark=b"IIIITwaR"),
    "CRW": b"II\x1a\0\0\0HEAPCCDR" + bytes(200),
    "CR3": b"\0\0\0\x18ftypcrx " + bytes(200),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(200),
    "RW2": b"IIU\0" + bytes(200),
    "ORF": b"IIRO" + bytes(200),
    "X3F": b"FOVb" + bytes(200),
    "MRW": b"\0MRM" + bytes(200),
}


@pytest.mark.parametrize("data", RAW.values(), ids=RAW.keys())
@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_camera_raw_by_what_is_in_the_file(tmp_path: Path, data: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(data)
    for read in (read_image, image_facts):
        with pytest.raises(InputError, match=r"it is camera RAW.*develop it first, to TIFF or JPEG"):
            read(tmp_path / name)


def test_a_tiff_of_the_same_layout_is_read(tmp_path: Path) -> None:
    """Also one with smaller copies of itself, as map services and scanners write it."""
    for number, data in enumerate((tiff(directory()), tiff(directory(long(330, 30_000)), directory(long(254, 1))))):
        (tmp_path / f"{number}.tif").write_bytes(data)
        assert not read_image(tmp_path / f"{number}.tif").any()


def jpeg_of(bits: int) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG")
    data = bytearray(buffer.getvalue())
    data[data.index(b"\xff\xc0") + 4] = bits
    return bytes(data)


def bmp_of(offset: int, value: int) -> bytes:
    buffer = io.BytesIO()
    picture().save(buffer, "BMP")
    data = bytearray(buffer.getvalue())
    data[offset] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.tif", tiff(directory(compression=50002)), "unsupported compression 50002"),
        ("a.tif", tiff(directory(short(339, 3, 3, 3), bits=32)), "unknown pixel mode"),
        ("a.jpg", jpeg_of(12), "cannot handle 12-bit layers"),
        ("a.bmp", bmp_of(30, 4), r"Unsupported BMP compression \(4\)"),
        ("a.bmp", bmp_of(28, 64), r"Unsupported BMP pixel depth \(64\)"),
    ],
)
def test_a_kind_that_is_not_read_is_not_called_damaged(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=rf"of a kind that is not read, or its header is damaged \({reason}\); save"):
        read_image(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ((b"G" + bytes(187)) * 4, r"it is a video \(MPEG-TS\)"),
        ((bytes(4) + b"G" + bytes(187)) * 4, r"it is a video \(MPEG-TS\)"),
        (b"\n<!DocType HTML><html>", "it is a web page; get the picture itself"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>", "it is an SVG or another XML"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X" + bytes(99), "nothing but what macOS keeps beside a file"),
        (bytes(5000), "nothing but zeros, as a copy that broke off leaves; get the picture itself"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif" + bytes(99), "it is an AVIF whose header is damaged"),
    ],
)
def test_no_picture_is_called_what_it_is(tmp_path: Path, data: bytes, told: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match=told):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["HEIF", "AVIF", "JPEG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_an_image_of_any_kind_is_no_video(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "HEIF" and not image_file.heif_is_there():
        pytest.skip("pillow-heif is not installed")
    picture().save(tmp_path / name, format=kind)
    shown = {"HEIF": "a HEIC", "AVIF": "an AVIF", "WEBP": "a WebP"}.get(kind, f"a {kind}")
    with pytest.raises(InputError, match=f"it is {shown}"):
        probe(tmp_path / name)


def test_an_avif_where_pillow_reads_none_says_what_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.jpg", format="AVIF")
    picture().save(tmp_path / "b.jpg")
    monkeypatch.setattr(image_file, "_avif_is_there", lambda: False)
    monkeypatch.setattr(image_file, "heif_is_there", lambda: False)  # It reads AVIF too.
    with pytest.raises(InputError, match="pip install --upgrade pillow"):
        read_image(tmp_path / "a.jpg")
    assert read_image(tmp_path / "b.jpg").shape == (48, 64, 3)


@pytest.mark.parametrize("is_inside", [False, True], ids=["the file", "its folder"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.yaml", lambda path: load_settings(str(path), ())),
        ("cuts.txt", lambda path: parse_cuts(str(path))),
        ("a.flo", read_flo),
        ("a.safetensors", lambda path: read_state_dict(path, "weights")),
        ("a.pth", lambda path: read_state_dict(path, "weights")),
        ("a.png", read_image),
        ("a.mp4", probe),
    ],
)
def test_what_may_not_be_read_is_called_that(
    open_path: Path, name: str, read: Callable[[Path], object], is_inside: bool
) -> None:
    folder = open_path / "closed"
    folder.mkdir()
    (folder / name).write_text("x")
    (folder if is_inside else folder / name).chmod(0)
    with not_as_root(), pytest.raises(ImpastoError, match=f"{name}.*reading it is not allowed here; change its permis"):
        read(folder / name)


def test_content_in_a_folder_that_may_not_be_entered(open_path: Path) -> None:
    folder = open_path / "closed"
    folder.mkdir()
    picture().save(folder / "a.png")
    folder.chmod(0o700)
    with not_as_root(), pytest.raises(InputError, match=r"a\.png lies in a folder that may not be entered"):
        resolve_content([folder / "a.png"], open_path / "o.png", "auto")
    # A folder that may be listed but not entered is one that cannot be read; a link into it is no fault of its folder.
    card = open_path / "card"
    (card / "half" / "deeper").mkdir(parents=True)
    for path in (card / "a.png", card / "half" / "b.png"):
        picture().save(path)
    (card / "c.png").symlink_to(card / "half" / "b.png")
    (card / "half").chmod(0o744)
    with not_as_root():
        listing = list_images(card)
        with pytest.raises(InputError, match=r"cannot list the images in .*half: reading it is not allowed here"):
            list_images(card / "half")
    assert (listing.paths, listing.unreadable) == ([card / "a.png"], (card / "half",))


def test_a_name_that_no_disk_takes_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be read: File name too long"):
        resolve_content([tmp_path / ("a" * 300)], tmp_path / "o", "auto")


def test_what_systems_leave_in_folders_is_passed_over_as_hidden(tmp_path: Path) -> None:
    for name in ("Thumbs.db", "desktop.ini", "._a.jpg", ".picasa.ini"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("@eaDir", "#recycle", "$Recycle.Bin", "System Volume Information", "__MACOSX", "@tmp", "found.001"):
        (tmp_path / name).mkdir()
        picture().save(tmp_path / name / "a.png")
    picture().save(tmp_path / "a.png")
    listing = list_images(tmp_path)
    assert (listing.paths, dict(listing.skipped)) == ([tmp_path / "a.png"], {HIDDEN: 4})
    # Named by itself, such a folder is content as any other.
    assert list_images(tmp_path / "@eaDir").paths == [tmp_path / "@eaDir" / "a.png"]
