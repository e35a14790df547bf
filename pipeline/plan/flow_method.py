"""Where the optical flow of a film comes from, and whether its files are all there."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from ..choices import FlowMethod
from ..errors import InputError
from ..motion.flo_files import FloFolder
from ..motion.raft import has_raft_weights
from ..pictures import Size
from ..settings import FlowSettings, Settings
from .frame_rules import starts_cold
from .segments import Segments


def choose_flow_method(flow: FlowSettings, device: torch.device) -> FlowMethod:
    """The method of the settings, with `auto` decided: files where a folder is named; RAFT on a GPU, where alone it is
    fast enough, if its weights are on the disk already; else DIS."""
    if flow.method != "auto":
        return flow.method
    if flow.folder is not None:
        return "files"
    return "raft" if device.type == "cuda" and has_raft_weights(flow.weights) else "dis"


def check_flow_files(settings: Settings, passes: int, shots: Sequence[range], segments: Segments, size: Size) -> None:
    """Raises `InputError` unless the folder of the settings holds a whole `.flo` file for each flow that is needed.

    A job of days would else fail at a frame far into the film.
    """
    files = FloFolder(Path(settings.flow.folder or ""))
    pairs = list(_needed_pairs(settings, passes, shots, segments))
    missing = [path.name for pair in pairs if not (path := files.path_of(*pair)).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(f"flow file {missing[0]}{more} is not in {files.folder}: add it, or cut the film there")
    for pair in pairs:
        files.require(*pair, size)


def _needed_pairs(
    settings: Settings, passes: int, shots: Sequence[range], segments: Segments
) -> Iterator[tuple[int, int]]:
    """(from, to) of each flow between neighbouring frames that painting uses."""
    backward = [(later, later - 1) for shot in shots for later in shot[1:]]
    if passes > 1:
        if passes > 2:
            yield from backward
        yield from ((earlier, later) for later, earlier in backward)
    else:
        temporal = settings.temporal
        warps = settings.start.next == "warped"
        if warps or (temporal.weight > 0 and 1 in temporal.distances):
            yield from (pair for pair in backward if not starts_cold(settings, *pair))
    for shot in shots:
        for index in shot:
            if segments.crossfades_with(index, shot.start) is not None:
                yield index, index + 1
