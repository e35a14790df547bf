"""The frame task: pure, honest about its losses and about its second tries."""

import dataclasses
import gc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from impasto.errors import DeviceError, FrameError, InputError
from impasto.events import Losses
from impasto.paint import devices, initial
from impasto.paint.batch import paint_one
from impasto.paint.costs import iteration_seconds
from impasto.paint.devices import pick_device, pick_devices
from impasto.paint.encoder_weights import EncoderWeights
from impasto.paint.lbfgs import COLD_START, ENLARGED_START, WARM_START
from impasto.paint.minimizer import BatchObjective, Minimizer, Opening, StepListener
from impasto.paint.objective import LossTerms
from impasto.paint.optimizers import make_minimizer
from impasto.paint.painter import Painter, loss_weights
from impasto.paint.stopping import Outcome, StopReason, StopRule
from impasto.paint.task import FrameTask, PaintedFrame, StartKind
from impasto.pictures import enlarge, to_array, to_tensor
from impasto.presets import fingerprint, load_settings, to_values
from impasto.settings import Settings
from tests.support.minimizing import outcomes_of
from tests.support.seeds import numpy_stream

from .conftest import TINY

CPU = torch.device("cpu")


def settings_with(*overrides: str) -> Settings:
    return load_settings("default", [*TINY, *overrides])


@pytest.fixture
def make_painter(weights: EncoderWeights, style_array: np.ndarray) -> Callable[..., Painter]:
    def make(
        *overrides: str, styles: Sequence[np.ndarray] = (), blend: Sequence[float] = (), **options: Any
    ) -> Painter:
        styles = styles or [style_array]
        options = {"precision": "fp32", **options}
        return Painter(settings_with(*overrides), weights, styles, blend or [1.0] * len(styles), CPU, **options)

    return make


def same(first: PaintedFrame, second: PaintedFrame) -> bool:
    return np.array_equal(first.image, second.image) and dataclasses.replace(first, image=second.image) == second


# --- a pure function --------------------------------------------------------------------------------------------------


@pytest.mark.sweep(1)
@pytest.mark.parametrize("start", ["content", "matched", "noise", "given"])
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_the_same_task_gives_the_same_bits(
    make_painter: Callable[..., Painter], content_array: np.ndarray, start: Any, method: str
) -> None:
    """Again, after others, and by another painter; also in what the task was given."""
    given = content_array[::-1].copy() if start == "given" else None
    task = FrameTask(3, content_array.copy(), start, StopRule(5), given, warm=start == "given")
    painter = make_painter(f"optimizer.method={method}")
    first = paint_one(painter, task)
    assert first.image.dtype == np.uint8 and first.image.shape == content_array.shape
    assert same(paint_one(painter, task), first)
    other = content_array[:40, 8:].copy()
    paint_one(painter, FrameTask(0, 255 - other, "noise", StopRule(3)))
    paint_one(painter, FrameTask(1, other, "matched", StopRule(2), warm=True))
    torch.rand(17)
    assert same(paint_one(painter, task), first)
    assert same(paint_one(make_painter(f"optimizer.method={method}"), task), first)
    assert np.array_equal(task.content, content_array), "what was handed in is left as it was"


def test_the_index_matters_to_noise_alone(make_painter: Callable[..., Painter], content_array: np.ndarray) -> None:
    painter = make_painter()
    for start, equal in (("content", True), ("matched", True), ("noise", False)):
        tasks = [FrameTask(index, content_array, start, StopRule(2)) for index in (0, 1)]  # type: ignore[arg-type]
        first, second = (paint_one(painter, task) for task in tasks)
        assert same(first, second) is equal


