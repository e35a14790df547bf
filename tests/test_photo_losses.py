"""What a photo has besides its first picture: counted, reported, or kept in the painting's file."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from impasto.media import image_file
from impasto.media.exif_tags import EXIF_IFD, PREFIX, Tag, TagTree
from impasto.media.image_exif import tags_of_exif
from impasto.media.image_metadata import Extras, read_extras
from impasto.media.images import image_facts, image_size, write_image
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import stylize
from tests.conftest import TINY
from tests.support.unpainted import unpainted

NS = b"http://ns."
GAIN_MAP = b'xmlns:hdrgm="' + NS + b'adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
MOTION = b'xmlns:Camera="' + NS + b'google.com/photos/1.0/camera/" Camera:MotionPhoto="1" Camera:BurstID="b"'
CONTAINER = (
    b'<C:Directory xmlns:C="' + NS + b'google.com/photos/1.0/container/"><rdf:Seq><rdf:li C:Item="1"/></rdf:Seq>'
    b"</C:Directory>"
)


def picture(side: int = 64) -> Image.Image:
    return Image.fromarray(np.full((side * 3 // 4, side, 3), 100, np.uint8))


def xmp(attributes: bytes = b"", inside: bytes = b"") -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description dc:title="kept" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        + attributes
        + b">"
        + inside
        + b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def segment(marker: int, data: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def exif(*inner: Tag, outer: tuple[Tag, ...] = ()) -> bytes:
    tree = TagTree("<", [Tag(315, 2, 2, b"A\0"), *outer])
    tree.inner[EXIF_IFD] = [Tag(42036, 2, 2, b"L\0"), *inner]
    return PREFIX + tree.to_bytes()


def tags_of(path: Path) -> dict[int, bytes]:
    data = read_extras(path).exif
    assert data is not None
    tree = tags_of_exif(data)
    return {tag.number: tag.value for tag in (*tree.tags, *tree.inner.get(EXIF_IFD, []))}


def test_thumbnails_and_masks_are_no_further_pictures(tmp_path: Path) -> None:
    """Cameras put a smaller copy into a JPEG (CIPA DC-007), and scanners into a TIFF."""
    path = tmp_path / "a.jpg"
    picture().save(path, format="MPO", save_all=True, append_images=[picture(32)])
    assert image_facts(path).not_kept == ("the first of its 2 pictures is painted",)
    data = path.read_bytes()
    entry = data.index(b"0100", data.index(b"MPF\0"))  # The version, before the entries of both pictures.
    undefined = data.index(struct.pack("<I", 0x030000), entry)
    path.write_bytes(data[: undefined + 16] + struct.pack("<I", 0x010001) + data[undefined + 20 :])
    assert image_facts(path).not_kept == ()
    pages = [picture(), picture(32)]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert image_facts(tmp_path / "a.tif").not_kept == ()


@pytest.mark.parametrize(
    ("data", "told", "gone"),
    [
        (xmp(GAIN_MAP), "the HDR gain map is left out", b"hdrgm:"),
        (xmp(MOTION), "the film of a motion photo is left out", b"MotionPhoto"),
        (xmp(MOTION, CONTAINER), "the film of a motion photo is left out", b"Directory"),
        (
            xmp(b'xmlns:D="' + NS + b'google.com/photos/1.0/depthmap/" D:Format="RangeInverse"'),
            "the depth map is left out",
            b"D:Format",
        ),
        (
            xmp(b'xmlns:n="' + NS + b'adobe.com/xmp/note/" n:HasExtendedXMP="0123"'),
            "the extended XMP is left out",
            b"HasExtendedXMP",
        ),
    ],
    ids=["gain map", "motion photo", "container", "depth", "extended"],
)
def test_what_is_attached_is_reported_and_no_longer_announced(
    tmp_path: Path, data: bytes, told: str, gone: bytes
) -> None:
    """A viewer of the painting would look for what XMP announces, and find another file's end."""
    import xml.dom.minidom

    path = tmp_path / "a.webp"
    picture().save(path, xmp=data)
    assert image_facts(path).not_kept == (told,)
    kept = read_extras(path).xmp
    assert kept is not None and gone not in kept
    assert xml.dom.minidom.parseString(kept).getElementsByTagName("rdf:Description")[0].getAttribute("dc:title")
    assert (b"BurstID" in kept) == (b"BurstID" in data)


