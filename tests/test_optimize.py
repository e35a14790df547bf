"""The optimizers against problems with known answers, a dense BFGS and torch's own Adam."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from impasto.events import Losses
from impasto.paint import curvature_pairs
from impasto.paint.adam import Adam
from impasto.paint.curvature_pairs import LENGTHENING, CurvaturePairs
from impasto.paint.lbfgs import COLD_START, ENLARGED_START, MAX_BACKTRACKS, Lbfgs
from impasto.paint.minimizer import Opening
from impasto.paint.objective import LossTerms
from impasto.paint.preconditioner import Whitening
from impasto.paint.stopping import Outcome, StopReason, StopRule
from impasto.paint.variables import GAMUT_MARGIN, BoundedVariable
from impasto.pictures import denormalize, normalize, to_array, to_tensor
from tests.support.minimizing import outcomes_of
from tests.support.seeds import torch_stream

Images = torch.Tensor
Value = Callable[[Images, torch.Tensor], torch.Tensor]


class Problem:
    """An objective from a function of images and rows to B values, which keeps a record of its calls.

    The value is spread over the three terms, so that a lost term shows.
    """

    def __init__(self, value: Value) -> None:
        self.value = value
        self.images: list[torch.Tensor] = []

    def __call__(self, pixels: torch.Tensor) -> LossTerms:
        images = denormalize(pixels)
        self.images.append(images.detach().clone())
        value = self.value(images, torch.arange(len(images)))
        return LossTerms(value / 2, value / 4, value / 4, torch.zeros_like(value))


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(*shape, generator=torch_stream(seed), dtype=dtype)


def quadratic(targets: Images, curvatures: Images | float = 1.0) -> Value:
    """½ Σ c (x − t)², with a target and a curvature for each picture of the batch."""
    spread = torch.as_tensor(curvatures, dtype=targets.dtype).expand_as(targets)

    def value(images: Images, rows: torch.Tensor) -> torch.Tensor:
        return (spread[rows] * (images - targets[rows]).square()).flatten(1).sum(1) / 2

    return value


def rosenbrock(images: Images, rows: torch.Tensor) -> torch.Tensor:
    """Σ 100 (v − u²)² + (1 − u)² over pairs of pixels that stand for −2 … 2; the minimum is at 0.75."""
    first, second = (4 * images - 2).flatten(1).unflatten(1, (-1, 2)).unbind(2)
    return (100 * (second - first.square()).square() + (1 - first).square()).sum(1)


def minimize_lbfgs(problem: Problem, *arguments: Any, **options: Any) -> list[Outcome]:
    return outcomes_of(Lbfgs((problem,), *arguments, **options))


def minimize_adam(problem: Problem, *arguments: Any, **options: Any) -> list[Outcome]:
    return outcomes_of(Adam((problem,), *arguments, **options))


def objectives(outcome: Outcome) -> list[float]:
    return [losses.objective for losses in outcome.trace]


# --- minima -----------------------------------------------------------------------------------------------------------


@pytest.mark.sweep(1)
@pytest.mark.parametrize("variable", ["bounded", "free"])
@pytest.mark.parametrize("smoothing", [0.0, 0.35])
def test_a_quadratic_reaches_its_minimum(variable: str, smoothing: float) -> None:
    target = 0.1 + 0.8 * uniform(2, 3, 6, 5, seed=1)
    curvature = 10 ** (2 * uniform(2, 3, 6, 5, seed=2))
    problem = Problem(quadratic(target, curvature))
    outcomes = minimize_lbfgs(
        problem, uniform(2, 3, 6, 5, seed=3), StopRule(200), variable=variable, smoothing=smoothing  # type: ignore[arg-type]
    )  # fmt: skip
    for outcome, wanted in zip(outcomes, target, strict=True):
        assert (outcome.image - wanted).abs().max() < 1e-5
        assert outcome.trace[-1].objective < 1e-8


def test_a_minimum_out_of_gamut_ends_at_its_border() -> None:
    target = torch.tensor([1.4, -0.3, 0.5], dtype=torch.float64).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    (outcome,) = minimize_lbfgs(Problem(quadratic(target)), torch.full((1, 3, 4, 4), 0.3).double(), StopRule(100))
    for channel, expected in enumerate((1.0, 0.0, 0.5)):
        assert (outcome.image[channel] - expected).abs().max() < 1e-3


@pytest.mark.sweep(1)
@pytest.mark.parametrize(("variable", "history"), [("bounded", 20), ("free", 20), ("free", 3)])
def test_the_valley_of_rosenbrock(variable: str, history: int) -> None:
    start = 0.2 + 0.3 * uniform(1, 3, 2, 2, seed=1)
    (outcome,) = minimize_lbfgs(
        Problem(rosenbrock), start, StopRule(600), variable=variable, smoothing=0, history=history  # type: ignore[arg-type]
    )  # fmt: skip
    assert (outcome.image - 0.75).abs().max() < 1e-3


@pytest.mark.parametrize("value", [rosenbrock, quadratic(uniform(3, 3, 2, 2, seed=7))], ids=["rosenbrock", "quadratic"])
def test_the_trace_of_lbfgs_never_rises_and_ends_at_the_picture(value: Value) -> None:
    outcomes = minimize_lbfgs(Problem(value), uniform(3, 3, 2, 2, seed=1), StopRule(80))
    for row, outcome in enumerate(outcomes):
        falling = objectives(outcome)
        assert all(after <= before for before, after in itertools.pairwise(falling))
        assert falling[-1] < falling[0]
        assert outcome.image.min() >= 0 and outcome.image.max() <= 1
        final = value(outcome.image.unsqueeze(0), torch.tensor([row])).item()
        assert falling[-1] == pytest.approx(final, rel=1e-9, abs=1e-15)


def test_a_free_variable_is_clamped_only_in_the_end() -> None:
    target = torch.full((1, 3, 3, 3), 1.5).double()
    problem = Problem(quadratic(target))
    (outcome,) = minimize_lbfgs(problem, torch.full((1, 3, 3, 3), 0.5).double(), StopRule(60), variable="free")
    assert problem.images[-1].max() > 1.4
    assert outcome.image.max() == 1 and outcome.trace[-1].objective < 1e-6
    (adam,) = minimize_adam(problem, torch.full((1, 3, 3, 3), 0.5).double(), StopRule(60), variable="free")
    assert adam.image.max() == 1


@pytest.mark.parametrize("level", [0.0, 1.0])
@pytest.mark.parametrize("minimize", [minimize_lbfgs, minimize_adam], ids=["lbfgs", "adam"])
def test_black_and_white_starts_move(level: float, minimize: Callable[..., list[Outcome]]) -> None:
    """The slope of a sine is 0 at its ends; the start keeps off them."""
    target = torch.full((1, 3, 4, 4), 0.4)
    (outcome,) = minimize(Problem(quadratic(target)), torch.full((1, 3, 4, 4), level), StopRule(150))
    assert (outcome.image - target).abs().max() < 0.02


@pytest.mark.parametrize("power", [-40, 40, 70])
def test_the_scale_of_an_objective_changes_nothing(power: int) -> None:
    """The same picture from any multiple of the same objective: weights are relative, as the paper says."""
    target = 0.1 + 0.8 * uniform(1, 3, 6, 5, seed=1, dtype=torch.float32)
    value = quadratic(target, 10 ** (2 * uniform(1, 3, 6, 5, seed=2, dtype=torch.float32)))
    start = uniform(1, 3, 6, 5, seed=3, dtype=torch.float32)
    factor = 2.0**power
    (plain,) = minimize_lbfgs(Problem(value), start, StopRule(40))
    (scaled,) = minimize_lbfgs(Problem(lambda images, rows: value(images, rows) * factor), start, StopRule(40))
    assert scaled.stop is plain.stop
    assert scaled.trace[0].objective / factor == pytest.approx(plain.trace[0].objective, rel=1e-6)
    assert plain.trace[-1].objective < 1e-4 * plain.trace[0].objective
    assert scaled.trace[-1].objective / factor < 1e-4 * plain.trace[0].objective
    assert (scaled.image - plain.image).abs().max() < 1e-2


# --- the algorithm against an independent one -------------------------------------------------------------------------


def dense_inverse(pairs: list[tuple[torch.Tensor, torch.Tensor]], first: torch.Tensor) -> torch.Tensor:
    """The inverse Hessian of BFGS as a matrix (Nocedal and Wright 2006, eq. 6.17)."""
    inverse = first
    identity = torch.eye(len(first), dtype=first.dtype)
    for step, change in pairs:
        rho = 1 / (step @ change)
        left = identity - rho * step.outer(change)
        inverse = left @ inverse @ left.T + rho * step.outer(step)
    return inverse


def scale(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """γ after these pairs: a geometric mean in which each newer one counts as much as all before it."""
    result = None
    for step, change in pairs:
        curvature, square = step @ change, change @ change
        own = curvature / square * ((step @ step) * square / curvature**2) ** LENGTHENING
        result = own if result is None else (own * result).sqrt()
    assert result is not None
    return result


def test_the_compact_product_is_the_dense_inverse() -> None:
    """With fewer pairs than are kept, with more, and after they were dropped; alike for all pictures of a batch."""
    shape = (2, 3, 2, 3)
    count = 18
    hessians = [torch.eye(count).double() + sum_of_squares for sum_of_squares in random_semidefinite(2, count)]
    memory = CurvaturePairs(5, torch.zeros(shape).double())
    gradient = uniform(*shape, seed=99) - 0.5
    pairs: list[list[tuple[torch.Tensor, torch.Tensor]]] = [[], []]
    for index in range(17):
        if index == 9:
            memory.forget(torch.tensor([True, False]))
            pairs[0].clear()
        steps = uniform(*shape, seed=index) - 0.5
        changes = torch.stack(
            [(hessian @ step.flatten()).view_as(step) for hessian, step in zip(hessians, steps, strict=True)]
        )
        gradient += changes
        product = memory.update(steps, changes, torch.tensor([True, True]), gradient)
        for row in range(2):
            pairs[row].append((steps[row].flatten(), changes[row].flatten()))
            gamma = scale(pairs[row])
            expected = dense_inverse(pairs[row][-5:], gamma * torch.eye(count).double()) @ gradient[row].flatten()
            assert torch.allclose(product[row].flatten(), expected, rtol=1e-9, atol=1e-12)


def test_large_pictures_keep_their_pairs_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which changes the steps by little, and a snapshot of them continues to the same bits."""
    target, start = 0.2 + 0.6 * uniform(2, 3, 4, 4, seed=1), 0.2 + 0.6 * uniform(2, 3, 4, 4, seed=3)
    start, target = start.float(), target.float()
    curvature = (1 + 99 * uniform(2, 3, 4, 4, seed=2)).float()

    def made() -> Lbfgs:
        return Lbfgs((Problem(quadratic(target, curvature)),), start, StopRule(25))

    whole = outcomes_of(made())
    monkeypatch.setattr(curvature_pairs, "HALF_FROM", 1)
    half, interrupted, resumed = made(), made(), made()
    outcomes = outcomes_of(half)
    for outcome, exact in zip(outcomes, whole, strict=True):
        assert outcome.trace[-1].objective < 1e-3 * outcome.trace[0].objective
        assert outcome.trace[5].objective == pytest.approx(exact.trace[5].objective, rel=0.2)
    for _ in range(12):
        interrupted.step()
    for slot in (0, 1):
        snapshot = interrupted.snapshot(slot)
        vectors = [tensor.numel() for name, tensor in snapshot.items() if name.startswith("pairs.vectors")]
        assert vectors == 2 * 21 * [start[0].numel()], "each by itself, so that no large tensor is read at once"
        resumed.restore({name: torch.from_numpy(tensor.numpy()) for name, tensor in snapshot.items()}, slot)
    for outcome, again in zip(outcomes, outcomes_of(resumed), strict=True):
        assert torch.equal(outcome.image, again.image) and outcome.trace == again.trace


