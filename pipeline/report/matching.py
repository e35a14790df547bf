"""Which pictures of a result belong to which of its content."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..media import decoding
from ..media.containers import is_video_name
from ..media.image_folders import list_images


@dataclass(frozen=True)
class MatchedPicture:
    """A picture of the result with its content, both `H×W×3` uint8, each at its own size."""

    name: str
    picture: np.ndarray
    content: np.ndarray
    content_index: int
    """Index of the content among all of its folder or video, from 0."""


@dataclass(frozen=True)
class _MatchedFiles:
    result: Path
    content: Path
    content_index: int


def is_film(result: Path, content: Path) -> bool:
    """Whether both are films: a video, or at least two images of one size in one folder, in natural order.

    Raises `InputError` for a folder without an image, and for a result without content.
    """
    if result.is_dir() and content.is_dir():
        matches = _matched_files(result, content)
        return _are_frames([match.result for match in matches]) and _are_frames([match.content for match in matches])
    return all(_are_frames(_images(path)) if path.is_dir() else is_video_name(path) for path in (result, content))


def matched_pictures(result: Path, content: Path) -> Iterator[MatchedPicture]:
    """The pictures of the result, in order, with their content.

    Two folders are matched by the paths below them, where need be without their endings; anything else by order.
    Raises `InputError` for a result without content, and for counts that differ, before the first picture.
    """
    if result.is_dir() and content.is_dir():
        for match in _matched_files(result, content):
            name = match.result.relative_to(result).as_posix()
            picture, original = decoding.read_image(match.result), decoding.read_image(match.content)
            yield MatchedPicture(name, picture, original, match.content_index)
        return
    # Decoding both once more takes far less time than measuring frames that do not belong together.
    for one, other in ((result, content), (content, result)):
        if (more := _count(one)) > (fewer := _count(other)):
            raise InputError(f"{one} has {more} pictures and {other} has {fewer}: they are paired by order")
    for index, ((name, picture), (_, original)) in enumerate(zip(_pictures(result), _pictures(content), strict=True)):
        yield MatchedPicture(name, picture, original, index)


def matched_contents(result: Path, content: Path) -> Iterator[tuple[int, np.ndarray]]:
    """The content of `matched_pictures` alone, with its index."""
    if result.is_dir() and content.is_dir():
        for match in _matched_files(result, content):
            yield match.content_index, decoding.read_image(match.content)
    else:
        for index, (_, image) in enumerate(_pictures(content)):
            yield index, image


def _are_frames(paths: Sequence[Path]) -> bool:
    return (
        len(paths) > 1
        and len({path.parent for path in paths}) == 1
        and len({decoding.image_size(path) for path in paths}) == 1
    )


def _matched_files(result: Path, content: Path) -> list[_MatchedFiles]:
    named = {path.relative_to(content): (index, path) for index, path in enumerate(_images(content))}
    stems = {path.with_suffix(""): original for path, original in named.items()}
    matches = []
    for path in _images(result):
        relative = path.relative_to(result)
        original = named.get(relative) or stems.get(relative.with_suffix(""))
        if original is None:
            raise InputError(f"{path} has no picture of that name in {content}")
        matches.append(_MatchedFiles(path, original[1], original[0]))
    return matches


def _count(path: Path) -> int:
    return len(_images(path)) if path.is_dir() else sum(1 for _ in _pictures(path))


def _pictures(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    if path.is_dir():
        for image in _images(path):
            yield image.relative_to(path).as_posix(), decoding.read_image(image)
    elif is_video_name(path):
        for frame in decoding.read_frames(path):
            yield f"frame {frame.index}", frame.image
    else:
        yield path.name, decoding.read_image(path)


def _images(folder: Path) -> list[Path]:
    listing = list_images(folder)
    if listing.unreadable:
        raise InputError(
            f"the folder {listing.unreadable[0]} may not be listed, and its pictures would be missing: change its "
            "permissions"
        )
    if not listing.paths:
        raise InputError(f"folder {folder} holds no image")
    return listing.paths
