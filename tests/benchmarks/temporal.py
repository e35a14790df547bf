"""Temporal consistency of films, what it costs in the objective, and how many iterations it takes.

Every figure is of finished jobs, in `BENCH_FOLDER` (default: `bench` beside the project): a run that is cut off
goes on where it stopped, and a second one only reads and measures.
"""

import dataclasses
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from impasto.job.job import Job
from impasto.job.records import FrameRecord
from impasto.media.find_content import resolve_content
from impasto.media.frame_reader import FrameReader
from impasto.media.images import read_image, write_image
from impasto.media.video_reader import read_frames
from impasto.motion import flow as flow_module
from impasto.motion import occlusion
from impasto.motion.dis import DisFlow
from impasto.motion.flo_files import read_flo
from impasto.motion.flow import resize_flow
from impasto.motion.reader import MotionReader
from impasto.paint.costs import iteration_seconds
from impasto.paint.encoder_weights import load_weights
from impasto.paint.painter import Painter
from impasto.pictures import Size, fit_within, resize, to_tensor
from impasto.plan.request import FrameRange, Request
from impasto.presets import load_settings
from impasto.report import stability
from impasto.report.appearance import luma, sharpness
from impasto.run.job_run import stylize
from impasto.settings import Settings
from impasto.storage import write_bytes
from samples import scenes
from tests.benchmarks.common import DATA, ROOT, machine, show
from tests.support.flow_files import write_flo

FOLDER = Path(os.environ.get("BENCH_FOLDER", ROOT / "bench"))
STYLE = DATA / "images" / "starry_night.jpg"
COLD_ITERATIONS = 300
FAR = 10

SYNTHETIC_SIZE: Size = (96, 160)
SYNTHETIC_FRAMES = 12

ROWS: dict[str, tuple[str, tuple[str, ...]]] = {
    "each frame alone": ("default", ("start.next=content", "iterations.target=none")),
    "previous result": ("default", ("start.next=previous", "temporal.weight=0")),
    "previous result warped": ("default", ("temporal.weight=0",)),
    "lower bound (warp only)": ("default", ("temporal.weight=0", "iterations.next=1")),
    "+ temporal loss: the default": ("default", ()),
    "+ long term, 1 2 4": ("default", ("temporal.distances=[1, 2, 4]",)),
    "multi-pass, 5 × 60": ("multipass", ("passes={count: 5, iterations: 60, temporal_from: 3}",)),
    "exact flow": ("default", ("flow.method=files",)),
}
"""Preset and settings of each row; in all a cold start takes the iterations that it is given, and a warm
frame ends as the preset says."""

ALONE, WARP_ONLY, DEFAULT, PASSES, EXACT = (
    "each frame alone",
    "lower bound (warp only)",
    "+ temporal loss: the default",
    "multi-pass, 5 × 60",
    "exact flow",
)


@dataclasses.dataclass(frozen=True)
class Truth:
    """Flow from a frame to another of the film (1×2×H×W) and its visibility mask (1×1×H×W)."""

    flow: torch.Tensor
    mask: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Film:
    """A film to be painted: its frames' folder, and what is known of its motion."""

    name: str
    frames: Path
    width: int
    truth: Callable[[int, int, Size], Truth | None]
    """Exact flow between two frames at a size; None where it is not known, and then it is estimated."""
    cold: tuple[int, ...]
    """The frames that are painted alone: the reference of objective and sharpness."""
    flow: Path | None = None
    """Exact flow as files, where there is any from each frame to the one before."""

    @property
    def paths(self) -> list[Path]:
        return sorted(self.frames.glob("*.png"))


# Films


def _sintel(name: str, width: int) -> Film:
    frames = FOLDER / "content" / name
    for path in sorted((DATA / "sintel" / name).glob("frame_*.png")):
        if not (frames / path.name).exists():
            write_bytes(frames / path.name, path.read_bytes())
    count = len(list(frames.glob("*.png")))

    def truth(a: int, b: int, size: Size) -> Truth | None:
        return _sintel_truth(name, size) if (a, b) == (1, 2) else None

    # Of a long film two pairs, ten apart, are painted alone: each such frame takes as long as five of the others.
    pairs = (FAR, FAR + 1, 2 * FAR, 2 * FAR + 1)
    cold = tuple(range(count)) if count < FAR else tuple(index for index in pairs if index < count)
    return Film(name, frames, width, truth, cold)


def _sintel_truth(name: str, size: Size) -> Truth | None:
    folder = DATA / "sintel" / name
    if not (folder / "flow_0002_to_0003.flo").is_file():
        return None
    flow = flow_module.to_flow(resize_flow(read_flo(folder / "flow_0002_to_0003.flo")[0], size))
    hidden = read_image(folder / "occluded_0002_to_0003.png")
    # A pixel of the reduced frame counts as hidden when a quarter of it is.
    shown = (resize(hidden, size)[..., 0] < 64).astype(np.float32)
    return Truth(flow, torch.from_numpy(shown)[None, None] * occlusion.in_frame_mask(flow))