@pytest.mark.slow
def test_the_order_of_the_layers_does_not_matter(
    weights: EncoderWeights, style_array: np.ndarray, content_array: np.ndarray
) -> None:
    """Settings of one fingerprint give the same bits."""
    orders = [
        "style.layers={relu1_1: 1, relu2_1: 0.3, relu3_1: 0.7, relu1_2: 0.9}",
        "style.layers={relu1_2: 0.9, relu3_1: 0.7, relu2_1: 0.3, relu1_1: 1}",
        "style.layers={relu3_1: 0.7, relu1_1: 1, relu1_2: 0.9, relu2_1: 0.3}",
    ]
    every = [settings_with(order) for order in orders]
    assert len({fingerprint(to_values(settings)) for settings in every}) == 1
    task = FrameTask(0, content_array, "content", StopRule(25))
    painted = [paint_one(Painter(settings, weights, [style_array], [1.0], CPU), task) for settings in every]
    assert all(same(one, painted[0]) for one in painted)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_the_losses_are_those_of_the_saved_picture(
    make_painter: Callable[..., Painter], content_array: np.ndarray
) -> None:
    painter = make_painter()
    painted = paint_one(painter, FrameTask(0, content_array, "content", StopRule(8)))
    assert painted.losses == painter.measure(painted.image, content_array)
    assert painted.losses == make_painter().measure(painted.image, content_array)
    assert painted.losses.objective == pytest.approx(painted.trace[-1].objective, rel=0.05)
    assert painted.losses != painted.trace[-1], "8 bits are not the picture that was optimised"


@pytest.mark.sweep(1)
@pytest.mark.parametrize("variable", ["bounded", "free"])
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_painting_lowers_the_objective_of_the_file(
    make_painter: Callable[..., Painter], content_array: np.ndarray, variable: str, method: str
) -> None:
    painter = make_painter(f"optimizer.variable={variable}", f"optimizer.method={method}")
    before = painter.measure(content_array, content_array)
    painted = paint_one(painter, FrameTask(0, content_array, "content", StopRule(20)))
    assert before.content == 0
    assert painted.losses.objective < 0.5 * before.objective
    assert painted.retried is None and painted.stop is StopReason.ITERATIONS and painted.iterations == 20


def test_a_style_painted_in_itself_costs_nothing(make_painter: Callable[..., Painter], style_array: np.ndarray) -> None:
    losses = make_painter("total_variation={weight: 0, dots: 0}").measure(style_array, style_array)
    assert losses.content == 0 and losses.total_variation == 0
    assert losses.style == pytest.approx(0, abs=1e-6 * make_painter().measure(255 - style_array, style_array).style)


def test_layers_of_weight_zero_are_not_computed(make_painter: Callable[..., Painter]) -> None:
    painter = make_painter("style.layers={relu1_1: 1, relu5_1: 0}", "content.layers={relu2_1: 1, relu4_2: 0}")
    assert painter.encoder.layers == {"relu1_1", "relu2_1"}
    assert "conv2_2" not in painter.encoder.convolutions


def test_the_settings_reach_the_losses() -> None:
    overrides = ["content.weight=7", "total_variation={weight: 0.5, dots: 6}", "style.weight=3"]
    settings = load_settings("gatys2016", overrides)
    weights = loss_weights(settings)
    assert (weights.content, weights.style, weights.total_variation, weights.dots) == (7, 3, 0.5, 6)
    assert (weights.content_reduction, weights.gram) == ("half_sum", "hw")
    assert weights.content_layers == {"relu4_2": 1} and weights.style_layers["relu5_1"] == 0.05
    assert (weights.total_variation_form, weights.total_variation_pixels) == ("absolute_mean", "byte")


@pytest.mark.slow
def test_all_weights_times_a_factor_paint_the_same_picture(
    weights: EncoderWeights, style_array: np.ndarray, content_array: np.ndarray
) -> None:
    """What counts is their ratio. Powers of two round nothing, so it is the same to the bit or nearly."""
    plain = settings_with()
    for power in (-20, 20, 30):
        factor = 2.0**power
        sections = {name: getattr(plain, name) for name in ("content", "style", "total_variation")}
        updates = {name: {"weight": section.weight * factor} for name, section in sections.items()}
        updates["total_variation"]["dots"] = plain.total_variation.dots * factor
        scaled = plain.model_copy(
            update={name: section.model_copy(update=updates[name]) for name, section in sections.items()}
        )
        task = FrameTask(0, content_array, "content", StopRule(20))
        expected = paint_one(Painter(plain, weights, [style_array], [1.0], CPU), task)
        painted = paint_one(Painter(scaled, weights, [style_array], [1.0], CPU), task)
        assert painted.trace[0].objective / factor == pytest.approx(expected.trace[0].objective, rel=1e-6)
        assert painted.trace[-1].objective / factor == pytest.approx(expected.trace[-1].objective, rel=0.02), power
        assert np.abs(painted.image.astype(int) - expected.image).mean() < 1


