"""Checkpoints of frames that take long, so that a crash costs minutes and not hours.

A checkpoint holds the whole state of the optimizer between two iterations: a frame that continues from it has the
same bits as one that was never interrupted. A file that is damaged, or that another task left, is not used.
"""

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Mapping
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

    def load(self, task: str) -> dict[str, torch.Tensor] | None:
        """The snapshot of `task`; None where the file is absent, damaged or another task's."""
        try:
            with safetensors.safe_open(self.path, "np") as file:
                facts = file.metadata() or {}
                if facts.get("task") != task:
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        except (OSError, ValueError, safetensors.SafetensorError):
            return None
        if digest(arrays) != facts.get("digest"):
            return None
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def remove(self) -> None:
        """Deletes the file if it exists."""
        if self.path.exists():
            storage.remove(self.path)


def digest(value: Any) -> str:
    """SHA-256 of plain values and arrays, and of dataclasses, mappings and tuples of them."""
    hashed = hashlib.sha256()
    _feed(hashed, value)
    return hashed.hexdigest()


def _feed(hashed: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        hashed.update(f"{value.dtype} {value.shape} ".encode())
        hashed.update(np.ascontiguousarray(value).data)
    elif dataclasses.is_dataclass(value):
        hashed.update(f"{type(value).__name__} ".encode())
        _feed(hashed, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    elif isinstance(value, Mapping):
        _feed(hashed, tuple(part for key in sorted(value) for part in (key, value[key])))
    elif isinstance(value, tuple):
        hashed.update(f"{len(value)} ".encode())
        for part in value:
            _feed(hashed, part)
    else:
        hashed.update(f"{value!r} ".encode())
