"""Colours that a header describes by numbers: code points (cICP, nclx), BMP, TIFF, and those that are not converted."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from impasto.media import hdr, image_file
from impasto.media.image_gamma import Numbers, codes, to_srgb_by_numbers
from impasto.media.images import image_facts, read_image
from impasto.media.primaries import ADOBE_RGB, CHROMATICITIES, matrix_to_srgb

COLOR = (60, 180, 90)
SRGB_ENDS = (0.64, 0.33, 0.03, 0.30, 0.60, 0.10, 0.15, 0.06, 0.79)
P3_TO_SRGB = np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]])
"""For linear light, from CSS Color 4."""


def decoded(stored: np.ndarray) -> np.ndarray:
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


AS_P3 = encoded(P3_TO_SRGB @ decoded(np.array(COLOR) / 255))
AS_LINEAR = encoded(np.array(COLOR) / 255)


def picture() -> Image.Image:
    return Image.fromarray(np.full((48, 64, 3), COLOR, np.uint8))


def save_png(path: Path, *chunks: tuple[bytes, bytes]) -> None:
    picture().save(path)
    data = path.read_bytes()
    added = b"".join(len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4) for name, body in chunks)
    path.write_bytes(data[:33] + added + data[33:])


def profile_chunk(name: str = "xRGB", length: int | None = None) -> tuple[bytes, bytes]:
    """A profile under another name than sRGB, so that it is applied; of it so many bytes."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    named = profile.replace("sRGB".encode("utf-16-be"), name.encode("utf-16-be"))
    return b"iCCP", b"p\0\0" + zlib.compress(named[:length])


def cicp(primaries: int, transfer: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, 1])


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([cicp(12, 13)], AS_P3),
        ([cicp(1, 8)], AS_LINEAR),
        ([cicp(1, 13)], COLOR),
        ([cicp(1, 1)], COLOR),
        ([cicp(2, 2)], COLOR),
        ([cicp(200, 200)], COLOR),
        ([cicp(1, 13), (b"gAMA", (100_000).to_bytes(4))], COLOR),
        ([cicp(12, 13), profile_chunk()], AS_P3),
        ([(b"sRGB", b"\0"), cicp(12, 13)], AS_P3),
    ],
    ids=["p3", "linear", "srgb", "bt709", "unspecified", "unknown", "before gamma", "before a profile", "before srgb"],
)
def test_code_points_of_a_png_go_before_all_else(
    tmp_path: Path, chunks: list[tuple[bytes, bytes]], expected: np.ndarray
) -> None:
    save_png(tmp_path / "a.png", *chunks)
    found = read_image(tmp_path / "a.png")[0, 0]
    assert np.abs(found - np.asarray(expected)).max() <= (0 if expected is COLOR else 1)
    unknown = "colours of primaries 200 and transfer function 200 (ITU-T H.273) are not converted"
    assert image_facts(tmp_path / "a.png").not_kept == ((unknown,) if chunks == [cicp(200, 200)] else ())


