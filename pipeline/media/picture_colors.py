"""Decoded frame → RGB: what is converted, to which colours, and what is not understood."""

from dataclasses import replace

import av
import numpy as np
from av.video.reformatter import ColorRange

from . import color_matrices, hdr, transfers
from .color import MATRICES, SWSCALE_MATRICES, VideoColor, hdr_transfer

_NO_MATRIX = ("gbr", None)


def to_rgb(
    frame: av.VideoFrame, color: VideoColor, size: tuple[int, int], interpolation: int, display_height: int
) -> np.ndarray:
    """A frame as an `H×W×3` uint8 RGB array of `size` (height, width), in the colours of `painted_color`.

    `display_height` is that of the picture as shown, by which players guess a matrix.
    """
    reduced, is_recoded = hdr_transfer(color), transfers.is_recoded(color.transfer)
    if not frame.format.is_rgb and color_matrices.is_converted_here(color):
        coded = color_matrices.to_coded_rgb(frame, color, size, interpolation)
        if not reduced and not is_recoded:
            return np.asarray((255 * coded + 0.5).astype(np.uint8))
        image = np.asarray((65_535 * coded + 0.5).astype(np.uint16))
    else:
        # swscale takes untagged video of any size for BT.601, so the matrix is always given.
        converted = frame.reformat(
            width=size[1],
            height=size[0],
            format="rgb48le" if reduced or is_recoded else "rgb24",
            src_colorspace=None if frame.format.is_rgb else SWSCALE_MATRICES[color.matrix_for(display_height)],
            src_color_range=ColorRange.JPEG if color.range == "pc" else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=interpolation,
        )
        image = np.asarray(converted.to_ndarray())
    if reduced:
        return hdr.to_standard(image, reduced)
    return transfers.recoded(image, str(color.transfer)) if is_recoded else image


def painted_color(color: VideoColor) -> VideoColor:
    """What the colours of converted frames mean: what the file says, but for what is converted besides the matrix."""
    if hdr_transfer(color):
        return VideoColor("bt709", "tv", "bt709", "bt709")
    return replace(color, transfer="bt709") if transfers.is_recoded(color.transfer) else color


def misunderstood(color: VideoColor) -> str | None:
    """What of the tags is not understood, so that colours come out wrong; None where all is."""
    is_known = color.matrix in (*MATRICES, *_NO_MATRIX) and color.matrix != "bt2020c"
    if not is_known and not color_matrices.is_converted_here(color):
        if color.matrix in ("bt2020c", "chroma-derived-c") and color.matrix_for(0) != VideoColor().matrix_for(0):
            return f"are of constant luminance ({color.matrix}) and read as if they were not: they are a little off"
        return f"are coded by the matrix {color.matrix}, which is not converted"
    if color.transfer == "smpte428":
        return "follow the transfer function smpte428, which is not converted"
    if color.primaries == "smpte428":
        return "are XYZ (smpte428), which is not converted"
    return None
