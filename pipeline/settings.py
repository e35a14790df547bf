"""TODO: settings."""

import types
from typing import Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _words_are_no_numbers(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """`true` is not 1, and `none` is how the messages call an absent number."""
        annotation: Any = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and annotation is not bool:
            raise ValueError("true and false are no value for it")
        if value == "none" and isinstance(annotation, types.UnionType):
            return None
        return value


class EncoderSettings(Section):
    """The frozen network whose features are matched."""

    weights: str = Field(
        "bundled",
        min_length=1,
        description="Where the weights of VGG-19 come from: bundled (the original ones), torchvision (retrained), "
        "or a .pth or .safetensors file.",
    )
    pooling: Literal["max", "average"] = Field(
        "max", description="Pooling between the blocks: max as trained, average as Gatys et al. prefer (smoother)."
    )
    padding: Literal["zeros", "replicate"] = Field(
        "zeros",
        description="Padding of the first convolution: zeros as trained, replicate keeps a frame out of the edges.",
    )


class ContentSettings(Section):
    """How closely the result keeps to the content."""

    weight: float = Field(5.0, ge=0, le=1e12, description="α, the weight of the content loss.")
    layers: dict[str, float] = Field(
        {"relu4_2": 1.0}, min_length=1, description="Layers that are compared, each with a weight of at least 0."
    )
    reduction: Literal["mean", "half_sum"] = Field(
        "mean", description="Mean of the squared differences, or half their sum (Gatys et al. 2016, eq. 1)."
    )


class StyleSettings(Section):
    """How strongly the result takes on the style."""

    weight: float = Field(100.0, ge=0, le=1e12, description="β, the weight of the style loss.")
    layers: dict[str, float] = Field(
        {f"relu{block}_1": 1.0 for block in range(1, 6)},
        min_length=1,
        description="Layers whose Gram matrices are compared, each with a weight of at least 0.",
    )
    gram: Literal["chw", "hw"] = Field(
        "chw", description="What a Gram matrix is divided by: channels · places (chw) or places (hw)."
    )
    scale: float = Field(
        1.0,
        gt=0,
        le=100,
        description="Longest side of the style image as a multiple of the content's. The style is reduced to it and "
        "never enlarged; smaller values give finer strokes.",
    )


class TotalVariationSettings(Section):
    """How smooth the result is."""

    weight: float = Field(0.001, ge=0, le=1e12, description="γ, the weight of the total variation.")
    form: Literal["absolute_sum", "absolute_mean", "squared_sum"] = Field(
        "absolute_sum", description="Sum of absolute differences of neighbours, their mean, or half the sum of squares."
    )
    pixels: Literal["byte", "normalized"] = Field(
        "byte", description="Unit of the pixels in it: 0 to 255 (byte), or ImageNet-normalised."
    )


class OptimizerSettings(Section):
    """How the objective is minimised."""

    method: Literal["lbfgs", "adam"] = Field("lbfgs", description="L-BFGS, or Adam.")
    variable: Literal["bounded", "free"] = Field(
        "bounded",
        description="What is optimised: bounded never leaves the range of colours, free is plain normalised pixels, "
        "clamped only when the picture is saved.",
    )
    history: int = Field(20, ge=1, le=20, description="Curvature pairs that L-BFGS keeps.")
    smoothing: float = Field(
        0.35,
        ge=0,
        le=1,
        description="Exponent p of the (f² + f₀²)^-p by which L-BFGS's first guess of the curvature favours coarse "
        "changes over fine ones; 0 turns it off.",
    )
    learning_rate: float = Field(
        0.05,
        gt=0,
        le=10,
        description="Adam's step, in units of the variable (radians of its sine, or normalised pixels).",
    )
    learning_rate_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Adam's step is multiplied by this after every decay_interval iterations; 1 keeps it.",
    )
    decay_interval: int = Field(50, ge=1, le=1_000_000, description="Iterations between two decays of Adam's step.")


