"""Images look as they should whatever the file is like, and what is written is what is read."""

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from impasto.errors import InputError, OutputError, StorageError
from impasto.media import image_file
from impasto.media.frame_png import write_frame
from impasto.media.image_file import IMAGE_SUFFIXES, is_image_name
from impasto.media.image_folders import list_images
from impasto.media.image_metadata import Extras, read_extras
from impasto.media.images import image_size, read_image, read_image_and_alpha, write_image
from impasto.storage import TEMPORARY_MARK
from tests.support.seeds import numpy_stream


def picture(height: int = 13, width: int = 21, seed: int = 0) -> np.ndarray:
    return numpy_stream(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def corners() -> np.ndarray:
    """40×60, upright: red, green, blue and white in the corners top left, top right, bottom left, bottom right."""
    array = np.zeros((40, 60, 3), dtype=np.uint8)
    array[:20, :30], array[:20, 30:] = (255, 0, 0), (0, 255, 0)
    array[20:, :30], array[20:, 30:] = (0, 0, 255), (255, 255, 255)
    return array


def one_line(error: pytest.ExceptionInfo[BaseException], path: Path) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message


# --- writing and reading back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_what_is_written_is_what_is_read(tmp_path: Path, suffix: str) -> None:
    array = picture(65, 63) if suffix not in (".jpg", ".jpeg") else np.asarray(Image.fromarray(corners()))
    path = tmp_path / f"painted{suffix}"
    write_image(path, array)
    back = read_image(path)
    assert back.dtype == np.uint8 and back.shape == array.shape and back.flags.c_contiguous
    difference = np.abs(back.astype(int) - array).max()
    assert difference <= (8 if suffix in (".jpg", ".jpeg") else 0)
    assert image_size(path) == array.shape[:2]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_the_same_array_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}{suffix}", picture())
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_jpeg_keeps_the_full_resolution_of_colour(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", picture())
    with Image.open(tmp_path / "a.jpg") as image:
        assert {sampling[1:3] for sampling in image.layer} == {(1, 1)}  # type: ignore[attr-defined]


def test_a_png_says_that_it_is_srgb(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", picture())
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["srgb"] == 1


def test_a_png_is_not_searched_for_repeats(tmp_path: Path) -> None:
    noise = numpy_stream(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    slope = np.linspace(40, 200, 200)[:, None, None]
    grain = (slope + numpy_stream(4).normal(0, 12, (200, 200, 3))).clip(0, 255).astype(np.uint8)
    pictures = {"repeats": np.tile(noise, (1, 4, 1)), "grain": grain, "flat": np.full((200, 200, 3), 90, np.uint8)}
    sizes = {}
    for name, array in pictures.items():
        write_image(tmp_path / f"{name}.png", array)
        sizes[name] = (tmp_path / f"{name}.png").stat().st_size
        assert np.array_equal(read_image(tmp_path / f"{name}.png"), array)
    Image.fromarray(grain).save(tmp_path / "searched.png", compress_level=9)
    assert sizes["repeats"] > 4 * noise.nbytes, "it takes time, and a painting has none"
    assert sizes["grain"] < 1.02 * (tmp_path / "searched.png").stat().st_size
    assert sizes["flat"] < 0.02 * pictures["flat"].nbytes, "runs are found"


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (1, 5), (40, 57)])
@pytest.mark.parametrize("with_alpha", [False, True])
def test_a_frame_of_a_film_is_a_png_like_others(tmp_path: Path, size: tuple[int, int], with_alpha: bool) -> None:
    path, array = tmp_path / "frames" / "a.png", picture(*size)
    alpha = picture(*size, seed=1)[..., 0] // 2 if with_alpha else None
    write_frame(path, array, alpha)
    back, back_alpha = read_image_and_alpha(path)
    assert np.array_equal(back, array) and np.array_equal(back_alpha, alpha)
    write_image(tmp_path / "b.png", array, Extras(alpha))
    decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(decoded, cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_UNCHANGED)), "another decoder"
    with Image.open(path) as image, Image.open(tmp_path / "b.png") as other:
        image.verify()  # The checksums of all chunks.
        assert (image.mode, image.info, image.format) == (other.mode, other.info, "PNG")


