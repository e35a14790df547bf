"""The content of a job: which files it is, in which order, and how to read one frame of it."""

import hashlib
import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

import numpy as np

from pipeline import decoding, images, media, storage, video_reader
from pipeline.errors import InputError, OutputError, UsageError
from pipeline.frame_index import FrameIndex
from pipeline.shots import CutDetector, Shot, shots_from_cuts

Mode = Literal["auto", "sequence", "photos"]

COLOR_STEP = 8
"""Colours are gathered from one pixel in so many, across and down."""

_NAME_BYTES = 255
"""The longest name of a file that disks take."""

_GAPS_TOLD = 5

FAR_FRAMES = 48
"""To a frame that is so much farther on, reading begins anew at a key frame; a process that decodes takes as long to
start."""

DEFAULT_SEQUENCE_RATE = Fraction(24)
"""Frames a second of a video that is made from single images, unless it is said."""


class ContentKind(StrEnum):
    """What a job is about, by what it is given and what it is to make."""

    IMAGE = "image"
    """One image to one image file."""
    PHOTOS = "photos"
    """Images that have nothing to do with each other, to a folder."""
    SEQUENCE = "sequence"
    """Images that are the frames of a film, to a folder or a video."""
    VIDEO = "video"
    """A video, to a video or a folder of frames."""


@dataclass(frozen=True)
class ContentFile:
    """One image of the content: where it is, what a person calls it, and where below the output its painting goes."""

    path: Path
    name: str
    target: str


@dataclass(frozen=True)
class Content:
    """What is to be painted, before any of it is read.

    `files` are the images in order, or the one video. `skipped` counts files in the folders that are no images.
    `renamed` are photos that are painted to another name than theirs, as another photo has that.
    """

    kind: ContentKind
    files: tuple[ContentFile, ...]
    skipped: int = 0
    renamed: tuple[ContentFile, ...] = ()

    @property
    def is_film(self) -> bool:
        """Whether the frames follow each other in time."""
        return self.kind in (ContentKind.SEQUENCE, ContentKind.VIDEO)

    def order_hash(self) -> str:
        """Short hash of the names in their order: the frames of a film in another order are another film."""
        names = "\0".join(file.name for file in self.files)
        return hashlib.sha256(os.fsencode(names)).hexdigest()[:16]

    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of each file by its name; `unreadable` where it cannot be read."""
        hashes = {}
        for file in self.files:
            try:
                hashes[file.name] = storage.hash_file(file.path)
            except OSError:
                hashes[file.name] = "unreadable"
        return hashes


@dataclass(frozen=True)
class ContentScan:
    """What reading a film once has shown.

    `size` is (height, width) of its frames, `timing` when each is shown, `shots` where it is cut, all for
    the frames asked for: `first` is the index in the content of the first of them.
    """

    size: tuple[int, int]
    timing: media.Timing
    shots: tuple[Shot, ...]
    first: int
    is_partial: bool
    damage: str | None
    has_alpha: bool
    interlaced_count: int
    info: video_reader.VideoInfo | None
    colors: tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]
    """Mean and covariance of the film's colours, in [0, 1], from one pixel in `COLOR_STEP` across and down."""
    index: FrameIndex | None = None
    """By what the frames of a video, all of them, are known again where it can be sought."""