# --- the style --------------------------------------------------------------------------------------------------------


class Watch:
    """Sizes of the pictures that go through a painter's encoder."""

    def __init__(self, painter: Painter) -> None:
        self.sizes: list[tuple[int, ...]] = []
        painter.encoder.register_forward_pre_hook(lambda _, inputs: self.sizes.append(tuple(inputs[0].shape[2:])))


@pytest.mark.parametrize(
    ("scale", "expected"), [(1.0, (48, 60)), (0.5, (29, 36)), (0.25, (14, 18)), (10.0, (48, 60))]
)  # fmt: skip
def test_the_style_is_reduced_and_never_enlarged(
    make_painter: Callable[..., Painter], content_array: np.ndarray, scale: float, expected: tuple[int, int]
) -> None:
    painter = make_painter(f"style.scale={scale}")
    watch = Watch(painter)
    painter.objective(content_array)  # 48×72
    assert watch.sizes == [(48, 72), expected]


def test_a_large_style_is_reduced_to_the_contents_longer_side(
    make_painter: Callable[..., Painter], content_array: np.ndarray
) -> None:
    large = numpy_stream(0).integers(0, 256, (200, 100, 3), dtype=np.uint8)
    painter = make_painter(styles=[large])
    watch = Watch(painter)
    painter.objective(content_array)
    assert watch.sizes == [(48, 72), (72, 36)]


def test_the_styles_statistics_are_computed_once(
    make_painter: Callable[..., Painter], style_array: np.ndarray, content_array: np.ndarray
) -> None:
    second = style_array[:32, :40].copy()
    painter = make_painter(styles=[style_array, second], blend=[1, 2])
    watch = Watch(painter)
    for index in range(3):
        paint_one(painter, FrameTask(index, content_array, "content", StopRule(2)))
    assert watch.sizes.count((48, 60)) == watch.sizes.count((32, 40)) == 1
    assert watch.sizes.count((48, 72)) == 3 * (1 + 2 + 1)  # the content, two iterations and the saved picture


def test_memory_does_not_grow_with_every_size_of_photo(make_painter: Callable[..., Painter]) -> None:
    """Photos of a folder come in hundreds of sizes; each has its own reduced style."""
    painter = make_painter("style.layers={relu1_1: 1}", "content.layers={relu1_1: 1}")

    def tensors_after(sides: range) -> int:
        for side in sides:
            painter.objective(np.zeros((8, side, 3), np.uint8))
        gc.collect()
        return sum(type(thing) is torch.Tensor for thing in gc.get_objects())

    before = tensors_after(range(20, 36))
    assert tensors_after(range(36, 52)) <= before


