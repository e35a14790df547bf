"""Painted frames → the film, and content and result side by side."""

from collections.abc import Callable, Iterator, Sequence
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
from ..media import decoding
from ..media.codecs import Encoding
from ..media.color import VideoColor
from ..media.frame_reader import FrameReader
from ..media.images import read_image, read_image_and_alpha
from ..media.timing import Timing
from ..media.tracks import Tracks
from ..media.video_writer import VideoWriter
from ..pictures import resize, size_of
from ..plan.execution_plan import ExecutionPlan


@dataclass(frozen=True)
class Film:
    """A painted film with all that goes into its file.

    `shown` is whose painting is shown for each frame: its own, or the nearest one. `part` is the (start, end) in
    seconds, on the clock of `timing`, of what was painted of a longer one.
    """

    frames: tuple[FrameRecord, ...]
    shown: tuple[FrameRecord, ...]
    timing: Timing
    color: VideoColor | None
    has_alpha: bool
    tracks: Tracks
    part: tuple[Fraction, Fraction] | None

    def pictures(self) -> Iterator[np.ndarray]:
        """The frames as they were painted: H×W×3 uint8, or H×W×4 where the film has alpha."""
        for frame in self.shown:
            _require_as_painted(frame)
            image, alpha = read_image_and_alpha(frame.path)
            if self.has_alpha:
                opaque = np.full(size_of(image), 255, np.uint8)
                image = np.dstack([image, opaque if alpha is None else alpha])
            yield image

    def beside(self, reader: FrameReader) -> Iterator[np.ndarray]:
        """Content | result, both at the size of the painting: H×2W×3 uint8."""
        for frame, shown in zip(self.frames, self.shown, strict=True):
            _require_as_painted(shown)
            yield side_by_side(reader.read(frame.index)[0], read_image(shown.path))


def _require_as_painted(frame: FrameRecord) -> None:
    if (problem := file_problem(frame.path, frame.sha256)) is not None:
        raise StorageError(f"{frame.path} {problem}: run the same command again, and it is painted again")


def film_of(job: Job, source: Path | None, *, strip: bool = False) -> Film:
    """The film of a job, with the nearest painting where one is missing; `source` is the video that it was painted
    from, where it was one, of which metadata is left out by `strip`. Raises `InputError`."""
    plan = ExecutionPlan.from_values(job.plan).film
    assert plan is not None
    frames = tuple(frame for frame in job.frames() if frame.pass_number == 0)
    timing = plan.timing(tuple(frame.pts for frame in frames if frame.pts is not None))
    tracks = Tracks() if source is None else decoding.read_tracks(source)
    return Film(
        frames,
        tuple(_shown(frames)),
        timing,
        plan.color,
        plan.has_alpha,
        tracks.without_metadata() if strip else tracks,
        timing.span_seconds if plan.is_partial else None,
    )


def _shown(frames: Sequence[FrameRecord]) -> Iterator[FrameRecord]:
    """For each frame its painting, or the nearest in time: of the same shot where there is one, rather the earlier."""
    painted = [frame for frame in frames if frame.state is FrameState.DONE]
    shots = {frame.shot for frame in painted}
    for frame in frames:
        if frame.state is FrameState.DONE:
            yield frame
            continue
        near = [other for other in painted if other.shot == frame.shot or frame.shot not in shots]
        yield min(near, key=lambda other: (abs(other.index - frame.index), other.index))


def write_film(
    film: Film,
    path: Path,
    encoding: Encoding,
    on_frame: Callable[[int], None],
    reader: FrameReader | None = None,
) -> Sequence[str]:
    """Writes the film, with its content beside it where a `reader` of that is given; returns what could not be kept.

    `on_frame` is called with the number of frames that are written. Sound and subtitles that are so broken that no film
    can be written with them are left out: the paintings are worth more. Raises what `VideoWriter` raises.
    """
    try:
        return _write(film, path, encoding, on_frame, reader)
    except MediaError:
        tracks, lost = _without_broken(film, path)
        if not lost:
            raise
        return [*_write(replace(film, tracks=tracks), path, encoding, on_frame, reader), *lost]


def _write(
    film: Film, path: Path, encoding: Encoding, on_frame: Callable[[int], None], reader: FrameReader | None
) -> Sequence[str]:
    pictures = film.pictures() if reader is None else film.beside(reader)
    first = next(pictures)
    with VideoWriter(
        path,
        size_of(first),
        film.timing,
        color=film.color,
        encoding=encoding,
        has_alpha=first.shape[2] == 4,
        tracks=film.tracks,
        part=film.part,
    ) as writer:
        writer.write(first)
        on_frame(1)
        for written, picture in enumerate(pictures, start=2):
            writer.write(picture)
            on_frame(written)
    return writer.notes


def _without_broken(film: Film, path: Path) -> tuple[Tracks, list[str]]:
    """The film's tracks less those that cannot even be written beside a single small picture, and a line for each."""
    tracks, lost = film.tracks, []

    def goes(**alone: Any) -> bool:
        trial = storage.temporary_beside(path)
        timing = Timing(film.timing.time_base, film.timing.times[:1])
        some = {"audio": (), "subtitles": (), "attachment_count": 0, **alone}
        try:
            with VideoWriter(trial, (16, 16), timing, tracks=replace(tracks, **some), part=film.part) as writer:
                writer.write(np.zeros((16, 16, 3), np.uint8))
        except MediaError:
            return False
        finally:
            storage.remove(trial)
        return True

    audio = tuple(track for track in tracks.audio if goes(audio=(track,)))
    subtitles = tuple(track for track in tracks.subtitles if goes(subtitles=(track,)))
    attachment_count = tracks.attachment_count
    if attachment_count and not goes(attachment_count=attachment_count):
        attachment_count = 0
    for name, all_, kept in (("sound", tracks.audio, audio), ("subtitles", tracks.subtitles, subtitles)):
        count = len(all_) - len(kept)
        if count:
            which = f"{count} of {len(all_)} tracks of {name}" if len(all_) > 1 else f"the {name}"
            lost.append(f"left out, as broken in {tracks.source}: {which}")
    if attachment_count < tracks.attachment_count:
        lost.append(f"left out, as broken in {tracks.source}: attached files")
    return replace(tracks, audio=audio, subtitles=subtitles, attachment_count=attachment_count), lost


def side_by_side(content: np.ndarray, painted: np.ndarray) -> np.ndarray:
    """Content | result, H×W×3 uint8 each, as H×2W×3: the content is brought to the size of the result."""
    return np.hstack([resize(content, size_of(painted)), painted])