def resolve_content(paths: Sequence[Path], output: Path, mode: Mode, image_format: str | None = None) -> Content:
    """What the paths of a command are together, given the output that is asked for.

    Photos are painted to the format that they are in (HEIC to JPEG), or to `image_format`, one of `images.FORMATS`.

    Raises `InputError` for paths that are missing, empty or of a kind that is not painted, and `UsageError`
    or `OutputError` for combinations that make no sense.
    """
    for path in paths:
        if not path.exists():
            raise InputError(f"content {path} does not exist: check the name")
        if not path.is_file() and not path.is_dir():
            raise InputError(f"content {path} is neither a file nor a folder: name one")
    videos = [path for path in paths if path.is_file() and _is_video(path, mode)]
    if videos:
        if len(paths) > 1:
            raise UsageError(f"{len(paths)} contents with a video among them ({videos[0]}): paint one video a command")
        if mode == "photos":
            raise UsageError(f"--photos does not go with the video {videos[0]}")
        if images.is_image_name(output):
            raise OutputError(f"output {output} is an image and content {videos[0]} a video: name a video or a folder")
        if not media.is_video_name(output):
            _require_known_ending(output)
        return Content(ContentKind.VIDEO, (ContentFile(videos[0], videos[0].name, ""),))

    to_video = media.is_video_name(output)
    if to_video and mode == "photos":
        raise UsageError(f"--photos does not go with the video output {output}: name a folder")
    if len(paths) == 1 and paths[0].is_file() and mode != "sequence":
        if to_video and not images.is_readable_name(paths[0]):
            raise _unknown_ending(paths[0])
        if to_video:
            raise OutputError(f"output {output} is a video and content {paths[0]} one image: name an image")
        if images.is_image_name(output):
            return Content(ContentKind.IMAGE, (ContentFile(paths[0], paths[0].name, output.name),))
        _require_known_ending(output)
    if images.is_image_name(output):
        raise OutputError(f"output {output} is one image and the content is not: name a folder")
    files, skipped = _list_files(paths)
    sequence = mode == "sequence" or to_video
    files = _numbered_as_png(files) if sequence else _in_format(files, image_format)
    _require_once(files)
    if sequence:
        _require_distinct(files)
        return Content(ContentKind.SEQUENCE, tuple(files), skipped)
    files, renamed = _with_names_of_their_own(files)
    return Content(ContentKind.PHOTOS, tuple(files), skipped, tuple(renamed))


def missing_numbers(files: Sequence[ContentFile]) -> list[str]:
    """Numbers that are left out where the frames of a sequence are counted, in words: `12 to 14 of f10.png … f99.png`.

    Frames are counted where names in one folder differ in their last number only and these mostly go up by one step.
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


def scan_film(
    content: Content,
    frame_range: Callable[[int], range],
    cuts: Sequence[int] | None,
    rate: Fraction | None,
    on_progress: Callable[[int, int | None], None],
) -> ContentScan:
    """Reads a video or sequence once from end to end: its frames, their times and its cuts.

    `frame_range` gives the indices wanted out of so many frames. `rate`: frames a second of a sequence,
    `DEFAULT_SEQUENCE_RATE` where it is None. `cuts` are first frames of new shots, known beforehand; None looks for
    them.
    `on_progress` is called with the frames read and, where the file says it, how many there will be.
    """
    detector, colors = CutDetector(), _ColorSums()
    if content.kind is ContentKind.VIDEO:
        path = content.files[0].path
        declared = decoding.probe(path).frame_count_declared

        def consume(index: int, image: np.ndarray) -> None:
            if cuts is None:
                detector.feed(index, image)
            colors.feed(image)
            on_progress(index + 1, declared)

        scan = decoding.scan(path, consume)
        size, timing, damage, info = scan.info.size, scan.timing, scan.damage, scan.info
        has_alpha, interlaced, frame_index = scan.has_alpha, scan.interlaced_count, scan.index
    else:
        size, has_alpha = decoding.image_size(content.files[0].path), False
        for index, file in enumerate(content.files):
            own = decoding.image_size(file.path)
            if own != size:
                raise InputError(
                    f"frame {file.path} is {own[1]}×{own[0]} pixels and the first of the sequence {size[1]}×{size[0]}: "
                    "frames of one film have one size; for independent pictures use --photos"
                )
            image, alpha = decoding.read_image_and_alpha(file.path)
            has_alpha |= alpha is not None
            if cuts is None:
                detector.feed(index, image)
            colors.feed(image)
            on_progress(index + 1, len(content.files))
        timing, damage, info = media.Timing.constant(rate or DEFAULT_SEQUENCE_RATE, len(content.files)), None, None
        interlaced, frame_index = 0, None

    wanted = frame_range(timing.frame_count)
    if not wanted:
        raise InputError(f"the frames asked for are none of the {timing.frame_count} that {content.files[0].path} has")
    return ContentScan(
        size=size,
        timing=timing.part(wanted.start, wanted.stop),
        shots=tuple(shots_from_cuts(timing.frame_count, detector.finish() if cuts is None else cuts, wanted)),
        first=wanted.start,
        is_partial=len(wanted) < timing.frame_count,
        damage=damage,
        has_alpha=has_alpha,
        interlaced_count=interlaced,
        info=info,
        colors=colors.result(),
        index=frame_index,
    )


class _ColorSums:
    """Mean and covariance of colours, gathered frame by frame."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = np.zeros(3)
        self._products = np.zeros((3, 3))

    def feed(self, image: np.ndarray) -> None:
        colors = image[::COLOR_STEP, ::COLOR_STEP].reshape(-1, 3) / 255.0
        self._count += len(colors)
        self._sum += colors.sum(0)
        self._products += colors.T @ colors

    def result(self) -> tuple[tuple[float, ...], tuple[tuple[float, ...], ...]]:
        mean = self._sum / max(1, self._count)
        covariance = self._products / max(1, self._count) - np.outer(mean, mean)
        return tuple(mean.tolist()), tuple(tuple(row) for row in covariance.tolist())