def test_a_blend_lies_between_its_styles(
    make_painter: Callable[..., Painter], style_array: np.ndarray, content_array: np.ndarray
) -> None:
    other = numpy_stream(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    options = ("total_variation.weight=0", "style.weight=1")
    pure = make_painter(*options, styles=[style_array]).measure(content_array, content_array).style
    double = make_painter(*options, styles=[style_array, style_array], blend=[5, 1])
    assert double.measure(content_array, content_array).style == pytest.approx(pure, rel=1e-5)
    nothing = make_painter(*options, styles=[style_array, other], blend=[1, 0])
    assert nothing.measure(content_array, content_array).style == pytest.approx(pure, rel=1e-5)
    half = make_painter(*options, styles=[style_array, other], blend=[1, 1])
    alone = make_painter(*options, styles=[other]).measure(content_array, content_array).style
    assert min(pure, alone) * 0.1 < half.measure(content_array, content_array).style < max(pure, alone)


# --- pictures that are hard ------------------------------------------------------------------------------------------


@pytest.mark.sweep(1)
@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("variable", ["bounded", "free"])
@pytest.mark.parametrize("start", ["content", "matched", "noise"])
def test_flat_pictures_are_painted(make_painter: Callable[..., Painter], level: int, variable: str, start: Any) -> None:
    painter = make_painter(f"optimizer.variable={variable}", "content.weight=0.01")
    flat = np.full((48, 64, 3), level, np.uint8)
    painted = paint_one(painter, FrameTask(0, flat, start, StopRule(20)))
    assert painted.retried is None and painted.stop is StopReason.ITERATIONS
    assert painted.losses.objective < painter.measure(flat, flat).objective
    assert painted.image.std() > 0


@pytest.mark.parametrize("size", [(3, 50), (50, 3)])
def test_a_content_without_features_is_refused(make_painter: Callable[..., Painter], size: tuple[int, int]) -> None:
    painter = make_painter()
    small = np.zeros((*size, 3), np.uint8)
    with pytest.raises(InputError, match=r"the content is .* at least 4×4"):
        paint_one(painter, FrameTask(0, small, "content", StopRule(2)))
    with pytest.raises(InputError, match="the content is"):
        painter.measure(small, small)
    least = np.zeros((4, 4, 3), np.uint8)
    square = make_painter(styles=[np.full((40, 40, 3), 9, np.uint8)])
    assert paint_one(square, FrameTask(0, least, "content", StopRule(2))).image.shape == (4, 4, 3)


def test_a_style_without_features_is_refused(make_painter: Callable[..., Painter], content_array: np.ndarray) -> None:
    painter = make_painter(styles=[np.zeros((3, 80, 3), np.uint8)])
    with pytest.raises(InputError, match=r"the style is 80×3 pixels; .* at least 4×4"):
        paint_one(painter, FrameTask(0, content_array, "content", StopRule(2)))


def test_a_given_start_has_the_contents_shape(make_painter: Callable[..., Painter], content_array: np.ndarray) -> None:
    painter = make_painter()
    for given in (None, content_array[:-1]):
        with pytest.raises(ValueError, match="content's shape"):
            paint_one(painter, FrameTask(0, content_array, "given", StopRule(2), given))


def test_one_iteration_of_a_given_picture_keeps_it(
    make_painter: Callable[..., Painter], content_array: np.ndarray
) -> None:
    given = numpy_stream(0).integers(0, 256, content_array.shape, dtype=np.uint8)
    painted = paint_one(make_painter(), FrameTask(5, content_array, "given", StopRule(1), given))
    assert np.array_equal(painted.image, given) and painted.iterations == 1


@pytest.mark.slow
def test_a_still_scene_does_not_darken(make_painter: Callable[..., Painter], content_array: np.ndarray) -> None:
    """Each frame from the saved one before: after thirty of them the picture is as bright as it was."""
    painter = make_painter()
    frame = paint_one(painter, FrameTask(0, content_array, "content", StopRule(40))).image
    brightness = frame.mean()
    for index in range(1, 31):
        frame = paint_one(painter, FrameTask(index, content_array, "given", StopRule(2), frame, warm=True)).image
    assert abs(frame.mean() - brightness) < 1


# --- second tries -----------------------------------------------------------------------------------------------------


class Faulty:
    """A `MakeMinimizer`: the n-th minimizer gets an objective with the n-th fault, the rest is real."""

    def __init__(self, *faults: str | None) -> None:
        self.faults = list(faults)
        self.calls: list[dict[str, Any]] = []
        self.outcomes: list[Outcome] = []
        self.made: list[Minimizer] = []

    def __call__(
        self,
        objectives: Sequence[BatchObjective],
        start: torch.Tensor,
        rule: StopRule | None,
        on_step: StepListener | None = None,
        first_step: float = COLD_START.first_step,
        is_safe: bool = False,
    ) -> Minimizer:
        fault = self.faults.pop(0) if self.faults else None
        self.calls.append({"start": start, "first_step": first_step, "is_safe": is_safe})

        def faulty(pixels: torch.Tensor) -> LossTerms:
            terms = objectives[-1](pixels)
            if fault == "nonfinite":
                return LossTerms(terms.content, terms.style * float("nan"), terms.total_variation, terms.temporal)
            if fault == "stalled":
                turned = [
                    2 * t.detach() - t for t in (terms.content, terms.style, terms.total_variation, terms.temporal)
                ]
                return LossTerms(*turned)
            return terms

        optimizer = settings_with().optimizer
        minimizer = make_minimizer(optimizer, (faulty,), start, rule, on_step, first_step, is_safe)
        self.made.append(minimizer)
        step = minimizer.step

        def listening() -> dict[int, Outcome]:
            done = step()
            self.outcomes.extend(done.values())
            return done

        minimizer.step = listening  # type: ignore[method-assign]
        return minimizer


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["nonfinite", "stalled"])
def test_a_failed_try_is_repeated_from_a_safe_start_and_reported(
    make_painter: Callable[..., Painter], content_array: np.ndarray, fault: str
) -> None:
    faulty = Faulty(fault)
    painter = make_painter(make_minimizer=faulty)
    painted = paint_one(painter, FrameTask(0, content_array, "noise", StopRule(40)))
    assert painted.retried == fault and painted.stop is StopReason.ITERATIONS
    assert len(faulty.calls) == 2
    first, second = faulty.calls
    assert first["first_step"] == COLD_START.first_step and not first["is_safe"]
    assert second["first_step"] == COLD_START.first_step / 10 and second["is_safe"]
    assert torch.equal(second["start"], initial.softened(to_tensor(content_array)))
    assert painted.losses == painter.measure(painted.image, content_array)
    assert painted.losses.objective < painter.measure(content_array, content_array).objective


