"""A video or sequence → its frame plan: scanned once, cut into shots, and these into segments where that is faster."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import Interrupted
from ..events import Listener, Notice, Scanning, StopSignal
from ..job.folder import FRAMES_NAME
from ..job.records import PlannedFrame
from ..layers import require_size_within
from ..media import decoding
from ..media.content import ContentKind
from ..pictures import fit_within
from .execution_plan import FilmPlan
from .film_scan import DEFAULT_SEQUENCE_RATE, ContentScan, scan_film
from .flow_method import check_flow_files, choose_flow_method
from .frame_plan import FramePlan
from .frame_rules import max_iterations
from .inputs import Inputs
from .segments import MIN_SEGMENT_FRAMES, Segments, plan_keyframes


def plan_film(inputs: Inputs, listener: Listener, stop: StopSignal, worker_count: int) -> FramePlan:
    """Reads a film from end to end and plans its frames, with segments for `worker_count` workers.

    Raises `InputError` and `UsageError` for content that cannot be painted or encoded, `Interrupted` on a stop.
    """
    scan = _scan(inputs, listener, stop)
    not_kept = tuple(_not_kept(inputs, scan))
    for text in (*_notices(inputs, scan), *not_kept):
        listener(Notice(text))
    settings = inputs.settings
    size = fit_within(scan.size, settings.size)
    what = f"the content {inputs.content.files[0].path}"
    require_size_within(scan.size, size, settings.size, settings.layers, what)
    segments = _divide(inputs, scan, worker_count, listener)
    if choose_flow_method(settings.flow, inputs.devices[0]) == "files":
        check_flow_files(settings, inputs.passes, [shot.frames for shot in scan.shots], segments, size)
    frames = tuple(_frames(inputs, scan, segments))
    lost = tuple((text, "") for text in not_kept)
    return FramePlan(frames, (size,) * len(frames), _film_plan(scan, segments), segments, scan.index, lost)


def _scan(inputs: Inputs, listener: Listener, stop: StopSignal) -> ContentScan:
    path, rate, shots = inputs.content.files[0].path, inputs.request.rate, inputs.settings.shots

    def on_progress(read: int, declared: int | None) -> None:
        listener(Scanning(path, read, declared))
        if stop.requested:
            raise Interrupted("stopped while reading the content; nothing was begun yet")

    if rate is None and inputs.content.kind is ContentKind.SEQUENCE and inputs.to_video:
        listener(Notice(f"the video gets {DEFAULT_SEQUENCE_RATE} frames a second; `rate` says otherwise"))
    cuts = shots.cuts or (None if shots.detect else ())
    return scan_film(inputs.content, inputs.request.frames.clip, cuts, rate, on_progress)


def _notices(inputs: Inputs, scan: ContentScan) -> Iterator[str]:
    """What is unusual about the film."""
    path, stop = inputs.content.files[0].path, scan.first + scan.timing.frame_count
    for cut in inputs.settings.shots.cuts:
        if cut >= stop:
            yield f"cut {cut} lies beyond the last frame, {stop - 1}, and is ignored"
    wanted = inputs.request.frames.stop
    if wanted is not None and wanted > stop:
        yield f"{path} ends with frame {stop - 1}: frames {scan.first}:{stop} are painted"


def _not_kept(inputs: Inputs, scan: ContentScan) -> Iterator[str]:
    """What the output cannot keep of the film, as far as that is known before it is written."""
    path = inputs.content.files[0].path
    if scan.damage:
        yield f"the video is damaged, and its good frames are painted: {scan.damage}"
    yield from scan.not_kept
    suffix = inputs.request.output.suffix.lower() if inputs.to_video else ""
    if inputs.to_video:
        # Players show a video once, and an animation that plays for ever has no number to lose.
        if scan.plays > 1 and suffix != ".gif":
            yield f"that the animation plays {scan.plays} times is left out: {suffix[1:]} does not say how often"
        size = fit_within(scan.size, inputs.settings.size)
        encoding = inputs.request.encoding
        yield from encoding.choose(suffix, size, scan.has_alpha).notes
        if inputs.request.compare:
            encoding.choose(suffix, (size[0], 2 * size[1]), has_alpha=False)  # It raises where that is too wide.
    if inputs.content.kind is ContentKind.VIDEO:
        tracks = decoding.read_tracks(path, inputs.content.video_stream)
        tracks = tracks.without_metadata() if inputs.request.strip else tracks
        yield from tracks.notes(suffix)
        if tracks.time_code is not None and (loss := tracks.time_code.loss(suffix, scan.timing)) is not None:
            yield loss


def _divide(inputs: Inputs, scan: ContentScan, worker_count: int, listener: Listener) -> Segments:
    """Divides shots into as many segments as the request names, or as make the job faster."""
    requested, iterations = inputs.request.segments, inputs.settings.iterations
    keyframes: tuple[int, ...] = ()
    if inputs.can_divide_shots:
        shots = [shot.frames for shot in scan.shots]
        keyframes = plan_keyframes(shots, requested, worker_count, iterations.first, iterations.next)
    segments = Segments(keyframes, (shot.start for shot in scan.shots))
    if segments:
        divided = "1 shot is" if segments.divided_shots == 1 else f"{segments.divided_shots} shots are"
        listener(Notice(f"{divided} painted in {segments.count} segments"))
    elif requested is not None and requested > 1:
        listener(Notice(f"no shot is long enough for two segments of {MIN_SEGMENT_FRAMES} frames"))
    return segments


def _frames(inputs: Inputs, scan: ContentScan, segments: Segments) -> Iterator[PlannedFrame]:
    """Each frame once for each pass; only the last pass may write to the output folder."""
    shot_of = {index: shot.start for shot in scan.shots for index in shot.frames}
    is_sequence, passes = inputs.content.kind is ContentKind.SEQUENCE, inputs.passes
    for index, pts in enumerate(scan.timing.times, start=scan.first):
        name = inputs.content.files[index].name if is_sequence else f"frame {index}"
        shot = shot_of[index]
        work = max_iterations(inputs.settings, passes, segments, index, shot)
        for number in range(1 - passes, 1):
            if number == 0:
                path = _painting_path(inputs, index)
            else:
                path = f"{FRAMES_NAME}/pass-{number + passes:02d}/{index:06d}.png"
            in_pass = f"{name}, pass {number + passes}" if passes > 1 else name
            yield PlannedFrame(index, shot, in_pass, path, pts, work, number)


def _painting_path(inputs: Inputs, index: int) -> str:
    """Where the painting of a frame is kept: in the job's folder (relative) for a video, else in the output folder."""
    if inputs.to_video:
        return f"{FRAMES_NAME}/{index:06d}.png"
    folder = Path(os.path.abspath(inputs.request.output))
    is_sequence = inputs.content.kind is ContentKind.SEQUENCE
    return str(folder / (inputs.content.files[index].target if is_sequence else f"{index:06d}.png"))


def _film_plan(scan: ContentScan, segments: Segments) -> FilmPlan:
    return FilmPlan(
        first=scan.first,
        time_base=scan.timing.time_base,
        rate=scan.timing.rate,
        last_duration=scan.timing.last_duration,
        is_partial=scan.is_partial,
        has_alpha=scan.has_alpha,
        plays=scan.plays,
        has_jumps=scan.has_jumps,
        color=None if scan.info is None else scan.info.color,
        color_mean=tuple(scan.colors.mean.tolist()),
        color_covariance=tuple(tuple(row) for row in scan.colors.covariance.tolist()),
        keyframes=segments.keyframes,
    )
