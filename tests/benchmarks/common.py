"""What the benchmarks share: the pair of pictures that figures compare on, and this machine's speed."""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from impasto.layers import CHANNELS_PER_BLOCK, LAYERS, deepest
from impasto.media.images import read_image

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = ROOT.parent / "shared" / "data"
CONTENT = DATA / "images" / "tubingen_256x192.png"
STYLE = DATA / "images" / "starry_night_240x192.png"
BIN = Path(sys.executable).parent


def has_data() -> bool:
    """Whether the real pictures are there; says so when they are not."""
    if CONTENT.is_file() and STYLE.is_file():
        return True
    Console().print(f"skipped: the pictures {CONTENT.name} and {STYLE.name} are not at {DATA / 'images'}")
    return False


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Content and style of the common pair."""
    return read_image(CONTENT), read_image(STYLE)


def matrix_rate(size: int = 2048, repeats: int = 8) -> float:
    """Floating-point operations a second of a plain float32 matrix product: the machine's own limit."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def operations_an_iteration(size: tuple[int, int], layers: Sequence[str]) -> float:
    """Multiply-adds × 2 of the convolutions to the deepest of `layers`, forward and backward to the pixels."""
    height, width = size
    end = LAYERS.index(deepest(layers)) + 1
    total, incoming = 0.0, 3
    for name in LAYERS[:end]:
        if name.startswith("conv"):
            outgoing = CHANNELS_PER_BLOCK[int(name[4]) - 1]
            total += 2 * 9 * incoming * outgoing * height * width
            incoming = outgoing
        elif name.startswith("pool"):
            height, width = height // 2, width // 2
    return 2 * total


def machine() -> str:
    """The machine in words, for the title of a table."""
    return f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> None:
    """Prints one table with numbers to the right."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console = Console(width=120)
    console.print(table)
    for note in notes:
        console.print(note, soft_wrap=True)