def test_a_second_try_keeps_the_painting_of_the_scale_before(
    make_painter: Callable[..., Painter], content_array: np.ndarray
) -> None:
    faulty = Faulty("nonfinite")
    painter, smaller = make_painter(make_minimizer=faulty), 255 - content_array[::2, ::2]
    painted = paint_one(painter, FrameTask(0, content_array, "enlarged", StopRule(3), smaller, warm=True))
    assert painted.retried == "nonfinite"
    start = to_tensor(enlarge(smaller, content_array))
    assert torch.equal(faulty.calls[1]["start"], initial.softened(start))


@pytest.mark.parametrize(
    ("method", "cautious"), [("lbfgs", "optimizer.smoothing=0"), ("adam", "optimizer.learning_rate=0.005")]
)
def test_a_safe_minimizer_is_cautious(
    make_painter: Callable[..., Painter], content_array: np.ndarray, method: str, cautious: str
) -> None:
    painter = make_painter(f"optimizer.method={method}")
    objective, start = painter.objective(content_array), to_tensor(content_array)
    (safe,) = outcomes_of(painter.make_minimizer((objective,), start, StopRule(5), is_safe=True))
    other = make_painter(f"optimizer.method={method}", cautious)
    (expected,) = outcomes_of(other.make_minimizer((objective,), start, StopRule(5)))
    assert torch.equal(safe.image, expected.image) and safe.trace == expected.trace
    (plain,) = outcomes_of(painter.make_minimizer((objective,), start, StopRule(5)))
    assert not torch.equal(safe.image, plain.image)


@pytest.mark.parametrize(("start", "opening"), [("given", WARM_START), ("enlarged", ENLARGED_START)])
def test_a_warm_start_takes_a_short_first_step(
    make_painter: Callable[..., Painter], content_array: np.ndarray, start: StartKind, opening: Opening
) -> None:
    faulty = Faulty()
    painter = make_painter(make_minimizer=faulty)
    given = content_array if start == "given" else content_array[::2, ::2]
    paint_one(painter, FrameTask(1, content_array, start, StopRule(2), given, warm=True))
    (minimizer,) = faulty.made
    assert minimizer._state["first_step"].tolist() == [pytest.approx(opening.first_step)]


def test_the_better_of_two_stalled_tries_is_kept(
    make_painter: Callable[..., Painter], content_array: np.ndarray
) -> None:
    faulty = Faulty("stalled", "stalled")
    painter = make_painter(make_minimizer=faulty)
    painted = paint_one(painter, FrameTask(0, content_array, "noise", StopRule(60)))
    assert painted.stop is StopReason.STALLED and painted.retried == "stalled"
    finals = [outcome.trace[-1].objective for outcome in faulty.outcomes]
    best = faulty.outcomes[finals.index(min(finals))]
    assert np.array_equal(painted.image, to_array(best.image)) and painted.trace == best.trace


def test_a_stalled_try_is_better_than_one_that_is_not_finite(
    make_painter: Callable[..., Painter], content_array: np.ndarray
) -> None:
    painter = make_painter(make_minimizer=Faulty("stalled", "nonfinite"))
    painted = paint_one(painter, FrameTask(0, content_array, "content", StopRule(60)))
    assert painted.stop is StopReason.STALLED and np.array_equal(painted.image, content_array)