class IterationSettings(Section):
    """When a frame is finished. An iteration is one evaluation of the objective and its gradient."""

    first: int = Field(
        300, ge=1, le=1_000_000, description="Most iterations for a picture that starts cold (photos, first of a shot)."
    )
    next: int = Field(
        60, ge=1, le=1_000_000, description="Most iterations for a frame that starts from the frame before it."
    )
    target: float | None = Field(
        1.05,
        ge=1,
        le=100,
        description="A frame that starts from the one before it is done when its objective is at most this multiple of "
        "what its shot has reached so far; none: only when all iterations are used.",
    )
    floor: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="Least iterations of such a frame; 1 only looks, and keeps a picture that is good already. Where "
        "something new comes into view it has at least 20.",
    )
    tolerance: float = Field(
        0.001,
        ge=0,
        lt=1,
        description="Stop when the objective falls by less than this share of itself over an interval; 0 never.",
    )
    interval: int = Field(
        50,
        ge=1,
        le=1_000_000,
        description="Iterations between two looks at the tolerance; the first comes after two intervals.",
    )
    next_tolerance: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="The tolerance of a frame that starts from the one before it: the harder it moves, the longer it "
        "goes on falling.",
    )
    next_interval: int = Field(10, ge=1, le=1_000_000, description="The interval of such a frame.")


class StartSettings(Section):
    """What a picture looks like before its first iteration."""

    first: str = Field(
        "content",
        min_length=1,
        description="Photos and the first frame of a shot: content, matched (the content in the style's colours, ahead "
        "when iterations are few), noise, or an image file, which is resized to fit.",
    )
    next: Literal["warped", "previous", "content", "matched", "noise"] = Field(
        "warped",
        description="The other frames of a shot: warped (the saved frame before, moved along the content's motion), "
        "previous (the same, not moved), content, matched, or noise.",
    )
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="Seed of the noise; each frame draws its own from it and its index."
    )


class FlowSettings(Section):
    """Where the motion of a film's content comes from."""

    method: Literal["auto", "dis", "raft", "files"] = Field(
        "auto",
        description="dis (needs no weights), raft (torchvision's network), files (.flo, see folder), or auto: files "
        "where a folder is given, raft on a GPU where its weights are there already, else dis.",
    )
    weights: str = Field(
        "torchvision",
        min_length=1,
        description="Weights of RAFT: torchvision (its own download), or a .pth or .safetensors file.",
    )
    folder: str | None = Field(
        None,
        min_length=1,
        description="Folder of backward_I_J.flo, forward_J_I.flo and reliable_I_J.pgm, frames counted from 1.",
    )


class TemporalSettings(Section):
    """How closely a frame is held to the frames before it, beyond starting from them."""

    weight: float = Field(
        8000.0,
        ge=0,
        le=1e12,
        description="Weight of the temporal loss: mean squared difference to the earlier frame moved onto this one, in "
        "levels of 255, where it shows the same thing. 0 leaves it out.",
    )
    distances: tuple[int, ...] = Field(
        (1,),
        min_length=1,
        max_length=8,
        description="How many frames back those are that it is held to, ascending; each pixel answers to the nearest "
        "that shows it.",
    )


class PassSettings(Section):
    """Painting a film several times over, in alternating direction (Ruder et al. 2016, section 5.3)."""

    count: int = Field(1, ge=1, le=100, description="Passes over each shot; 1 paints each frame once.")
    iterations: int = Field(
        100, ge=1, le=1_000_000, description="Iterations a frame in each pass, when there are several."
    )
    blend: float = Field(
        1.0,
        ge=0,
        le=100,
        description="Weight of the neighbour that was just painted against the frame's own last pass, where it shows "
        "the same thing.",
    )
    temporal_from: int = Field(
        8,
        ge=1,
        le=101,
        description="The first pass, counted from 1, in which the temporal loss counts; never, where there "
        "are fewer passes.",
    )


class ShotSettings(Section):
    """Where a video's or sequence's frames stop depending on each other."""

    detect: bool = Field(
        True, description="Find cuts, fades and dissolves and start each shot afresh; false treats all as one shot."
    )
    cuts: tuple[int, ...] = Field(
        (), description="First frames of new shots, by hand, counted from 0; when there are any, none are looked for."
    )


class Settings(Section):
    """Everything that decides what the result looks like."""

    description: str = Field("", description="One line on what the settings are for.")
    tuned_for: str = Field("bundled", description="The encoder weights that the numbers were chosen with.")
    size: int | None = Field(
        None,
        ge=16,
        le=65_536,
        description="Longest side of the painting, in pixels; none paints at the content's size.",
    )
    encoder: EncoderSettings = EncoderSettings()
    content: ContentSettings = ContentSettings()
    style: StyleSettings = StyleSettings()
    total_variation: TotalVariationSettings = TotalVariationSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    iterations: IterationSettings = IterationSettings()
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
        """Whether other encoder weights are used than the numbers were chosen with."""
        return self.encoder.weights != self.tuned_for
