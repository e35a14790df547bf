"""Painted frames → a film, alone or beside its content."""

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from .. import storage
from ..errors import MediaError, StorageError
from ..job.folder import file_problem
from ..job.job import Job
from ..job.records import FrameRecord, FrameState
from ..media import decoding, rebased_tracks
from ..media.codecs import Encoding
from ..media.color import VideoColor
from ..media.content import Content, ContentKind
from ..media.frame_reader import FrameReader
from ..media.images import read_image, read_image_and_alpha
from ..media.timing import Timing
from ..media.tracks import Tracks
from ..media.video_writer import VideoWriter
from ..pictures import resize, size_of
from ..plan.execution_plan import ExecutionPlan
from ..plan.inputs import Inputs
from ..plan.resources import picture_threads, usable_cores
from .read_ahead import read_ahead


@dataclass(frozen=True)
class Film:
    """A painted film with all that goes into its file."""

    frames: tuple[FrameRecord, ...]
    """The frames in order."""

    shown: tuple[FrameRecord, ...]
    """The frame whose painting is shown for each: itself, or the nearest that is painted."""

    timing: Timing
    """When each frame is shown."""

    color: VideoColor | None
    """Colour tags of the content, if it is a video."""

    has_alpha: bool
    """Whether paintings have an alpha channel."""

    tracks: Tracks
    """Sound, subtitles, attachments and metadata of the content."""

    plays: int
    """How often an animation is played, 0 for ever."""

    part: tuple[Fraction, Fraction] | None
    """(start, end) in seconds, on the clock of `timing`, where a part of the content was painted."""

    def paintings(self) -> Generator[np.ndarray, None, None]:
        """The painting of each frame: H×W×3 uint8, or H×W×4 where the film has alpha.

        Raises `StorageError` for one that is missing or has changed.
        """
        yield from read_ahead(self._painting, self.shown, picture_threads(usable_cores()))

    def comparisons(self, reader: FrameReader) -> Generator[np.ndarray, None, None]:
        """Content and painting of each frame side by side: H×2W×3 uint8. Raises `StorageError` as `paintings` does."""
        paintings = read_ahead(_opaque_painting, self.shown, picture_threads(usable_cores()))
        for frame, painting in zip(self.frames, paintings, strict=True):
            yield side_by_side(reader.read(frame.index)[0], painting)

    def _painting(self, frame: FrameRecord) -> np.ndarray:
        if not self.has_alpha:
            return _opaque_painting(frame)
        _check_painting(frame)
        image, alpha = read_image_and_alpha(frame.path)
        return np.dstack([image, np.full(size_of(image), 255, np.uint8) if alpha is None else alpha])


@contextlib.contextmanager
def open_film(job: Job, inputs: Inputs, plan: ExecutionPlan) -> Iterator[Film]:
    """The film of a job as far as it is painted, with the tracks of the video that it was painted from.

    Tracks that had to be put on one time line are in a file in the job's folder, which is removed in the end.
    """
    film = plan.film
    assert film is not None
    frames = tuple(frame for frame in job.frames() if frame.pass_number == 0)
    timing = film.timing(tuple(frame.pts for frame in frames if frame.pts is not None))
    tracks, rebased = Tracks(), job.folder / f"tracks{rebased_tracks.SUFFIX}"
    try:
        if inputs.content.kind is ContentKind.VIDEO:
            tracks = _tracks_of(inputs.content, rebased if film.has_jumps else None)
        yield Film(
            frames,
            tuple(_shown(frames)),
            timing,
            film.color,
            film.has_alpha,
            tracks.without_metadata() if inputs.request.strip else tracks,
            film.plays,
            timing.span_seconds if film.is_partial else None,
        )
    finally:
        storage.remove(rebased)


def write_film(
    film: Film,
    path: Path,
    encoding: Encoding,
    on_frame: Callable[[int, int], None],
    reader: FrameReader | None = None,
) -> Sequence[str]:
    """Writes a film, beside its content where a `reader` is given; returns a line for everything left out.

    `on_frame` is called with the number of frames written and of all. Sound and subtitles that are too broken to be
    copied are left out, since the paintings are worth more. Raises what `VideoWriter` raises.
    """
    try:
        return _write(film, path, encoding, on_frame, reader)
    except MediaError:
        tracks = _copyable_tracks(film, path)
        if tracks == film.tracks:
            raise
        notes = _write(replace(film, tracks=tracks), path, encoding, on_frame, reader)
        return [*notes, *_left_out(film.tracks, tracks)]


