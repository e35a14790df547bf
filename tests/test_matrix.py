"""What goes into a job comes out of it: every frame, when it is shown, its colours, its shape, its sound.

Over pairs of all that videos differ in, with the identity in place of painting. The truth is computed apart from the
pipeline: clips are made and their planes taken apart by the ffmpeg program, and colours follow the formulas of
ITU-R BT.601, BT.709 and BT.2020.
"""

import dataclasses
import itertools
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from impasto.events import Notice
from impasto.job.job import Job
from impasto.media import images
from impasto.media.ffmpeg import ffmpeg_path
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import stylize
from tests.conftest import TINY
from tests.support.clips import end_by_ffmpeg, ffmpeg, with_clap
from tests.support.seeds import python_stream
from tests.support.unpainted import unpainted

FACTORS: dict[str, tuple[Any, ...]] = {
    "timing": ("constant", "variable", "offset", "jump"),
    "last": ("usual", "held"),
    "crop": (False, True),
    "poster": (False, True),
    "subtitles": (None, "off", "forced"),
    "plays": (0, 1, 3),
    "rotation": (0, 90, 180),
    "aspect": ("1/1", "4/3"),
    "matrix": ("smpte170m", "bt709", "bt2020nc"),
    "range": ("tv", "pc"),
    "size": ((96, 128), (63, 97)),
    "bits": (8, 10),
    "audio": (None, "mono", "5.1"),
    "container": (".mp4", ".mov", ".mkv", ".webm", ".ts", ".gif"),
    "output": (".mp4", ".mov", ".mkv", ".webm", ".gif"),
}

COUNT = 6
VARIABLE = (0, 1, 3, 4, 8, 9)
"""In 1/25 s; so much, in a hundredth of a second, every container holds."""

HELD = Fraction(12, 25)
"""Seconds that a last frame stays which is held."""

MARGINS = 16, 8
"""Pixels at the right and at the bottom that a container crops."""

TOLD = int(Disposition.default | Disposition.forced)

OFFSET = Fraction(12, 25)
"""Seconds by which the picture comes after the sound."""

ROWS, COLUMNS = 3, 4
COLORS = np.array(
    [
        *((230, 30, 40), (20, 180, 60), (40, 50, 210), (128, 128, 128), (250, 220, 30), (20, 20, 20)),
        *((240, 240, 240), (180, 60, 200), (60, 200, 210), (140, 90, 40), (90, 140, 90)),
    ],
    dtype=np.uint8,
)