@pytest.mark.parametrize("exponent", [0.0, 0.35])
def test_whitening_is_symmetric_and_positive(exponent: float) -> None:
    basis = torch.eye(18).double().view(18, 3, 2, 3)
    matrix = Whitening(basis, exponent)(basis).flatten(1).T
    assert torch.allclose(matrix, matrix.T, atol=1e-6)
    assert torch.linalg.eigvalsh(matrix).min() > 0


def random_semidefinite(count: int, size: int) -> list[torch.Tensor]:
    factors = [uniform(size, size, seed=50 + index) - 0.5 for index in range(count)]
    return [factor @ factor.T for factor in factors]


@pytest.mark.parametrize("history", [1, 4, 20])
def test_a_whole_run_is_that_of_dense_bfgs(history: int) -> None:
    """Every picture that is evaluated, against BFGS with matrices, written from the book's formulas.

    With the last `history` pairs, and no more.
    """
    target = 0.2 + 0.6 * uniform(1, 3, 2, 2, seed=1)
    curvature = 1 + 9 * uniform(1, 3, 2, 2, seed=2)
    start = 0.2 + 0.6 * uniform(1, 3, 2, 2, seed=3)
    problem = Problem(quadratic(target, curvature))
    iterations = 15
    minimize_lbfgs(problem, start, StopRule(iterations), smoothing=0, first_step=0.1, history=history)

    t, c = target.flatten(), curvature.flatten()

    def evaluate(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = 0.5 + 0.5 * z.sin()
        return (c * (x - t) ** 2).sum() / 2, c * (x - t) * 0.5 * z.cos()

    z = (2 * start.flatten() - 1).asin()
    value, gradient = evaluate(z)
    pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
    tried = [z]
    length, rejected = 1.0, 0
    direction = -0.1 * gradient / gradient.square().mean().sqrt()
    while len(tried) < iterations:
        trial = z + length * direction
        tried.append(trial)
        trial_value, trial_gradient = evaluate(trial)
        slope = gradient @ direction
        if trial_value > value + 1e-4 * length * slope:
            rejected += 1
            parabola = -slope * length**2 / (2 * (trial_value - value - slope * length))
            length = min(max(float(parabola), 0.1 * length), 0.5 * length)
            continue
        pairs.append((trial - z, trial_gradient - gradient))
        z, value, gradient, length = trial, trial_value, trial_gradient, 1.0
        gamma = scale(pairs)
        direction = -dense_inverse(pairs[-history:], gamma * torch.eye(len(z)).double()) @ gradient
    assert len(problem.images) == iterations
    for ours, theirs in zip(problem.images, tried, strict=True):
        assert torch.allclose(ours.flatten(), 0.5 + 0.5 * theirs.sin(), rtol=0, atol=1e-7)


def test_a_step_that_raises_the_objective_backtracks_by_interpolation() -> None:
    """From 0.5 to 0.9 of a parabola with its minimum at 0.6, far over the target: one cut hits it."""
    target = torch.full((1, 3, 2, 2), 0.6).double()
    problem = Problem(quadratic(target, 50.0))
    start = torch.full((1, 3, 2, 2), 0.5).double()
    std = 0.229  # of the first channel: a free variable's step of 0.4/std moves it by 0.4
    minimize_lbfgs(problem, start, StopRule(3), variable="free", smoothing=0, first_step=0.4 / std)
    assert problem.images[1].max() > 0.8
    assert (problem.images[2] - 0.5).abs().max() < (problem.images[1] - 0.5).abs().max() / 2
    assert problem.value(problem.images[2], torch.tensor([0])) < problem.value(problem.images[0], torch.tensor([0]))


def test_the_first_step_has_the_size_that_was_asked_for() -> None:
    start = 0.3 + 0.4 * uniform(1, 3, 8, 8, seed=1)
    for size in (0.1, 0.003):
        for smoothing in (0.0, 0.35):
            problem = Problem(quadratic(uniform(1, 3, 8, 8, seed=2)))
            minimize_lbfgs(problem, start, StopRule(2), smoothing=smoothing, first_step=size)
            before, after = (BoundedVariable().from_images(images) for images in problem.images)
            assert (after - before).square().mean().sqrt().item() == pytest.approx(size, rel=1e-5)


def test_the_preconditioner_favours_coarse_changes() -> None:
    """A wave of frequency f is multiplied by (f² + f₀²)^-p, up to one factor for all."""
    whiten = Whitening(torch.zeros(1, 3, 32, 32).double(), 0.35)
    place = torch.arange(32).double() / 32
    gains = {}
    for cycles in (0, 1, 4, 16):
        wave = torch.cos(2 * torch.pi * cycles * place).expand(1, 3, 32, 32)
        gain = whiten(whiten(wave)) / wave
        gains[cycles] = float(gain[0, 0, 0, 0])
        assert torch.allclose(whiten(whiten(wave)), gains[cycles] * wave, atol=1e-5)
    for cycles in (0, 4, 16):
        expected = (((cycles / 32) ** 2 + 0.01**2) / ((1 / 32) ** 2 + 0.01**2)) ** -0.35
        assert gains[cycles] / gains[1] == pytest.approx(expected, rel=1e-4)
    vector = uniform(1, 3, 32, 32)
    assert torch.equal(Whitening(vector, 0)(vector), vector)


def test_the_preconditioner_of_one_picture_is_limited() -> None:
    """Those of the others stay, and it is never stronger than that of the batch."""
    batch = uniform(3, 3, 16, 16)
    whiten = Whitening(batch, 0.35)
    whiten.limit(1, 0.1)
    whiten.limit(2, 0.5)
    expected = [Whitening(batch[:1], exponent)(batch[i : i + 1]) for i, exponent in enumerate((0.35, 0.1, 0.35))]
    assert torch.allclose(whiten(batch), torch.cat(expected), atol=1e-6)
    whiten.limit(1, None)
    assert torch.allclose(whiten(batch), Whitening(batch, 0.35)(batch), atol=1e-6)
    none = Whitening(batch, 0)
    none.limit(0, 0.1)
    assert torch.equal(none(batch), batch)


def test_each_picture_of_a_batch_begins_in_its_own_way() -> None:
    """Whoever had its slot before, and whoever is beside it."""
    start = 0.2 + 0.6 * uniform(1, 3, 6, 5, seed=1)
    targets = (0.2 + 0.6 * uniform(1, 3, 6, 5, seed=2)).expand(2, 3, 6, 5)
    weak = Opening(COLD_START.first_step, ENLARGED_START.smoothing)

    def painted(*openings: Opening) -> list[torch.Tensor]:
        minimizer = Lbfgs((Problem(quadratic(targets)),), start.expand(2, 3, 6, 5), None)
        outcomes = {}
        for number in range(0, len(openings), 2):
            for slot, opening in enumerate(openings[number : number + 2]):
                minimizer.begin(slot, start[0], StopRule(3), opening)
            for _ in range(3):
                for slot, outcome in minimizer.step().items():
                    outcomes[number + slot] = outcome.image
        return [outcomes[number] for number in range(len(openings))]

    cold, enlarged = painted(COLD_START)[0], painted(weak)[0]
    assert not torch.allclose(cold, enlarged, atol=1e-3)
    for image, expected in zip(painted(weak, COLD_START, COLD_START, weak), (0, 1, 1, 0), strict=True):
        assert torch.equal(image, cold if expected else enlarged)


def test_a_pair_that_violates_the_curvature_condition_is_left_out() -> None:
    """Nor is one of a step that was rejected, which may lead to where nothing is finite."""
    shape = (2, 3, 2, 2)
    memory = CurvaturePairs(20, torch.zeros(shape).double())
    good, other = uniform(*shape, seed=1) - 0.5, uniform(*shape, seed=2) - 0.5
    both = torch.tensor([True, True])
    gradient = 2 * good
    before = memory.update(good, gradient, both, gradient)
    assert torch.allclose(before, gradient / 2)
    assert torch.equal(memory.update(other, -other, both, gradient), before)
    changes = torch.stack([4 * good[0], torch.full(shape[1:], float("nan")).double()])
    gradient = torch.stack([6 * good[0], gradient[1]])
    after = memory.update(good, changes, torch.tensor([True, False]), gradient)
    assert torch.allclose(after[0], gradient[0] / 4) and torch.equal(after[1], before[1])


@pytest.mark.parametrize("variable", ["free", "bounded"])
def test_adam_is_that_of_torch_step_by_step(variable: str) -> None:
    target, start = uniform(2, 3, 5, 4, seed=1), 0.1 + 0.8 * uniform(2, 3, 5, 4, seed=2)
    value = quadratic(target, 10 ** (3 * uniform(2, 3, 5, 4, seed=3)))
    iterations, interval = 40, 12
    problem = Problem(value)
    outcomes = minimize_adam(
        problem, start, StopRule(iterations), variable=variable, learning_rate=0.3, decay=0.8, decay_interval=interval  # type: ignore[arg-type]
    )  # fmt: skip

    mean = torch.tensor([0.485, 0.456, 0.406]).double().view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).double().view(1, 3, 1, 1)
    z = ((start - mean) / std if variable == "free" else (2 * start - 1).asin()).requires_grad_(True)

    def images() -> torch.Tensor:
        return z * std + mean if variable == "free" else 0.5 + 0.5 * z.sin()

    optimizer = torch.optim.Adam([z], lr=0.3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, interval, gamma=0.8)
    for iteration in range(iterations):
        assert torch.allclose(problem.images[iteration], images(), rtol=0, atol=1e-6), iteration
        optimizer.zero_grad()
        values = value(images(), torch.tensor([0, 1]))
        values.sum().backward()
        for row in range(2):
            assert outcomes[row].trace[iteration].objective == pytest.approx(values[row].item(), rel=1e-5)
        optimizer.step()
        scheduler.step()
    for row in range(2):
        assert torch.allclose(outcomes[row].image, images()[row].clamp(0, 1), rtol=0, atol=1e-6)
        assert outcomes[row].stop is StopReason.ITERATIONS and outcomes[row].iterations == iterations


