"""Which files the paths of a command are, in which order, and where the painting of each goes."""

import errno
import functools
import itertools
import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import storage
from ..errors import InputError, OutputError, UsageError
from . import decoding
from .camera_raw import RAW_SUFFIXES
from .containers import OUTPUT_SUFFIXES, VIDEO_SUFFIXES, is_video_name
from .content import Content, ContentFile, ContentKind, Mode
from .image_file import IMAGE_SUFFIXES, READ_SUFFIXES, is_image_name, is_readable_name
from .image_folders import list_images
from .missing_paths import remedy_for_missing
from .one_video_each import command_for, loop_over
from .openable import what_it_is
from .target_names import in_format, numbered_as_png, rename_conflicts, require_distinct, require_once
from .unopened import why_unknown

_GAPS_TOLD, _ENDINGS_TOLD = 5, 8

_Listed = tuple[list[ContentFile], Counter[str], tuple[Path, ...]]
"""Images, what is passed over, and the folders that may not be listed."""


def resolve_content(
    paths: Sequence[Path], output: Path, mode: Mode, image_format: str | None = None, styles: Sequence[Path] = ()
) -> Content:
    """The content that paths and an output stand for: an image, photos, a sequence or a video.

    Photos keep their formats (HEIC becomes JPEG) unless `image_format`, one of `image_file.FORMATS`, is given. `styles`
    are for the commands that messages give.

    Raises `InputError` for paths that are missing, empty or of a kind that is not painted, and `UsageError` or
    `OutputError` for combinations that do not go together.
    """
    for path in paths:
        _require_there(path)
    videos = [path for path in paths if path.is_file() and _is_video(path, mode)]
    if videos and len(paths) > 1:
        raise _one_video_each(videos, [path for path in paths if path not in videos], output, styles)
    if videos:
        return _video(videos[0], output, mode)
    to_video = is_video_name(output)
    if to_video and mode == "photos":
        raise UsageError(f"`mode='photos'` does not go with the video output {output}: name a folder")
    is_single = len(paths) == 1 and paths[0].is_file() and mode != "sequence"
    if is_single and (image := _single_image(paths[0], output)) is not None:
        return image
    if is_image_name(output):
        raise OutputError(f"output {output} is one image and the content is not: name a folder")
    listed = files, skipped, unreadable = _list_files(paths)
    if not files:
        raise _no_image(paths[0], skipped, unreadable, output, styles)
    return _images(listed, image_format, is_sequence=mode == "sequence" or to_video)


def _require_there(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except PermissionError as error:
        raise InputError(f"content {path} lies in a folder that may not be entered: change its permissions") from error
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InputError(f"content {path} does not exist: {remedy_for_missing(path)}") from error
    except OSError as error:
        if error.errno == errno.ELOOP:  # Links in a circle lead to nothing.
            raise InputError(f"content {path} does not exist: check the name") from error
        raise InputError(f"content {path} cannot be read: {storage.read_problem(error)}") from error
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"content {path} is neither a file nor a folder: save what it gives to a file first")


def _one_video_each(videos: Sequence[Path], others: Sequence[Path], output: Path, styles: Sequence[Path]) -> UsageError:
    commands = [loop_over(videos, styles, output), *([command_for(others, styles, output)] if others else ())]
    return UsageError(
        f"{len(videos) + len(others)} contents with a video among them ({videos[0]}): a video is painted on its own, "
        f"so run one command for each, with your other options: {'; '.join(commands)}"
    )


def _video(path: Path, output: Path, mode: Mode) -> Content:
    """A video, to a video or a folder of frames."""
    if mode == "photos":
        raise UsageError(f"`mode='photos'` does not go with the video {path}")
    if is_image_name(output):
        raise OutputError(f"output {output} is an image and content {path} a video: name a video or a folder")
    if not is_video_name(output):
        _require_known_ending(output)
    return Content(ContentKind.VIDEO, (ContentFile(path, path.name, ""),))