def test_a_gain_map_is_not_counted_as_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path, format="MPO", save_all=True, append_images=[picture(32)], xmp=xmp(GAIN_MAP))
    assert image_facts(path).not_kept == ("the HDR gain map is left out",)
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG")
    data = buffer.getvalue()
    path.write_bytes(data[:2] + segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0") + data[2:])
    assert image_facts(path).not_kept == ("the HDR gain map is left out",)


def test_the_primary_picture_of_a_heic_is_called_that(tmp_path: Path) -> None:
    if not image_file.heif_is_there():
        pytest.skip("pillow-heif is not installed")
    path = tmp_path / "a.heic"
    picture().save(path, save_all=True, append_images=[picture(), picture()], primary_index=1)
    assert image_facts(path).not_kept == ("one of its 3 pictures is painted, the primary one",)


def test_a_damaged_second_page_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    picture().save(path, save_all=True, append_images=[picture()])
    data = bytearray(path.read_bytes())
    with Image.open(path) as image:
        second = image.tag_v2.next
    data[second : second + 2] = b"\xff\xff"
    path.write_bytes(data)
    assert image_facts(path).size == image_size(path) == (48, 64)


def test_metadata_that_is_stripped_is_not_missed(tmp_path: Path, style_file: Path) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path, exif=exif(Tag(0x927C, 7, 4, b"note")), comment=b"c")
    settings = load_settings("default", (*TINY, "size=none"))
    for strip, count in ((False, 3), (True, 0)):
        request = Request((path,), (style_file,), tmp_path / f"{strip}.bmp", settings, strip=strip)
        assert len(stylize(request, executor_factory=unpainted).not_kept) == count


def test_exif_as_text_in_a_png_is_kept(tmp_path: Path) -> None:
    """As ImageMagick writes it."""
    data, text = exif(), PngImagePlugin.PngInfo()
    lines = [data.hex()[start : start + 72] for start in range(0, 2 * len(data), 72)]
    text.add_text("Raw profile type exif", "\n".join(["", "exif", f"{len(data):8}", *lines, ""]), zip=True)
    text.add_text("Author", "A")
    picture().save(tmp_path / "a.png", pnginfo=text)
    assert tags_of(tmp_path / "a.png")[315] == b"A\0"
    assert image_facts(tmp_path / "a.png", ".png").metadata_not_kept == ()


def test_utf8_text_of_exif_3_and_further_names_are_kept(tmp_path: Path) -> None:
    name = "José 山".encode() + b"\0"
    outer = (Tag(33432, 129, len(name), name), Tag(316, 2, 4, b"Mac\0"), Tag(269, 2, 4, b"Doc\0"))
    picture().save(tmp_path / "a.jpg", exif=exif(outer=outer))
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        target = tmp_path / f"b{suffix}"
        write_image(target, np.asarray(picture()), read_extras(tmp_path / "a.jpg"))
        found = tags_of(target)
        assert (found[33432], found[316], found[269]) == (name, b"Mac\0", b"Doc\0"), suffix


def test_the_color_space_of_the_painting_is_srgb(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.jpg", exif=exif(Tag(0xA001, 3, 1, struct.pack("<H", 65535))))
    assert tags_of(tmp_path / "a.jpg")[0xA001] == struct.pack("<H", 1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".bmp"])
def test_every_format_keeps_the_resolution(tmp_path: Path, suffix: str) -> None:
    for data in (None, exif()):
        path = tmp_path / f"a{suffix}"
        extras = Extras(exif=data if suffix != ".bmp" else None, dpi=(300, 150))
        write_image(path, np.asarray(picture()), extras)
        assert read_extras(path).dpi == pytest.approx((300, 150), abs=0.1)
        if extras.exif is not None:
            assert tags_of(path)[315] == b"A\0"


def test_no_pixel_of_a_png_is_decoded_for_its_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of large photos are planned before one is painted."""
    plain, late = tmp_path / "plain.png", tmp_path / "late.png"
    picture().save(plain)
    turned = Image.Exif()
    turned[274] = 6
    picture().save(late, exif=turned)
    data = late.read_bytes()
    start = data.index(b"eXIf") - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4])]
    data = data.replace(chunk, b"")
    late.write_bytes(data[:-12] + chunk + data[-12:])
    assert image_facts(late).size == image_size(late) == (64, 48)

    def load(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    assert image_facts(plain).size == (48, 64)