def _reversed_sintel(name: str, width: int) -> Film:
    """Frames 3 and 2 in this order: the exact flow of the data set goes from the painted to the earlier one."""
    frames, flow = FOLDER / "content" / f"{name}-reversed", FOLDER / "flow" / f"{name}-reversed"
    data = DATA / "sintel" / name
    for position, number in ((1, 3), (2, 2)):
        if not (frames / f"frame_{position}.png").exists():
            write_bytes(frames / f"frame_{position}.png", (data / f"frame_{number:04d}.png").read_bytes())
    if not (flow / "reliable_2_1.pgm").exists():
        write_bytes(flow / "backward_2_1.flo", (data / "flow_0002_to_0003.flo").read_bytes())
        hidden = read_image(data / "occluded_0002_to_0003.png")[..., 0]
        header = f"P5\n{hidden.shape[1]} {hidden.shape[0]}\n255\n".encode()
        write_bytes(flow / "reliable_2_1.pgm", header + (255 - hidden).tobytes())

    def truth(a: int, b: int, size: Size) -> Truth | None:
        return _sintel_truth(name, size) if (a, b) == (1, 0) else None

    return Film(f"{name}-reversed", frames, width, truth, (1,), flow)


def _synthetic(kind: str, size: Size, count: int, cold: Sequence[int], name: str = "") -> Film:
    name = name or kind
    scene = getattr(scenes, kind)(size, count, 3)
    frames, flow = FOLDER / "content" / name, FOLDER / "flow" / name
    for index in range(count):
        if not (frames / f"frame_{index + 1:04d}.png").exists():
            write_image(frames / f"frame_{index + 1:04d}.png", scene.frame(index))
        if index and not (flow / f"backward_{index + 1}_{index}.flo").exists():
            flow.mkdir(parents=True, exist_ok=True)
            write_flo(flow / f"forward_{index}_{index + 1}.flo", scene.flow(index - 1, index))
            write_flo(flow / f"backward_{index + 1}_{index}.flo", scene.flow(index, index - 1))

    def truth(a: int, b: int, _: Size) -> Truth:
        shown = (~scene.occluded(a, b)).astype(np.float32)
        return Truth(flow_module.to_flow(scene.flow(a, b)), torch.from_numpy(shown)[None, None])

    return Film(name, frames, max(size), truth, tuple(cold), flow)


# Jobs


def settings_of(film: Film, row: str) -> Settings:
    preset, overrides = ROWS[row]
    extra = [f"flow.folder={film.flow}"] if row == EXACT else []
    return load_settings(preset, ["iterations.tolerance=0", *overrides, *extra, f"size={film.width}"])


def painted(film: Film, row: str) -> tuple[dict[int, Path], list[FrameRecord]]:
    """The painting of each frame by its index, and their records; painted now where they were not yet."""
    output = FOLDER / "painted" / f"{film.name}-{film.width}" / row.replace(" ", "-").replace(",", "").replace(":", "")
    settings = settings_of(film, row)
    if row == ALONE:
        content = tuple(film.paths[index] for index in film.cold)
        stylize(Request(content, (STYLE,), output, settings, mode="photos", device="auto"))
        files = {index: output / film.paths[index].name for index in film.cold}
    else:
        stylize(Request((film.frames,), (STYLE,), output, settings, mode="sequence", device="auto"))
        files = {index: output / path.name for index, path in enumerate(film.paths)}
    with Job.read(output.with_name(output.name + ".impasto")) as job:
        return files, job.frames()


# Figures


@dataclasses.dataclass(frozen=True)
class Figures:
    objective: float | None
    """Mean over the frames that have a cold start, relative to it."""
    sharpness: float | None
    near: float | None
    """Warping error × 1000 at distance 1, and at 10."""
    far: float | None
    seconds: float
    iterations: float
    worst: float
    """The largest objective, relative to the median."""


