"""Reading files of unknown origin, decoded in a child process.

A decoder may hang on bytes that it does not expect, crash, or allocate all the memory. In a child process that costs
the file and not the job: these functions return and raise what those of `images`, `image_metadata`, `tracks` and
`video_reader` do, and `InputError` when the child stalls or crashes; the next file gets a new child. Children are kept
for the next request, have a memory limit, and end with this process.
"""

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

import numpy as np

from ..errors import InputError
from .decoder_pool import DecoderError, DecoderPool
from .frame_index import FrameIndex
from .image_file import ANIMATED_SUFFIXES
from .image_metadata import Extras
from .images import ImageFacts
from .tracks import Tracks
from .video_info import VideoFrame, VideoInfo, VideoScan

_pool = DecoderPool()


def read_image(path: Path) -> np.ndarray:
    """See `images.read_image`."""
    return cast(np.ndarray, _single("image", "read_image", path))


def image_size(path: Path) -> tuple[int, int]:
    """See `images.image_size`."""
    return cast(tuple[int, int], _single("image", "image_size", path))


def image_facts(path: Path, suffix: str | None = None, *, strip: bool = False) -> ImageFacts:
    """See `images.image_facts`."""
    return cast(ImageFacts, _single("image", "image_facts", path, suffix, strip))


def read_image_and_alpha(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """See `images.read_image_and_alpha`."""
    return cast(tuple[np.ndarray, np.ndarray | None], _single("image", "read_image_and_alpha", path))


def is_animated(path: Path) -> bool:
    """See `images.is_animated`; False where the decoder fails."""
    if path.suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        return cast(bool, _single("image", "is_animated", path))
    except InputError:
        return False


def read_extras(path: Path, *, strip: bool = False) -> Extras:
    """See `image_metadata.read_extras`."""
    return cast(Extras, _single("image", "read_extras", path, strip))


def probe(path: Path, stream: int | None = None) -> VideoInfo:
    """See `video_reader.probe`."""
    return cast(VideoInfo, _single("video", "probe", path, stream))


def read_tracks(path: Path, stream: int | None = None) -> Tracks:
    """See `tracks.read_tracks`."""
    return cast(Tracks, _single("video", "read_tracks", path, stream))


def write_rebased_tracks(path: Path, target: Path, *, with_subtitles: bool = True) -> None:
    """See `rebased_tracks.write_rebased_tracks`."""
    _single("video", "write_rebased_tracks", path, target.absolute(), with_subtitles)


def scan(path: Path, consumer: Callable[[int, np.ndarray], None], stream: int | None = None) -> VideoScan:
    """See `video_reader.scan`; `consumer` is called in this process."""
    with contextlib.closing(_answers("video", "scan", path, stream)) as answers:
        while True:
            try:
                index, image = next(answers)
            except StopIteration as end:
                return cast(VideoScan, end.value)
            consumer(index, image)


def read_frames(
    path: Path,
    start: int = 0,
    stop: int | None = None,
    *,
    accept_damage: bool = False,
    index: FrameIndex | None = None,
    stream: int | None = None,
) -> Generator[VideoFrame, None, None]:
    """See `video_reader.read_frames`."""
    return _answers("video", "read_frames", path, start, stop, accept_damage, index, stream)


def warm_up() -> None:
    """Starts a child, so that the next call finds it ready."""
    _pool.warm_up()


def _single(kind: str, function: str, path: Path, *arguments: Any) -> Any:
    """The result of a function that yields nothing."""
    with contextlib.closing(_answers(kind, function, path, *arguments)) as answers:
        try:
            next(answers)
        except StopIteration as end:
            return end.value
        raise AssertionError(f"{function} gives one answer")


def _answers(kind: str, function: str, path: Path, *arguments: Any) -> Generator[Any, None, Any]:
    """What a function of the child yields and returns for a file of a `kind` (image, video); raises what it raises."""
    # The child was started in what was the current folder then.
    folder = None if path.is_absolute() else str(Path.cwd())
    try:
        return (yield from _pool.answers((function, folder, path, arguments)))
    except DecoderError as error:
        raise InputError(f"cannot read {kind} {path}: {error}") from error
