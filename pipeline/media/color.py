"""Colour tags of videos: matrix, range, primaries and transfer."""

from dataclasses import dataclass

import av
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from . import hdr

MATRICES = frozenset({"bt709", "fcc", "bt470bg", "smpte170m", "smpte240m", "bt2020nc", "bt2020c"})
"""The ways from RGB to luma and chroma that are computed, in ffmpeg's words."""


@dataclass(frozen=True)
class VideoColor:
    """The colour tags of a video, by ffmpeg's names; None where the file has none."""

    matrix: str | None = None
    """From RGB to luma and chroma: `bt709`, `smpte170m`, `bt2020nc` ..."""

    range: str | None = None
    """`tv`: black is 16 and white 235; `pc`: 0 and 255."""

    primaries: str | None = None
    """What red, green and blue are: `bt709`, `smpte170m`, `bt2020`, `smpte432` (Display P3) ..."""

    transfer: str | None = None
    """From light to numbers: `bt709`, `iec61966-2-1` (sRGB), `smpte2084` (PQ), `arib-std-b67` (HLG) ..."""

    def matrix_for(self, height: int) -> str:
        """The conversion matrix: that of the file, or the one that players assume for a picture of this height.

        RGB, which has none, gets that of its primaries, or BT.709 where these have none.
        """
        if self.matrix == "gbr":
            return _MATRIX_OF_PRIMARIES.get(self.primaries or "", "bt709")
        if self.matrix in ("chroma-derived-nc", "chroma-derived-c"):
            derived = _MATRIX_OF_PRIMARIES.get(self.primaries or "")
        else:
            derived = self.matrix if self.matrix in MATRICES else None
        return derived or ("bt709" if height >= 720 else "smpte170m")


DOLBY_IPT = VideoColor("ipt-c2", "pc", "bt2020", "smpte2084")
"""The colours of Dolby Vision without a base that others understand (profile 5), which carries no tags."""

_MATRIX_OF_PRIMARIES = {
    "bt709": "bt709",
    "bt470bg": "bt470bg",
    "smpte170m": "smpte170m",
    "smpte240m": "smpte240m",
    "bt2020": "bt2020nc",
}
"""What a matrix derived from the primaries is (ITU-T H.273, 8.3)."""

_MATRICES = {
    0: "gbr",
    1: "bt709",
    3: "reserved",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
    15: "ipt-c2",
    16: "ycgco-re",
    17: "ycgco-ro",
}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "jedec-p22",
}
TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_RANGES = {1: "tv", 2: "pc"}
"""The numbers of ITU-T H.273, as the decoders give them, and the names of ffmpeg."""

SWSCALE_MATRICES = {
    "bt709": Colorspace.ITU709,
    "fcc": Colorspace.FCC,
    "bt470bg": Colorspace.ITU601,
    "smpte170m": Colorspace.ITU601,
    "smpte240m": Colorspace.SMPTE240M,
    "bt2020nc": Colorspace.BT2020,
    "bt2020c": Colorspace.BT2020,
}


def color_of(frame: av.VideoFrame, stream: VideoStream) -> VideoColor:
    """The colour tags of a frame, or else of its stream; formats that are RGB or full range by definition count as
    tagged."""
    context = stream.codec_context
    tagged_range = _RANGES.get(int(frame.color_range)) or _RANGES.get(int(context.color_range))
    is_rgb = frame.format.is_rgb or frame.format.name == "pal8"  # A palette holds RGB.
    return VideoColor(
        matrix="gbr" if is_rgb else _first_named(_MATRICES, frame.colorspace, context.colorspace),
        range="pc" if is_rgb or frame.format.name.startswith("yuvj") else tagged_range,
        primaries=_first_named(PRIMARIES, frame.color_primaries, context.color_primaries),
        transfer=_first_named(TRANSFERS, frame.color_trc, context.color_trc),
    )


def hdr_transfer(color: VideoColor) -> str | None:
    """The transfer function of a picture that has to be reduced to standard range, or None."""
    return color.transfer if color.transfer in hdr.TRANSFERS else None


def _first_named(names: dict[int, str], *numbers: int) -> str | None:
    return next((names[int(number)] for number in numbers if int(number) in names), None)
