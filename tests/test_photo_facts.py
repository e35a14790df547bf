"""EXIF with the bytes that it has, as much of it as a format holds, and colours that are described by numbers."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from impasto.media.exif_tags import EXIF_IFD, PREFIX, Tag, TagTree
from impasto.media.image_exif import tags_of_exif
from impasto.media.image_metadata import Extras, read_extras
from impasto.media.images import image_facts, read_image, write_image
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import stylize
from tests.conftest import TINY
from tests.support.unpainted import unpainted

ASCII, SHORT, RATIONAL, UNDEFINED = 2, 3, 5, 7
ARTIST, COPYRIGHT, DESCRIPTION, LENS, EXPOSURE, MAKER_NOTE, COLOR_SPACE = 315, 33432, 270, 42036, 33434, 37500, 40961


def text(number: int, value: str, encoding: str = "utf-8") -> Tag:
    data = value.encode(encoding) + b"\0"
    return Tag(number, ASCII, len(data), data)


def exif(order: str = "<", *more: Tag) -> bytes:
    tree = TagTree(order, [text(ARTIST, "José Müller"), text(COPYRIGHT, "© 山田"), *more])
    exposure = Tag(EXPOSURE, RATIONAL, 1, struct.pack(f"{order}II", 1, 250))
    tree.inner[EXIF_IFD] = [text(LENS, "Größe 50 mm", "latin-1"), exposure]
    return PREFIX + tree.to_bytes()


def tree_of(path: Path) -> TagTree:
    data = read_extras(path).exif
    assert data is not None
    return tags_of_exif(data)


def value(tree: TagTree, number: int) -> bytes | None:
    return next((tag.value for tag in (*tree.tags, *tree.inner.get(EXIF_IFD, [])) if tag.number == number), None)


def save(path: Path, data: bytes) -> None:
    """An image with this EXIF."""
    if path.suffix == ".tif":
        write_image(path, np.full((48, 64, 3), 90, np.uint8), read_extras_of(path, data))
        return
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(path, exif=data)


def read_extras_of(path: Path, data: bytes) -> Extras:
    other = path.with_suffix(".png")
    save(other, data)
    return read_extras(other)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("given", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_text_keeps_its_bytes(tmp_path: Path, given: str, suffix: str, order: str) -> None:
    source, target = tmp_path / f"a{given}", tmp_path / f"b{suffix}"
    save(source, exif(order))
    write_image(target, read_image(source), read_extras(source))
    found = tree_of(target)
    assert value(found, ARTIST) == "José Müller\0".encode()
    assert value(found, COPYRIGHT) == "© 山田\0".encode()
    assert value(found, LENS) == "Größe 50 mm\0".encode("latin-1")
    with Image.open(target) as image:
        # Another program finds them too, numbers in their own byte order.
        assert float(image.getexif().get_ifd(EXIF_IFD)[EXPOSURE]) == 1 / 250
        assert image.getexif()[ARTIST].encode("latin-1").decode() == "José Müller"
        image.load()
    assert np.abs(read_image(target).astype(int) - 90).max() < 4


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".jpg"])
def test_a_long_tag_is_kept_or_left_out_alone(tmp_path: Path, style_file: Path, suffix: str) -> None:
    source, target = tmp_path / "a.png", tmp_path / f"b{suffix}"
    save(source, exif("<", text(DESCRIPTION, "d" * 70_000)))
    settings = load_settings("default", (*TINY, "size=none"))
    done = stylize(Request((source,), (style_file,), target, settings), executor_factory=unpainted)
    found = tree_of(target)
    assert value(found, ARTIST) == "José Müller\0".encode()
    assert value(found, LENS) is not None
    if suffix == ".jpg":
        assert value(found, DESCRIPTION) is None
        assert done.not_kept == ("ImageDescription of the EXIF is left out: .jpg files hold at most 64 kB of it",)
    else:
        assert value(found, DESCRIPTION) == b"d" * 70_000 + b"\0"
        assert done.not_kept == ()


def test_long_xmp_is_kept_or_left_out_and_reported(tmp_path: Path) -> None:
    xmp = b"<x:xmpmeta>" + b"x" * 70_000 + b"</x:xmpmeta>"
    source = tmp_path / "a.webp"
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(source, xmp=xmp, exif=exif())
    extras = read_extras(source)
    assert extras.xmp == xmp
    fitted, lost = extras.fitted(".jpg")
    assert fitted.xmp is None and fitted.exif == extras.exif
    assert len(lost) == 1 and "the XMP is left out" in lost[0]
    assert extras.fitted(".png") == (extras, [])


def test_what_is_left_out_of_a_photo_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    tree = TagTree("<", [text(ARTIST, "A")])
    tree.inner[EXIF_IFD] = [Tag(MAKER_NOTE, UNDEFINED, 8, b"NIKON\0\0\0")]
    image = Image.fromarray(np.full((48, 64, 3), 90, np.uint8))
    image.save(path, exif=PREFIX + tree.to_bytes(), comment=b"made by hand")
    note = "the maker's note of the camera is left out"
    assert image_facts(path).metadata_not_kept == image_facts(path, ".jpg").metadata_not_kept == (note,)
    none = "left out: .webp files hold none"
    assert image_facts(path, ".webp").metadata_not_kept == (note, f"the comment in the file is {none}")
    assert value(tree_of(path), MAKER_NOTE) is None
    plain = tmp_path / "plain.jpg"
    image.save(plain, exif=exif())
    assert image_facts(plain).metadata_not_kept == ()


@pytest.mark.parametrize(
    "damage", [b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\x01\0", bytes(100)]
)
def test_broken_exif_counts_as_none(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(path, **({"exif": damage} if damage else {}))
    assert read_extras(path).exif is None
    assert image_facts(path).metadata_not_kept == (("the EXIF is left out: it is damaged",) if damage else ())


def with_chunks(path: Path, *chunks: tuple[bytes, bytes]) -> None:
    """A PNG of a ramp of grey with these chunks before its pixels."""
    import zlib

    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    Image.fromarray(ramp).save(path)
    data = path.read_bytes()
    added = b"".join(len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4) for name, body in chunks)
    path.write_bytes(data[:33] + added + data[33:])


def places(*values: float) -> bytes:
    return struct.pack(">8I", *(round(100_000 * value) for value in values))


SRGB_PLACES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


@pytest.mark.parametrize("gamma", [1.0, 0.5556, 0.25])
def test_the_gamma_of_a_png_is_applied(tmp_path: Path, gamma: float) -> None:
    path = tmp_path / "a.png"
    with_chunks(path, (b"gAMA", round(100_000 * gamma).to_bytes(4)))
    light = (np.linspace(0, 255, 64).astype(np.uint8) / 255) ** (1 / gamma)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(read_image(path)[0, :, 0] - expected).max() <= 0.51


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [(b"gAMA", (45_455).to_bytes(4))],
        [(b"gAMA", (45_455).to_bytes(4)), (b"cHRM", places(*SRGB_PLACES))],
        [(b"sRGB", b"\0"), (b"gAMA", (100_000).to_bytes(4))],
        [(b"cHRM", places(0.3127, 0.3290, 0.7, 0.3, 0.17, 0.8, 0.13, 0.05))],
    ],
    ids=["none", "gamma", "both", "srgb first", "places alone"],
)
def test_a_png_in_srgb_keeps_its_numbers(tmp_path: Path, chunks: list[tuple[bytes, bytes]]) -> None:
    path = tmp_path / "a.png"
    with_chunks(path, *chunks)
    assert np.array_equal(read_image(path)[0, :, 0], np.linspace(0, 255, 64).astype(np.uint8))


def test_the_chromaticities_of_a_png_are_applied(tmp_path: Path) -> None:
    """Adobe RGB by numbers looks as by its profile, which Little CMS computes."""
    path = tmp_path / "a.png"
    adobe = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
    with_chunks(path, (b"gAMA", (45_471).to_bytes(4)), (b"cHRM", places(*adobe)))
    color = np.full((4, 4, 3), (60, 180, 90), np.uint8)
    other = tmp_path / "b.png"
    Image.fromarray(color).save(other)
    data = other.read_bytes()
    chunks = path.read_bytes()[33 : 33 + 16 + 44]
    other.write_bytes(data[:33] + chunks + data[33:])
    found = read_image(other)[0, 0].astype(float)
    # By the definition of Adobe RGB (1998) and of sRGB, green of 180 is out of gamut in red only.
    linear = (np.array([60, 180, 90]) / 255) ** 2.19921875
    to_srgb = np.array([[1.39836, -0.39836, 0.0], [0.0, 1.0, 0.0], [0.0, -0.04293, 1.04293]])
    light = np.clip(to_srgb @ linear, 0, 1)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(found - expected).max() <= 1.5


def test_adobe_rgb_by_exif_is_converted_and_a_profile_goes_before_it(tmp_path: Path) -> None:
    tree = TagTree("<")
    tree.inner[EXIF_IFD] = [Tag(COLOR_SPACE, SHORT, 1, struct.pack("<H", 2))]
    data = PREFIX + tree.to_bytes()
    image = Image.fromarray(np.full((48, 64, 3), (60, 180, 90), np.uint8))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "adobe.jpg", exif=data, quality=100, subsampling=0)
    image.save(tmp_path / "profile.jpg", exif=data, quality=100, subsampling=0, icc_profile=srgb)
    assert np.abs(read_image(tmp_path / "profile.jpg")[20, 20].astype(int) - (60, 180, 90)).max() <= 2
    red, green, _ = read_image(tmp_path / "adobe.jpg")[20, 20].astype(int)
    assert red < 20 and abs(green - 180) <= 2