def side_by_side(content: np.ndarray, painting: np.ndarray) -> np.ndarray:
    """Content | painting, H×W×3 uint8 each, as H×2W×3; the content is resized to the painting."""
    return np.hstack([resize(content, size_of(painting)), painting])


def _tracks_of(content: Content, rebased: Path | None) -> Tracks:
    """The tracks of a video; with a path, on one time line, in a file that is put there."""
    path = content.files[0].path
    tracks = decoding.read_tracks(path, content.video_stream)
    if rebased is None or not tracks.has_streams:
        return tracks
    # The paintings are worth more than what goes along with them.
    for kept in (tracks, replace(tracks, subtitles=())):
        lost = () if kept is tracks else ("subtitles in a video whose clock jumps",)
        try:
            decoding.write_rebased_tracks(path, rebased, with_subtitles=kept is tracks)
            return replace(kept, source=rebased, unknown=(*tracks.unknown, *lost))
        except MediaError:
            storage.remove(rebased)
    return replace(
        tracks.without_streams(), unknown=(*tracks.unknown, "the sound, which cannot be put on one time line,")
    )


def _opaque_painting(frame: FrameRecord) -> np.ndarray:
    _check_painting(frame)
    return read_image(frame.path)


def _check_painting(frame: FrameRecord) -> None:
    if (problem := file_problem(frame.path, frame.sha256)) is not None:
        raise StorageError(f"{frame.path} {problem}: run the same command again to paint it again")


def _shown(frames: Sequence[FrameRecord]) -> Iterator[FrameRecord]:
    """For each frame itself if it is painted, else the nearest that is: of the same shot if there is one, and the
    earlier of two."""
    painted = [frame for frame in frames if frame.state is FrameState.DONE]
    shots = {frame.shot for frame in painted}
    for frame in frames:
        if frame.state is FrameState.DONE:
            yield frame
            continue
        candidates = [other for other in painted if other.shot == frame.shot or frame.shot not in shots]
        yield min(candidates, key=lambda other: (abs(other.index - frame.index), other.index))


def _write(
    film: Film, path: Path, encoding: Encoding, on_frame: Callable[[int, int], None], reader: FrameReader | None
) -> Sequence[str]:
    pictures = film.paintings() if reader is None else film.comparisons(reader)
    first = next(pictures)
    with (
        contextlib.closing(pictures),
        VideoWriter(
            path,
            size_of(first),
            film.timing,
            color=film.color,
            encoding=encoding,
            has_alpha=first.shape[2] == 4,
            tracks=film.tracks,
            plays=film.plays,
            part=film.part,
        ) as writer,
    ):
        writer.write(first)
        on_frame(1, film.timing.frame_count)
        for written, picture in enumerate(pictures, start=2):
            writer.write(picture)
            on_frame(written, film.timing.frame_count)
    return writer.notes


def _copyable_tracks(film: Film, path: Path) -> Tracks:
    """The film's tracks without those that cannot be written even beside a single small picture."""
    tracks, timing = film.tracks, Timing(film.timing.time_base, film.timing.times[:1])

    def can_be_copied(**alone: Any) -> bool:
        trial = storage.temporary_beside(path)
        kept = replace(tracks.without_streams(), **alone)
        try:
            with VideoWriter(trial, (16, 16), timing, tracks=kept, part=film.part) as writer:
                writer.write(np.zeros((16, 16, 3), np.uint8))
        except MediaError:
            return False
        finally:
            storage.remove(trial)
        return True

    attachments = tracks.attachment_count
    return replace(
        tracks,
        audio=tuple(track for track in tracks.audio if can_be_copied(audio=(track,))),
        subtitles=tuple(track for track in tracks.subtitles if can_be_copied(subtitles=(track,))),
        attachment_count=attachments if attachments and can_be_copied(attachment_count=attachments) else 0,
    )


def _left_out(tracks: Tracks, kept: Tracks) -> Iterator[str]:
    """A line for each kind of track of which some are not kept."""
    for name, before, after in (
        ("sound", tracks.audio, kept.audio),
        ("subtitles", tracks.subtitles, kept.subtitles),
    ):
        count = len(before) - len(after)
        if count:
            which = f"{count} of {len(before)} tracks of {name}" if len(before) > 1 else f"the {name}"
            yield f"left out, as broken in {tracks.source}: {which}"
    if kept.attachment_count < tracks.attachment_count:
        yield f"left out, as broken in {tracks.source}: attached files"
