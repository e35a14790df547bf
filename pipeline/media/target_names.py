"""File names of painted photos: format, numbering, and names that would collide or that no file system takes."""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .. import storage
from ..errors import InputError
from .content import ContentFile
from .image_file import FORMATS, READ_SUFFIXES


def numbered_as_png(files: list[ContentFile]) -> list[ContentFile]:
    """Targets of a sequence's frames: PNG, since each frame starts from the file of the previous one, and a lossy
    format would pass its artefacts on.
    """
    return [ContentFile(file.path, file.name, str(Path(file.target).with_suffix(".png"))) for file in files]


def in_format(files: list[ContentFile], image_format: str | None) -> list[ContentFile]:
    """Targets of photos in `image_format`. Where two would get one name, as `a.jpg` and `a.png` in PNG, the old ending
    stays before the new one.
    """

    def ending(file: ContentFile) -> str:
        suffix = Path(file.target).suffix
        if image_format is not None:
            return suffix if _is_format(suffix, image_format) else FORMATS[image_format]
        return FORMATS["jpg"] if suffix.lower() in READ_SUFFIXES else suffix

    wanted = [str(Path(file.target).with_suffix(ending(file))) for file in files]
    counts = Counter(map(_folded, wanted))
    return [
        replace(file, target=target if counts[_folded(target)] == 1 or target == file.target else other)
        for file, target in zip(files, wanted, strict=True)
        for other in (file.target + ending(file),)
    ]


def _is_format(suffix: str, image_format: str) -> bool:
    same = {".jpeg": ".jpg", ".tiff": ".tif"}
    return same.get(suffix.lower(), suffix.lower()) == FORMATS[image_format]


def _folded(target: str) -> str:
    """A form that is equal for names that some disks take for the same: upper and lower case, composed and decomposed
    ä."""
    return unicodedata.normalize("NFC", target).casefold()


def require_once(files: Sequence[ContentFile]) -> None:
    seen: dict[str, list[ContentFile]] = {}
    for file in files:
        others = seen.setdefault(_folded(file.target), [])
        if any(storage.real_path(other.path) == storage.real_path(file.path) for other in others):
            raise InputError(f"content {file.path} is given twice: give it once")
        others.append(file)


def rename_conflicts(files: Sequence[ContentFile]) -> tuple[list[ContentFile], list[ContentFile]]:
    """(The photos, numbered where names would collide: `a.jpg`, `a-2.jpg`; those whose names changed.)

    Names that are too long for a disk are cut. The first photo keeps its name, and no file gets the name of a folder.
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
    return len(os.fsencode(Path(target).name)) > storage.NAME_BYTES


def _numbered(target: str, number: int) -> str:
    """`a.jpg` → `a-2.jpg`, and 1 → `a.jpg`, of at most `storage.NAME_BYTES` bytes."""
    path = Path(target)
    tail = f"-{number}{path.suffix}" if number > 1 else path.suffix
    stem = os.fsencode(path.stem)[: storage.NAME_BYTES - len(os.fsencode(tail))]
    return str(path.with_name(stem.decode("utf-8", "ignore" if _is_utf8(path.stem) else "surrogateescape") + tail))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_distinct(files: Sequence[ContentFile]) -> None:
    seen: dict[str, ContentFile] = {}
    for file in files:
        other = seen.setdefault(_folded(file.target), file)
        if other is not file:
            raise InputError(
                f"{other.path} and {file.path} would both be painted to {file.target}: paint them by two commands"
            )
