"""Clips to test with, made by the ffmpeg program, and pictures that tell their own number."""

import subprocess
from pathlib import Path

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
