"""Listing the image files of a folder."""

import os
from dataclasses import dataclass
from pathlib import Path

from natsort import natsort_keygen, ns

from ..errors import InputError
from .image_file import is_readable_name

JOB_FOLDER_SUFFIX = ".impasto"
"""Folders with this ending hold jobs, whose frames are nobody's photos."""


@dataclass(frozen=True)
class ImageListing:
    """The images in a folder."""

    paths: list[Path]
    """Image files in natural order (frame 2 before frame 10), each beginning with the folder that was listed."""

    skipped: int
    """How many other files were passed over: hidden, without the ending of an image, or links that lead out."""


def list_images(folder: Path, recursive: bool = True) -> ImageListing:
    """The image files in `folder`, and below it when `recursive`, by their endings.

    Hidden folders, job folders and links to folders are skipped, and a link to a file counts only where its target lies
    below `folder`: a listing never leaves the tree. Raises `InputError` when `folder` is no folder or cannot be read.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"cannot list the images in {folder}: it {what}; name a folder of images")
    paths: list[Path] = []
    skipped = 0
    top = folder.resolve()
    try:
        for root, folders, files in os.walk(folder, onerror=_raise, followlinks=False):
            entered = [name for name in folders if not name.startswith(".") and not name.endswith(JOB_FOLDER_SUFFIX)]
            folders[:] = entered if recursive else []
            for name in files:
                path = Path(root, name)
                if (
                    name.startswith(".")
                    or not is_readable_name(path)
                    or not path.is_file()
                    or (path.is_symlink() and not path.resolve().is_relative_to(top))
                ):
                    skipped += 1
                else:
                    paths.append(path)
    except OSError as error:
        raise InputError(f"cannot list the images in {folder}: {error.strerror or error} ({error.filename})") from error
    natural = natsort_keygen(alg=ns.PATH | ns.IGNORECASE)
    # Names that differ in case only, or in leading zeros, still come in one order.
    paths.sort(key=lambda path: (natural(path.relative_to(folder).as_posix()), str(path)))
    return ImageListing(paths, skipped)


def _raise(error: OSError) -> None:
    raise error