def test_a_frame_has_the_same_bytes_and_hardly_more(tmp_path: Path) -> None:
    slope = np.linspace(40, 200, 200)[:, None, None]
    grain = (slope + numpy_stream(4).normal(0, 12, (200, 200, 3))).clip(0, 255).astype(np.uint8)
    for name in ("a", "b"):
        write_frame(tmp_path / f"{name}.png", grain)
    write_image(tmp_path / "c.png", grain)
    first, second, usual = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == second and len(first) < 1.1 * len(usual)


def test_writing_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.png") as error:
        write_image(tmp_path / "a.xyz", picture())
    one_line(error, Path("a.xyz"))
    with pytest.raises(OutputError, match="16383"):
        write_image(tmp_path / "a.webp", np.zeros((1, 16_384, 3), dtype=np.uint8))
    with pytest.raises(OutputError, match="65500"):
        write_image(tmp_path / "a.jpg", np.zeros((1, 65_501, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="float64"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 3)))
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, picture(seed=1))
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(StorageError, match="no space left"):
        write_image(path, picture(seed=2))
    assert path.read_bytes() == before
    assert not any(TEMPORARY_MARK in entry.name for entry in tmp_path.iterdir())


# --- pictures as they look --------------------------------------------------------------------------------------------

_STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}
"""How an upright picture lies in a file of each orientation, from the table in the EXIF standard."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = corners()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{suffix}"
    stored = Image.fromarray(np.ascontiguousarray(_STORED[orientation](upright)))
    options: dict[str, Any] = {"quality": 100, "subsampling": 0} if suffix == ".jpg" else {}
    stored.save(path, exif=exif, **options)
    back = read_image(path)
    assert back.shape == upright.shape
    assert image_size(path) == upright.shape[:2]
    for y, x in ((5, 5), (5, 55), (35, 5), (35, 55)):
        assert np.abs(back[y, x].astype(int) - upright[y, x]).max() <= 40, (y, x)


def test_broken_exif_does_not_refuse_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture()).save(path, exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff\xff\xff")
    assert np.array_equal(read_image(path), picture())


def rgb_profile_with_swapped_primaries() -> bytes:
    """An sRGB profile in which the columns of red and blue have changed places, under another name."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", data[128:132])[0]
    places = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(count)}
    red, blue = places[b"rXYZ"], places[b"bXYZ"]
    data[red + 4 : red + 12], data[blue + 4 : blue + 12] = data[blue + 4 : blue + 12], data[red + 4 : red + 12]
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")).replace(b"sRGB", b"swap")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_an_icc_profile_is_converted_to_srgb(tmp_path: Path, suffix: str) -> None:
    array = np.full((16, 16, 3), (200, 60, 30), dtype=np.uint8)
    path = tmp_path / f"a{suffix}"
    by_suffix: dict[str, dict[str, Any]] = {".webp": {"lossless": True}, ".jpg": {"quality": 100}}
    options = by_suffix.get(suffix, {})
    Image.fromarray(array).save(path, icc_profile=rgb_profile_with_swapped_primaries(), **options)
    assert np.abs(read_image(path).astype(int) - (30, 60, 200)).max() <= 3


def test_srgb_and_broken_profiles_leave_the_pixels_alone(tmp_path: Path) -> None:
    array = picture()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("srgb", srgb), ("broken", b"no profile at all"), ("cut", srgb[:200])):
        Image.fromarray(array).save(tmp_path / f"{name}.png", icc_profile=profile)
        assert np.array_equal(read_image(tmp_path / f"{name}.png"), array), name
    grey = Image.fromarray(array).convert("L")
    grey.save(tmp_path / "grey.png", icc_profile=srgb)
    assert np.array_equal(read_image(tmp_path / "grey.png")[..., 0], np.asarray(grey)), "a profile of the wrong kind"


def test_alpha_is_dropped_and_the_colour_under_it_kept(tmp_path: Path) -> None:
    array = picture()
    alpha = numpy_stream(1).integers(0, 256, array.shape[:2], dtype=np.uint8)
    alpha[0] = 0
    saved: dict[str, dict[str, Any]] = {".png": {}, ".tif": {}, ".webp": {"lossless": True, "exact": True}}
    for suffix, options in saved.items():
        Image.fromarray(np.dstack([array, alpha])).save(tmp_path / f"a{suffix}", **options)
        assert np.array_equal(read_image(tmp_path / f"a{suffix}"), array), suffix
    grey = array[..., 0]
    Image.fromarray(np.dstack([grey, alpha])).save(tmp_path / "la.png")
    assert np.array_equal(read_image(tmp_path / "la.png"), np.dstack([grey] * 3))


