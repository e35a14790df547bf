"""Flow files of other programs: Middlebury `.flo`, and `.pgm` masks of its reliability."""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import storage
from ..errors import InputError
from ..pictures import Size, size_of
from .flow import resample, resize_flow

_TAIL_BYTES = 4096
"""Bytes at the end of each file that are part of the folder's fingerprint."""

_FLO_MAGIC = b"PIEH"
_FLO_HEADER_BYTES = 12
_MAX_SIDE = 16_384
_FLO_UNKNOWN = 1e9
"""Middlebury's convention: flow with a component beyond this is unknown."""


class FloFolder:
    """A folder of Middlebury `.flo` files, named as artistic-videos does (github.com/manuelruder/artistic-videos).

    Ruder et al. (2016): `backward_{i}_{j}.flo` starts at frame i and points to the earlier frame j,
    `forward_{i}_{j}.flo` to a later one, and `reliable_{i}_{j}.pgm`, white where the flow is reliable, belongs to the
    flow that starts at i. Frames count from 1 in these names and from 0 in the arguments here. Files of another size
    than the painting are resampled, their vectors scaled.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fingerprint(self) -> str:
        """Short hash of the files' names, sizes and last kilobytes; all of them may be terabytes."""
        listed = []
        for pattern in ("forward_*_*.flo", "backward_*_*.flo", "reliable_*_*.pgm"):
            for path in sorted(self.folder.glob(pattern)):
                if path.is_file():
                    with _opened(path) as file:
                        size = file.seek(0, os.SEEK_END)
                        file.seek(max(0, size - _TAIL_BYTES))
                        listed.append((path.name, size, hashlib.sha256(file.read()).hexdigest()))
        return hashlib.sha256(repr(listed).encode()).hexdigest()[:16]

    def require(self, a_index: int, b_index: int, size: Size) -> None:
        """Raises `InputError` where a file for this pair is damaged or of another aspect ratio than `size`."""
        path = self.path_of(a_index, b_index)
        reliable_path = self._reliable_path(a_index, b_index)
        for file_path, open_checked in ((path, _opened_flo), (reliable_path, _opened_pgm)):
            if file_path.is_file():
                with open_checked(file_path) as (_, shape):
                    _require_shape(file_path, shape, size)

    def _reliable_path(self, a_index: int, b_index: int) -> Path:
        return self.folder / f"reliable_{a_index + 1}_{b_index + 1}.pgm"

    def expected_name(self, a_index: int, b_index: int) -> str:
        """The name of the file with the flow from frame `a_index` to frame `b_index`."""
        direction = "forward" if a_index < b_index else "backward"
        return f"{direction}_{a_index + 1}_{b_index + 1}.flo"

    def path_of(self, a_index: int, b_index: int) -> Path:
        """The path of that file, whether it exists or not."""
        return self.folder / self.expected_name(a_index, b_index)

    def read(self, a_index: int, b_index: int, size: Size) -> np.ndarray | None:
        """Flow from frame `a_index` to `b_index`, `H×W×2` float32 in pixels of `size`; None if there is no file.

        Where the flow is unknown it is 0 (see `reliability`). Raises `InputError` for a damaged file.
        """
        path = self.path_of(a_index, b_index)
        if not path.is_file():
            return None
        flow, known = read_flo(path)
        _require_shape(path, size_of(flow), size)
        if known.all():
            return resize_flow(flow, size)
        # Average the known vectors alone: the zeros of the others would shorten them.
        share = resample(known.astype(np.float32), size)[..., None]
        return np.where(share > 0, resize_flow(flow, size) / np.maximum(share, 1e-6), 0).astype(np.float32)

    def reliability(self, a_index: int, b_index: int, size: Size) -> np.ndarray | None:
        """How reliable the flow from `a_index` to `b_index` is, `H×W` float32 in [0, 1].

        The `reliable` file, times 0 where the flow is unknown. None if there is no such file and no unknown flow.
        Raises `InputError` for a damaged file.
        """
        reliability: np.ndarray | None = None
        reliable_path = self._reliable_path(a_index, b_index)
        if reliable_path.is_file():
            pixels = _read_pgm(reliable_path)
            _require_shape(reliable_path, size_of(pixels), size)
            reliability = resample(pixels, size)
        path = self.path_of(a_index, b_index)
        if path.is_file():
            known = read_flo(path)[1]
            if not known.all():
                share = resample(known.astype(np.float32), size)
                reliability = share if reliability is None else reliability * share
        return None if reliability is None else np.clip(reliability, 0, 1)


