"""The settings: everything that decides what the result looks like, each with its meaning, range and default.

Defaults are defined here only. A field's description is the help text of `impasto configs --keys`;
its bounds are checked when settings are read, and appear in the messages. `presets.py` reads settings from presets,
files and `--set KEY=VALUE`.

How a setting reaches the losses, with `total_variation.weight` as an example, and so what to change to add one:

(`docs/architecture.md` has the tests and pages that go with it.)

1. `TotalVariationSettings` below has the field `weight`, with default, bounds and description.
2. `LossWeights` in `paint/objective.py`, the plain numbers that the losses take, has the field `total_variation`, and
   `loss_weights` in `paint/painter.py` copies the setting into it.
3. `Objective` in `paint/objective.py` multiplies the loss by it.
4. `total_variation` in `paint/losses.py` is the loss itself, a function of tensors alone.

A new setting needs a line in 1 to 3, and one in 4 if it changes the formula. No more is needed for `--set`, files, the
help and the job's recipe, which follow from the field. The settings of the optimizer go from `paint/optimizers.py`
to its constructor; those of the encoder from `Painter` to `Encoder`; those of iterations, starts, temporal loss and
passes become `FrameTask`s in `run`; those of shots and flow are used by `plan` and `motion`.
"""

import types
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from .choices import (
    ContentReduction,
    FlowMethodSetting,
    GramNormalization,
    Padding,
    PixelUnit,
    Pooling,
    PrecisionSetting,
    Statistics,
    TotalVariationForm,
    VariableKind,
)


