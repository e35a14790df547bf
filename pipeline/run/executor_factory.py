"""Which executor paints a job: in this process, in one process for each device, or on a Ray cluster."""

import math
from collections.abc import Callable, Sequence

import torch

from ..plan.request import Request
from .executor import Executor, PainterSpec
from .inline import InlineExecutor
from .processes import ProcessExecutor
from .ray_executor import RayExecutor

ExecutorFactory = Callable[[PainterSpec, Sequence[torch.device], Request, int], Executor]
"""Makes an executor from the painter's specification, a device for each worker, the request, and the number of chains
that can be painted at the same time."""


def make_executor(spec: PainterSpec, devices: Sequence[torch.device], request: Request, chain_count: int) -> Executor:
    """The executor that a request names; with `auto` one process alone where there is one worker."""
    if request.executor == "ray":
        on_gpu = {"auto": None, "cpu": False}.get(request.device, True)
        return RayExecutor(spec, request.address, math.ceil(chain_count / spec.max_width), on_gpu)
    is_inline = request.executor == "inline" or (request.executor == "auto" and len(devices) == 1)
    return InlineExecutor(spec, devices[0]) if is_inline else ProcessExecutor(spec, devices)
