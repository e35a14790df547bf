"""Listing the image files of a folder."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from natsort import natsort_keygen, ns

from .. import storage
from ..errors import InputError
from .image_file import is_readable_name

JOB_FOLDER_SUFFIX = ".impasto"
"""Folders with this ending hold jobs, whose frames are nobody's photos."""

HIDDEN, LINKED = "hidden", "link that leads out"
"""Why a file is passed over that might have the ending of an image."""

_HOUSEKEEPING = re.compile(
    r"@eadir|@tmp|@sharebin|[@#]recycle|[@#](recently-)?snapshot|@recently-deleted|\$recycle\.bin|recycle[rd]"
    r"|system volume information|network trash folder|temporary items|__macosx|lost\+found|lost\.dir|found\.\d{3}"
)
"""Folders of network storage, Windows, macOS, Android and file systems, with thumbnails and what was thrown away; lower
case."""


@dataclass(frozen=True)
class ImageListing:
    """The images in a folder."""

    paths: list[Path]
    """Image files in natural order (frame 2 before frame 10), each beginning with the folder that was listed."""

    skipped: Mapping[str, int]
    """How many other files were passed over, by their ending in lower case, empty for none, or `HIDDEN` or `LINKED`."""

    unreadable: tuple[Path, ...] = ()
    """Folders in it that may not be listed."""


_HOUSEKEEPING_FILES = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r"})
"""What Windows, macOS and Picasa leave in folders of photos, lower case: passed over as hidden files are."""

_ENDING = re.compile(r"\.\w{1,8}")


def list_images(folder: Path, recursive: bool = True) -> ImageListing:
    """The image files in `folder`, and below it when `recursive`, by their endings.

    Hidden folders, those of housekeeping, job folders and links to folders are skipped, and a link to a file counts
    only where its target lies below `folder`: a listing never leaves the tree. Raises `InputError` when `folder` is no
    folder or cannot be listed.
    """
    try:
        what = "" if folder.is_dir() else "is a file, not a folder" if folder.exists() else "does not exist"
    except OSError as error:
        raise InputError(f"cannot list the images in {folder}: {storage.read_problem(error)}") from error
    if what:
        raise InputError(f"cannot list the images in {folder}: it {what}; name a folder of images")
    paths: list[Path] = []
    skipped: Counter[str] = Counter()
    unreadable: list[Path] = []
    top = folder.resolve()

    def on_error(error: OSError) -> None:
        found = Path(error.filename or folder)
        if found == folder:
            raise InputError(f"cannot list the images in {folder}: {storage.read_problem(error)}") from error
        unreadable.append(found)

    for root, folders, files in os.walk(folder, onerror=on_error, followlinks=False):
        folders[:] = [name for name in folders if _is_entered(name)] if recursive else []
        try:
            reasons = {path: _passed_over(path, top) for path in (Path(root, name) for name in files)}
        except PermissionError as error:  # It may be listed, and not entered.
            folders.clear()
            on_error(PermissionError(error.errno, error.strerror, root))
            continue
        paths += [path for path, why in reasons.items() if why is None]
        skipped.update(why for why in reasons.values() if why is not None)
    natural = natsort_keygen(alg=ns.PATH | ns.IGNORECASE)
    # Names that differ in case only, or in leading zeros, still come in one order.
    paths.sort(key=lambda path: (natural(path.relative_to(folder).as_posix()), str(path)))
    return ImageListing(paths, skipped, tuple(sorted(unreadable)))


def _is_entered(name: str) -> bool:
    return not (name.startswith(".") or name.endswith(JOB_FOLDER_SUFFIX) or _HOUSEKEEPING.fullmatch(name.casefold()))


def _passed_over(path: Path, top: Path) -> str | None:
    """Why a file below the folder `top` is no image of it; None where it is one. Raises `PermissionError` where its
    folder may not be entered."""
    if path.name.startswith(".") or path.name.casefold() in _HOUSEKEEPING_FILES:
        return HIDDEN
    ending = path.suffix.lower()
    if not is_readable_name(path):
        return ending if _ENDING.fullmatch(ending) else ""  # As in `Notes of Dr. Who`.
    try:
        if not path.is_file():
            return ending
        return LINKED if path.is_symlink() and not path.resolve().is_relative_to(top) else None
    except PermissionError:
        if os.path.islink(path):  # noqa: PTH114 - where its folder may not be entered either, this raises nothing
            return LINKED
        raise
