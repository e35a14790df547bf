"""What a job will do, before it begins: its frames, their order and sizes, and the disk that they take."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from .. import storage
from ..errors import InputError, Interrupted, OutOfMemoryError, StorageError, UsageError
from ..events import Listener, Notice, Scanning, StopSignal
from ..job.folder import FRAMES_NAME
from ..job.records import FrameRecord, PlannedFrame
from ..layers import require_size
from ..media import decoding
from ..media.content import Content, ContentKind
from ..media.find_content import missing_numbers
from ..media.frame_index import FrameIndex
from ..motion.flo_files import FloFolder
from ..motion.raft import has_raft_weights
from ..paint.costs import CostsOf, batch_costs
from ..paint.painter import Painter
from ..pictures import Size, fit_within, size_of
from ..settings import Settings
from .execution_plan import FilmPlan, FlowMethod
from .film_scan import DEFAULT_SEQUENCE_RATE, ContentScan, scan_film
from .frame_rules import most_iterations, starts_cold
from .request import Request
from .resources import best_threads, best_width, physical_memory_bytes, usable_cores
from .scheduler import longest_way
from .segments import LEAST_FRAMES, Segments, plan_keyframes

PROBE_WIDTH = 4
"""So many pictures side by side tell what more of them would take."""

GPU_MEMORY_SHARE = 0.85
"""Of a GPU's free memory, what pictures painted side by side may take."""

MEMORY_SHARE = 0.7
"""Of the machine's memory, what workers on a CPU may take together."""

PROCESSES_FROM = 2e7
"""Iterations × pixels from which on several processes are started for the cores of a CPU: each first loads torch and
the encoder, which takes some seconds."""


@dataclass
class Plan:
    """The frames of a job and what reading the content has shown of them."""

    frames: list[PlannedFrame]
    film: FilmPlan | None = None
    size: Size | None = None
    """Of each painting of a film; photos have one each."""
    frame_index: FrameIndex | None = None
    """Of a video that can be sought."""
    segments: Segments = field(default_factory=lambda: Segments((), ()))


