"""The events of a frame that is being painted."""

from ..events import FrameProgress, FrameStarted, Losses
from ..paint.task import FrameTask
from ..pictures import size_of


def frame_started(name: str, task: FrameTask, start: str, device: str) -> FrameStarted:
    """A task is handed to a device; `start` is the kind of its initial picture."""
    most = task.max_iterations
    return FrameStarted(task.index, name, size_of(task.content), start, most, task.work_after(most), device)


def frame_progress(task: FrameTask, iteration: int, losses: Losses) -> FrameProgress:
    """A task is after an iteration, as `FrameTask.work_after` counts them."""
    size = task.scale_after(iteration).size if task.scales else None
    return FrameProgress(task.index, iteration, task.max_iterations, losses, task.work_after(iteration), size)
