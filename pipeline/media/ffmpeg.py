"""The ffmpeg program that writes videos."""

import re
import subprocess
from pathlib import Path

from ..errors import MediaError


def ffmpeg_path() -> Path:
    """The ffmpeg program: the one that imageio-ffmpeg brings along, or the one it is told to use instead.

    Raises `MediaError` where there is none.
    """
    import imageio_ffmpeg

    try:
        return Path(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise MediaError("there is no ffmpeg program: install the package imageio-ffmpeg again") from error


def ffmpeg_version() -> str:
    """What the ffmpeg program calls its version. Raises `MediaError` where it does not run."""
    program = ffmpeg_path()
    try:
        done = subprocess.run(
            [str(program), "-hide_banner", "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MediaError(f"the ffmpeg program {program} does not run: {error}") from error
    match = re.match(r"ffmpeg version (\S+)", done.stdout.decode("utf-8", "replace"))
    return match[1] if match else "unknown"
