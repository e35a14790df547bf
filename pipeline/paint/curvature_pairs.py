"""The curvature pairs of L-BFGS for each picture of a batch, and the two-loop recursion over them.

A pair is a step s = zₖ₊₁ − zₖ, the change of the gradient over it y = gₖ₊₁ − gₖ, and ρ = 1/(s·y) (Nocedal and
Wright 2006, section 7.2).
"""

from collections.abc import Mapping

import torch

from .batch_math import indices_where, inner_products, per_picture
from .preconditioner import Preconditioner

MIN_CURVATURE = 1e-10
"""Pairs with s·y at or under this multiple of y·y are dropped: that is rounding, and would make a huge step."""


class CurvaturePairs:
    """The newest `size` pairs of each picture, and γ of its newest.

    Each picture has a ring of its own and fills its own next entry, so its history does not depend on the other
    pictures. An empty entry has ρ = 0, which takes it out of both loops.
    """

    def __init__(self, size: int, z: torch.Tensor) -> None:
        self._size = size
        self._added = [0] * len(z)
        """How many pairs each picture has added so far."""
        # An entry of the ring holds the pairs of all pictures: B×3×H×W, B×3×H×W and B.
        self._s: list[torch.Tensor] = []
        self._y: list[torch.Tensor] = []
        self._rho: list[torch.Tensor] = []
        self.gamma = z.new_zeros(len(z))
        """γ = s·y / y·P·y of the newest pair (eq. 7.20, with P for the identity); 0 without pairs."""

    def add(self, s: torch.Tensor, y: torch.Tensor, accepted: torch.Tensor, precondition: Preconditioner) -> None:
        """Adds the pairs (s and y: B×3×H×W) of the pictures whose step was accepted (B booleans).

        A pair that violates the curvature condition s·y > 0 is left out: the inverse Hessian has to stay positive
        definite.
        """
        curvature = inner_products(s, y)
        usable = accepted & (curvature > MIN_CURVATURE * inner_products(y, y)) & torch.isfinite(curvature)
        # Zeros where unused: a non-finite gradient times ρ = 0 would still be NaN.
        mask = per_picture(usable)
        s, y = torch.where(mask, s, 0.0), torch.where(mask, y, 0.0)
        rho = torch.where(usable, 1 / curvature, 0.0)
        self.gamma = torch.where(usable, curvature / inner_products(y, precondition(y)), self.gamma)
        self._store(s, y, rho, indices_where(usable))

    def _store(self, s: torch.Tensor, y: torch.Tensor, rho: torch.Tensor, slots: list[int]) -> None:
        """Writes the pairs of the pictures in `slots` to their next entries."""
        if not slots:
            return
        entries = [self._added[slot] % self._size for slot in slots]
        while len(self._s) <= max(entries):
            self._s.append(torch.zeros_like(s))
            self._y.append(torch.zeros_like(y))
            self._rho.append(torch.zeros_like(rho))
        for entry in set(entries):
            own = [slot for slot, its in zip(slots, entries, strict=True) if its == entry]
            if len(own) == len(s):
                self._s[entry], self._y[entry], self._rho[entry] = s, y, rho
            else:
                self._s[entry][own] = s[own]
                self._y[entry][own] = y[own]
                self._rho[entry][own] = rho[own]
        for slot in slots:
            self._added[slot] += 1

    def inverse_product(self, gradient: torch.Tensor, precondition: Preconditioner) -> torch.Tensor:
        """H·g by the two-loop recursion (algorithm 7.4), with γ·P as the initial inverse Hessian."""
        product = gradient.clone()
        alphas = []
        for age in range(len(self._s)):
            s, y, rho = self._aged(age)
            alpha = rho * inner_products(s, product)
            product.addcmul_(per_picture(alpha), y, value=-1)
            alphas.append(alpha)
        product = per_picture(self.gamma) * precondition(product)
        for age in reversed(range(len(self._s))):
            (s, y, rho), alpha = self._aged(age), alphas[age]
            product.addcmul_(per_picture(alpha - rho * inner_products(y, product)), s)
        return product

    def _aged(self, age: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """s, y and ρ of the pair that each picture added `age` pairs before its newest."""
        entries = [(added - 1 - age) % len(self._s) for added in self._added]
        if len(set(entries)) == 1:
            return self._s[entries[0]], self._y[entries[0]], self._rho[entries[0]]
        return (
            torch.stack([self._s[entry][slot] for slot, entry in enumerate(entries)]),
            torch.stack([self._y[entry][slot] for slot, entry in enumerate(entries)]),
            torch.stack([self._rho[entry][slot] for slot, entry in enumerate(entries)]),
        )

    def forget(self, which: torch.Tensor) -> None:
        """Drops all pairs of the pictures where `which` (B booleans) is true."""
        self._rho = [rho.masked_fill(which, 0.0) for rho in self._rho]
        self.gamma = self.gamma.masked_fill(which, 0.0)

    def clear(self, slot: int) -> None:
        """Empties a slot's history for another picture."""
        for rho in self._rho:
            rho[slot] = 0
        self.gamma[slot] = 0
        self._added[slot] = 0

    def snapshot(self, slot: int) -> dict[str, torch.Tensor]:
        """All pairs of the picture in a slot, on the CPU."""
        count = min(self._added[slot], self._size)
        pairs = {
            f"pairs.{name}": torch.stack([tensor[slot : slot + 1].cpu() for tensor in entries[:count]])
            for name, entries in self._entries().items()
            if count
        }
        gamma = self.gamma[slot : slot + 1].cpu()
        return {**pairs, "pairs.gamma": gamma, "pairs.added": torch.tensor([self._added[slot]])}

    def restore(self, snapshot: Mapping[str, torch.Tensor], slot: int) -> None:
        """Replaces a slot's history by that of a `snapshot`."""
        self.clear(slot)
        for name, entries in self._entries().items():
            for entry, pair in enumerate(snapshot.get(f"pairs.{name}", ())):
                if entry == len(entries):
                    entries.append(pair.new_zeros((len(self._added), *pair.shape[1:]), device=self.gamma.device))
                entries[entry][slot] = pair[0].to(self.gamma.device)
        self.gamma[slot] = snapshot["pairs.gamma"][0].to(self.gamma.device)
        self._added[slot] = int(snapshot["pairs.added"][0])

    def _entries(self) -> dict[str, list[torch.Tensor]]:
        return {"s": self._s, "y": self._y, "rho": self._rho}
