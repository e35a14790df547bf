"""Rare ways of coding colours are undone; they are coded by zimg, or by the formulas of the standards."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from impasto.media.color import DOLBY_IPT, VideoColor, color_of
from impasto.media.color_matrices import is_converted_here, to_coded_rgb
from impasto.media.picture_colors import misunderstood
from impasto.media.video_reader import probe, read_frames, scan
from tests.support.clips import ffmpeg, with_box
from tests.support.seeds import numpy_stream

SIZE = (48, 64)


def patches(number: int, least: float, most: float) -> np.ndarray:
    """12 patches of a colour each, H×W×3 in [0, 1], as coded."""
    colors = numpy_stream(number).uniform(least, most, (3, 4, 3))
    return np.kron(colors, np.ones((SIZE[0] // 3, SIZE[1] // 4, 1)))


def store(path: Path, planes: list[np.ndarray], pixels: str, tags: str, *filters: str) -> Path:
    """A film of two frames, each of these planes (uint16), without loss."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(b"".join(np.round(plane).astype("<u2").tobytes() for plane in planes) * 2)
    source = ["-f", "rawvideo", "-pix_fmt", pixels, "-s", f"{SIZE[1]}x{SIZE[0]}", "-r", "10", "-i", raw]
    coded = ["-c:v", "ffv1"] if pixels.startswith("gbr") and not filters else ["-c:v", "libx264", "-qp", "0"]
    ffmpeg(*source, "-vf", ",".join([f"setparams={tags}", *filters]), *coded, path)
    return path


def stored_as_rgb(path: Path, rgb: np.ndarray, primaries: str, transfer: str, *filters: str) -> Path:
    planes = [65_535 * rgb[..., channel] for channel in (1, 2, 0)]
    tags = f"colorspace=gbr:range=pc:color_primaries={primaries}:color_trc={transfer}"
    return store(path, planes, "gbrp16le", tags, *filters)


def stored_of_ten_bits(path: Path, coded: np.ndarray, tags: str) -> Path:
    """Luma in [0, 1] and chroma in [-0.5, 0.5], in full range."""
    planes = [1023 * coded[..., 0], 1023 * coded[..., 1] + 512, 1023 * coded[..., 2] + 512]
    return store(path, planes, "yuv444p10le", f"range=pc:{tags}" if tags else "range=pc")


def decoded(path: Path, color: VideoColor | None = None) -> np.ndarray:
    """The first frame of a film as `to_coded_rgb` converts it, in [0, 1]."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        color = color or color_of(frame, stream)
        assert is_converted_here(color) and misunderstood(color) is None
        return to_coded_rgb(frame, color, SIZE, Interpolation.BICUBIC)


def image(path: Path) -> np.ndarray:
    return next(read_frames(path)).image.astype(int)


@pytest.mark.parametrize("shown", ["tv", "pc"])
@pytest.mark.parametrize(
    ("matrix", "primaries", "transfer", "least"),
    [
        ("ycgco", "bt709", "bt709", 0.1),
        ("chroma-derived-nc", "smpte432", "bt709", 0.1),
        ("chroma-derived-nc", "bt2020", "bt2020-10", 0.1),
        ("ictcp", "bt2020", "smpte2084", 0.3),
    ],
)
def test_what_zimg_codes_is_undone(
    tmp_path: Path, matrix: str, primaries: str, transfer: str, least: float, shown: str
) -> None:
    rgb = patches(31, least, 0.65)
    coded = f"zscale=matrix={matrix}:range={shown},format=yuv444p10le"
    path = stored_as_rgb(tmp_path / "a.mkv", rgb, primaries, transfer, coded)
    assert np.abs(decoded(path) - rgb).max() < 3 / 1023
    plain = stored_as_rgb(tmp_path / "rgb.mkv", rgb, primaries, transfer)
    assert probe(path).hdr == probe(plain).hdr
    assert np.abs(image(path) - image(plain)).max() <= 2


def light_of(code: np.ndarray) -> np.ndarray:
    return np.where(code < 0.0812, code / 4.5, ((code + 0.0993) / 1.0993) ** (1 / 0.45))


def code_of(light: np.ndarray) -> np.ndarray:
    """The curve of BT.709."""
    return np.where(light < 0.01805, 4.5 * light, 1.0993 * light**0.45 - 0.0993)


@pytest.mark.parametrize(
    ("matrix", "primaries", "red_share", "blue_share"),
    [("bt2020c", "bt2020", 0.2627, 0.0593), ("chroma-derived-c", "bt709", 0.2126, 0.0722)],
)
def test_constant_luminance_is_undone(
    tmp_path: Path, matrix: str, primaries: str, red_share: float, blue_share: float
) -> None:
    """By ITU-R BT.2020, table 4; zimg takes the curve of a screen instead."""
    rgb = patches(32, 0.1, 0.9)
    shares = np.array([red_share, 1 - red_share - blue_share, blue_share])
    coded = [code_of(light_of(rgb) @ shares)]
    for channel in (2, 0):
        difference, share = rgb[..., channel] - coded[0], shares[channel]
        low, high = 2 * code_of(np.array(1 - share)), 2 * (1 - code_of(np.array(share)))
        coded.append(np.where(difference <= 0, difference / low, difference / high))
    tags = f"colorspace={matrix}:color_primaries={primaries}:color_trc=bt709"
    path = stored_of_ten_bits(tmp_path / "a.mkv", np.stack(coded, axis=-1), tags)
    assert np.abs(decoded(path) - rgb).max() < 3 / 1023


def hlg_light(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - 0.55991073) / 0.17883277) + 0.28466892) / 12)


def hlg(light: np.ndarray) -> np.ndarray:
    logarithm = 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-9)) + 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), logarithm)


def test_ictcp_of_hlg_is_undone(tmp_path: Path) -> None:
    """By ITU-R BT.2100, table 8, of the scene's light; zimg takes that of a screen."""
    rgb = patches(33, 0.3, 0.6)
    cones = hlg_light(rgb) @ (np.array([[1688, 2146, 262], [683, 2951, 462], [99, 309, 3688]]).T / 4096)
    ictcp = hlg(cones) @ (np.array([[2048, 2048, 0], [3625, -7465, 3840], [9500, -9212, -288]]).T / 4096)
    tags = "colorspace=ictcp:color_primaries=bt2020:color_trc=arib-std-b67"
    assert np.abs(decoded(stored_of_ten_bits(tmp_path / "a.mkv", ictcp, tags)) - rgb).max() < 3 / 1023