def test_code_points_of_a_png_may_say_that_16_is_black_and_235_white(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", (b"cICP", bytes([1, 13, 0, 0])))
    assert np.abs(read_image(tmp_path / "a.png")[0, 0] - 255 * (np.array(COLOR) - 16) / 219).max() <= 1


def test_code_points_of_avif_and_heic_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    picture().save(path, quality=100)
    data = path.read_bytes()
    place = data.index(b"colrnclx") + 8
    path.write_bytes(data[:place] + struct.pack(">HH", 12, 13) + data[place + 4 :])
    assert np.abs(read_image(path)[20, 20] - AS_P3).max() <= 4
    if not image_file.heif_is_there():
        pytest.skip("pillow-heif is not installed")
    path = tmp_path / "a.heic"
    picture().save(path, quality=-1)
    data = path.read_bytes()
    place = data.index(b"colrnclx") + 8
    path.write_bytes(data[:place] + struct.pack(">HH", 12, 13) + data[place + 4 :])
    assert np.abs(read_image(path)[20, 20] - AS_P3).max() <= 4


@pytest.mark.parametrize(("code", "name", "white"), [(16, "PQ", 148), (18, "HLG", 191)])
def test_high_dynamic_range_is_reduced_as_that_of_films(tmp_path: Path, code: int, name: str, white: int) -> None:
    save_png(tmp_path / "a.png", cicp(9, code))
    transfer = next(key for key, value in hdr.TRANSFERS.items() if value == name)
    film = hdr.to_standard(np.array([[COLOR]], np.uint16) * 257, transfer)[0, 0] / 255
    assert np.abs(read_image(tmp_path / "a.png")[0, 0] - encoded(film**2.4)).max() <= 2
    (line,) = image_facts(tmp_path / "a.png").not_kept
    assert line == f"the high dynamic range ({name}) is reduced to standard (sRGB, 8 bits)"
    # A grey is one with any primaries.
    Image.new("RGB", (64, 48), (white,) * 3).save(tmp_path / "b.avif", quality=100)
    data = (tmp_path / "b.avif").read_bytes()
    place = data.index(b"colrnclx") + 8
    (tmp_path / "b.avif").write_bytes(data[:place] + struct.pack(">HH", 12, code) + data[place + 4 :])
    assert np.ptp(read_image(tmp_path / "b.avif")[20, 20].astype(int)) <= 1


@pytest.mark.parametrize("length", [250, 400, 500])
def test_numbers_count_where_a_profile_is_damaged(tmp_path: Path, length: int) -> None:
    """Its header is whole, and its tables are cut off."""
    save_png(tmp_path / "a.png", profile_chunk(length=length), (b"gAMA", (100_000).to_bytes(4)))
    assert np.abs(read_image(tmp_path / "a.png")[0, 0] - AS_LINEAR).max() <= 1
    (line,) = image_facts(tmp_path / "a.png").not_kept
    assert line == "the colour profile is not applied: it is damaged, or of another kind than the picture"


def test_the_tables_of_a_profile_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may have megabytes, and many photos have the same."""
    build, count = ImageCms.buildTransform, [0]

    def counted(*arguments: Any) -> ImageCms.ImageCmsTransform:
        count[0] += 1
        return build(*arguments)

    monkeypatch.setattr(ImageCms, "buildTransform", counted)
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        save_png(path, profile_chunk("once"))
        assert image_facts(path).not_kept == ()
        read_image(path)
    assert count == [1]


def bmp(space: bytes, gamma: float | tuple[float, ...], ends: tuple[float, ...], profile: bytes = b"") -> bytes:
    """A BMP of version 5."""
    pixels = bytes(COLOR[::-1]) * 64 * 48
    header = struct.pack("<IiiHHIIiiII", 124, 64, 48, 1, 24, 0, len(pixels), 2835, 2835, 0, 0) + bytes(16) + space
    header += struct.pack("<9I", *(round(end * (1 << 30)) for end in ends))
    header += struct.pack("<3I", *(round(65536 * value) for value in np.broadcast_to(gamma, 3)))
    header += struct.pack("<IIII", 4, 124 + len(pixels), len(profile), 0)
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels) + len(profile), 0, 0, 138) + header + pixels + profile


P3_ENDS = (0.68, 0.32, 0.0, 0.265, 0.69, 0.045, 0.15, 0.06, 0.79)


@pytest.mark.parametrize(
    ("space", "gamma", "ends", "expected"),
    [
        (bytes(4), 1.0, SRGB_ENDS, AS_LINEAR),
        (bytes(4), (1.0, 2.2, 1.0), SRGB_ENDS, (AS_LINEAR[0], COLOR[1], AS_LINEAR[2])),
        (bytes(4), 2.2, SRGB_ENDS, COLOR),
        (bytes(4), 0.0, (0.0,) * 9, COLOR),
        (b"BGRs", 1.0, SRGB_ENDS, COLOR),
        (b" niW", 1.0, SRGB_ENDS, COLOR),
    ],
    ids=["linear", "three curves", "srgb", "empty", "called sRGB", "called Windows'"],
)
def test_the_colours_of_a_bmp_are_applied(
    tmp_path: Path, space: bytes, gamma: float | tuple[float, ...], ends: tuple[float, ...], expected: np.ndarray
) -> None:
    path = tmp_path / "a.bmp"
    path.write_bytes(bmp(space, gamma, ends))
    found = read_image(path)[0, 0]
    assert np.abs(found - np.asarray(expected)).max() <= (0 if expected is COLOR else 1)


def test_the_primaries_and_the_profile_of_a_bmp_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    path.write_bytes(bmp(bytes(4), 2.2, P3_ENDS))
    linear = (np.array(COLOR) / 255) ** 2.2
    assert np.abs(read_image(path)[0, 0] - encoded(P3_TO_SRGB @ linear)).max() <= 2
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    path.write_bytes(bmp(b"DEBM", 1.0, SRGB_ENDS, lab))  # It does not fit, and is passed over.
    assert read_image(path)[0, 0].tolist() == list(COLOR)
    icc = Image.new("RGB", (64, 48), COLOR)
    other = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path.write_bytes(bmp(b"DEBM", 1.0, SRGB_ENDS, other))
    with image_file.open_image(path) as image:
        assert image.info["icc_profile"] == other
    assert np.array_equal(read_image(path), np.asarray(icc))


def test_bands_of_rows_give_what_one_pixel_gives() -> None:
    """Large pictures are converted in bands, for the memory."""
    numbers = Numbers(codes() ** 2.2, ADOBE_RGB)
    rows = np.random.default_rng(5).integers(0, 256, (3000, 700, 3)).astype(np.uint8)
    converted = to_srgb_by_numbers(rows, numbers)
    for row in (0, 92, 93, 2999):
        assert np.array_equal(converted[row : row + 1], to_srgb_by_numbers(rows[row : row + 1], numbers))


def test_primaries_on_one_line_are_none(tmp_path: Path) -> None:
    line = struct.pack(">8I", *(round(100_000 * value) for value in (0.3127, 0.3290, *(0.3, 0.3) * 3)))
    save_png(tmp_path / "a.png", (b"gAMA", (100_000).to_bytes(4)), (b"cHRM", line))
    assert np.abs(read_image(tmp_path / "a.png")[0, 0] - AS_LINEAR).max() <= 1


def test_colours_that_are_not_converted_are_reported(tmp_path: Path) -> None:
    picture().convert("CMYK").save(tmp_path / "a.jpg")
    (line,) = image_facts(tmp_path / "a.jpg").not_kept
    assert "CMYK without a colour profile" in line
    save_png(tmp_path / "a.png", (b"cHRM", bytes(32)))
    assert image_facts(tmp_path / "a.png").not_kept == ("chromaticities without a gamma are not applied",)
    (tmp_path / "a.bmp").write_bytes(bmp(b"KNIL", 0.0, (0.0,) * 9, b"c:\\a.icc\0"))
    assert image_facts(tmp_path / "a.bmp").not_kept == ("the colour profile is not applied: it is in another file",)
    profile = profile_chunk()
    save_png(tmp_path / "b.png", (b"iCCP", profile[1][:3] + zlib.compress(b"broken")))
    (line,) = image_facts(tmp_path / "b.png").not_kept
    assert line == "the colour profile is not applied: it is damaged, or of another kind than the picture"
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture().convert("L").save(tmp_path / "c.png", icc_profile=srgb)
    assert image_facts(tmp_path / "c.png").not_kept == ()
    deep = np.full((48, 64), 30_000, np.uint16)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(deep).save(tmp_path / name)
        assert image_facts(tmp_path / name).not_kept == ("16 bits a colour become 8",)


P3_PLACES = {318: (0.3127, 0.3290), 319: (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)}


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transfer_function_and_the_primaries_of_a_tiff_are_applied(tmp_path: Path, bits: int) -> None:
    path, levels = tmp_path / "a.tif", 1 << bits
    table = tuple(np.round(65_535 * (np.arange(levels) / (levels - 1)) ** 1.8).astype(int).tolist())
    picture().save(path, tiffinfo=P3_PLACES)
    assert np.abs(read_image(path)[0, 0] - AS_P3).max() <= 1
    if bits == 8:
        picture().save(path, tiffinfo=P3_PLACES | {301: table})
        expected = encoded(P3_TO_SRGB @ (np.array(COLOR) / 255) ** 1.8)
    else:
        Image.fromarray(np.full((48, 64), 257 * 100, np.uint16)).save(path, tiffinfo={301: table})
        expected = encoded(np.array([100 / 255] * 3) ** 1.8)
    assert np.abs(read_image(path)[0, 0] - expected).max() <= 1
    assert image_facts(path).not_kept == (("16 bits a colour become 8",) if bits == 16 else ())
    picture().save(path, tiffinfo={319: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06)})
    assert read_image(path)[0, 0].tolist() == list(COLOR)


def test_another_white_is_seen_as_white() -> None:
    """By the cones of the eye (Bradford), as profiles have it."""
    dci = CHROMATICITIES["smpte431"]
    assert matrix_to_srgb(dci) @ np.ones(3) == pytest.approx(np.ones(3))
    assert matrix_to_srgb(dci)[0] == pytest.approx([1.1575, -0.1550, -0.0025], abs=2e-4)


def test_adobe_rgb_by_the_name_of_the_optional_color_space(tmp_path: Path) -> None:
    """A camera writes "uncalibrated" and the interoperability R03 (DCF 2.0)."""
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 26, 0)
    exif += struct.pack("<HHHIHHHHIII", 2, 0xA001, 3, 1, 65535, 0, 0xA005, 4, 1, 56, 0)
    exif += struct.pack("<HHHI4sI", 1, 1, 2, 4, b"R03\0", 0)
    picture().save(tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    red, green, _ = read_image(tmp_path / "a.jpg")[20, 20].astype(int)
    assert red < 20 and abs(green - 180) <= 2