class FrameReader:
    """Reads frames of the content by index, cheapest in ascending order. A context manager.

    With the `frame_index` of a video, as `scan_film` gives it, reading begins near the frame that is asked for.
    """

    def __init__(self, content: Content, frame_index: FrameIndex | None = None) -> None:
        self._content = content
        self._frame_index = frame_index
        self._frames: Generator[video_reader.VideoFrame, None, None] | None = None
        self._next_index = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Frame `index` of the content at its own size: H×W×3 uint8, and its alpha, H×W uint8, or None where all is
        opaque. Raises `InputError` when it cannot be read."""
        if self._content.kind is not ContentKind.VIDEO:
            return decoding.read_image_and_alpha(self._content.files[index].path)
        try:
            return self._read(index)
        except InputError:
            if self._frame_index is None:
                raise
            # What lies before a key frame may be too much for the decoder; from the beginning it has been through.
            self._frame_index = None
            self._close()
            return self._read(index)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        if self._frames is None or index < self._next_index or self._is_sooner_sought(index):
            self._close()
            # What is damaged was said when the content was scanned.
            self._frames = decoding.read_frames(
                self._content.files[0].path, index, accept_damage=True, index=self._frame_index
            )
        for frame in self._frames:
            if frame.index == index:
                self._next_index = index + 1
                return frame.image, frame.alpha
        raise InputError(f"frame {index} of {self._content.files[0].path} cannot be read any more")

    def _is_sooner_sought(self, index: int) -> bool:
        is_far = index - self._next_index >= FAR_FRAMES
        return is_far and self._frame_index is not None and self._frame_index.key_before(index) > self._next_index

    def _close(self) -> None:
        if self._frames is not None:
            self._frames.close()
            self._frames = None


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
        if target == read or (read.is_dir() and target.is_relative_to(read)):
            raise OutputError(f"output {output} lies inside the content {path}: name another place")
    kept = {places.of(path) for path in others} | {places.of(file.path) for file in content.files}
    for painted in (output, *(output / file.target for file in content.files if file.target)):
        place = places.of(painted)
        if place in kept:
            raise OutputError(f"painting would overwrite {painted}, which is read: name another output")
        # A link in the output's tree may lead there.
        if inside := folders.keys() & set(place.parents):
            raise OutputError(f"{painted} lies inside the content {folders[inside.pop()]}: name another output")


class _Places:
    """Where paths really lead; a folder of thousands of files is looked up once."""

    def __init__(self) -> None:
        self._folders: dict[Path, Path] = {}

    def of(self, path: Path) -> Path:
        if path.name in ("", "..") or path.is_symlink():
            return storage.real_path(path)
        if path.parent not in self._folders:
            self._folders[path.parent] = storage.real_path(path.parent)
        return self._folders[path.parent] / path.name


def _is_video(path: Path, mode: Mode) -> bool:
    """By its ending; an animation among images is one unless photos are asked for."""
    return media.is_video_name(path) or (mode != "photos" and decoding.is_animated(path))


def _require_known_ending(output: Path) -> None:
    """What one file is painted to has an ending that can be written, or none, or is a folder that is there."""
    if output.suffix and not output.is_dir():
        known = " ".join((*sorted(images.IMAGE_SUFFIXES), *media.OUTPUT_SUFFIXES))
        raise OutputError(
            f"output {output} has an ending that cannot be written ({known}): a folder is named without one"
        )


def _list_files(paths: Sequence[Path]) -> tuple[list[ContentFile], int]:
    """The images among the paths and in the folders among them, with the tree below each folder kept."""
    files: list[ContentFile] = []
    skipped = 0
    for path in paths:
        if path.is_dir():
            listing = images.list_images(path)
            skipped += listing.skipped
            for image in listing.paths:
                name = image.relative_to(path).as_posix()
                files.append(ContentFile(image, name, name))
        elif images.is_readable_name(path):
            files.append(ContentFile(path, path.name, path.name))
        else:
            raise _unknown_ending(path)
    if not files:
        raise InputError(f"content {paths[0]} holds no image ({' '.join(sorted(images.IMAGE_SUFFIXES))})")
    return files, skipped


def _unknown_ending(path: Path) -> InputError:
    known = " ".join(sorted(images.IMAGE_SUFFIXES | images.HEIF_SUFFIXES | media.VIDEO_SUFFIXES))
    return InputError(f"content {path} has the ending of neither an image nor a video ({known})")


def _numbered_as_png(files: list[ContentFile]) -> list[ContentFile]:
    """Targets of a sequence's frames: PNG, because each frame is started from the file of the one before,
    and a lossy format would hand its artefacts on from frame to frame."""
    return [ContentFile(file.path, file.name, str(Path(file.target).with_suffix(".png"))) for file in files]


def _in_format(files: list[ContentFile], image_format: str | None) -> list[ContentFile]:
    """Targets of photos. Where two would get one name, as `a.jpg` and `a.png` as PNG, the old ending stays before the
    new one."""

    def ending(file: ContentFile) -> str:
        suffix = Path(file.target).suffix
        if image_format is not None:
            return suffix if _is_format(suffix, image_format) else images.FORMATS[image_format]
        return images.FORMATS["jpg"] if suffix.lower() in images.HEIF_SUFFIXES else suffix

    wanted = [str(Path(file.target).with_suffix(ending(file))) for file in files]
    counts = Counter(map(_folded, wanted))
    return [
        replace(file, target=target if counts[_folded(target)] == 1 or target == file.target else other)
        for file, target in zip(files, wanted, strict=True)
        for other in (file.target + ending(file),)
    ]


def _is_format(suffix: str, image_format: str) -> bool:
    same = {".jpeg": ".jpg", ".tiff": ".tif"}
    return same.get(suffix.lower(), suffix.lower()) == images.FORMATS[image_format]


def _folded(target: str) -> str:
    """What is the same for names that are one on some disk: many tell neither A from a, nor two ways to write ä."""
    return unicodedata.normalize("NFC", target).casefold()


def _require_once(files: Sequence[ContentFile]) -> None:
    seen: dict[str, list[ContentFile]] = {}
    for file in files:
        others = seen.setdefault(_folded(file.target), [])
        if any(storage.real_path(other.path) == storage.real_path(file.path) for other in others):
            raise InputError(f"content {file.path} is given twice: give it once")
        others.append(file)


def _with_names_of_their_own(files: Sequence[ContentFile]) -> tuple[list[ContentFile], list[ContentFile]]:
    """(The photos, with a number in the names that others have too: `a.jpg`, `a-2.jpg`; those whose names changed.)

    Names that are too long for a disk are cut. The first keeps its name, and what is a folder for one is no file for
    another.
    """
    wanted = Counter(_folded(file.target) for file in files)
    folders = {_folded(str(parent)) for file in files for parent in Path(file.target).parents}
    taken: set[str] = set()
    named, renamed = [], []
    for file in files:
        target, key, number = file.target, _folded(file.target), 1
        while key in taken or key in folders or (number > 1 and key in wanted) or _is_too_long(target):
            target = _numbered(file.target, number)
            key, number = _folded(target), number + 1
        taken.add(key)
        if target == file.target:
            named.append(file)
            continue
        # The name tells photos apart, in the job's store as for a person.
        name = file.name if number == 2 else f"{file.name} ({number - 1})"
        renamed.append(replace(file, target=target, name=name))
        named.append(renamed[-1])
    return named, renamed


def _is_too_long(target: str) -> bool:
    return len(os.fsencode(Path(target).name)) > _NAME_BYTES


def _numbered(target: str, number: int) -> str:
    """`a.jpg` → `a-2.jpg`, and 1 → `a.jpg`, of at most `_NAME_BYTES` bytes."""
    path = Path(target)
    tail = f"-{number}{path.suffix}" if number > 1 else path.suffix
    stem = os.fsencode(path.stem)[: _NAME_BYTES - len(os.fsencode(tail))]
    return str(path.with_name(stem.decode("utf-8", "ignore" if _is_utf8(path.stem) else "surrogateescape") + tail))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _require_distinct(files: Sequence[ContentFile]) -> None:
    seen: dict[str, ContentFile] = {}
    for file in files:
        other = seen.setdefault(_folded(file.target), file)
        if other is not file:
            raise InputError(
                f"{other.path} and {file.path} would both be painted to {file.target}: paint them by two commands"
            )
