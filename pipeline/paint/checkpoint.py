"""Checkpoints of frames that take long, so that a crash costs minutes and not hours.

A checkpoint holds the whole state of the optimizer between two iterations: a frame that continues from it has the
same bits as one that was never interrupted. A file that is damaged, or that another task left, is not used.

The state of a large picture is most of the memory that it takes, so there is never a copy of all of it.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch

from .. import storage
from ..errors import Interrupted, StorageError

CHECKPOINT_SECONDS = 300.0
"""Default interval between two checkpoints of a frame."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of one frame. It takes about fifty times the picture in single precision."""

    path: Path
    seconds: float = CHECKPOINT_SECONDS
    """Interval at which it is written."""
    should_stop: Callable[[], bool] | None = None
    """Asked after each iteration: when true, the checkpoint is written at once and `Interrupted` raised."""

    def save_if_due(
        self, snapshot: Callable[[], Mapping[str, torch.Tensor]], task: str, saved_at: float, now: float
    ) -> float:
        """Saves `snapshot` of a task, known by its digest, if the interval has passed since `saved_at`.

        Returns when the checkpoint was last saved. Raises `Interrupted` when `should_stop` says so, after saving.
        """
        stop = self.should_stop is not None and self.should_stop()
        if stop or now - saved_at >= self.seconds:
            # A full disk is no reason to fail the frame.
            with contextlib.suppress(StorageError):
                self.save(snapshot(), task)
            saved_at = now
        if stop:
            raise Interrupted("the frame is interrupted; it continues from its checkpoint")
        return saved_at

    def raise_if_stopped(self) -> None:
        """Raises `Interrupted` when `should_stop` says so; for a part of a frame without checkpoints."""
        if self.should_stop is not None and self.should_stop():
            raise Interrupted("the frame is interrupted in a part without checkpoints, which begins again")

    def save(self, snapshot: Mapping[str, torch.Tensor], task: str) -> None:
        """Replaces the file by a snapshot of `task`. Raises `StorageError`."""
        arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in snapshot.items()}
        with storage.atomic_file(self.path) as temporary:
            try:
                safetensors.numpy.save_file(arrays, temporary, {"task": task, "digest": digest(arrays)})
            except safetensors.SafetensorError as error:  # A full disk too raises this, and no OSError.
                raise StorageError(f"could not write {self.path}: {error}") from error

    def load(self, task: str) -> Mapping[str, torch.Tensor] | None:
        """The snapshot of `task`, whose tensors are read from the file when they are asked for; None where the file is
        absent, damaged or another task's."""
        try:
            with safetensors.safe_open(self.path, "np") as file:
                facts = file.metadata() or {}
                names = tuple(file.keys())
            if facts.get("task") != task:
                return None
            stored = _StoredTensors(self.path, names)
            return stored if digest(stored) == facts.get("digest") else None
        except (OSError, ValueError, safetensors.SafetensorError):
            return None

    def remove(self) -> None:
        """Deletes the file if it exists."""
        if self.path.exists():
            storage.remove(self.path)


class _StoredTensors(Mapping[str, torch.Tensor]):
    """The tensors in a file, each read anew when it is asked for."""

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self._path = path
        self._names = names

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        # What has been read through a mapping of the file counts as memory until it is closed.
        with safetensors.safe_open(self._path, "np") as file:
            return torch.from_numpy(file.get_tensor(name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def digest(value: Any) -> str:
    """SHA-256 of plain values, arrays and tensors, and of dataclasses, mappings and tuples of them."""
    hashed = hashlib.sha256()
    _feed(hashed, value)
    return hashed.hexdigest()


def _feed(hashed: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        hashed.update(f"{value.dtype} {value.shape} ".encode())
        hashed.update(np.ascontiguousarray(value).data)
    elif dataclasses.is_dataclass(value):
        hashed.update(f"{type(value).__name__} ".encode())
        _feed(hashed, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        hashed.update(f"{2 * len(value)} ".encode())
        for key in sorted(value):
            _feed(hashed, key)
            _feed(hashed, value[key])
    elif isinstance(value, tuple):
        hashed.update(f"{len(value)} ".encode())
        for part in value:
            _feed(hashed, part)
    else:
        hashed.update(f"{value!r} ".encode())
