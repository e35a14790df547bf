"""Finished paintings warped onto the frame to be painted: to start from, and to compare with in the temporal loss.

Functions of a `FrameTask`. Images are 1×3×H×W in [0, 1], masks 1×1×H×W in [0, 1] with 1 = visible.
"""

import torch

from ..motion.flow import to_flow, to_mask
from ..motion.occlusion import long_term_weights
from ..motion.warp import warp, warp_painting
from ..pictures import blur, to_tensor
from . import initial
from .colors import ColorStatistics, color_statistics
from .objective import TemporalReference
from .task import FrameTask

GHOST_BLUR = 2.0
"""Standard deviation, in pixels, of the colour correction in occluded regions: it changes colours at this scale and
keeps the strokes."""

SEAM_BLUR = 1.0
"""Standard deviation, in pixels, of the seam between an earlier painting and the next keyframe's."""


def warped_start(
    task: FrameTask, device: torch.device, style_colors: ColorStatistics, content_colors: ColorStatistics | None
) -> torch.Tensor:
    """The picture that a task with a `warped` start begins with.

    With `given`, the warped painting is blended into that. Otherwise it is taken whole, and its colours are corrected
    where it is occluded (uncovered, from outside the frame, or along a wrong flow): its strokes still make a
    better start than the content, which has none (the objective after 25 iterations is a tenth lower), but the wrong
    surface must not stay as a ghost. So the blurred difference of the contents, mapped to the style's colours, is
    added. `content_colors` are the statistics of the whole film for that mapping; None uses this frame's.
    """
    source = task.warp_source
    if source is None or source.image.shape != task.content.shape:
        raise ValueError("a task with a warped start needs a painting of the content's shape to warp")
    flow = to_flow(source.flow, device)
    visibility = to_mask(source.visibility, device)
    warped = warp_painting(to_tensor(source.image, device), flow)
    if task.given is not None:
        own = to_tensor(task.given, device)
        return torch.lerp(own, warped, task.blend * visibility).clamp(0, 1)
    content = to_tensor(task.content, device)
    source_content = warp(to_tensor(source.content, device), flow, "bilinear", border="repeat")
    occluded = blur(1 - visibility, 1.0)
    colors = content_colors or color_statistics([content], [1.0])
    matrix = initial.transport(colors, style_colors).to(warped.dtype)
    correction = torch.einsum("ij,bjhw->bihw", matrix, blur(content - source_content, GHOST_BLUR))
    start = (warped + occluded * correction).clamp(0, 1)
    if task.crossfade_with is None:
        return start
    keyframe, weight = _warped_keyframe(task, device, visibility)
    return torch.lerp(start, keyframe, blur(weight, SEAM_BLUR))


def temporal_reference(task: FrameTask, device: torch.device) -> TemporalReference:
    """The task's `references` warped onto its frame, each with the weight of its pixels in the temporal loss."""
    images, masks = [], []
    for reference in task.references:
        image = warp_painting(to_tensor(reference.image, device), to_flow(reference.flow, device)).clamp(0, 1)
        visibility = to_mask(reference.visibility, device)
        if task.crossfade_with is not None and reference is task.warp_source:
            keyframe, weight = _warped_keyframe(task, device, visibility)
            image = torch.lerp(image, keyframe, weight)
            visibility = torch.maximum(visibility, to_mask(task.crossfade_with.visibility, device))
        images.append(image)
        masks.append(visibility)
    return TemporalReference(tuple(images), tuple(long_term_weights(masks)))


def _warped_keyframe(
    task: FrameTask, device: torch.device, visibility: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next keyframe warped onto the task's frame, and its weight in each pixel against the earlier painting.

    `visibility` is that of the earlier painting: the keyframe has the cross-fade's share where both are visible, and
    all of it where it alone is.
    """
    keyframe = task.crossfade_with
    assert keyframe is not None
    warped = warp_painting(to_tensor(keyframe.image, device), to_flow(keyframe.flow, device))
    keyframe_visibility = to_mask(keyframe.visibility, device)
    return warped.clamp(0, 1), keyframe_visibility * (1 - visibility * (1 - task.crossfade_share))
