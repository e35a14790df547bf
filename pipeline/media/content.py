"""What a job paints: the files of its content, in order."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from .. import storage

UNREADABLE = "unreadable"
"""Stands for the hash of a file that cannot be read."""

Mode = Literal["auto", "sequence", "photos"]


class ContentKind(StrEnum):
    """What a job paints, and to what."""

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
    """One image of the content: its path, its name in messages, and the path of its painting relative to the output."""

    path: Path
    name: str
    target: str


@dataclass(frozen=True)
class Content:
    """What is to be painted, before any of it is read.

    `files` are the images in order, or the one video. `skipped` counts what is passed over in the folders, as in
    `ImageListing`. `renamed` are photos that are painted to another name than theirs, as another photo has that.
    `unreadable` are folders that may not be listed.
    """

    kind: ContentKind
    files: tuple[ContentFile, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)
    renamed: tuple[ContentFile, ...] = ()
    unreadable: tuple[Path, ...] = ()

    video_stream: int | None = None
    """Index in the file of the stream of pictures that is painted; None for the one that players show."""

    @property
    def is_film(self) -> bool:
        """Whether the frames follow each other in time."""
        return self.kind in (ContentKind.SEQUENCE, ContentKind.VIDEO)

    def order_hash(self) -> str:
        """Short hash of the names in their order, since the same frames in another order are another video."""
        names = "\0".join(file.name for file in self.files)
        return hashlib.sha256(os.fsencode(names)).hexdigest()[:16]

    def fingerprint(self, hash_of: Callable[[Path], str] = storage.hash_file) -> dict[str, str]:
        """SHA-256 of each file by its name; `UNREADABLE` where it cannot be read."""
        hashes = {}
        for file in self.files:
            try:
                hashes[file.name] = hash_of(file.path)
            except OSError:
                hashes[file.name] = UNREADABLE
        return hashes