# --- batches ----------------------------------------------------------------------------------------------------------


def mixed(images: Images, rows: torch.Tensor) -> torch.Tensor:
    """A different problem for each picture: hard, easy, with a kink, and not a number at the start."""
    problems: list[Callable[[Images], torch.Tensor]] = [
        lambda image: rosenbrock(image, rows)[0],
        lambda image: (image - 0.3).square().sum(),
        lambda image: (image - 0.6).abs().sum(),
        lambda image: image.sum() * float("nan"),
    ]
    return torch.stack([problems[row](image.unsqueeze(0)) for row, image in zip(rows.tolist(), images, strict=True)])


@pytest.mark.sweep(1)
@pytest.mark.parametrize("history", [20, 3])
@pytest.mark.parametrize("rule", [StopRule(60), StopRule(60, tolerance=0.01, interval=5)], ids=["count", "tolerance"])
def test_a_picture_of_a_batch_has_the_bits_that_it_has_among_its_likes(history: int, rule: StopRule) -> None:
    """Also when others are rejected, finish early or were never finite: nothing of it may show."""
    starts = 0.2 + 0.6 * uniform(4, 3, 2, 2, seed=8)
    problem = Problem(mixed)
    together = minimize_lbfgs(problem, starts, rule, history=history)
    assert len({(outcome.stop, outcome.iterations) for outcome in together}) > 1
    for row in range(4):
        alike = minimize_lbfgs(
            Problem(lambda images, rows, row=row: mixed(images, torch.full_like(rows, row))),  # type: ignore[misc]
            starts[row].expand_as(starts),
            rule,
            history=history,
        )[row]
        assert (alike.stop, alike.iterations) == (together[row].stop, together[row].iterations), row
        assert torch.equal(alike.image, together[row].image), row
        if row != 3:
            assert objectives(alike) == objectives(together[row]), row