def test_palette_grey_and_bilevel(tmp_path: Path) -> None:
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = picture(1, 256)[0]
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    image.save(tmp_path / "p.png")
    image.save(tmp_path / "pt.png", transparency=3)
    assert np.array_equal(read_image(tmp_path / "p.png"), palette[indices])
    assert np.array_equal(read_image(tmp_path / "pt.png"), palette[indices])
    Image.fromarray(indices * 20).save(tmp_path / "l.bmp")
    assert np.array_equal(read_image(tmp_path / "l.bmp"), np.dstack([indices * 20] * 3))
    Image.fromarray(indices % 2 == 1).save(tmp_path / "1.png")
    assert np.array_equal(read_image(tmp_path / "1.png"), np.dstack([indices % 2 * 255] * 3))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_is_rounded_to_8(tmp_path: Path, suffix: str) -> None:
    levels = np.array([[0, 127, 128, 129, 257, 32_767, 32_768, 65_406, 65_407, 65_535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / f"a{suffix}")
    wanted = np.round(levels / 257).astype(np.uint8)
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), np.dstack([wanted] * 3))


def test_rgb_of_16_bits_is_read(tmp_path: Path) -> None:
    rows = b"".join(b"\x00" + struct.pack(">6H", *(256 * v + v for v in row)) for row in ([1, 2, 3, 250, 128, 0],))
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks))
    assert read_image(tmp_path / "a.png").tolist() == [[[1, 2, 3], [250, 128, 0]]]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg", quality=100)
    assert np.abs(read_image(tmp_path / "red.jpg").astype(int) - (255, 0, 0)).max() <= 3
    Image.new("CMYK", (16, 16), (0, 0, 0, 255)).save(tmp_path / "black.tif")
    assert read_image(tmp_path / "black.tif").max() == 0


# --- files that are no good -------------------------------------------------------------------------------------------


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(100)))


def damaged(suffix: str) -> bytes:
    buffer = BytesIO()
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP"}
    Image.fromarray(picture(100, 100)).save(buffer, format=formats[suffix])
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


BAD_FILES = {
    "empty.png": (b"", "empty"),
    "text.jpg": (b"this is a text file\n" * 50, "no picture"),
    "svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "an SVG, which is not read"),
    "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no picture"),
    "large.png": (png_claiming(100_000, 100_000), "megapixels"),
    "larger.png": (png_claiming(15_000, 15_000), "225|15000×15000 pixels"),
    **{f"cut{suffix}": (damaged(suffix), "damaged") for suffix in (".jpg", ".png", ".webp", ".tif", ".bmp")},
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    data, reason = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason) as error:
        read_image(path)
    one_line(error, path)


def test_an_absurd_size_is_refused_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_claiming(15_000, 15_000))
    with pytest.raises(InputError, match="at most 200 megapixels"):
        image_size(path)


def test_missing_files_folders_and_pipes_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name, reason in (("missing.png", "No such file"), ("folder.png", "a folder"), ("pipe.png", "regular file")):
        for function in (read_image, image_size):
            with pytest.raises(InputError, match=reason) as error:
                function(tmp_path / name)
            one_line(error, tmp_path / name)
    with pytest.raises(InputError):
        read_image(tmp_path / "nul\0.png")


# --- folders ----------------------------------------------------------------------------------------------------------


def test_is_image_name() -> None:
    assert is_image_name(Path("A.JPG")) and is_image_name(Path("x/y.tiff"))
    assert not is_image_name(Path("a.mp4")) and not is_image_name(Path("png"))