class Judge:
    """Measures paintings of one film; what the content alone decides is computed once."""

    def __init__(self, film: Film, painter: Painter) -> None:
        self.film = film
        self.painter = painter
        sources = [read_image(path) for path in film.paths]
        height, width = sources[0].shape[:2]
        self.size = fit_within((height, width), film.width)
        self.sources = sources
        self.contents = [resize(source, self.size) for source in sources]
        self._truths: dict[tuple[int, int], Truth] = {}
        cold, _ = painted(film, ALONE)
        self.cold = {index: read_image(path) for index, path in cold.items()}
        self.cold_objective = {
            index: painter.measure(picture, self.contents[index]).objective for index, picture in self.cold.items()
        }

    def figures(self, row: str) -> Figures:
        files, records = painted(self.film, row)
        pictures = {index: read_image(path) for index, path in files.items()}
        objectives = {
            index: self.painter.measure(picture, self.contents[index]).objective for index, picture in pictures.items()
        }
        # The first frame of the film is a cold start in every row.
        compared = [index for index in self.cold if index in pictures and (index or row == ALONE)]
        later = [frame for frame in records if row == ALONE or frame.index > 0]
        return Figures(
            _mean([objectives[index] / self.cold_objective[index] for index in compared]),
            _mean([sharpness(pictures[index]) / sharpness(self.cold[index]) for index in compared]),
            self._warping(pictures, 1),
            self._warping(pictures, FAR),
            sum(frame.seconds or 0 for frame in later) / max(1, len({frame.index for frame in later})),
            sum(frame.iterations or 0 for frame in later) / max(1, len({frame.index for frame in later})),
            max(objectives.values()) / statistics.median(objectives.values()),
        )

    def _warping(self, pictures: dict[int, np.ndarray], distance: int) -> float | None:
        errors = []
        for index in pictures:
            if index - distance not in pictures:
                continue
            a, b = index, index - distance
            if self.film.truth(b, a, self.size) is not None and self.film.truth(a, b, self.size) is None:
                a, b = b, a  # where only the forward flow is known
            elif self._only_some_known() and self.film.truth(a, b, self.size) is None:
                continue
            truth = self._truth(a, b)
            error = stability.warping_error(to_tensor(pictures[a]), to_tensor(pictures[b]), truth.flow, truth.mask)
            errors.append(1000 * error.item())
        return _mean(errors)

    def _only_some_known(self) -> bool:
        """Whether the film has exact flow between some frames: then only those are judged at distance 1."""
        count = len(self.contents)
        return any(
            self.film.truth(a, b, self.size) is not None
            for a in range(min(count, 4))
            for b in range(min(count, 4))
            if abs(a - b) == 1
        )

    def _truth(self, a: int, b: int) -> Truth:
        if (a, b) not in self._truths:
            known = self.film.truth(a, b, self.size)
            if known is None:
                flow, back = (
                    flow_module.to_flow(flow) for flow in DisFlow().pair(self.sources[a], self.sources[b], self.size)
                )
                known = Truth(flow, occlusion.visibility_mask(flow, back))
            self._truths[a, b] = known
        return self._truths[a, b]


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


# The tables


def run() -> None:
    if not STYLE.is_file():
        Console().print(f"skipped: {STYLE.name} is not at {STYLE.parent}")
        return
    style = read_image(STYLE)
    painter = Painter(load_settings("default"), load_weights("bundled"), [style], [1.0], torch.device("cpu"))
    cold = (0, 1, FAR, FAR + 1)
    moving = [
        _synthetic(kind, SYNTHETIC_SIZE, SYNTHETIC_FRAMES, cold) for kind in ("pan", "zoom", "rotation", "occluder")
    ]
    sintel = [_sintel(name, 256) for name in ("market_5", "cave_2", "ambush_4")]
    for film in (*moving, *sintel):
        _rows(film, painter, [row for row in ROWS if row != EXACT or film.flow is not None])
    for name in ("market_5", "cave_2"):
        _rows(_reversed_sintel(name, 256), painter, [ALONE, DEFAULT, EXACT])
    _share([*moving, *sintel], painter)
    _long_pan(painter)
    _static_scene(painter)
    _strips()
    for name in ("market_5", "cave_2", "ambush_4"):
        _rows(_sintel(name, 512), painter, [ALONE, DEFAULT])


def _rows(film: Film, painter: Painter, rows: Sequence[str]) -> None:
    judge = Judge(film, painter)
    table = []
    for row in rows:
        it = judge.figures(row)
        table.append(
            (
                row,
                *(_shown(value, 3) for value in (it.objective, it.sharpness)),
                *(_shown(value, 2) for value in (it.near, it.far)),
                f"{it.seconds:.1f}",
                f"{it.iterations:.1f}",
                f"{it.worst:.2f}",
            )
        )
    show(
        f"{film.name}, {judge.size[1]}×{judge.size[0]}, {len(judge.contents)} frames ({machine()})",
        ("row", "objective", "sharpness", "E 1", "E 10", "s a frame", "iterations", "worst"),
        table,
        [
            f"objective and sharpness: relative to a cold start of {COLD_ITERATIONS} iterations; "
            "E: warping error × 1000; worst: largest objective by the median; the first frame counts in that alone"
        ],
    )


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _share(films: Sequence[Film], painter: Painter) -> None:
    """What flow and masks cost beside the painting, in one thread and one after the other."""
    rows = []
    for film in films:
        content = resolve_content((film.frames,), FOLDER / "none", "sequence")
        _, records = painted(film, DEFAULT)
        later = [frame for frame in records if frame.index][:6]
        with (
            FrameReader(content) as reader,
            MotionReader(reader, DisFlow(), film.width, frames_kept=3) as motion,
        ):
            first = motion.take(0).content
            began = time.perf_counter()
            for frame in later:
                motion.take(frame.index, (frame.index - 1,), 0)
            of_motion = (time.perf_counter() - began) / len(later)
        iterations = statistics.fmean(frame.iterations or 0 for frame in later)
        of_painting = iteration_seconds(painter, first) * iterations
        rows.append((film.name, f"{iterations:.1f}", f"{of_motion / (of_motion + of_painting):.1%}"))
    show(
        f"Reading, flow and masks as a share of a frame's work ({machine()})",
        ("film", "iterations", "share"),
        rows,
        ["They run beside the painting; this is what they would take if they did not."],
    )