def test_a_picture_of_an_adam_batch_is_the_picture_alone() -> None:
    starts = 0.2 + 0.6 * uniform(4, 3, 2, 2, seed=8)
    rule = StopRule(40, tolerance=0.02, interval=4)
    together = minimize_adam(Problem(mixed), starts, rule)
    for row in range(4):
        (single,) = minimize_adam(
            Problem(lambda images, rows, row=row: mixed(images, torch.full_like(rows, row))),  # type: ignore[misc]
            starts[row : row + 1],
            rule,
        )
        assert (single.stop, single.iterations) == (together[row].stop, together[row].iterations)
        assert torch.equal(single.image, together[row].image)


@pytest.mark.parametrize("minimizer", [Lbfgs, Adam])
def test_an_empty_slot_does_not_move(minimizer: type[Lbfgs] | type[Adam]) -> None:
    starts = 0.2 + 0.6 * uniform(4, 3, 2, 2, seed=8)
    problem = Problem(mixed)
    outcomes = outcomes_of(minimizer((problem,), starts, StopRule(60, tolerance=0.01, interval=5)))
    last = max(outcome.iterations for outcome in outcomes)
    assert len(problem.images) == last and all(images.shape == starts.shape for images in problem.images)
    for row, outcome in enumerate(outcomes):
        after = [images[row] for images in problem.images[outcome.iterations :]]
        assert all(torch.equal(image, after[0]) for image in after)
        assert row == 3 or not after or torch.allclose(after[0], outcome.image, rtol=0, atol=1e-6)