def test_a_folder_is_listed_in_natural_order(tmp_path: Path) -> None:
    kept = ["Frame 1.png", "frame 2.PNG", "frame 10.png", "sub 2/a.jpg", "sub 10/a.jpg", "sub 10/a.png"]
    passed_over = [".hidden.png", "notes.txt", "film.mp4", ".DS_Store", "sub 2/Thumbs.db"]
    unseen = ["out.impasto/frames/0.png", ".git/a.png"]
    for name in kept + passed_over + unseen:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    outside = tmp_path.parent / f"{tmp_path.name} outside"
    outside.mkdir()
    (outside / "x.png").write_bytes(b"")
    (tmp_path / "link").symlink_to(outside, target_is_directory=True)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    listing = list_images(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in listing.paths] == kept
    assert sum(listing.skipped.values()) == len(passed_over) + 1
    flat = list_images(tmp_path, recursive=False)
    assert [path.name for path in flat.paths] == kept[:3]
    assert sum(flat.skipped.values()) == 5


def test_listing_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file.png").write_bytes(b"")
    for name, reason in (("missing", "does not exist"), ("file.png", "is a file")):
        with pytest.raises(InputError, match=reason) as error:
            list_images(tmp_path / name)
        one_line(error, tmp_path / name)
    assert not list_images(tmp_path).skipped


# --- what files hold besides the colours ------------------------------------------------------------------------------

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" dc:title="Lake"/>'
    b"<tiff:Orientation>8</tiff:Orientation></x:xmpmeta>"
)


def tags(orientation: int = 6) -> Image.Exif:
    """EXIF as a camera writes it, with what holds for its own file only."""
    exif = Image.Exif()
    exif[0x0112], exif[271], exif[306] = orientation, "Camera", "2020:01:01 00:00:00"
    for ifd, own in (
        (0x8769, {0x9003: "2019:12:31 10:00:00", 0x927C: b"maker", 0xA002: 30}),
        (0x8825, {1: "N", 2: (48.0, 8.0, 0.5)}),
    ):
        exif.get_ifd(ifd).update(own)
        exif[ifd] = exif.get_ifd(ifd)
    return exif


def with_extras(folder: Path, suffix: str) -> Path:
    """A picture of 30×20 that is to be turned, with alpha where the format has it."""
    path = folder / f"given{suffix}"
    image = Image.fromarray(numpy_stream(1).integers(0, 256, (20, 30, 4)).astype(np.uint8))
    options: dict[str, Any] = {"exif": tags()}
    if suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options |= {"pnginfo": info, "dpi": (300, 300)}
    elif suffix == ".jpg":
        image, options = image.convert("RGB"), options | {"xmp": XMP, "dpi": (300, 300)}
    elif suffix == ".webp":
        options |= {"xmp": XMP, "lossless": True, "exact": True}
    elif suffix == ".heic":
        heif = pytest.importorskip("pillow_heif")
        heif.register_heif_opener()
    image.save(path, **options)
    return path


def shown_tags(path: Path) -> tuple[object, ...]:
    with Image.open(path) as image:
        image.load()
        exif = image.getexif()
        photo, place = exif.get_ifd(0x8769), exif.get_ifd(0x8825)
        return exif.get(271), exif.get(0x0112, 1), photo.get(0x9003), photo.get(0x927C), photo.get(0xA002), place.get(1)


