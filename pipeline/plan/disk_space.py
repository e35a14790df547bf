"""The disk space that a job takes, and whether there is enough."""

from collections.abc import Callable, Mapping
from pathlib import Path

from .. import storage
from ..errors import StorageError
from .flow_method import choose_flow_method
from .frame_plan import FramePlan
from .inputs import Inputs

FLOW_BYTES = 8
"""Of one pixel of a flow field: two float32."""

CROSSFADE_BYTES = 12
"""Of one pixel of what is kept for a frame that is cross-faded to a keyframe."""


def disk_needed(inputs: Inputs, plan: FramePlan, disk_of: Callable[[Path], int] = storage.disk_of) -> dict[Path, int]:
    """An upper bound of the bytes that paintings and output take in the output's folder and in that of the job."""
    request, pixels = inputs.request, plan.pixels
    output, job = request.output.absolute().parent, request.job_folder.absolute().parent
    needed = dict.fromkeys((output, job), 0)
    for frame, count in zip(plan.frames, pixels, strict=True):
        path = Path(frame.path)
        needed[output if path.is_absolute() else job] += _picture_bytes(path, count)
    kept = sum(pixels) // inputs.passes
    if inputs.to_video:
        film = _video_bytes(inputs, kept)
        needed[output] += film
        if disk_of(output) != disk_of(job):
            needed[job] += film  # The film is written there and then moved.
    estimates_flow = choose_flow_method(inputs.settings.flow, inputs.devices[0]) != "files"
    if inputs.passes > 1 and estimates_flow:
        needed[job] += 2 * FLOW_BYTES * kept
    if plan.segments:
        segments = plan.segments
        bridged = sum(segments.next_keyframe(frame.index, frame.shot) is not None for frame in plan.frames)
        crossfaded = sum(segments.crossfades_with(frame.index, frame.shot) is not None for frame in plan.frames)
        bytes_each = CROSSFADE_BYTES * crossfaded + (2 * FLOW_BYTES * bridged if estimates_flow else 0)
        needed[job] += bytes_each * pixels[0]
    if request.compare:
        needed[output] += _video_bytes(inputs, 2 * kept) if inputs.to_video else 6 * kept
    return needed


def check_space(
    needed: Mapping[Path, int],
    free_bytes: Callable[[Path], int] = storage.free_bytes,
    disk_of: Callable[[Path], int] = storage.disk_of,
) -> None:
    """Raises `StorageError` where a disk has less room than all folders on it need together."""
    by_disk: dict[int, tuple[Path, int]] = {}
    for folder, size in needed.items():
        disk = disk_of(folder)
        by_disk[disk] = folder, size + by_disk.get(disk, (folder, 0))[1]
    for folder, size in by_disk.values():
        free = free_bytes(folder)
        if size > free:
            raise StorageError(
                f"the paintings and the output take up to {in_units(size)} in {folder}, and "
                f"{in_units(free)} are free there: free some, paint fewer `frames` or at a smaller `size`, or "
                "name another `output` or `job`"
            )


def _picture_bytes(path: Path, pixels: int) -> int:
    """Paintings hardly compress: PNG takes 3 bytes a pixel, JPEG half of that, and a TIFF may be uncompressed and have
    alpha."""
    suffix = path.suffix.lower()
    half_bytes = 3 if suffix in (".jpg", ".jpeg") else 8 if suffix in (".tif", ".tiff") else 6
    return half_bytes * pixels // 2 + 4096


def _video_bytes(inputs: Inputs, pixels: int) -> int:
    """Bytes of a video with so many pixels in all: an eighth of the raw pixels at good quality, half of them without
    loss, and a byte for each in a GIF."""
    if inputs.request.output.suffix.lower() == ".gif":
        return pixels
    encoding = inputs.request.encoding
    is_lossless = encoding.codec in ("prores", "ffv1") or encoding.crf == 0
    return 3 * pixels // (2 if is_lossless else 8)


def in_units(size: float) -> str:
    """Bytes as text, in powers of 1000: `12.3 MB`."""
    if size < 1e6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