@pytest.mark.parametrize("minimizer", [Lbfgs, Adam])
def test_pictures_come_and_go(minimizer: type[Lbfgs] | type[Adam]) -> None:
    """A picture that takes over a slot has the bits that it would have had in an empty batch."""
    target = 0.1 + 0.8 * uniform(4, 3, 4, 4, seed=1)
    curvature = 10 ** (2 * uniform(4, 3, 4, 4, seed=2))
    starts = uniform(7, 3, 4, 4, seed=3)
    rules = [StopRule(5 + 3 * number) for number in range(7)]
    whole: dict[int, Outcome] = {}
    crowd = minimizer((Problem(quadratic(target, curvature)),), torch.full((4, 3, 4, 4), 0.5).double(), None)
    waiting, who = list(range(7)), {}
    while waiting or crowd.active_slots:
        free = [slot for slot in range(4) if slot not in crowd.active_slots]
        for slot in free[:1]:  # one at a time, so that all are at different iterations
            if waiting:
                who[slot] = waiting.pop(0)
                crowd.begin(slot, starts[who[slot]], rules[who[slot]])
        for slot, outcome in crowd.step().items():
            whole[who[slot]] = outcome
        if crowd.active_slots:
            with pytest.raises(ValueError, match="is in use"):
                crowd.begin(crowd.active_slots[0], starts[0], rules[0])
    for number in range(4):
        alone = minimizer((Problem(quadratic(target, curvature)),), torch.full((4, 3, 4, 4), 0.5).double(), None)
        alone.begin(number, starts[number], rules[number])
        done: dict[int, Outcome] = {}
        while not done:
            done = alone.step()
        assert torch.equal(done[number].image, whole[number].image)
        assert done[number].trace == whole[number].trace
    assert sorted(whole) == list(range(7))
    assert [whole[number].iterations for number in range(7)] == [rule.iterations for rule in rules]


