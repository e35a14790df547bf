"""How fast this machine paints, next to what it could: on any device, in under four minutes.

Ceilings are a matrix product in each precision, and copying. An iteration counts the convolutions alone. What would
take longer than there is time for is left out, which the table says.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from impasto.choices import Precision
from impasto.errors import OutOfMemoryError
from impasto.media.images import write_image
from impasto.media.timing import Timing
from impasto.media.video_writer import VideoWriter
from impasto.paint.batch import Batch
from impasto.paint.costs import stage_seconds, step_seconds, wait_for
from impasto.paint.devices import computing, device_label, pick_device
from impasto.paint.encoder_weights import load_weights
from impasto.paint.objective import LossTerms, Objective
from impasto.paint.painter import Painter
from impasto.paint.precision import precisions_of
from impasto.paint.stopping import StopRule
from impasto.paint.task import FrameTask
from impasto.pictures import Size, resize, to_tensor
from impasto.plan.request import Request
from impasto.presets import load_settings
from impasto.run.job_run import stylize
from samples.scenes import pan
from tests.benchmarks.common import machine, operations_an_iteration, show

SECONDS = 200.0
"""The time for the whole table. Compiling, which may take half a minute, is tried where there is a GPU."""

SIZES: tuple[Size, ...] = ((192, 256), (512, 512), (1024, 1024), (1080, 1920), (2160, 3840))
WIDTHS = (1, 4, 16, 64)


def run() -> None:
    Speed(pick_device("auto"), time.monotonic() + SECONDS).run()


@dataclass
class Speed:
    """The tables of one device, which end at a time of the clock."""

    device: torch.device
    deadline: float

    def __post_init__(self) -> None:
        self.weights = load_weights("bundled")
        self.content = resize(pan((540, 960), 1, seed=3).frame(0), (2160, 3840))
        self.is_gpu = self.device.type == "cuda"
        self.pace = 0.0
        """Seconds of an iteration and pixel, as measured last."""

    def run(self) -> None:
        ceilings = {precision: matrix_rate(self.device, precision) for precision in precisions_of(self.device)}
        limits = ", ".join(f"{precision} {rate / 1e12:.3g} TFLOP/s" for precision, rate in ceilings.items())
        notes = [f"ceilings: matrix product {limits}; copy {copy_rate(self.device) / 1e9:.0f} GB/s"]
        rows = [row for precision in reversed(ceilings) for row in self.sizes(precision, ceilings[precision])]
        show(
            f"One iteration, `default` ({device_label(self.device)}; {machine()})",
            (
                "size",
                "precision",
                "ms",
                "TFLOP/s",
                "of the ceiling",
                "launches",
                "optimizer",
                "peak GiB",
                "compiled ms",
            ),
            rows,
            notes,
        )
        show(
            "256×256 side by side, `auto`",
            ("width", "ms an iteration", "ms an iteration and picture"),
            list(self.widths()),
        )
        columns = ("size", "seconds", "painting", "waiting for flow", "for reading", "for saving")
        show("A film of 8 frames, `auto`: where the time goes", columns, [self.film()])

    def sizes(self, precision: Precision, ceiling: float) -> Iterator[tuple[str, ...]]:
        """A row for each size. `bf16` is its fast stage alone."""
        painter = self.painter(precision)
        self.pace = 0.0
        for size in SIZES:
            name = (f"{size[1]}×{size[0]}", precision)
            if not self.has_time(size[0] * size[1], 12):
                yield (*name, "no time", *[""] * 6)
                continue
            try:
                yield (*name, *self.measured(painter, size, ceiling))
            except OutOfMemoryError:
                yield (*name, "no memory", *[""] * 6)

    def measured(self, painter: Painter, size: Size, ceiling: float) -> tuple[str, ...]:
        """Milliseconds, TFLOP/s, their share of the ceiling, launches, the optimizer's share, GiB, and compiled."""
        content = resize(self.content, size)
        if self.is_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        with computing(self.device, size):
            objective, start = painter.objectives(painter.objective(content))[0], to_tensor(content, self.device)
        iterations = 20 if self.is_gpu else 2
        with computing(self.device, size, painter.precision):
            seconds = stage_seconds(painter, (objective,), start, iterations)
            peak = f"{torch.cuda.max_memory_allocated(self.device) / 2**30:.2f}" if self.is_gpu else ""
            alone = stage_seconds(painter, (Plain(),), start, iterations)  # type: ignore[arg-type]
            launches = self.launches(painter, objective, start) if self.is_gpu else ""
            compiled = self.compiled(painter, objective, start)
        self.pace = seconds / (size[0] * size[1])
        rate = operations_an_iteration(size, tuple(painter.settings.layers)) / seconds
        return (
            f"{seconds * 1e3:.3g}",
            f"{rate / 1e12:.3g}",
            f"{rate / ceiling:.0%}",
            launches,
            f"{alone / seconds:.0%}",
            peak,
            compiled,
        )

    def launches(self, painter: Painter, objective: Objective, start: torch.Tensor) -> str:
        """What the host launches in an iteration: kernels, or one graph of so many."""
        minimizer = painter.make_minimizer((objective,), start, StopRule(100))
        for _ in range(6):
            minimizer.step()
        wait_for(self.device)
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
            minimizer.step()
            wait_for(self.device)
        kernels = sum(event.count for event in seen.key_averages() if event.device_type.name == "CUDA")
        graphs = sum(event.count for event in seen.key_averages() if "GraphLaunch" in event.key)
        return f"{graphs} graph of {kernels}" if graphs else f"{kernels}; {minimizer.capture_failure}"

    def compiled(self, painter: Painter, objective: Objective, start: torch.Tensor) -> str:
        """The same with the objective compiled by torch, and how long that takes."""
        if not self.is_gpu or not self.has_time(0, 0, 40):
            return ""
        began = time.perf_counter()
        try:
            whole = torch.compile(objective, dynamic=False)
            seconds = stage_seconds(painter, (whole,), start, 20)  # type: ignore[arg-type]
        except Exception as error:  # Whatever keeps it from compiling is what the table says.
            return type(error).__name__
        return f"{seconds * 1e3:.3g} ({time.perf_counter() - began:.0f} s)"

    def widths(self) -> Iterator[tuple[str, ...]]:
        painter, size = self.painter(None), (256, 256)
        content = resize(self.content, size)
        for width in WIDTHS:
            if not self.has_time(width * size[0] * size[1], 6):
                yield (str(width), "no time", "")
                continue
            batch = Batch(painter, size, width)
            for ticket in range(width):
                batch.add(ticket, FrameTask(ticket, content, "content", StopRule(1000)))
            seconds = step_seconds(batch.step, self.device, 4 if self.is_gpu else 1, 20 if self.is_gpu else 2)
            yield (str(width), f"{seconds * 1e3:.3g}", f"{seconds * 1e3 / width:.3g}")

    def film(self) -> tuple[str, ...]:
        """What a whole job takes, its first frame included, and in which shares of it workers paint or wait."""
        size, count = ((436, 1024) if self.is_gpu else (56, 128)), 8
        scene = pan(size, count, seed=1)
        with tempfile.TemporaryDirectory() as folder:
            source, style = Path(folder) / "film.mp4", Path(folder) / "style.png"
            with VideoWriter(source, size, Timing.constant(24, count)) as writer:
                for index in range(count):
                    writer.write(scene.frame(index))
            write_image(style, resize(self.content, (240, 320)))
            output = Path(folder) / "painted.mp4"
            use = stylize(Request((source,), (style,), output, load_settings(), device=str(self.device))).time_use
        assert use is not None
        shares = (value / use.seconds for value in (use.painting, use.flow, use.reading, use.saving))
        return (f"{size[1]}×{size[0]}", f"{use.seconds:.1f}", *(f"{share:.0%}" for share in shares))

    def painter(self, precision: Precision | None) -> Painter:
        style = resize(self.content, (240, 320))
        return Painter(load_settings(), self.weights, [style], [1.0], self.device, precision=precision)

    def has_time(self, pixels: int, iterations: int, more: float = 0.0) -> bool:
        return time.monotonic() + pixels * iterations * self.pace + more < self.deadline


class Plain:
    """An objective that costs next to nothing, but has something to do for the optimizer."""

    def __call__(self, pixels: torch.Tensor) -> LossTerms:
        value = pixels.square().flatten(1).sum(1)
        none = torch.zeros_like(value)
        return LossTerms(value, none, none, none)


def matrix_rate(device: torch.device, precision: Precision) -> float:
    """Floating-point operations a second of a plain matrix product."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = torch.rand(2, size, size, device=device, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    with computing(device, (1, 1), precision):
        return 2 * size**3 / min(step_seconds(lambda: torch.mm(a, b), device, 1, 2) for _ in range(4))


def copy_rate(device: torch.device) -> float:
    """Bytes a second that are read and written in copying."""
    count = 1 << (28 if device.type == "cuda" else 25)
    a, b = torch.rand(2, count, device=device)
    return 8 * count / min(step_seconds(lambda: b.copy_(a), device, 1, 4) for _ in range(4))
