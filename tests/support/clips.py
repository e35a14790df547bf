"""Clips to test with, made by the ffmpeg program, and pictures that tell their own number."""

import re
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from impasto.media.ffmpeg import ffmpeg_path


def ffmpeg(*arguments: str | Path) -> None:
    """Runs the ffmpeg program, for material to test with."""
    command = [str(ffmpeg_path()), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def moving_source(rate: str = "25", seconds: float = 1, size: str = "64x48") -> list[str]:
    """A test picture in motion; of even size, as the source makes it so."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def numbered(index: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A frame that tells its own number: a grey from which `number` reads it, brighter at the top left."""
    image = np.full((*size, 3), 8 + index * 8, dtype=np.uint8)
    image[: size[0] // 4, : size[1] // 4] = 250
    return image


def number(image: np.ndarray) -> int:
    return round((float(image[image.shape[0] // 2 :].mean()) - 8) / 8)


def sine(seconds: float = 2) -> list[str]:
    return ["-f", "lavfi", "-i", f"sine=f=330:r=48000:d={seconds}"]


H264 = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"]


def with_clap(source: Path, target: Path, width: int, height: int, across: int, down: int) -> None:
    """Adds the clean aperture of a MOV: so many pixels, whose centre lies so far from that of the picture."""
    with_box(source, target, b"avc1", struct.pack(">I4s8i", 40, b"clap", width, 1, height, 1, across, 1, down, 1))


def with_box(source: Path, target: Path, kind: bytes, box: bytes) -> None:
    """Adds a box to the sample description `kind` of the pictures of an MP4 or MOV."""
    data = bytearray(source.read_bytes())
    # The atoms around grow with it. They come after the frames, whose offsets stay.
    assert data.index(b"mdat") < data.index(b"moov")
    entry = data.index(kind)
    begin = 0
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", kind):
        begin = data.index(name, begin)
        (size,) = struct.unpack_from(">I", data, begin - 4)
        struct.pack_into(">I", data, begin - 4, size + len(box))
    (size,) = struct.unpack_from(">I", data, entry - 4)
    end = entry - 4 + size - len(box)
    target.write_bytes(data[:end] + box + data[end:])


def end_by_ffmpeg(path: Path) -> Fraction:
    """When the pictures of a file end, which has nothing else or is copied without it, as the ffmpeg program says."""
    alone = path.with_name(f"alone{path.suffix}")
    with av.open(str(path)) as container:
        if len(container.streams) > 1:
            ffmpeg("-i", path, "-map", "0:v:0", "-c", "copy", "-copyts", alone)
        else:
            shutil.copy(path, alone)
    done = subprocess.run([str(ffmpeg_path()), "-i", str(alone)], check=False, capture_output=True, text=True)
    found = re.search(r"Duration: (\d+):(\d+):(\d+\.\d+)(?:, start: (-?\d+\.\d+))?", done.stderr)
    assert found is not None, done.stderr
    hours, minutes, seconds, start = found.groups()
    # Of Matroska it is the time at which the file ends.
    begin = Fraction(0) if path.suffix in (".mkv", ".webm") else Fraction(start or 0)
    return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds) + begin