def test_two_tries_that_are_not_finite_fail_the_frame(
    make_painter: Callable[..., Painter], content_array: np.ndarray
) -> None:
    painter = make_painter(make_minimizer=Faulty("nonfinite", "nonfinite"))
    with pytest.raises(FrameError, match="not finite") as error:
        paint_one(painter, FrameTask(0, content_array, "content", StopRule(5)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_an_objective_beyond_the_numbers_fails_the_frame(
    weights: EncoderWeights, style_array: np.ndarray, content_array: np.ndarray, method: str
) -> None:
    """The largest weights that settings may have, on features a thousand times the usual: more than 3·10³⁸."""
    kernel, bias = weights.convolutions["conv1_1"]
    weights = dataclasses.replace(
        weights, convolutions={**weights.convolutions, "conv1_1": (1000 * kernel, 1000 * bias)}
    )
    layers = "{relu1_2: 1e12, relu2_2: 1e12, relu3_4: 1e12, relu4_1: 1e12}"
    settings = load_settings(
        "default",
        ["style.weight=1e12", "style.gram=hw", f"style.layers={layers}", f"optimizer.method={method}"],
    )
    painter = Painter(settings, weights, [style_array], [1.0], CPU)
    assert not np.isfinite(painter.measure(255 - content_array, content_array).objective)
    with pytest.raises(FrameError, match="not finite") as error:
        paint_one(painter, FrameTask(0, content_array, "content", StopRule(5)))
    assert "\n" not in str(error.value)


def test_large_weights_with_a_finite_objective_paint(
    make_painter: Callable[..., Painter], content_array: np.ndarray
) -> None:
    """Not far below the largest numbers: an unpainted picture that counts as done would be the worst answer."""
    painter = make_painter("style.weight=1e12", "style.layers={relu1_1: 1e12, relu2_1: 1e12, relu3_1: 1e12}")
    before = painter.measure(content_array, content_array).objective
    assert np.isfinite(before)
    painted = paint_one(painter, FrameTask(0, content_array, "content", StopRule(20)))
    assert painted.stop is StopReason.ITERATIONS and painted.retried is None
    assert painted.losses.objective < 0.5 * before


def test_too_little_memory_fails_the_frame(make_painter: Callable[..., Painter], content_array: np.ndarray) -> None:
    painter = make_painter()
    painter.encoder.register_forward_pre_hook(lambda *_: torch.empty(2**50))  # torch's own error for a petabyte
    with pytest.raises(FrameError, match=r"not enough memory on cpu to paint 72×48 pixels.*`size`") as error:
        paint_one(painter, FrameTask(0, content_array, "content", StopRule(2)))
    assert "\n" not in str(error.value)
    with pytest.raises(FrameError, match="not enough memory on cpu"):
        painter.measure(content_array, content_array)


def test_other_errors_are_not_taken_for_memory(make_painter: Callable[..., Painter], content_array: np.ndarray) -> None:
    painter = make_painter()
    painter.encoder.register_forward_pre_hook(lambda *_: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        paint_one(painter, FrameTask(0, content_array, "content", StopRule(2)))


# --- progress and devices ---------------------------------------------------------------------------------------------


def test_progress_is_the_trace(make_painter: Callable[..., Painter], content_array: np.ndarray) -> None:
    heard: list[tuple[int, Losses]] = []
    painted = paint_one(
        make_painter(),
        FrameTask(0, content_array, "content", StopRule(4)),
        lambda iteration, losses: heard.append((iteration, losses)),
    )
    assert heard == list(enumerate(painted.trace, start=1)) and len(heard) == 4


def test_an_iteration_takes_time(make_painter: Callable[..., Painter], content_array: np.ndarray) -> None:
    assert 0 < iteration_seconds(make_painter(), content_array, 2) < 60


def test_devices_are_picked_by_name() -> None:
    assert pick_device("cpu") == CPU
    assert pick_device("auto").type in ("cpu", "cuda")
    assert pick_devices("auto")[0] == pick_device("auto") and pick_devices("cpu") == (CPU,)
    assert devices.device_label(CPU) == "cpu (1 thread)"


@pytest.mark.parametrize(
    "name", ["", "gpu", "cuda:99", "meta", "cuda:x", "cuda:-1", "mps", "cpu,cuda", "cpu:-2", "cpu,cpu"]
)
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(DeviceError) as error:
        pick_device(name)
    assert "\n" not in str(error.value)
    assert name in str(error.value)