def _single_image(path: Path, output: Path) -> Content | None:
    """One image, to one image file; None where the output is a folder."""
    if is_video_name(output):
        if not is_readable_name(path):
            raise _unknown_ending(path)
        if "video" in (what := what_it_is(path) or ""):
            raise InputError(f"content {path} is {what}: give its name the ending of one, as in clip.mp4 or clip.gif")
        raise OutputError(f"output {output} is a video and content {path} one image: name an image")
    if is_image_name(output):
        return Content(ContentKind.IMAGE, (ContentFile(path, path.name, output.name),))
    _require_known_ending(output)
    return None


def _images(listed: _Listed, image_format: str | None, *, is_sequence: bool) -> Content:
    """Photos, to a folder, or the frames of a sequence."""
    files, skipped, unreadable = listed
    files = numbered_as_png(files) if is_sequence else in_format(files, image_format)
    require_once(files)
    if is_sequence:
        if unreadable:
            raise InputError(
                f"the folder {unreadable[0]} may not be listed, and its frames would be missing: change its permissions"
            )
        require_distinct(files)
        return Content(ContentKind.SEQUENCE, tuple(files), skipped)
    files, renamed = rename_conflicts(files)
    return Content(ContentKind.PHOTOS, tuple(files), skipped, tuple(renamed), unreadable)


def missing_numbers(files: Sequence[ContentFile]) -> list[str]:
    """Numbers that are missing in a sequence, as text: `12 to 14 of f10.png … f99.png`.

    Names in one folder count as a sequence where they differ in their last number only and most steps are 1.
    """
    counted: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for file in files:
        match = re.fullmatch(r"(.*?)(\d{1,18})(\D*)", file.name)
        if match:
            counted.setdefault((match[1], match[3]), []).append((int(match[2]), file.name))
    found = []
    for frames in counted.values():
        frames.sort()
        steps = Counter(b - a for (a, _), (b, _) in itertools.pairwise(frames))
        if not steps:
            continue
        step, count = steps.most_common(1)[0]
        if step == 0 or 2 * count < len(frames):
            continue
        gaps = [(a + step, b - step) for (a, _), (b, _) in itertools.pairwise(frames) if b - a > step]
        words = [f"{a}" if a == b else f"{a} to {b}" for a, b in gaps]
        if len(words) > _GAPS_TOLD:
            words[_GAPS_TOLD:] = [f"{len(words) - _GAPS_TOLD} more stretches"]
        if words:
            listed = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
            found.append(f"{listed} of {frames[0][1]} … {frames[-1][1]}")
    return found


def require_outside(content: Content, paths: Sequence[Path], output: Path, others: Sequence[Path] = ()) -> None:
    """Raises `OutputError` when the output would lie inside a folder that is read, or on a file that is read.

    `paths` are the content's, `others` single files that are read besides: styles, weights.
    """
    places = _Places()
    target = places.of(output)
    folders = {}
    for path in paths:
        read = places.of(path)
        if read.is_dir():
            folders[read] = path
        if target == read and path.is_file():
            raise OutputError(f"output {output} is the content itself: name another place")
        if target == read or (read.is_dir() and target.is_relative_to(read)):
            raise OutputError(f"output {output} lies inside the content {path}: name another place")
    kept = {places.of(path) for path in others} | {places.of(file.path) for file in content.files}
    identities = functools.cache(lambda: set(map(_identity, kept)))
    for painted in (output, *(output / file.target for file in content.files if file.target)):
        place = places.of(painted)
        if place in kept or ((identity := _identity(painted)) is not None and identity in identities()):
            raise OutputError(f"painting would overwrite {painted}, which is read: name another output")
        # A link in the output's tree may lead there.
        if inside := folders.keys() & set(place.parents):
            raise OutputError(f"{painted} lies inside the content {folders[inside.pop()]}: name another output")