@pytest.mark.parametrize("minimizer", [Lbfgs, Adam])
def test_a_picture_goes_on_in_another_batch(minimizer: type[Lbfgs] | type[Adam]) -> None:
    target, starts = 0.1 + 0.8 * uniform(3, 3, 4, 4, seed=1), uniform(3, 3, 4, 4, seed=3)
    curvature = 10 ** (2 * uniform(3, 3, 4, 4, seed=2))

    def fresh(*slots: int) -> Lbfgs | Adam:
        crowd = minimizer((Problem(quadratic(target, curvature)),), torch.full((3, 3, 4, 4), 0.5).double(), None)
        for slot in slots:
            crowd.begin(slot, starts[slot], StopRule(30))
        return crowd

    whole = outcomes_of(fresh(0, 1, 2))
    for count in (0, 1, 7, 29):
        first, second = fresh(0, 1, 2), fresh(1)
        for _ in range(count):
            first.step()
        second.restore(first.snapshot(1), 1)
        (outcome,) = outcomes_of(second)
        assert torch.equal(outcome.image, whole[1].image) and outcome.trace == whole[1].trace


def test_the_listener_is_called_for_every_iteration_in_order() -> None:
    heard: list[tuple[int, int, Losses]] = []
    outcomes = minimize_lbfgs(
        Problem(mixed),
        0.2 + 0.6 * uniform(3, 3, 2, 2, seed=8),
        StopRule(12),
        on_step=lambda place, iteration, losses: heard.append((place, iteration, losses)),
    )
    for row, outcome in enumerate(outcomes):
        mine = [(iteration, losses) for place, iteration, losses in heard if place == row]
        assert mine == list(enumerate(outcome.trace, start=1))


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.sweep(2)
@pytest.mark.parametrize("minimize", [minimize_lbfgs, minimize_adam], ids=["lbfgs", "adam"])
@pytest.mark.parametrize(("tolerance", "interval"), [(0.5, 3), (0.99, 10), (0.9, 1)])
def test_the_tolerance_stops_where_the_trace_says(
    minimize: Callable[..., list[Outcome]], tolerance: float, interval: int
) -> None:
    start = 0.2 + 0.3 * uniform(1, 3, 2, 2, seed=1)
    (full,) = minimize(Problem(rosenbrock), start, StopRule(100))
    (stopped,) = minimize(Problem(rosenbrock), start, StopRule(100, tolerance, interval))
    values = objectives(full)
    expected = next(
        done
        for done in range(2 * interval, 101, interval)
        if values[done - 1 - interval] - values[done - 1] < tolerance * values[done - 1 - interval]
    )
    assert stopped.stop is StopReason.TOLERANCE
    assert stopped.iterations == expected < 100
    assert stopped.trace == full.trace[:expected]


@pytest.mark.parametrize("minimize", [minimize_lbfgs, minimize_adam], ids=["lbfgs", "adam"])
def test_one_iteration_is_one_evaluation(minimize: Callable[..., list[Outcome]]) -> None:
    array = (uniform(1, 3, 4, 4) * 255).round().byte()[0].permute(1, 2, 0).numpy()
    problem = Problem(rosenbrock)
    (outcome,) = minimize(problem, to_tensor(array), StopRule(1))
    assert len(problem.images) == outcome.iterations == 1 and outcome.stop is StopReason.ITERATIONS
    assert outcome.trace[0].objective == pytest.approx(rosenbrock(to_tensor(array), torch.tensor([0])).item(), rel=0.01)
    if minimize is minimize_lbfgs:
        assert (to_array(outcome.image) == array).all()


@pytest.mark.parametrize("minimize", [minimize_lbfgs, minimize_adam], ids=["lbfgs", "adam"])
def test_iterations_are_evaluations(minimize: Callable[..., list[Outcome]]) -> None:
    problem = Problem(rosenbrock)
    (outcome,) = minimize(problem, uniform(1, 3, 2, 2), StopRule(23))
    assert len(problem.images) == outcome.iterations == 23


