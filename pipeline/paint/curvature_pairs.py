"""The curvature pairs of L-BFGS for each picture of a batch, and the product of the inverse Hessian with a gradient.

A pair is a step s = uₖ₊₁ − uₖ and the change of the gradient over it, y = gₖ₊₁ − gₖ (Nocedal and Wright 2006, section
7.2). H·g is not computed by the two-loop recursion, whose 4·m inner products and sums wait for each other, but from the
compact representation of Byrd, Nocedal and Schnabel (1994, eq. 3.1 with H₀ = γ·I):

    H = γ·I + [S γ·Y] · [R⁻ᵀ·(D + γ·YᵀY)·R⁻¹, −R⁻ᵀ; −R⁻¹, 0] · [Sᵀ; γ·Yᵀ]

where R is the upper triangle of SᵀY and D its diagonal. S and Y, which are 2·m pictures, are read twice: for their
inner products with a gradient, and for the sum. Those with y are differences of those with two gradients (ibid.,
section 3.2). Everything between is about m×m numbers.

All decisions are made with tensors: nothing here waits for the device.
"""

from collections.abc import Mapping

import torch

from .batch_math import inner_products, per_picture, products_with, sum_of

MIN_CURVATURE = 1e-10
"""Pairs with s·y at or under this multiple of y·y are dropped: that is rounding, and would make a huge step."""


LENGTHENING = 0.12
"""Exponent of 1/cos² of the angle between s and y in γ = (s·y / y·y) · (1/cos²)^LENGTHENING.

0 gives eq. 7.20 of Nocedal and Wright, which noise in y makes too small, as features of 8 bits do; 1 gives the step of
Barzilai and Borwein (1988, eq. 5), which is often rejected. What is used is the geometric mean of that of the newest
pair and what was used before."""


HALF_FROM = 3 << 22
"""From so many numbers of a picture on (4 megapixels), its pairs are kept in bf16: they are 40 times the picture."""


FEW = 10
"""The most pairs of a picture of `FEW_FROM` numbers (8 megapixels) or more. What they save is little: it has few
iterations at its own size, after those at smaller ones."""

FEW_FROM = 3 << 23


def pairs_kept(size: int, length: int) -> int:
    """How many pairs are kept of a picture of so many numbers, where `size` are asked for."""
    return size if length < FEW_FROM else min(size, FEW)


def history_bytes(size: int, length: int) -> int:
    """The memory of the pairs of a picture of so many numbers, where `size` are asked for."""
    return 2 * (pairs_kept(size, length) + 1) * length * (2 if length >= HALF_FROM else 4)