class Section(BaseModel):
    """A group of settings: immutable, finite, and without unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _convert_words(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """Refuses `true` for 1, and reads `none`, as the messages call it, as None."""
        annotation: Any = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and annotation is not bool:
            raise ValueError("true and false are not allowed here")
        if value == "none" and isinstance(annotation, types.UnionType):
            return None
        return value


class EncoderSettings(Section):
    """The frozen VGG-19 whose features are compared."""

    weights: str = Field(
        "bundled",
        min_length=1,
        description="Weights of VGG-19: bundled (the original ones), torchvision (retrained; downloaded once), or a "
        ".pth or .safetensors file.",
    )
    pooling: Pooling = Field(
        "max", description="Pooling between the blocks: max as trained, or average (Gatys et al. 2016: smoother)."
    )
    padding: Padding = Field(
        "zeros",
        description="Padding of the first convolution: zeros as trained, or replicate, which avoids a visible border.",
    )


class ContentSettings(Section):
    """The content loss: how closely the result keeps to the content."""

    weight: float = Field(5.0, ge=0, le=1e12, description="Weight α of the content loss.")
    layers: dict[str, float] = Field(
        {"relu4_2": 1.0}, min_length=1, description="Layers whose features are compared, each with its weight, from 0."
    )
    reduction: ContentReduction = Field(
        "mean", description="Squared differences as their mean, or as half their sum (Gatys et al. 2016, eq. 1)."
    )


class StyleSettings(Section):
    """The style loss: how strongly the result takes on the style."""

    weight: float = Field(100.0, ge=0, le=1e12, description="Weight β of the style loss.")
    layers: dict[str, float] = Field(
        {f"relu{block}_1": 1.0 for block in range(1, 6)},
        min_length=1,
        description="Layers whose statistics are compared, each with its weight, from 0.",
    )
    statistics: Statistics = Field(
        "gram",
        description="What is compared of a layer: its Gram matrix (gram); that, and mean and standard deviation of "
        "each channel, the three weighing about alike at the start (gram_moments); or the Gaussians of mean and "
        "covariance, by their squared Wasserstein distance (wasserstein), which is multiplied by 32, 8, 2, 1/2 and 1/8 "
        "in the five blocks of layers.",
    )
    gram: GramNormalization = Field(
        "chw", description="Divisor of a Gram matrix: channels · height · width (chw), or height · width (hw)."
    )
    scale: float = Field(
        1.0,
        gt=0,
        le=100,
        description="Longest side of the style image as a multiple of the content's; it is reduced but never "
        "enlarged, and its shorter side keeps what the layers need. Smaller values give finer strokes.",
    )


class TotalVariationSettings(Section):
    """The total variation loss: how smooth the result is."""

    weight: float = Field(294.0, ge=0, le=1e12, description="Weight γ of the total variation loss.")
    form: TotalVariationForm = Field(
        "absolute_mean",
        description="Differences of neighbouring pixels: sum of absolutes, mean of absolutes, or half the sum of "
        "squares. The share of a mean does not depend on the size of the picture.",
    )
    pixels: PixelUnit = Field(
        "byte", description="Unit of the pixels in this loss: 0 to 255 (byte), or ImageNet-normalised."
    )
    dots: float = Field(
        2000.0,
        ge=0,
        le=1e12,
        description="Weight of the loss of dots, a part of this loss: the mean square of how far single pixels stand "
        "out from all eight neighbours, in 0 to 255; 0 turns it off.",
    )


class OptimizerSettings(Section):
    """The optimizer that minimises the objective over the pixels."""

    method: Literal["lbfgs", "adam"] = Field("lbfgs", description="The optimizer: L-BFGS or Adam.")
    variable: VariableKind = Field(
        "bounded",
        description="Variable that is optimised: bounded (pixels are a sine of it and stay within the gamut), or free "
        "(normalised pixels, clamped only when saved).",
    )
    history: int = Field(
        20,
        ge=1,
        le=20,
        description="Curvature pairs that L-BFGS keeps of its last steps; from 8 megapixels on, at most 10.",
    )
    smoothing: float = Field(
        0.35,
        ge=0,
        le=1,
        description="Exponent p of the preconditioner of L-BFGS, which amplifies low spatial frequencies f by (f² + "
        "f₀²)^-p; 0 turns it off. At a scale that starts from a smaller painting it is 0.1 at the most.",
    )
    learning_rate: float = Field(
        0.05,
        gt=0,
        le=10,
        description="Learning rate of Adam, in units of the variable: radians where bounded, normalised pixels where "
        "free.",
    )
    learning_rate_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Factor of Adam's learning rate after every decay_interval iterations; 1 keeps it constant.",
    )
    decay_interval: int = Field(
        50, ge=1, le=1_000_000, description="Iterations between two decays of the learning rate."
    )


class IterationSettings(Section):
    """When a picture is finished. An iteration is one evaluation of the objective and its gradient."""

    first: int = Field(
        300,
        ge=1,
        le=1_000_000,
        description="Maximum iterations of a cold start: a photo, or the first frame of a shot. Where it is painted at "
        "several scales, those of a smaller one count by its share of the pixels.",
    )
    next: int = Field(
        60,
        ge=1,
        le=1_000_000,
        description="Maximum iterations of a warm start: a frame that starts from the previous one.",
    )
    target: float | None = Field(
        1.05,
        ge=1,
        le=100,
        description="A warm start is finished when its objective is at most this multiple of what its shot has "
        "reached so far; none: no such target.",
    )
    floor: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="Minimum iterations of a warm start before its target counts; 1 only evaluates, and keeps a frame "
        "that is good already. A frame with newly visible regions has at least 20.",
    )
    tolerance: float = Field(
        0.001,
        ge=0,
        lt=1,
        description="A cold start stops when its loss falls by less than this share of itself over an interval; 0: "
        "never.",
    )
    interval: int = Field(
        50,
        ge=1,
        le=1_000_000,
        description="Iterations between two checks of the tolerance; the first check is after two intervals.",
    )
    next_tolerance: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="The tolerance of a warm start. The more a frame moves, the longer its loss keeps falling.",
    )
    next_interval: int = Field(10, ge=1, le=1_000_000, description="The interval of a warm start.")


class ScaleSettings(Section):
    """Coarse to fine: a large picture is painted small first, so that its strokes are as large as those of a small
    one."""

    from_: int | None = Field(
        256,
        alias="from",
        ge=32,
        le=65_536,
        description="A cold start whose longer side has at least 1.19 times as many pixels is painted at so many first "
        "(at more where its shorter side would have fewer than 64), and then at sizes √2 apart up to its own. The "
        "iterations of all sizes together are worth what iterations.first are at its own size; none: at its own size "
        "alone, as with several passes.",
    )


class StartSettings(Section):
    """The picture that the optimisation starts from."""

    first: str = Field(
        "content",
        min_length=1,
        description="Start of photos and of the first frame of a shot: content, matched (the content in the style's "
        "colours; better with few iterations), noise, or an image file, which is resized to fit.",
    )
    next: Literal["warped", "previous", "content", "matched", "noise"] = Field(
        "warped",
        description="Start of the other frames of a shot: warped (the previous frame as saved, warped along the "
        "optical flow), previous (the same, not warped), content, matched, or noise.",
    )
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="Seed of the noise; each frame's noise follows from the seed and its index."
    )


class FlowSettings(Section):
    """Where the optical flow of a video or sequence comes from."""

    method: FlowMethodSetting = Field(
        "auto",
        description="dis (OpenCV, needs no weights), raft (torchvision's network), files (.flo, see flow.folder), or "
        "auto: files if a folder is given, raft on a GPU if its weights are downloaded already, else dis.",
    )
    weights: str = Field(
        "torchvision",
        min_length=1,
        description="Weights of RAFT: torchvision (downloaded once), or a .pth or .safetensors file.",
    )
    folder: str | None = Field(
        None,
        min_length=1,
        description="Folder with backward_I_J.flo, forward_J_I.flo and reliable_I_J.pgm; frames are counted from 1. "
        "none: no files.",
    )


class TemporalSettings(Section):
    """The temporal loss: how closely a frame keeps to the previous ones, beyond starting from them."""

    weight: float = Field(
        8000.0,
        ge=0,
        le=1e12,
        description="Weight of the temporal loss: mean squared difference to the warped earlier frame, in 0 to 255, "
        "where that is visible; 0 turns it off.",
    )
    distances: tuple[int, ...] = Field(
        (1,),
        min_length=1,
        max_length=8,
        description="Distances, in frames, of the earlier frames in the temporal loss, ascending; each pixel is "
        "compared with the nearest frame that shows it.",
    )


class PassSettings(Section):
    """Several passes over a video, in alternating direction (Ruder et al. 2016, section 5.3)."""

    count: int = Field(1, ge=1, le=100, description="Passes over each shot; 1 paints each frame once.")
    iterations: int = Field(
        100, ge=1, le=1_000_000, description="Iterations per frame and pass, if there are several passes."
    )
    blend: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Weight of the warped neighbour that was just painted, relative to the frame's own last pass, "
        "where the neighbour is visible.",
    )
    temporal_from: int = Field(
        8,
        ge=1,
        le=101,
        description="First pass with the temporal loss, counted from 1; with fewer passes there is none.",
    )


class ShotSettings(Section):
    """Shots of a video or sequence. No frame depends on one of another shot."""

    detect: bool = Field(True, description="Detect cuts, fades and dissolves; false treats all frames as one shot.")
    cuts: tuple[int, ...] = Field(
        (), description="First frames of new shots, counted from 0; if there are any, nothing is detected."
    )


class Settings(Section):
    """All settings of a job."""

    description: str = Field("", description="One line: what the settings are for.")
    tuned_for: str = Field("bundled", description="The encoder weights that the loss weights were chosen for.")
    size: int | None = Field(
        None,
        ge=16,
        le=65_536,
        description="The longer side is reduced to so many pixels, never enlarged; none keeps the content's size.",
    )
    precision: PrecisionSetting = Field(
        "auto",
        description="Precision of the encoder's features: fp32, tf32 (GPUs), bf16 (half the time or less, with the "
        "last iterations exact), or auto: bf16 where the device has units for it, else fp32.",
    )
    encoder: EncoderSettings = EncoderSettings()
    content: ContentSettings = ContentSettings()
    style: StyleSettings = StyleSettings()
    total_variation: TotalVariationSettings = TotalVariationSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    iterations: IterationSettings = IterationSettings()
    scales: ScaleSettings = ScaleSettings()
    start: StartSettings = StartSettings()
    shots: ShotSettings = ShotSettings()
    flow: FlowSettings = FlowSettings()
    temporal: TemporalSettings = TemporalSettings()
    passes: PassSettings = PassSettings()

    @property
    def layers(self) -> frozenset[str]:
        """Every encoder layer in use."""
        return frozenset(self.content.layers) | frozenset(self.style.layers)

    @property
    def is_retuned(self) -> bool:
        """Whether the encoder weights differ from those that the loss weights were chosen for."""
        return self.encoder.weights != self.tuned_for

    @property
    def retuned_notice(self) -> str:
        """One line for people on what `is_retuned` means for the result."""
        return (
            f"these settings were tuned for the encoder weights {self.tuned_for!r}; with {self.encoder.weights!r} the "
            "loss weights balance differently"
        )