@dataclass(frozen=True)
class Planner:
    """Plans what `request` asks for, of the files in `content`.

    `to_video` says whether the output is a video, and `devices` where frames may be painted on this machine.
    """

    request: Request
    content: Content
    to_video: bool
    devices: Sequence[torch.device]
    listener: Listener
    stop: StopSignal

    @property
    def settings(self) -> Settings:
        return self.request.settings

    @property
    def passes(self) -> int:
        return self.settings.passes.count if self.content.is_film else 1

    @property
    def _can_divide(self) -> bool:
        """Whether frames start from others that need not be the ones before."""
        return self.content.is_film and self.passes == 1 and self.settings.start.next == "warped"

    @property
    def _worker_count(self) -> int:
        """How many frames could be painted at the same time. GPUs alone are counted: a CPU's cores work on one frame
        together, and what a cluster has is not known yet."""
        several = self.devices[0].type == "cuda" and self.request.executor in ("auto", "processes")
        return len(self.devices) if several else 1

    def require_segments(self) -> None:
        """Refuses to divide what cannot be divided."""
        segments = self.request.segments
        if segments is None:
            return
        if not self.content.is_film:
            raise UsageError("`segments` divides the shots of a video or a sequence; photos are painted side by side")
        if segments > 1 and not self._can_divide:
            start = self.settings.start.next
            why = f"in {self.passes} passes (passes.count)" if self.passes > 1 else f"with start.next={start}"
            raise UsageError(f"`segments` {segments}: a film {why} is not painted in segments: leave it out")

    def plan(self) -> Plan:
        """Reads the content, and tells what there is to be told of it before a job begins."""
        if self.content.skipped:
            count = self.content.skipped
            files = (
                "1 file in the content is no image, or a link that leads out, and was"
                if count == 1
                else f"{count} files in the content are no images, or links that lead out, and were"
            )
            self.listener(Notice(f"{files} passed over"))
        if self.content.renamed:
            count, first = len(self.content.renamed), self.content.renamed[0]
            whose = "1 photo has a name" if count == 1 else f"{count} photos have names"
            self.listener(
                Notice(f"{whose} that another has, or that is too long: {first.path} is painted to {first.target}")
            )
        if self.content.kind is ContentKind.SEQUENCE:
            for gap in missing_numbers(self.content.files):
                self.listener(Notice(f"frames are missing, and the film is painted without them: {gap}"))
        if self.settings.is_retuned:
            self.listener(Notice(self.settings.retuned_notice))
        if not self.content.is_film:
            if self.content.kind is ContentKind.IMAGE:
                # One picture that cannot be painted is wrong input, not a job that is done in part.
                path = self.content.files[0].path
                size = fit_within(size_of(decoding.read_image(path)), self.settings.size)
                require_size(size, self.settings.layers, f"content {path}")
            output = self.request.output.absolute()
            base = output.parent if self.content.kind is ContentKind.IMAGE else output
            most = self.settings.iterations.first
            return Plan(
                [
                    PlannedFrame(index, index, file.name, str(base / file.target), work=most)
                    for index, file in enumerate(self.content.files)
                ]
            )
        return self._plan_film()

    def _plan_film(self) -> Plan:
        path = self.content.files[0].path

        def on_progress(read: int, declared: int | None) -> None:
            self.listener(Scanning(path, read, declared))
            if self.stop.requested:
                raise Interrupted("stopped while reading the content; nothing was begun yet")

        rate = self.request.rate
        if rate is None and self.content.kind is ContentKind.SEQUENCE and self.to_video:
            self.listener(Notice(f"the video gets {DEFAULT_SEQUENCE_RATE} frames a second; `rate` says otherwise"))
        shots = self.settings.shots
        cuts = shots.cuts or (None if shots.detect else ())
        scan = scan_film(self.content, self.request.frames.clip, cuts, rate, on_progress)
        last = scan.first + scan.timing.frame_count - 1
        for cut in shots.cuts:
            if cut > last:
                self.listener(Notice(f"cut {cut} lies beyond the last frame, {last}, and is passed over"))
        wanted = self.request.frames.stop
        if wanted is not None and wanted > scan.first + scan.timing.frame_count:
            last = scan.first + scan.timing.frame_count
            self.listener(Notice(f"{path} ends with frame {last - 1}: frames {scan.first}:{last} are painted"))
        if scan.damage:
            self.listener(Notice(f"{path} is damaged, and its good frames are painted: {scan.damage}"))
        if scan.interlaced_count:
            self.listener(Notice(f"{path} is interlaced: the two fields of a frame are made one picture (bwdif)"))
        if scan.info is not None and scan.info.hdr:
            self.listener(
                Notice(f"{path} is of high dynamic range ({scan.info.hdr}): it is reduced to standard (BT.709, 8 bits)")
            )
        size = fit_within(scan.size, self.settings.size)
        require_size(size, self.settings.layers, f"the content {path}")
        if self.to_video:
            # Not only once all is painted.
            self.request.encoding.choose(self.request.output.suffix.lower(), size, scan.has_alpha)
        segments = self._plan_segments(scan)
        if self.flow_method() == "files":
            self._require_flow_files(scan, segments)
        frames = list(self._film_frames(scan, segments))
        return Plan(frames, _film_plan(scan, segments), size, scan.index, segments)

    def _plan_segments(self, scan: ContentScan) -> Segments:
        asked, iterations = self.request.segments, self.settings.iterations
        keyframes: tuple[int, ...] = ()
        if self._can_divide:
            shots = [shot.frames for shot in scan.shots]
            keyframes = plan_keyframes(shots, asked, self._worker_count, iterations.first, iterations.next)
        segments = Segments(keyframes, (shot.start for shot in scan.shots))
        if segments:
            divided = "1 shot is" if segments.divided_shots == 1 else f"{segments.divided_shots} shots are"
            self.listener(Notice(f"{divided} painted in {segments.count} segments"))
        elif asked is not None and asked > 1:
            self.listener(Notice(f"no shot is long enough for two segments of {LEAST_FRAMES} frames"))
        return segments

    def _require_flow_files(self, scan: ContentScan, segments: Segments) -> None:
        """What a job of days needs is there, and whole, before it begins; see `pipeline.painting`."""
        files = FloFolder(Path(self.settings.flow.folder or ""))
        size = fit_within(scan.size, self.settings.size)
        start, held = self.settings.start.next, self.settings.temporal
        to_previous = start == "warped" or (held.weight > 0 and 1 in held.distances)
        neighbours = [(later, later - 1) for shot in scan.shots for later in shot.frames[1:]]
        if self.passes > 1:
            pairs = neighbours if self.passes > 2 else []
            pairs = pairs + [(earlier, later) for later, earlier in neighbours]
        else:
            pairs = [pair for pair in neighbours if to_previous and not starts_cold(self.settings, *pair)]
        led_on = [
            index
            for shot in scan.shots
            for index in shot.frames
            if segments.crossfades_with(index, shot.start) is not None
        ]
        pairs += [(index, index + 1) for index in led_on]
        missing = [path.name for pair in pairs if not (path := files.path_of(*pair)).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise InputError(f"flow file {missing[0]}{more} is not in {files.folder}: add it, or cut the film there")
        for pair in pairs:
            files.require(*pair, size)

    def _film_frames(self, scan: ContentScan, segments: Segments) -> Iterator[PlannedFrame]:
        shot_of = {index: shot.start for shot in scan.shots for index in shot.frames}
        for place, pts in enumerate(scan.timing.times):
            index = scan.first + place
            if self.to_video:
                path = f"{FRAMES_NAME}/{index:06d}.png"
            elif self.content.kind is ContentKind.SEQUENCE:
                path = str(self.request.output.absolute() / self.content.files[index].target)
            else:
                path = str(self.request.output.absolute() / f"{index:06d}.png")
            name = self.content.files[index].name if self.content.kind is ContentKind.SEQUENCE else f"frame {index}"
            shot = shot_of[index]
            work = self._work(index, shot, segments)
            for number in range(1 - self.passes, 1):
                draft = f"{FRAMES_NAME}/pass-{number + self.passes:02d}/{index:06d}.png"
                in_pass = f"{name}, pass {number + self.passes}" if self.passes > 1 else name
                yield PlannedFrame(index, shot, in_pass, draft if number else path, pts, work, number)

    def _work(self, index: int, shot: int, segments: Segments) -> int:
        return most_iterations(self.settings, self.passes, segments, index, shot)

    def flow_method(self) -> FlowMethod:
        """`auto` decided: a folder is there to be read; RAFT pays on a GPU, but is not downloaded unasked."""
        flow = self.settings.flow
        if flow.method != "auto":
            return flow.method
        if flow.folder is not None:
            return "files"
        on_gpu = self.devices[0].type == "cuda"
        return "raft" if on_gpu and has_raft_weights(flow.weights) else "dis"

    def work_left(self, segments: Segments, pending: Sequence[FrameRecord | PlannedFrame]) -> int:
        """The iterations that frames take at most."""
        return sum(self._work(frame.index, frame.shot, segments) for frame in pending)

    def sizes(self, plan: Plan) -> list[Size]:
        """The size of each painting; (0, 0) for a picture that cannot be read, of which there will be none."""
        if plan.size is not None:
            return [plan.size] * len(plan.frames)
        sizes = []
        for file in self.content.files:
            try:
                sizes.append(fit_within(decoding.image_size(file.path), self.settings.size))
            except InputError:
                sizes.append((0, 0))
        return sizes

    def places(
        self, threads: int, pixels: float, segments: Segments, frames: Sequence[FrameRecord | PlannedFrame]
    ) -> list[torch.device]:
        """A device for each worker: the CPU as often as its cores hold the job's threads, no more than can be busy."""
        if self.request.executor == "inline":
            return [self.devices[0]]
        if self.devices[0].type == "cpu":
            work = self.work_left(segments, frames) * pixels
            if self.request.executor == "auto" and work < PROCESSES_FROM:
                return [self.devices[0]]
            places = [self.devices[0]] * max(1, usable_cores() // threads)
        else:
            places = list(self.devices)
        return places[: max(1, parts_of(segments, frames))]

    def threads(self, plan: Plan, pixels: float) -> int:
        """Over how many threads sums are split on a CPU. The last bits of a picture follow from it: a job keeps its
        number, whoever goes on with it."""
        chains, _ = plan.segments.chains((frame.index, frame.shot, frame.work * pixels) for frame in plan.frames)
        total = sum(chain.work for chain in chains)
        if self.request.executor == "inline" or total < PROCESSES_FROM:
            return torch.get_num_threads()
        return best_threads(
            total, longest_way(chains), pixels, torch.get_num_threads(), MEMORY_SHARE * physical_memory_bytes()
        )

    def size_order(self, sizes: Sequence[Size], widths: Mapping[Size, int]) -> tuple[int, ...]:
        """The photos in the order of their sizes, so that those of one size come together; empty where that does not
        matter."""
        mixed = bool(widths) and not self.content.is_film and len(set(sizes)) > 1
        return tuple(sorted(range(len(sizes)), key=lambda index: (sizes[index], index))) if mixed else ()

    def batch_widths(
        self,
        plan: Plan,
        sizes: Sequence[Size],
        make_painter: Callable[[], Painter],
        costs_of: CostsOf = batch_costs,
    ) -> dict[Size, int]:
        """How many pictures of a size are painted side by side, where it is more than one. Their last bits follow from
        it: a job keeps it."""
        chains: dict[Size, dict[int, float]] = {}
        for frame, size in zip(plan.frames, sizes, strict=True):
            if all(size):
                work, chain = chains.setdefault(size, {}), plan.segments.start(frame.index, frame.shot)
                work[chain] = work.get(chain, 0.0) + frame.work
        alike = {size: list(work.values()) for size, work in chains.items() if len(work) > 1}
        most = self.request.batch
        if most is not None:
            widths = {size: min(most, len(work)) for size, work in alike.items()}
        elif self.devices[0].type == "cpu" or not alike:
            return {}
        else:
            widths = self._measured_widths(alike, make_painter, costs_of)
        return {size: width for size, width in widths.items() if width > 1}

    def _measured_widths(
        self, alike: Mapping[Size, Sequence[float]], make_painter: Callable[[], Painter], costs_of: CostsOf
    ) -> dict[Size, int]:
        """What pays on a GPU, by what one picture and several take of its time and memory."""
        commonest = max(alike, key=lambda size: len(alike[size]))
        painter = make_painter()
        gray = np.full((*commonest, 3), 128, np.uint8)
        try:
            costs = {width: costs_of(painter, gray, width) for width in (1, PROBE_WIDTH)}
        except OutOfMemoryError:
            costs = {}
        del painter
        # Workers in other processes have what this one gives back alone.
        torch.cuda.empty_cache()
        if not costs:
            return {}
        (one, least), (some, more) = costs[1], costs[PROBE_WIDTH]
        slope, bytes_each = max(0.0, some - one) / (PROBE_WIDTH - 1), max(1, (more - least) // (PROBE_WIDTH - 1))
        devices = self.devices[: self._worker_count]
        free = GPU_MEMORY_SHARE * min(torch.cuda.mem_get_info(device)[0] for device in devices)
        widths = {}
        for size, work in alike.items():
            share = size[0] * size[1] / (commonest[0] * commonest[1])
            fits = int((free - (least - bytes_each)) / (bytes_each * share))
            widths[size] = best_width(
                sum(work),
                max(work),
                max(1, min(fits, len(work))),
                len(devices),
                lambda width, share=share: (one - slope) + slope * share * width,  # type: ignore[misc]
            )
        return widths

    def disk_needed(self, plan: Plan, pixels: Sequence[int]) -> dict[Path, int]:
        """Bytes, from above, that paintings and output take in each folder: paintings hardly compress, PNG never
        makes them larger by much, JPEG halves them, and a film of good quality takes an eighth of its frames."""
        output, job = self.request.output.absolute().parent, self.request.job_folder.absolute().parent
        needed = dict.fromkeys((output, job), 0)
        for frame, count in zip(plan.frames, pixels, strict=True):
            suffix = Path(frame.path).suffix.lower()
            # A TIFF may be plain and have alpha.
            halves = 3 if suffix in (".jpg", ".jpeg") else 8 if suffix in (".tif", ".tiff") else 6
            needed[output if Path(frame.path).is_absolute() else job] += halves * count // 2 + 4096
        kept = sum(pixels) // self.passes
        if self.to_video:
            film = self._video_bytes(kept)
            needed[output] += film
            if storage.disk_of(output) != storage.disk_of(job):
                needed[job] += film  # It is made there, and then moved.
        if self.passes > 1 and self.flow_method() != "files":
            needed[job] += 2 * 8 * kept
        if plan.segments:
            gaps = sum(plan.segments.next(frame.index, frame.shot) is not None for frame in plan.frames)
            led = sum(plan.segments.crossfades_with(frame.index, frame.shot) is not None for frame in plan.frames)
            needed[job] += (3 * 4 * led + (2 * 8 * gaps if self.flow_method() != "files" else 0)) * pixels[0]
        if self.request.compare:
            needed[output] += self._video_bytes(2 * kept) if self.to_video else 6 * kept
        return needed

    def _video_bytes(self, pixel_count: int) -> int:
        """From above, of so many pixels in all: without loss half of what they take plain, a GIF a byte for each, else
        an eighth."""
        if self.request.output.suffix.lower() == ".gif":
            return pixel_count
        lossless = self.request.encoding.codec in ("prores", "ffv1") or self.request.encoding.crf == 0
        return 3 * pixel_count // (2 if lossless else 8)

    def require_space(self, plan: Plan, pixels: Sequence[int]) -> None:
        """Raises `StorageError` where a disk has not the room that the job takes."""
        needed = self.disk_needed(plan, pixels)
        by_disk: dict[int, tuple[Path, int]] = {}
        for folder, size in needed.items():
            disk = storage.disk_of(folder)
            by_disk[disk] = folder, size + by_disk.get(disk, (folder, 0))[1]
        for folder, size in by_disk.values():
            free = storage.free_bytes(folder)
            if size > free:
                raise StorageError(
                    f"the paintings and the output take up to {_megabytes(size)} in {folder}, and "
                    f"{_megabytes(free)} are free there: free some, paint fewer `frames` or at a smaller `size`, or "
                    "name another `output` or `job`"
                )


def parts_of(segments: Segments, frames: Sequence[FrameRecord | PlannedFrame]) -> int:
    """In how many places frames can be painted at the same time: segments, and shots that are not divided."""
    return len({segments.start(frame.index, frame.shot) for frame in frames})


def _film_plan(scan: ContentScan, segments: Segments) -> FilmPlan:
    return FilmPlan(
        first=scan.first,
        time_base=scan.timing.time_base,
        rate=scan.timing.rate,
        last_duration=scan.timing.last_duration,
        is_partial=scan.is_partial,
        has_alpha=scan.has_alpha,
        color=None if scan.info is None else scan.info.color,
        color_mean=tuple(scan.colors.mean.tolist()),
        color_covariance=tuple(tuple(row) for row in scan.colors.covariance.tolist()),
        keyframes=segments.keyframes,
    )


def _megabytes(size: int) -> str:
    if size < 1e6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