class CurvaturePairs:
    """The newest `size` pairs (`pairs_kept`) of each picture like those of `u` (B×3×H×W).

    Each picture has a ring of its own and fills its own next entry, so its history does not depend on the other
    pictures.
    """

    def __init__(self, size: int, u: torch.Tensor) -> None:
        slots, length = len(u), u[0].numel()
        self._size = pairs_kept(size, length)
        # One entry more than pairs: a new one is written before it is known whether the oldest may go.
        self._entries = self._size + 1
        exact = {"dtype": torch.float64, "device": u.device}
        self._rows = torch.arange(slots, device=u.device)
        self._ages = torch.arange(self._entries, device=u.device)
        self._state = {
            # Entries of the ring: first the steps s, then the changes y.
            "vectors": u.new_zeros(
                slots, 2 * self._entries, length, dtype=torch.bfloat16 if length >= HALF_FROM else u.dtype
            ),
            # The inner products of the entries with the gradient.
            "products": torch.zeros(slots, 2 * self._entries, **exact),  # type: ignore[call-overload]
            # SᵀY (only s older than y, or of the same pair) and YᵀY of the entries.
            "s_y": torch.zeros(slots, self._entries, self._entries, **exact),  # type: ignore[call-overload]
            "y_y": torch.zeros(slots, self._entries, self._entries, **exact),  # type: ignore[call-overload]
            "gamma": torch.zeros(slots, **exact),  # type: ignore[call-overload]
            # Pairs in the ring, and the entry that the next one goes to.
            "count": torch.zeros_like(self._rows),
            "next": torch.zeros_like(self._rows),
        }

    @property
    def are_absent(self) -> torch.Tensor:
        """B booleans: whether a picture has no pairs."""
        absent: torch.Tensor = self._state["count"] == 0
        return absent

    def update(self, s: torch.Tensor, y: torch.Tensor, accepted: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Adds the pairs (s and y) of the pictures whose step was accepted (B booleans); returns H·g for all pictures.

        `gradient` is g, of which y is the change since the last call; all are B×3×H×W. s and y are rounded in place to
        what is kept of them. A pair that violates the curvature condition s·y > 0 is left out: the inverse Hessian has
        to stay positive definite.
        """
        state, entry, vectors = self._state, self._state["next"], self._state["vectors"]
        if vectors.dtype != s.dtype:
            for pair in (s, y):
                pair.copy_(pair.to(vectors.dtype))
        curvature, square = inner_products(s, y), inner_products(y, y)
        usable = accepted & (curvature > MIN_CURVATURE * square) & torch.isfinite(curvature) & torch.isfinite(square)
        for pair, index in ((s, entry), (y, self._entries + entry)):
            # Zeros where it is not used: what is not finite would spread to sums.
            vectors[self._rows, index] = torch.where(usable.unsqueeze(1), pair.flatten(1), 0.0).to(vectors.dtype)
        products = products_with(vectors, gradient.flatten(1)).double()
        with_y = products - state["products"]
        state["products"].copy_(products)
        self._set_scale(curvature, square, inner_products(s, s), usable)
        self._record(with_y[:, : self._entries], with_y[:, self._entries :], curvature, square, usable)
        factors = self._factors(products[:, : self._entries], products[:, self._entries :])
        product = sum_of(vectors, factors.to(gradient.dtype)).view_as(gradient)
        return product.addcmul_(per_picture(state["gamma"].to(gradient.dtype)), gradient)

    def _set_scale(self, s_y: torch.Tensor, y_y: torch.Tensor, s_s: torch.Tensor, usable: torch.Tensor) -> None:
        """Sets γ by the inner products of the newest pair (B); see `LENGTHENING`."""
        s_y, y_y, s_s, before = s_y.double(), y_y.double(), s_s.double(), self._state["gamma"]
        gamma = s_y / y_y * (s_s * y_y / s_y.square()) ** LENGTHENING
        # From pair to pair it varies by a factor of five, about what is right: its mean is steadier.
        gamma = torch.where(self.are_absent, gamma, (gamma * before).sqrt())
        before.copy_(torch.where(usable, gamma, before))

    def _record(
        self, s_y: torch.Tensor, y_y: torch.Tensor, curvature: torch.Tensor, square: torch.Tensor, usable: torch.Tensor
    ) -> None:
        """Counts the newest pair, and enters the inner products of all s and y with its y (B×(m + 1) each)."""
        state, rows, entry = self._state, self._rows, self._state["next"]
        mask = usable.unsqueeze(1)
        # Those of the pair with itself are not differences, but exact.
        s_y = s_y.scatter(1, entry.unsqueeze(1), curvature.unsqueeze(1).double())
        y_y = y_y.scatter(1, entry.unsqueeze(1), square.unsqueeze(1).double())
        state["s_y"][rows, :, entry] = torch.where(mask, s_y, state["s_y"][rows, :, entry])
        state["y_y"][rows, :, entry] = torch.where(mask, y_y, state["y_y"][rows, :, entry])
        state["y_y"][rows, entry] = torch.where(mask, y_y, state["y_y"][rows, entry])
        state["next"].copy_(torch.where(usable, (entry + 1) % self._entries, entry))
        state["count"].copy_(torch.where(usable, (state["count"] + 1).clamp(max=self._size), state["count"]))

    def _factors(self, s_g: torch.Tensor, y_g: torch.Tensor) -> torch.Tensor:
        """The factors of the entries (B×2(m + 1)) by which H·g is γ·g plus their sum.

        `s_g` and `y_g` are Sᵀg and Yᵀg of the entries, B×(m + 1).
        """
        state = self._state
        # Entries from the oldest to the newest; those without a pair come first, the next one before all.
        order = (state["next"].unsqueeze(1) + self._ages) % self._entries
        valid = self._ages >= self._entries - state["count"].unsqueeze(1)
        both = valid.unsqueeze(2) & valid.unsqueeze(1)
        s_y = torch.where(both, _reordered(state["s_y"], order), 0.0)
        y_y = torch.where(both, _reordered(state["y_y"], order), 0.0)
        s_g = torch.where(valid, s_g.gather(1, order), 0.0)
        y_g = torch.where(valid, y_g.gather(1, order), 0.0)
        diagonal, gamma = s_y.diagonal(dim1=1, dim2=2), state["gamma"]
        upper = s_y.triu() + torch.diag_embed((~valid).double())
        inner = torch.linalg.solve_triangular(upper, s_g.unsqueeze(2), upper=True)
        middle = diagonal.unsqueeze(2) * inner + gamma.view(-1, 1, 1) * (y_y @ inner - y_g.unsqueeze(2))
        outer = torch.linalg.solve_triangular(upper.mT, middle, upper=False)
        of_steps, of_changes = outer.squeeze(2), -gamma.unsqueeze(1) * inner.squeeze(2)
        factors = [torch.zeros_like(s_g).scatter(1, order, values) for values in (of_steps, of_changes)]
        return torch.cat(factors, 1)

    def forget(self, which: torch.Tensor) -> None:
        """Drops all pairs of the pictures where `which` (B booleans) is true."""
        self._state["count"].masked_fill_(which, 0)

    def clear(self, slot: int) -> None:
        """Empties a slot's history for another picture."""
        for name in ("count", "next"):
            self._state[name][slot] = 0

    def snapshot(self, slot: int) -> dict[str, torch.Tensor]:
        """All pairs of the picture in a slot, on the CPU."""
        return {name: _as_stored(tensor).cpu() for name, tensor in self._parts(slot).items()}

    def restore(self, snapshot: Mapping[str, torch.Tensor], slot: int) -> None:
        """Replaces a slot's history by that of a `snapshot`."""
        for name, tensor in self._parts(slot).items():
            _as_stored(tensor).copy_(snapshot[name])

    def _parts(self, slot: int) -> dict[str, torch.Tensor]:
        """A slot's state as views, by their names in a snapshot; each s and y by itself, as all are far larger than any
        other part."""
        parts = {f"pairs.{name}": tensor[slot : slot + 1] for name, tensor in self._state.items()}
        vectors = parts.pop("pairs.vectors")[0]
        return parts | {f"pairs.vectors.{entry}": vector for entry, vector in enumerate(vectors)}


def _as_stored(tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers in a type that arrays have too: bf16 as integers of 16 bits."""
    return tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor


def _reordered(matrices: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """B×m×m matrices with rows and columns in another order (B×m indices)."""
    rows = matrices.gather(1, order.unsqueeze(2).expand_as(matrices))
    return rows.gather(2, order.unsqueeze(1).expand_as(matrices))