class _Places:
    """Where paths really lead; a folder of thousands of files is looked up once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def of(self, path: Path) -> Path:
        if path.name in ("", "..") or os.path.islink(path):  # noqa: PTH114 - `Path.is_symlink` raises where it may not look
            return storage.real_path(path)
        if path.parent not in self._folders:
            self._folders[path.parent] = storage.real_path(path.parent)
        return self._folders[path.parent] / path.name


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from all others, by whatever name it goes: a hard link, or letters in another case."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_video(path: Path, mode: Mode) -> bool:
    """Whether a file is a video by its ending; an animated image is one unless photos are asked for."""
    return is_video_name(path) or (mode != "photos" and decoding.is_animated(path))


def _require_known_ending(output: Path) -> None:
    """Raises `OutputError` where the output has an ending that cannot be written and is not a folder that exists."""
    if output.suffix and not output.is_dir():
        known = " ".join((*sorted(IMAGE_SUFFIXES), *OUTPUT_SUFFIXES))
        raise OutputError(
            f"output {output} has an ending that cannot be written ({known}): a folder is named without one"
        )


def _list_files(paths: Sequence[Path]) -> _Listed:
    """The images among the paths and in the folders among them, with the tree below each folder kept; what is passed
    over; the folders that may not be listed."""
    files: list[ContentFile] = []
    skipped: Counter[str] = Counter()
    unreadable: list[Path] = []
    for path in paths:
        if path.is_dir():
            listing = list_images(path)
            skipped.update(listing.skipped)
            unreadable += listing.unreadable
            for image in listing.paths:
                name = image.relative_to(path).as_posix()
                files.append(ContentFile(image, name, name))
        elif is_readable_name(path):
            files.append(ContentFile(path, path.name, path.name))
        else:
            raise _unknown_ending(path)
    return files, skipped, tuple(unreadable)


def _no_image(
    folder: Path, skipped: Mapping[str, int], unreadable: Sequence[Path], output: Path, styles: Sequence[Path]
) -> InputError:
    """The error for content that holds no image; for a folder of videos it says how they are painted."""
    if unreadable:
        return InputError(f"content {unreadable[0]} may not be listed: change its permissions")
    others = f"; it has {passed_over(skipped)}" if skipped else ""
    if RAW_SUFFIXES & skipped.keys():
        others += ": develop camera RAW first, to TIFF or JPEG"
    videos = sorted(each for each in folder.iterdir() if is_video_name(each) and not each.name.startswith("."))
    if videos:
        others += f"; videos are painted one by one, with your other options: {loop_over(videos, styles, output)}"
    return InputError(f"content {folder} holds no image ({' '.join(sorted(IMAGE_SUFFIXES))}){others}")


def passed_over(skipped: Mapping[str, int]) -> str:
    """What is passed over, in words: `3 .gif, 1 .mov, 2 hidden`."""
    # What may be missed comes first.
    names = sorted(skipped, key=lambda name: (name not in RAW_SUFFIXES | VIDEO_SUFFIXES, -skipped[name], name))
    words = [f"{skipped[name]} {_ending(name)}" for name in names[:_ENDINGS_TOLD]]
    if rest := sum(skipped[name] for name in names[_ENDINGS_TOLD:]):
        words.append(f"{rest} with other endings")
    return ", ".join(words)


def _ending(name: str) -> str:
    if name in RAW_SUFFIXES:
        return f"{name} (camera RAW)"
    return name or "without an ending"


def _unknown_ending(path: Path) -> InputError:
    if path.suffix.lower() in RAW_SUFFIXES:
        return InputError(f"content {path} is camera RAW, which is not read: develop it first, to TIFF or JPEG")
    if (what := why_unknown(path)) is not None:
        return InputError(f"content {path} {what}")
    known = " ".join(sorted(IMAGE_SUFFIXES | READ_SUFFIXES | VIDEO_SUFFIXES))
    return InputError(f"content {path} has the ending of neither an image nor a video ({known})")