LUMA = {"smpte170m": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020nc": (0.2627, 0.0593)}
"""Shares of red and blue in luma."""


@dataclass(frozen=True)
class Case:
    timing: str
    last: str
    crop: bool
    poster: bool
    """Whether another stream of pictures, which is not the default, comes first."""
    subtitles: str | None
    plays: int
    rotation: int
    aspect: str
    matrix: str
    range: str
    size: tuple[int, int]
    bits: int
    audio: str | None
    container: str
    output: str

    def __str__(self) -> str:
        return "-".join(str(value).replace("/", ":") for value in dataclasses.astuple(self))

    @property
    def is_possible(self) -> bool:
        """Whether the container holds such a clip."""
        if self.container == ".gif":
            plain = (False, False, None, self.plays, 0, "1/1", "bt709", "pc", self.size, 8, None, ".gif", self.output)
            return self.timing != "jump" and dataclasses.replace(self, timing="constant") == Case(
                "constant", self.last, *plain
            )
        if self.plays:
            return False
        if self.timing == "jump" and self.container != ".ts":
            return False
        if (self.crop or self.poster) and self.container not in (".mp4", ".mov", ".mkv"):
            return False
        if self.subtitles and self.container != ".mkv":  # The others ffmpeg does not write as asked.
            return False
        if (self.poster or self.subtitles) and (self.crop or self.rotation or self.last == "held"):
            return False
        # What goes through several programs is made in simple ways.
        if self.last == "held" and (self.container == ".ts" or self.timing == "variable"):
            return False
        return self.rotation == 0 or self.container in (".mp4", ".mov")


def pairwise() -> list[Case]:
    """Cases in which every possible pair of values of two factors occurs; greedy, and the same each time."""
    names = list(FACTORS)
    possible = [case for case in (Case(*values) for values in itertools.product(*FACTORS.values())) if case.is_possible]
    python_stream(0).shuffle(possible)

    def pairs(case: Case) -> set[tuple[int, Any, int, Any]]:
        values = [getattr(case, name) for name in names]
        return {(i, values[i], j, values[j]) for i, j in itertools.combinations(range(len(names)), 2)}

    wanted: set[tuple[int, Any, int, Any]] = set()
    for case in possible:
        wanted |= pairs(case)
    chosen = []
    while wanted:
        sample = possible if len(wanted) < 40 else python_stream(len(wanted)).sample(possible, 400)
        best = max(sample, key=lambda case: len(pairs(case) & wanted))
        chosen.append(best)
        wanted -= pairs(best)
    return chosen


CASES = pairwise()


def picture(index: int, size: tuple[int, int]) -> np.ndarray:
    """Patches of flat colour that move on by one with every frame."""
    y, x = np.mgrid[: size[0], : size[1]]
    cells = y * ROWS // size[0] * COLUMNS + x * COLUMNS // size[1]
    return COLORS[(cells + index) % len(COLORS)]


def centres(image: np.ndarray, grid: tuple[int, int] = (ROWS, COLUMNS)) -> np.ndarray:
    """Mean colours of the middles of the patches of a grid: rows × columns × 3."""
    height, width = image.shape[:2]
    rows, columns = grid
    found = np.zeros((rows, columns, 3))
    for row, column in itertools.product(range(rows), range(columns)):
        top, left = (row + 0.35) * height / rows, (column + 0.35) * width / columns
        bottom, right = (row + 0.65) * height / rows, (column + 0.65) * width / columns
        found[row, column] = image[round(top) : round(bottom), round(left) : round(right)].mean((0, 1))
    return found


def make(path: Path, case: Case) -> None:
    """The clip of a case."""
    if case.timing == "jump":
        # Two files of broadcasting, appended.
        halves = [path.with_name(f"half{number}{path.suffix}") for number in range(2)]
        for half, indices in zip(halves, (range(COUNT // 2), range(COUNT // 2, COUNT)), strict=True):
            make_part(half, case, indices)
        path.write_bytes(b"".join(half.read_bytes() for half in halves))
    else:
        make_part(path, case, range(COUNT))


def make_part(path: Path, case: Case, indices: range) -> None:
    """A clip of some of the frames."""
    height, width = case.size
    images = [picture(index, case.size) for index in indices]
    if case.crop:
        images = [np.pad(image, ((0, MARGINS[1]), (0, MARGINS[0]), (0, 0)), constant_values=99) for image in images]
        height, width = height + MARGINS[1], width + MARGINS[0]
    raw = path.with_suffix(".rgb")
    raw.write_bytes(b"".join(image.tobytes() for image in images))
    times = VARIABLE if case.timing == "variable" else range(COUNT)
    seconds = Fraction(len(indices), 25) if case.timing == "jump" else 1
    shown = "+".join(f"eq(N\\,{index})*{time}" for index, time in enumerate(times))
    start = OFFSET if case.timing == "offset" else Fraction(0)
    source: list[str | Path] = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "25", "-i", raw]
    if case.audio:
        layout = {"mono": "mono", "5.1": "5.1"}[case.audio]
        source += ["-f", "lavfi", "-i", f"sine=f=330:r=48000:d={float(seconds)},aformat=channel_layouts={layout}"]
        codec = {".mp4": "aac", ".mov": "aac", ".mkv": "flac", ".webm": "libopus", ".ts": "aac"}[case.container]
        source += ["-c:a", codec]
    timing = f"settb=1/25,setpts={shown},setpts=PTS+{start * 25}"
    if case.container == ".gif":
        # Flat colours fit into its palette.
        palette = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none"
        final = ["-final_delay", str(int(100 * HELD))] if case.last == "held" else []
        final += ["-loop", str({0: 0, 1: -1}.get(case.plays, case.plays - 1))]
        ffmpeg(*source, "-vf", f"{timing},{palette}", "-fps_mode", "passthrough", *final, path)
        return
    odd = bool(height % 2 or width % 2)
    pixels = ("yuv444p" if odd and case.container != ".webm" else "yuv420p") + ("10le" if case.bits == 10 else "")
    primaries, transfer = {
        "smpte170m": ("smpte170m", "smpte170m"),
        "bt709": ("bt709", "bt709"),
        "bt2020nc": ("bt2020", "bt2020-10"),
    }[case.matrix]
    scale = f"scale=out_color_matrix={case.matrix}:out_range={case.range}:flags=accurate_rnd+full_chroma_int"
    scale = f"{scale},format={pixels}"
    tags = f"setparams=colorspace={case.matrix}:range={case.range}:color_primaries={primaries}:color_trc={transfer}"
    lossless = (
        ["-c:v", "libvpx-vp9", "-lossless", "1", "-cpu-used", "8", "-deadline", "realtime"]
        if case.container == ".webm"
        else ["-c:v", "libx264", "-qp", "0", "-preset", "ultrafast", "-bf", "0" if case.last == "held" else "2"]
    )
    if case.last == "held":
        lossless += ["-bsf:v", f"setts=pts=PTS:dts=DTS:duration=if(eq(N\\,{COUNT - 1})\\,{float(HELD)}/TB\\,DURATION)"]
    plain = path.with_name("plain.mov" if case.crop else f"plain{path.suffix}")
    if case.crop and case.audio:
        source[-1] = "aac"  # Which MOV holds.
    ffmpeg(
        *(*source, "-vf", f"{timing},{scale},{tags},setsar={case.aspect}", *lossless),
        *("-fps_mode", "passthrough", "-enc_time_base", "1:1000", plain),
    )
    if case.crop:
        clap = path.with_name("clap.mov")
        with_clap(plain, clap, width - MARGINS[0], height - MARGINS[1], -(MARGINS[0] // 2), -(MARGINS[1] // 2))
        plain = clap
    if case.poster or case.subtitles:
        dressed = path.with_name(f"dressed{path.suffix}")
        dress(plain, dressed, case)
        plain = dressed
    if case.rotation:
        ffmpeg("-display_rotation", str(-case.rotation), "-i", plain, "-map", "0", "-c", "copy", path)
    elif plain.suffix == path.suffix:
        plain.rename(path)
    else:
        ffmpeg("-i", plain, "-map", "0", "-c", "copy", path)


def dress(plain: Path, path: Path, case: Case) -> None:
    """The clip with a poster before it and subtitles behind it."""
    inputs: list[str | Path] = ["-i", plain]
    maps: list[str] = ["-map", "0"]
    if case.poster:
        inputs += ["-f", "lavfi", "-i", "color=c=red:s=32x32:r=25:d=0.04"]
        maps = ["-map", "1:v", "-map", "0", "-c", "copy", "-c:v:0", "libx264", "-disposition:v:0", "0"]
        maps += ["-disposition:v:1", "default"]
    else:
        maps += ["-c", "copy"]
    if case.subtitles:
        text = path.with_suffix(".srt")
        text.write_text("1\n00:00:00,000 --> 00:00:00,100\nHallo\n")
        inputs += ["-i", text]
        maps += ["-map", str(2 if case.poster else 1), "-c:s", "srt"]
        maps += ["-metadata:s:s:0", "language=deu", "-disposition:s:0", "forced" if case.subtitles == "forced" else "0"]
    ffmpeg(*inputs, *maps, path)


def decoded(
    path: Path, grid: tuple[int, int] = (ROWS, COLUMNS), size: tuple[int, int] | None = None, number: int = 0
) -> list[np.ndarray]:
    """The mean colours of the patches of each frame as stored, by planes and formulas; of RGB video as it is."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=number))
        (height, width), pixels = size or (frame.height, frame.width), frame.format.name
        context = container.streams.video[number].codec_context
        numbers = int(frame.colorspace), int(frame.color_range)
        if int(context.color_range) and not numbers[1]:
            numbers = numbers[0], int(context.color_range)
    # Nearest neighbours bring chroma to full size: flat is flat. Nothing is converted but the number of bits.
    form, convert = "yuv444p10le", "setparams=range=unspecified,scale=flags=neighbor,format=yuv444p10le"
    if frame.format.is_rgb:
        form, convert = "rgb24", "null"
    elif pixels.startswith("yuvj"):  # Full range by its name.
        form, convert = "yuvj444p", "scale=flags=neighbor"
        numbers = numbers[0], 2
    command = [str(ffmpeg_path()), "-v", "error", "-noautorotate", "-i", str(path), "-vf", convert]
    command += ["-map", f"0:v:{number}", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", form, "-"]
    data = subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout
    if form == "rgb24":
        frames = np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)
        return [centres(image.astype(float), grid) for image in frames]
    kind, step = (np.uint8, 1) if form == "yuvj444p" else (np.uint16, 4)
    planes = np.frombuffer(data, kind).reshape(-1, 3, height, width).astype(float) / step
    matrix = {1: "bt709", 5: "smpte170m", 6: "smpte170m", 9: "bt2020nc"}[numbers[0]]
    return [from_planes(centres(np.moveaxis(frame, 0, -1), grid), matrix, numbers[1] == 2) for frame in planes]


def from_planes(planes: np.ndarray, matrix: str, full: bool) -> np.ndarray:
    """Y, Cb, Cr in steps of 8 bits → RGB."""
    kr, kb = LUMA[matrix]
    y, cb, cr = np.moveaxis(planes, -1, 0)
    y = y / 255 if full else (y - 16) / 219
    cb, cr = ((c - 128) / (255 if full else 224) for c in (cb, cr))
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return np.clip(255 * np.stack([red, green, blue], -1), 0, 255)


def times(path: Path, kind: str = "video", number: int = 0) -> list[Fraction]:
    """When each packet of a kind is shown, in seconds and in order."""
    with av.open(str(path)) as container:
        stream = getattr(container.streams, kind)[number]
        found: list[Any] = list(container.demux(stream))
        return sorted(packet.pts * packet.time_base for packet in found if packet.pts is not None and packet.size)


def sound(path: Path) -> tuple[str, list[bytes]]:
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        found: list[Any] = list(container.demux(stream))
        # In a transport stream each packet has a header of its own (ADTS).
        header = 7 if path.suffix == ".ts" else 0
        return stream.codec_context.codec.canonical_name, [bytes(packet)[header:] for packet in found if packet.size]


@pytest.mark.slow
def test_the_cases_cover_every_pair() -> None:
    assert len(CASES) < 90
    possible = [case for case in (Case(*values) for values in itertools.product(*FACTORS.values())) if case.is_possible]
    for first, second in itertools.combinations(FACTORS, 2):
        wanted = {(getattr(case, first), getattr(case, second)) for case in possible}
        # Every value of one occurs with some value of the other.
        assert {value for value, _ in wanted} == set(FACTORS[first])
        assert wanted == {(getattr(case, first), getattr(case, second)) for case in CASES}


@pytest.mark.sweep(5)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_goes_in_comes_out(tmp_path: Path, style_file: Path, case: Case) -> None:
    source, output = tmp_path / f"source{case.container}", tmp_path / f"painted{case.output}"
    make(source, case)
    height, width = case.size
    if case.aspect == "4/3" and case.container != ".gif":
        width = round(width * 4 / 3)
    if case.rotation == 90:
        height, width = width, height

    settings = load_settings("default", (*TINY, "size=none", "flow.method=dis", "shots.detect=false"))
    notices: list[str] = []
    stylize(
        Request((source,), (style_file,), output, settings),
        lambda event: notices.append(event.text) if isinstance(event, Notice) else None,
        executor_factory=unpainted,
    )
    assert not any("damaged" in text for text in notices), notices

    # The frames that would be painted.
    with Job.read(tmp_path / f"{output.name}.impasto") as job:
        frames = [images.read_image(frame.path) for frame in job.frames()]
    assert [frame.shape for frame in frames] == [(height, width, 3)] * COUNT
    film = int(case.poster)
    stored = decoded(source, size=case.size, number=film)
    assert len(stored) == COUNT
    for frame, patches in zip(frames, stored, strict=True):
        error = np.abs(centres(np.rot90(frame, case.rotation // 90)) - patches)
        assert error.mean() < 1, error.mean()

    # The film.
    grid = (COLUMNS, ROWS) if case.rotation == 90 else (ROWS, COLUMNS)
    written = decoded(output, grid)
    assert len(written) == COUNT
    for frame, patches in zip(frames, written, strict=True):
        assert np.abs(centres(frame, grid) - patches).mean() < 2
    with av.open(str(output)) as container:
        stream = container.streams.video[0]
        shown = next(container.decode(stream))
        assert (shown.height, shown.width) == (height, width)
        assert "DISPLAYMATRIX" not in shown.side_data
        assert stream.sample_aspect_ratio in (None, 0, 1)

    before, after = times(source, number=film), times(output)
    if case.timing == "jump":
        # Where the second file begins is where the first ends; by their own clocks they begin together.
        before = [before[0] + Fraction(index, 25) for index in range(COUNT)]
    tick = Fraction(1, 1000) if case.output in (".mkv", ".webm") or case.container in (".mkv", ".webm") else Fraction(0)
    if case.output == ".gif":
        tick = Fraction(1, 100)
    for a, b in zip(before, after, strict=True):
        assert abs((a - before[0]) - (b - after[0])) <= tick

    with av.open(str(output)) as container:
        said = [(stream.language, int(stream.disposition) & TOLD) for stream in container.streams.subtitles]
    if case.output == ".gif":
        with Image.open(output) as image:
            assert image.info.get("loop") == {0: 0, 1: None}.get(case.plays, case.plays - 1)
    elif case.subtitles:
        assert said == [("deu", int(Disposition.forced) if case.subtitles == "forced" else 0)]

    last = HELD if case.last == "held" else Fraction(1, 25)
    assert abs(end_by_ffmpeg(output) - after[-1] - last) <= Fraction(1, 100)

    with av.open(str(output)) as container:
        has_sound = len(container.streams.audio) > 0
    assert has_sound == (case.audio is not None and case.output != ".gif")
    if has_sound:
        (codec, packets), (written_codec, written_packets) = sound(source), sound(output)
        copied = codec == written_codec
        assert copied == (case.output in KEEPS[codec])
        if copied and case.timing == "jump":
            # At the seam a packet may be left out that overlaps the one before.
            assert len(packets) - 1 <= len(written_packets) <= len(packets)
        elif copied:
            assert written_packets == packets
            late = before[0] - times(source, "audio")[0], after[0] - times(output, "audio")[0]
            assert abs(late[0] - late[1]) <= 2 * tick + Fraction(1, 40_000)
        with av.open(str(output)) as container:
            assert container.streams.audio[0].codec_context.channels == (6 if case.audio == "5.1" else 1)


KEEPS = {
    "aac": {".mp4", ".mov", ".mkv"},
    "flac": {".mp4", ".mkv"},
    "opus": {".mp4", ".mkv", ".webm"},
}
"""The containers that take a kind of sound as it is."""
