"""How many workers paint, on which devices, and over how many threads each."""

from collections.abc import Sequence

import torch

from ..choices import Precision
from ..job.records import FrameRecord, PlannedFrame
from ..paint.devices import device_label
from .frame_plan import FramePlan
from .frame_rules import max_iterations
from .inputs import Inputs
from .request import Request
from .resources import best_threads, physical_memory_bytes, usable_cores
from .scheduler import critical_path
from .segments import Segments

MEMORY_SHARE = 0.7
"""Of the machine's memory, what workers on a CPU may take together."""

PROCESSES_FROM = 2e7
"""Iterations × pixels from which several processes are started for the cores of a CPU: each first loads torch and the
encoder, which takes some seconds."""


def gpu_worker_count(request: Request, devices: Sequence[torch.device]) -> int:
    """How many frames GPUs paint at the same time. A CPU counts as one worker, since its cores work on one frame
    together; what a cluster has is not known yet."""
    several = devices[0].type == "cuda" and request.executor in ("auto", "processes")
    return len(devices) if several else 1


def thread_count(inputs: Inputs, plan: FramePlan) -> int:
    """Threads over which a worker splits its sums on a CPU. The last bits of a picture depend on it, so a job keeps its
    number wherever it is continued."""
    chains, _ = plan.segments.chains((frame.index, frame.shot, frame.work * plan.mean_pixels) for frame in plan.frames)
    total = sum(chain.work for chain in chains)
    if inputs.request.executor == "inline" or total < PROCESSES_FROM:
        return torch.get_num_threads()
    # Not what is free: that changes from run to run.
    memory = inputs.request.memory or MEMORY_SHARE * physical_memory_bytes()
    return best_threads(total, critical_path(chains), plan.mean_pixels, torch.get_num_threads(), memory)


def worker_devices(inputs: Inputs, threads: int, work: float, chain_count: int) -> list[torch.device]:
    """A device for each worker: GPUs once each, the CPU as often as its cores hold `threads`.

    There are no more workers than chains. `work` is that of all frames, iterations times pixels.
    """
    executor, first = inputs.request.executor, inputs.devices[0]
    if executor == "inline":
        return [first]
    if first.type != "cpu":
        devices = list(inputs.devices)
    elif executor == "auto" and work < PROCESSES_FROM:
        return [first]
    else:
        devices = [first] * max(1, usable_cores() // threads)
    return devices[: max(1, chain_count)]


def planned_devices(inputs: Inputs, plan: FramePlan, threads: int) -> list[torch.device]:
    """A device for each worker of a job of which nothing is painted yet."""
    work = iterations_left(inputs, plan.segments, plan.frames) * plan.mean_pixels
    return worker_devices(inputs, threads, work, count_chains(plan.segments, plan.frames))


def iterations_left(inputs: Inputs, segments: Segments, frames: Sequence[FrameRecord | PlannedFrame]) -> int:
    """The most iterations that frames take together."""
    return sum(max_iterations(inputs.settings, inputs.passes, segments, frame.index, frame.shot) for frame in frames)


def count_chains(segments: Segments, frames: Sequence[FrameRecord | PlannedFrame]) -> int:
    """How many frames can be painted at the same time: one in each segment, and one in each undivided shot."""
    return len({segments.segment_start(frame.index, frame.shot) for frame in frames})


def describe_devices(devices: Sequence[torch.device], threads: int, precision: Precision) -> str:
    """The workers' devices for people: `cuda:0 (NVIDIA …), bf16`, `cpu (2 processes of 4 threads), fp32`."""
    if devices[0].type != "cpu":
        return ", ".join((*map(device_label, devices), precision))
    each = "1 thread" if threads == 1 else f"{threads} threads"
    processes = "" if len(devices) == 1 else f"{len(devices)} processes of "
    return f"cpu ({processes}{each}), {precision}"


def environment_of(device: torch.device) -> dict[str, str]:
    """What the last bits of a picture depend on besides recipe and plan: the device and the version of torch."""
    # Without the number of threads, which is part of the plan.
    return {"device": "cpu" if device.type == "cpu" else device_label(device), "torch": torch.__version__}