@pytest.mark.parametrize(("matrix", "more"), [("ycgco-re", 2), ("ycgco-ro", 1)])
def test_reversible_ycgco_is_undone(tmp_path: Path, matrix: str, more: int) -> None:
    levels = 2 ** (10 - more) - 1
    rgb = np.round(levels * patches(34, 0.1, 0.9)).astype(int)
    orange = rgb[..., 0] - rgb[..., 2]
    rest = rgb[..., 2] + (orange >> 1)
    green = rgb[..., 1] - rest
    planes = [rest + (green >> 1), green + 512, orange + 512]
    # x264 has no number for it.
    path = store(tmp_path / "a.mkv", planes, "yuv444p10le", "range=pc")
    assert np.abs(levels * decoded(path, VideoColor(matrix, "pc")) - rgb).max() <= 1.5


def pq(light: np.ndarray) -> np.ndarray:
    power = light ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def pq_light(code: np.ndarray) -> np.ndarray:
    power = code ** (32 / 2523)
    return (np.maximum(power - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * power)) ** (16384 / 2610)


def test_the_colours_of_dolby_vision_are_undone(tmp_path: Path) -> None:
    """Of profile 5, which a record of the container tells and no tag."""
    rgb = patches(35, 0.35, 0.6)
    rgb_of_cones = [
        [3.06441879, -2.16597676, 0.10155818],
        [-0.65612108, 1.78554118, -0.12943749],
        [0.01736321, -0.04725154, 1.03004253],
    ]
    cones = pq_light(rgb) @ np.linalg.inv(rgb_of_cones).T @ (0.94 * np.eye(3) + 0.02).T
    ipt = pq(cones) @ np.array([[0.4, 0.4, 0.2], [4.4550, -4.8510, 0.3960], [0.8056, 0.3572, -1.1628]]).T
    movie, path = stored_of_ten_bits(tmp_path / "plain.mov", ipt, ""), tmp_path / "dovi.mov"
    assert np.abs(decoded(movie, DOLBY_IPT) - rgb).max() < 8 / 1023
    record = bytes([1, 0]) + (5 << 9 | 1 << 3 | 0b101).to_bytes(2) + bytes(20)
    with_box(movie, path, b"avc1", (8 + len(record)).to_bytes(4) + b"dvcC" + record)
    assert any("Dolby Vision (profile 5): they are converted without" in line for line in scan(path).not_kept)
    assert probe(path).hdr == "PQ"
    plain = stored_as_rgb(tmp_path / "rgb.mkv", rgb, "bt2020", "smpte2084")
    assert np.median(np.abs(image(path) - image(plain))) <= 2


@pytest.mark.parametrize(
    ("transfer", "light"), [("linear", lambda code: code), ("log100", lambda code: 100 ** (code - 1))]
)
def test_light_is_coded_for_a_screen(tmp_path: Path, transfer: str, light: Callable[[np.ndarray], np.ndarray]) -> None:
    rgb = patches(36, 0.1, 0.9)
    path = stored_as_rgb(tmp_path / "a.mkv", rgb, "bt709", transfer)
    found = scan(path)
    assert found.info.color.transfer == "bt709" and "codes light" in "".join(found.not_kept)
    assert np.abs(image(path) - 255 * light(rgb) ** (1 / 2.4)).max() <= 1
