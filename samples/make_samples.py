"""Make the sample files: `style.png`, `landscape.jpg` and `clip.mp4`.

    python samples/make_samples.py [--out DIR]

Everything is computed from fixed seeds. Two runs on one machine write the same bytes. Another processor or library
version may round a few pixels differently, so the files are kept in the repository.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import wave
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np
from PIL import Image

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from samples.painting import paint
from samples.scenery import landscape
from samples.scenes import Frame
from samples.shots import clip
from samples.soundtrack import SAMPLE_RATE, Samples, soundtrack
from samples.textures import Size

STYLE_SIZE: Size = (512, 640)
LANDSCAPE_SIZE: Size = (427, 640)
RATE = Fraction(24)
STYLE_SEED = 7
LANDSCAPE_SEED = 11
CLIP_SEED = 5
VIDEO_FILTERS = (
    # The conversion must use the matrix that the tags promise.
    "scale=out_color_matrix=bt709:out_range=tv:flags=accurate_rnd+full_chroma_int",
    "format=yuv420p",
    "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv",
)


def make_style(path: Path) -> None:
    """The painting, as PNG."""
    Image.fromarray(paint(STYLE_SIZE, STYLE_SEED)).save(path, optimize=True)


def make_landscape(path: Path) -> None:
    """The photograph, as JPEG."""
    Image.fromarray(landscape(LANDSCAPE_SIZE, LANDSCAPE_SEED)).save(path, quality=92, subsampling=0, optimize=True)


def make_clip(path: Path) -> None:
    """The clip, as H.264 and AAC in MP4."""
    footage = clip(CLIP_SEED)
    sound = soundtrack(float(footage.frame_count / RATE), float(footage.cut_frame / RATE), CLIP_SEED)
    frames = (footage.frame(t) for t in range(footage.frame_count))
    encode(path, frames, footage.size, RATE, sound)


def encode(path: Path, frames: Iterator[Frame], size: Size, rate: Fraction, sound: Samples) -> None:
    """Write frames (HxWx3 uint8, RGB) and sound (Nx2 in [-1, 1]) to an MP4 file, in the same bytes every time."""
    with tempfile.TemporaryDirectory() as folder:
        sound_path = Path(folder) / "sound.wav"
        write_wave(sound_path, sound)
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-hide_banner", "-loglevel", "error", "-y"),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[1]}x{size[0]}", "-r", str(rate), "-i", "pipe:0"),
            *("-i", str(sound_path)),
            *("-map", "0:v", "-map", "1:a"),
            *("-vf", ",".join(VIDEO_FILTERS)),
            *("-c:v", "libx264", "-preset", "slow", "-crf", "16", "-threads", "1"),
            *("-c:a", "aac", "-b:a", "128k"),
            *("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1"),
            *("-movflags", "+faststart", str(path)),
        ]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
            assert encoder.stdin is not None
            try:
                for frame in frames:
                    encoder.stdin.write(frame.tobytes())
                encoder.stdin.close()
            except BrokenPipeError:
                # ffmpeg has ended early and the rest of the buffer is lost; its exit status is checked below.
                with suppress(BrokenPipeError):
                    encoder.stdin.close()
            except BaseException:
                encoder.kill()
                raise
            status = encoder.wait()
    if status != 0:
        raise RuntimeError(f"ffmpeg ended with status {status} and did not write {path}")


def write_wave(path: Path, sound: Samples) -> None:
    """Write Nx2 samples in [-1, 1] as 16-bit PCM."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.rint(np.clip(sound, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the sample painting, photograph and clip.")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).resolve().parent, metavar="DIR", help="default: beside this script"
    )
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    # With several threads, rounding would depend on the order in which they finish.
    cv2.setNumThreads(1)
    for name, make in (("style.png", make_style), ("landscape.jpg", make_landscape), ("clip.mp4", make_clip)):
        make(folder / name)
        print(f"{folder / name}: {(folder / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