@pytest.mark.parametrize("given", [".png", ".jpg", ".webp", ".tif", ".heic"])
@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_what_a_file_holds_is_taken_over(tmp_path: Path, given: str, suffix: str) -> None:
    """Tags, place, XMP and alpha, upright like the painting; without what holds for the old file only."""
    source, target = with_extras(tmp_path, given), tmp_path / f"out{suffix}"
    extras, array = read_extras(source), read_image(source)
    assert (extras.alpha is None) == (given == ".jpg")
    write_image(target, array, extras)
    _, lines = extras.fitted(suffix)
    lost = {what for what in ("transparency", "metadata") if any(what in line for line in lines)}
    assert len(lost) == len(lines)
    assert ("transparency" in lost) == (given != ".jpg" and suffix in (".jpg", ".jpeg", ".bmp"))
    assert ("metadata" in lost) == (suffix == ".bmp")
    if suffix not in (".jpg", ".jpeg"):
        assert np.array_equal(read_image(target), array)
    if "transparency" not in lost and extras.alpha is not None:
        alpha = read_extras(target).alpha
        assert alpha is not None
        assert alpha.shape == array.shape[:2]
        assert np.array_equal(alpha, extras.alpha)
    if "metadata" not in lost:
        assert shown_tags(target) == ("Camera", 1, "2019:12:31 10:00:00", None, None, "N")
        if given in (".png", ".jpg", ".webp"):
            xmp = read_extras(target).xmp
            assert xmp is not None
            assert b'Orientation="1"' in xmp
            assert b"<tiff:Orientation>1<" in xmp
            assert b"Lake" in xmp
    if given in (".png", ".jpg") and suffix not in (".webp", ".bmp"):
        assert read_extras(target).dpi == pytest.approx((300, 300), rel=1e-3)
    first = target.read_bytes()
    write_image(target, array, extras)
    assert target.read_bytes() == first
    write_image(target, array, read_extras(source, strip=True))
    with Image.open(target) as image:
        assert not dict(image.getexif()) or suffix in (".tif", ".tiff")
        assert "xmp" not in image.info


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".tif"])
def test_pictures_are_tagged_as_srgb(tmp_path: Path, suffix: str) -> None:
    array = np.full((4, 5, 3), 90, np.uint8)
    write_image(tmp_path / f"a{suffix}", array)
    with Image.open(tmp_path / f"a{suffix}") as image:
        profile = ImageCms.ImageCmsProfile(BytesIO(image.info["icc_profile"]))
    assert "sRGB" in str(profile.profile.profile_description)


def test_alpha_of_every_kind(tmp_path: Path) -> None:
    alpha = np.tile(np.array([0, 255], np.uint8), (6, 4))
    grey = np.full((6, 8), 50, np.uint8)
    Image.fromarray(np.dstack([grey, alpha])).save(tmp_path / "grey.png")
    palette = Image.fromarray(grey).convert("P")
    palette.putpixel((0, 0), 7)
    palette.save(tmp_path / "palette.png", transparency=7)
    Image.fromarray(np.dstack([grey, grey, grey])).save(tmp_path / "colour.png", transparency=(50, 50, 50))
    Image.fromarray(np.dstack([grey, grey, grey, np.full_like(grey, 255)])).save(tmp_path / "opaque.png")
    found = {name: read_extras(tmp_path / f"{name}.png").alpha for name in ("grey", "palette", "colour", "opaque")}
    assert np.array_equal(found["grey"], alpha)  # type: ignore[arg-type]
    assert found["palette"] is not None
    assert (found["palette"] == 0).sum() == 1
    assert found["palette"][0, 0] == 0
    assert found["colour"] is not None
    assert not found["colour"].any()
    assert found["opaque"] is None
    smaller = Extras(alpha).at_size((3, 4)).alpha
    assert smaller is not None
    assert smaller.shape == (3, 4)
    assert Extras(alpha).at_size((6, 8)).alpha is alpha
    with pytest.raises(ValueError, match="alpha"):
        write_image(tmp_path / "x.png", np.zeros((3, 3, 3), np.uint8), Extras(alpha))


@pytest.mark.parametrize(
    "damage", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_broken_metadata_is_left_out(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path, exif=damage)
    assert read_image(path).shape == (8, 8, 3)
    extras = read_extras(path)
    write_image(tmp_path / "b.jpg", read_image(path), extras)
    assert shown_tags(tmp_path / "b.jpg") == (None, 1, None, None, None, None)


def test_heic_without_its_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = with_extras(tmp_path, ".heic")
    monkeypatch.setattr(image_file, "heif_is_there", lambda: False)
    for read in (read_image, read_extras, image_size):
        with pytest.raises(InputError, match="pip install pillow-heif"):
            read(path)


def test_pillows_limit_is_raised_only_while_an_image_is_open(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "image.png"
    write_image(path, np.zeros((4, 4, 3), np.uint8))
    with image_file.open_image(path):
        with image_file.open_image(path):
            assert image_file.MAX_PIXELS == Image.MAX_IMAGE_PIXELS
        assert image_file.MAX_PIXELS == Image.MAX_IMAGE_PIXELS
    assert before == Image.MAX_IMAGE_PIXELS != image_file.MAX_PIXELS
    path.write_bytes(b"no image")
    with pytest.raises(InputError):
        read_image(path)
    assert before == Image.MAX_IMAGE_PIXELS
