"""A frame that takes long, put away from time to time, so that a crash costs minutes and not hours.

What is put away is the whole state of the optimiser between two iterations, and a frame that goes on from it has the
same bits as one that was never interrupted. A file that is damaged, or was left by any other task, is not used.
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
"""How often a frame that takes longer than that is put away, unless it is said."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Where a frame under way is put away, and how often. The file takes some fifty pictures in single precision.

    When `should_stop` says so, it is put away at once and `Interrupted` raised.
    """

    path: Path
    seconds: float = CHECKPOINT_SECONDS
    should_stop: Callable[[], bool] | None = None

    def tend(self, snapshot: Callable[[], Mapping[str, torch.Tensor]], task: str, last: float, now: float) -> float:
        """Puts away `snapshot` of `task`, a digest, where it is time to, or asked for: to be called after an iteration.

        `last` is when that was done before; returns when it was done last. Raises `Interrupted` when it was asked for.
        """
        stop = self.should_stop is not None and self.should_stop()
        if stop or now - last >= self.seconds:
            # A disk without room for it is no reason to give up the frame.
            with contextlib.suppress(StorageError):
                self.keep(snapshot(), task)
            last = now
        if stop:
            raise Interrupted("put away in the middle of a frame, which goes on from there")
        return last

    def require_going_on(self) -> None:
        """Raises `Interrupted` when `should_stop` says so, for what is not put away."""
        if self.should_stop is not None and self.should_stop():
            raise Interrupted("stopped in a part of a frame that begins again")

    def keep(self, snapshot: Mapping[str, torch.Tensor], task: str) -> None:
        """Writes a snapshot, in the place of the one before. Raises `StorageError`."""
        arrays = {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in snapshot.items()}
        with storage.atomic_file(self.path) as temporary:
            try:
                safetensors.numpy.save_file(arrays, temporary, {"task": task, "digest": digest(arrays)})
            except safetensors.SafetensorError as error:  # also what the disk says, which is no OSError
                raise StorageError(f"could not write {self.path}: {error}") from error

    def load(self, task: str) -> dict[str, torch.Tensor] | None:
        """The snapshot of `task`, where it is whole; None where there is none."""
        try:
            with safetensors.safe_open(self.path, "np") as file:
                facts = file.metadata() or {}
                if facts.get("task") != task:
                    return None
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
        except (OSError, ValueError, safetensors.SafetensorError):
            return None
        if digest(arrays) != facts.get("digest"):
            return None
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def remove(self) -> None:
        """The frame is painted."""
        if self.path.exists():
            storage.remove(self.path)


def digest(value: Any) -> str:
    """SHA-256 of plain values, arrays, and dataclasses, mappings and tuples of them."""
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
