"""Reader slots: for each frame that is painted at the same time, a reader of the content and of its motion."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from ..choices import FlowMethod
from ..job.folder import FLOW_NAME
from ..job.job import Job
from ..media.content import Content
from ..media.frame_index import FrameIndex
from ..media.frame_reader import FrameReader
from ..motion.dis import DisFlow
from ..motion.flo_files import FloFolder
from ..motion.flow import FlowEstimator
from ..motion.flow_pool import FlowPool
from ..motion.raft import RaftFlow
from ..motion.reader import MotionReader
from ..plan.resources import physical_memory_bytes, usable_cores
from ..settings import Settings


@dataclass
class ReaderSlot:
    """A reader, which the slots of photos share, and the chain of frames that it follows, if any."""

    motion: MotionReader
    chain: int | None = None


def frame_index_of(job: Job) -> FrameIndex | None:
    """Times and checksums of the content's frames, by which a reader checks what it decodes after a seek; None where
    the content cannot be sought."""
    text = job.frame_index
    return None if text is None else FrameIndex.from_text(text)


FLOW_PROCESSES_MAX = 16
"""The most processes that estimate flow: a GPU paints no faster than so many follow."""

FLOW_PROCESS_BYTES, FLOW_PIXEL_BYTES = 256 << 20, 24
"""Memory of such a process at the largest working size (measured: 207 MB), and for each pixel of the painting."""

URGENT_PROCESSES_MAX = 3
"""The most processes beyond these for flow that a frame waits for: to each of its static references."""

URGENT_PROCESS_BYTES, URGENT_PIXEL_BYTES = 64 << 20, 216
"""Memory of such a process, which works at the painting's size (measured: 154 MB at 1024×436, 1757 MB at 4K)."""

FLOW_MEMORY_SHARE = 1 / 8
"""The share of this machine's memory that all of them take at most, as long as there is one of each."""


def flow_processes(device: torch.device, cores: int, memory_bytes: int, pixels: float) -> tuple[int, int]:
    """How many processes estimate flow by DIS ahead, for paintings of `pixels`, and how many what a frame waits for.

    Beside a GPU all `cores` but one, in a share of the memory, of which the second take half at most. Beside a CPU
    none: its cores all paint, and a thread does it.
    """
    if device.type == "cpu":
        return 0, 0
    memory = FLOW_MEMORY_SHARE * memory_bytes
    ahead_bytes = FLOW_PROCESS_BYTES + FLOW_PIXEL_BYTES * pixels
    urgent_bytes = URGENT_PROCESS_BYTES + URGENT_PIXEL_BYTES * pixels
    urgent = max(1, min(cores - 1, int(memory / 2 / urgent_bytes), URGENT_PROCESSES_MAX))
    fitting = int((memory - urgent * urgent_bytes) / ahead_bytes)
    return max(1, min(cores - 1, fitting, FLOW_PROCESSES_MAX)), urgent


class FlowEstimators:
    """Makes the flow estimator of each reader slot; `device` is where RAFT runs. A context manager.

    DIS estimates in processes of its own or, without any, in each slot's thread: as `flow_processes` counts them for
    paintings of `pixels`, or `processes` ahead of the frames and as many for what a frame waits for.
    """

    def __init__(
        self,
        settings: Settings,
        method: FlowMethod,
        device: torch.device,
        make_raft: Callable[[str, torch.device], FlowEstimator] = RaftFlow,
        processes: int | None = None,
        pixels: float = 0,
    ) -> None:
        self._flow = settings.flow
        self._method = method
        self._device = device
        self._make_raft = make_raft
        self._raft: FlowEstimator | None = None
        self._processes = (
            flow_processes(device, usable_cores(), physical_memory_bytes(), pixels)
            if processes is None
            else (processes, min(processes, URGENT_PROCESSES_MAX))
        )
        self._pool: FlowPool | None = None
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def make(self) -> FlowEstimator | FloFolder:
        """An estimator. RAFT is one for all slots, as it takes memory of the device that also paints."""
        match self._method:
            case "files":
                return FloFolder(Path(self._flow.folder or ""))
            case "raft":
                if self._raft is None:
                    self._raft = self._make_raft(self._flow.weights, self._device)
                return self._raft
            case _ if self._processes[0]:
                if self._pool is None:
                    self._pool = self._open.enter_context(FlowPool(*self._processes))
                return self._pool
            case _:
                return DisFlow()


class ReaderSlots:
    """The reader slots of a job, opened as they are needed. A context manager: leaving it closes them.

    Each chain of a film has a reader of its own, which goes through the frames in order. Photos are read in any order,
    by one reader for all slots, `photos_ahead` of them ahead. `frame_index` is that of the content, where it can be
    sought. `estimators` is None for a job that needs no flow.
    """

    def __init__(
        self,
        job: Job,
        content: Content,
        frame_index: FrameIndex | None,
        settings: Settings,
        estimators: FlowEstimators | None,
        *,
        several_passes: bool,
        has_keyframes: bool,
        flow_from_files: bool,
        photos_ahead: int,
    ) -> None:
        self._content = content
        self._settings = settings
        self._estimators = estimators
        self._several_passes = several_passes
        self._photos_ahead = photos_ahead
        self._photos: MotionReader | None = None
        self._frame_index = frame_index
        folder = job.folder / FLOW_NAME
        self._flow_store = folder if several_passes and not flow_from_files else None
        self._chain_store = folder if has_keyframes else None
        self._idle: list[ReaderSlot] = []
        self._open = contextlib.ExitStack()
        self._open_estimators = contextlib.ExitStack()
        if estimators is not None:
            self._open_estimators.enter_context(estimators)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # Flow ends first: a reader would wait for what is under way.
        with self._open:
            self._open_estimators.close()

    def take(self) -> ReaderSlot:
        """An idle slot, one with a chain first, as it may have read ahead; a new one where none is idle."""
        for number, slot in enumerate(self._idle):
            if slot.chain is not None:
                return self._idle.pop(number)
        return self._idle.pop(0) if self._idle else self._new()

    def give_back(self, slot: ReaderSlot) -> None:
        """Makes a slot idle."""
        self._idle.append(slot)

    def remove(self, slot: ReaderSlot) -> None:
        """Takes an idle slot back for the frame that had it, which is tried again."""
        self._idle.remove(slot)

    @property
    def has_chain(self) -> bool:
        """Whether an idle slot still follows a chain."""
        return any(slot.chain is not None for slot in self._idle)

    def _new(self) -> ReaderSlot:
        if self._content.is_film:
            return ReaderSlot(self._open_reader())
        if self._photos is None:
            self._photos = self._open_reader()
        return ReaderSlot(self._photos)

    def _open_reader(self) -> MotionReader:
        needs_flow = self._estimators is not None
        reach = max(self._settings.temporal.distances) if needs_flow else 0
        reader = self._open.enter_context(FrameReader(self._content, self._frame_index))
        motion = MotionReader(
            reader,
            None if self._estimators is None else self._estimators.make(),
            self._settings.size,
            frames_kept=reach + 2,
            backward=self._several_passes,
            prefetched_kept=0 if self._content.is_film else self._photos_ahead,
            flow_store=self._flow_store,
            chain_store=self._chain_store,
        )
        return self._open.enter_context(motion)