def _long_pan(painter: Painter) -> None:
    """Whether strokes blur and the objective rises while a pan goes on for a hundred frames."""
    early, late = (5, 10, 15), (90, 95, 99)
    film = _synthetic("pan", SYNTHETIC_SIZE, 100, (0, *early, *late), "pan-100")
    judge = Judge(film, painter)
    files, records = painted(film, DEFAULT)
    pictures = [read_image(files[index]) for index in sorted(files)]
    objectives = [painter.measure(p, c).objective for p, c in zip(pictures, judge.contents, strict=True)]
    sharp = [sharpness(picture) for picture in pictures]
    cold_sharp = {index: sharpness(picture) for index, picture in judge.cold.items()}
    rows = []
    for name, values, cold in (("objective", objectives, judge.cold_objective), ("sharpness", sharp, cold_sharp)):
        first, last = statistics.fmean(values[5:16]), statistics.fmean(values[-10:])
        relative = [statistics.fmean(values[index] / cold[index] for index in part) for part in (early, late)]
        rows.append((name, f"{first:.4g}", f"{last:.4g}", f"{last / first:.3f}", *(f"{it:.3f}" for it in relative)))
    its = [frame.iterations or 0 for frame in records]
    show(
        f"A pan of 100 frames, {SYNTHETIC_SIZE[1]}×{SYNTHETIC_SIZE[0]}",
        ("", "frames 5 to 15", "last ten", "ratio", "to cold starts, early", "late"),
        rows,
        [
            f"iterations a frame: {statistics.fmean(its[1:]):.1f}; cold starts of {COLD_ITERATIONS} iterations at "
            "frames 5, 10, 15 and 90, 95, 99"
        ],
    )


def _static_scene(painter: Painter) -> None:
    """Whether the painting of a static scene with sensor noise stays constant for 200 frames."""
    film = _synthetic("still", (48, 64), 200, (0,), "still-200")
    files, records = painted(film, DEFAULT)
    lumas = [luma(read_image(files[index])) for index in sorted(files)]
    means, contrasts = [values.mean() for values in lumas], [values.std() for values in lumas]
    slope = np.polyfit(range(len(means)), means, 1)[0] * 100
    its = [frame.iterations or 0 for frame in records]
    show(
        "A static scene with noise (σ = 2/255), 200 frames, 64×48",
        ("", "frame 1", "largest change", "per 100 frames"),
        [
            ("luminance", f"{means[0]:.3f}", f"{max(abs(m - means[0]) for m in means):.3f}", f"{slope:+.4f}"),
            ("contrast", f"{contrasts[0]:.3f}", f"{max(abs(c / contrasts[0] - 1) for c in contrasts):.2%}", ""),
        ],
        [f"iterations a frame after the first: {statistics.fmean(its[1:]):.2f}"],
    )


# Pictures for the README


def _strips(target: Path = ROOT / "samples" / "temporal.jpg") -> None:
    """Three strips of the sample clip: its content, painted without the motion, and with it."""
    clip, style = ROOT / "samples" / "clip.mp4", ROOT / "samples" / "style.png"
    frames, shown = FrameRange(0, 13), (3, 6, 9, 12)
    rows = []
    for name, row in (("without", "previous result"), ("with", DEFAULT)):
        preset, overrides = ROWS[row]
        settings = load_settings(preset, ["iterations.tolerance=0", *overrides, "size=240"])
        output = FOLDER / "painted" / f"clip-{name}"
        stylize(Request((clip,), (style,), output, settings, frames=frames))
        rows.append([read_image(output / f"{index:06d}.png") for index in shown])
    size = rows[0][0].shape[0], rows[0][0].shape[1]
    sources = {frame.index: frame.image for frame in read_frames(clip, frames.start, frames.stop)}
    rows.insert(0, [resize(sources[index], size) for index in shown])
    write_image(target, np.concatenate([np.concatenate(row, axis=1) for row in rows]))