class BrokenGradient(torch.autograd.Function):
    """Hands its input through; the gradient is not a number."""

    @staticmethod
    def forward(_: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(_: object, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan")


def wall(limit: float, height: float | None) -> Value:
    """A quadratic with its minimum at 0.55, plus `height` where the mean is over `limit`; None: no gradient there."""

    def value(images: Images, rows: torch.Tensor) -> torch.Tensor:
        values = []
        for image in images:
            plain = (image - 0.55).square().sum()
            if image.mean() > limit:
                plain = BrokenGradient.apply(plain) if height is None else plain + height
            values.append(plain)
        return torch.stack(values)

    return value


@pytest.mark.parametrize("height", [float("nan"), float("inf"), 1e30, None], ids=["nan", "inf", "huge", "nan-gradient"])
def test_a_region_that_is_not_finite_is_kept_out_of(height: float | None) -> None:
    start = torch.full((1, 3, 4, 4), 0.2).double()
    problem = Problem(wall(0.6, height))
    (outcome,) = minimize_lbfgs(problem, start, StopRule(60), smoothing=0, first_step=1.5)
    assert problem.images[1].mean() > 0.6, "the first step went in"
    assert outcome.stop is not StopReason.NONFINITE
    assert (outcome.image - 0.55).abs().max() < 1e-3
    assert all(torch.isfinite(images).all() for images in problem.images)


@pytest.mark.parametrize("minimize", [minimize_lbfgs, minimize_adam], ids=["lbfgs", "adam"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_start_that_is_not_finite_is_said_at_once(minimize: Callable[..., list[Outcome]], bad: float) -> None:
    problem = Problem(lambda images, rows: images.flatten(1).sum(1) + bad)
    (outcome,) = minimize(problem, torch.full((1, 3, 2, 2), 0.5), StopRule(50))
    assert outcome.stop is StopReason.NONFINITE and len(problem.images) == 1
    assert (to_array(outcome.image) == 128).all()


def test_adam_that_leaves_the_finite_stops_with_finite_pixels() -> None:
    (outcome,) = minimize_adam(Problem(wall(0.3, float("nan"))), torch.full((1, 3, 4, 4), 0.2), StopRule(50))
    assert outcome.stop is StopReason.NONFINITE and outcome.iterations < 50
    assert torch.isfinite(outcome.image).all()
    # "Keeps the last pixels that were not": those with a finite objective.
    assert outcome.image.mean() <= 0.3


def lying(images: Images, rows: torch.Tensor) -> torch.Tensor:
    """The value of a quadratic with the gradient of its negative."""
    value = (images - 0.3).square().flatten(1).sum(1)
    return 2 * value.detach() - value


def test_a_gradient_that_lies_is_a_stall_and_found_early() -> None:
    start = 0.2 + 0.6 * uniform(1, 3, 4, 4)
    (outcome,) = minimize_lbfgs(Problem(lying), start, StopRule(500))
    assert outcome.stop is StopReason.STALLED
    assert outcome.iterations <= 1 + 2 * MAX_BACKTRACKS
    assert (outcome.image - start[0]).abs().max() < 1e-9


def test_a_second_try_from_the_plain_gradient_is_another_try() -> None:
    """Repeating the very steps that failed would waste iterations and could not end any better."""
    problem = Problem(lying)
    minimize_lbfgs(problem, 0.2 + 0.6 * uniform(1, 3, 4, 4), StopRule(500))
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(problem.images, 2))


def test_a_kink_ends_as_converged() -> None:
    """Σ |x − t| falls to where no step lowers it, which is a finished picture and no stall."""
    target = 0.3 + 0.4 * uniform(1, 3, 2, 2, seed=3)
    (outcome,) = minimize_lbfgs(
        Problem(lambda images, rows: (images - target).abs().flatten(1).sum(1)), target * 0.8, StopRule(5000)
    )
    assert outcome.stop is StopReason.CONVERGED and outcome.iterations < 5000
    assert (outcome.image - target[0]).abs().max() < 0.05


def test_a_start_at_the_optimum_has_converged() -> None:
    """The gradient is 0: there is nothing to repeat from a safer start."""
    target = torch.full((1, 3, 4, 4), 0.5)
    (outcome,) = minimize_lbfgs(Problem(quadratic(target)), target, StopRule(50))
    assert outcome.stop is StopReason.CONVERGED
    assert torch.equal(outcome.image, target[0])


def test_the_margin_is_less_than_half_a_level() -> None:
    assert 0 < GAMUT_MARGIN < 0.5 / 255
    ends = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    z = BoundedVariable().from_images(ends)
    assert torch.isfinite(z).all() and z.cos().min() > 0.05
    assert normalize(ends).shape == ends.shape


# --- held to earlier frames, and stopping at a target -----------------------------------------------------------------


class HeldProblem(Problem):
    """A problem with a temporal term, of which the objective knows nothing."""

    def __init__(self, value: Value, temporal: Value) -> None:
        super().__init__(value)
        self.temporal = temporal

    def __call__(self, pixels: torch.Tensor) -> LossTerms:
        terms = super().__call__(pixels)
        return dataclasses.replace(terms, temporal=self.temporal(denormalize(pixels), torch.arange(len(pixels))))


def held_problem(batch: int = 1) -> HeldProblem:
    """The objective is minimal at one picture, the temporal loss, three times as strong, at another."""
    curvature = 10 ** (2 * uniform(batch, 3, 6, 5, seed=4))
    wanted, earlier = (0.1 + 0.8 * uniform(batch, 3, 6, 5, seed=seed) for seed in (1, 2))
    return HeldProblem(quadratic(wanted, curvature), quadratic(earlier, 3 * curvature))


MINIMIZERS = pytest.mark.parametrize("minimize", [minimize_lbfgs, minimize_adam], ids=["lbfgs", "adam"])


def test_the_temporal_term_is_minimised_too() -> None:
    """Between two quadratics of one shape lies their weighted mean."""
    problem = held_problem()
    (outcome,) = minimize_lbfgs(problem, uniform(1, 3, 6, 5, seed=3), StopRule(300))
    wanted, earlier = (0.1 + 0.8 * uniform(1, 3, 6, 5, seed=seed) for seed in (1, 2))
    assert (outcome.image - (0.25 * wanted + 0.75 * earlier)[0]).abs().max() < 1e-4


@MINIMIZERS
def test_the_trace_keeps_the_temporal_term_apart(minimize: Callable[..., list[Outcome]]) -> None:
    problem = held_problem(2)
    heard: list[tuple[int, int, Losses]] = []
    outcomes = minimize(
        problem, uniform(2, 3, 6, 5, seed=3), StopRule(12), on_step=lambda *step: heard.append(step)
    )  # fmt: skip
    rows = torch.arange(2)
    evaluated = [(problem.value(images, rows), problem.temporal(images, rows)) for images in problem.images]
    for row, outcome in enumerate(outcomes):
        for losses in outcome.trace:
            assert losses.total == pytest.approx(losses.objective + losses.temporal)
            # Each entry is of one picture: its objective and its own temporal term.
            assert any(
                losses.objective == pytest.approx(value[row].item(), rel=1e-9)
                and losses.temporal == pytest.approx(temporal[row].item(), rel=1e-9)
                for value, temporal in evaluated
            )
        assert outcome.trace[0].objective == pytest.approx(evaluated[0][0][row].item())
        assert [losses for place, _, losses in heard if place == row] == list(outcome.trace)
    if minimize is minimize_lbfgs:
        assert all(
            after.total <= before.total for outcome in outcomes for before, after in itertools.pairwise(outcome.trace)
        )


@pytest.mark.sweep(4)
@MINIMIZERS
@pytest.mark.parametrize("floor", [1, 4, 9])
@pytest.mark.parametrize("held", [False, True])
def test_a_target_ends_it_at_the_first_iteration_that_reaches_it(
    minimize: Callable[..., list[Outcome]], floor: int, held: bool
) -> None:
    """Not before the floor; and what counts is the objective, without what the picture differs from earlier ones."""

    def problem() -> Problem:
        curvature = 10 ** (2 * uniform(1, 3, 6, 5, seed=4))
        value = quadratic(0.1 + 0.8 * uniform(1, 3, 6, 5, seed=1), curvature)
        flat = quadratic(torch.full((1, 3, 6, 5), 0.5).double(), 0.2)
        return HeldProblem(value, lambda images, rows: 1000 + flat(images, rows)) if held else Problem(value)

    start = uniform(1, 3, 6, 5, seed=3)
    (free,) = minimize(problem(), start, StopRule(40))
    falling = objectives(free)
    for share in (0.8, 0.5, 0.2):
        target = falling[0] * share
        first = next(k for k, value in enumerate(falling, start=1) if k >= floor and value <= target)
        (outcome,) = minimize(problem(), start, StopRule(40, target=target, floor=floor))
        assert outcome.stop is StopReason.TARGET
        assert outcome.iterations == first < 40
        assert outcome.trace == free.trace[:first], "until then it is the same"
        assert not held or outcome.trace[-1].total > target


@MINIMIZERS
def test_a_target_may_be_exactly_reached_or_never(minimize: Callable[..., list[Outcome]]) -> None:
    value, start = quadratic(torch.full((1, 3, 4, 4), 0.3).double()), 0.2 + 0.6 * uniform(1, 3, 4, 4)
    (free,) = minimize(Problem(value), start, StopRule(6))
    (exact,) = minimize(Problem(value), start, StopRule(6, target=free.trace[2].objective))
    assert exact.stop is StopReason.TARGET and exact.iterations <= 3
    (never,) = minimize(Problem(value), start, StopRule(6, target=-1.0))
    assert never.stop is not StopReason.TARGET and never.trace == free.trace
    (late,) = minimize(Problem(value), start, StopRule(6, target=1e9, floor=50))
    assert late.stop is not StopReason.TARGET and late.trace == free.trace


def test_each_picture_of_a_batch_has_its_own_target() -> None:
    target = 0.1 + 0.8 * uniform(3, 3, 4, 4, seed=1)
    start = torch.cat([target[:1] + 0.001, uniform(2, 3, 4, 4, seed=2)])
    curvature = torch.tensor([1.0, 1.0, 50.0]).double().view(3, 1, 1, 1)
    rule = StopRule(60, target=0.01)
    together = minimize_lbfgs(Problem(quadratic(target, curvature)), start, rule)
    assert all(outcome.stop is StopReason.TARGET for outcome in together)
    assert together[0].iterations == 1 < together[1].iterations
    for row, outcome in enumerate(together):
        (alone,) = minimize_lbfgs(
            Problem(quadratic(target[row : row + 1], curvature[row : row + 1])), start[row : row + 1], rule
        )
        assert alone.iterations == outcome.iterations
        assert (alone.image - outcome.image).abs().max() < 1e-9


@pytest.mark.parametrize("variable", ["bounded", "free"])
def test_a_start_below_its_target_is_given_back_to_the_byte(variable: str) -> None:
    """Every level of 8 bits, black and white too: a frame of a static scene is not painted, and does not drift."""
    array = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    start = to_tensor(array)
    problem = Problem(quadratic(torch.full((1, 3, 16, 16), 0.5)))
    for _ in range(3):
        (outcome,) = minimize_lbfgs(problem, start, StopRule(50, target=1e6), variable=variable)  # type: ignore[arg-type]
        assert outcome.stop is StopReason.TARGET and outcome.iterations == 1
        assert np.array_equal(to_array(outcome.image), array)
        start = to_tensor(to_array(outcome.image))
    assert len(problem.images) == 3