def read_flo(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The flow in a Middlebury `.flo` file, `H×W×2` float32, and where it is known, `H×W` bool.

    Vectors with a component beyond 1e9 or not finite are unknown, and 0 in the flow. Raises `InputError` for a file
    that is missing, is no flow, or does not have the length that its header implies, before memory is allocated for it.
    """
    with _opened_flo(path) as (file, (height, width)):
        data = _read_pixels(file, path, width * height * 8)
    flow = np.frombuffer(data, "<f4").reshape(height, width, 2).astype(np.float32)
    # A comparison with NaN is false: NaN is unknown too.
    known = np.asarray((np.abs(flow) <= _FLO_UNKNOWN).all(2))
    flow[~known] = 0
    return flow, known


def _read_pgm(path: Path) -> np.ndarray:
    """The binary greymap in `path`, `H×W` float32 in [0, 1]; raises `InputError` as `read_flo` does."""
    with _opened_pgm(path) as (opened, (height, width)):
        file, white = opened
        kind = _pgm_kind(white)
        data = _read_pixels(file, path, width * height * kind.itemsize)
    return np.clip(np.frombuffer(data, kind).reshape(height, width).astype(np.float32) / white, 0, 1)


def _pgm_kind(white: int) -> np.dtype[Any]:
    return np.dtype("u1" if white < 256 else ">u2")


@contextlib.contextmanager
def _opened_flo(path: Path) -> Iterator[tuple[BinaryIO, Size]]:
    """The file at its first pixel, and its size. Raises `InputError` where header and length do not agree."""
    with _opened(path) as file:
        header = file.read(_FLO_HEADER_BYTES)
        if len(header) < _FLO_HEADER_BYTES or header[:4] != _FLO_MAGIC:
            raise InputError(f"{path} is no Middlebury .flo file: it begins with {header[:4]!r}, not {_FLO_MAGIC!r}")
        width, height = (int(side) for side in np.frombuffer(header, "<i4", offset=4))
        _require_length(file, path, width, height, bytes_per_pixel=8)
        yield file, (height, width)


@contextlib.contextmanager
def _opened_pgm(path: Path) -> Iterator[tuple[tuple[BinaryIO, int], Size]]:
    """The file at its first pixel, the value of white, and its size. Raises as `_opened_flo` does."""
    with _opened(path) as file:
        # Numbers are separated by white space, which may hold comments; one character of it ends the header.
        header = re.match(rb"P5" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 3 + rb"\s", file.read(4096))
        if header is None or not 0 < int(header[3]) < 65536:
            raise InputError(f"{path} is no binary .pgm file (P5): write it with 8 or 16 bits of grey")
        width, height, white = (int(number) for number in header.groups())
        file.seek(header.end())
        _require_length(file, path, width, height, _pgm_kind(white).itemsize)
        yield (file, white), (height, width)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InputError(f"{path} cannot be read: {storage.read_problem(error)}") from error


def _require_length(file: BinaryIO, path: Path, width: int, height: int, bytes_per_pixel: int) -> None:
    """Raises `InputError` unless the rest of a file is as long as its header implies."""
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise InputError(f"{path} claims {width}×{height} pixels, and a side has 1 to {_MAX_SIDE}: it is damaged")
    expected_bytes = width * height * bytes_per_pixel
    actual_bytes = os.fstat(file.fileno()).st_size - file.tell()
    if actual_bytes != expected_bytes:
        raise InputError(
            f"{path} has {actual_bytes} bytes of pixels, and {width}×{height} of them take {expected_bytes}: "
            "it is cut off or damaged; compute it again"
        )


def _read_pixels(file: BinaryIO, path: Path, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise InputError(f"{path} has become shorter while it was read: compute it again")
    return data


def _require_shape(path: Path, shape: Size, size: Size) -> None:
    """Raises `InputError` for flow of another aspect ratio than the painting: it belongs to another film."""
    (height, width), (painted_height, painted_width) = shape, size
    # Both sizes were rounded to whole pixels.
    rounding = 1 / height + 1 / width + 1 / painted_height + 1 / painted_width
    if abs((width * painted_height) / (height * painted_width) - 1) > rounding:
        raise InputError(
            f"{path} is {width}×{height}, which is another shape than the {painted_width}×{painted_height} of the "
            "painting: it belongs to another film, or was cropped; compute it again"
        )
