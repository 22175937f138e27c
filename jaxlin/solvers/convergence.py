"""When an iteration may stop: the Ritz values of a bidiagonalisation, and what they promise."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxlin.solvers.result import Request

#: Vectors beyond k before anything is believed, and over which the values must have come to rest.
PAST_K, AT_REST = 10, 5
#: A recurrence's own estimate of a residual reads zero below this many roundings: it is floored there.
_ROUNDINGS = 4.0
#: Up to this size the small SVD costs next to nothing beside a pass.
_SMALL = 128


@dataclass(frozen=True, eq=False)
class Ritz:
    """The wanted singular triplets of L after some steps.

    Attributes:
        s: Ritz values [k'], falling, k' ≤ wanted while L is small.
        left: L's left singular vectors as columns [p·b, k'].
        right: its right ones likewise.
        estimates: estimated residuals, as multiples of σ₁, floored at rounding.
        moved: the largest change of a value over the last vectors, as a multiple of σ₁.
        steps: steps that L stands for.
        past: whether there are vectors enough beyond the wanted ones to believe them.
        wanted: how many triplets are wanted.
        floor: the smallest estimate that means anything.
    """

    s: Float[np.ndarray, " k"]
    left: Float[np.ndarray, "p k"]
    right: Float[np.ndarray, "p k"]
    estimates: Float[np.ndarray, " k"]
    moved: float
    steps: int
    past: bool
    wanted: int
    floor: float

    @classmethod
    def of(
        cls,
        diagonal: Float[np.ndarray, "p b b"],
        below: Float[np.ndarray, "q b b"],
        *,
        wanted: int,
        outputs: int,
        since_restart: int,
        unit_roundoff: float,
    ) -> Ritz:
        """From the blocks D_1 … D_p and 0, C_2 … C_{p+1} of a map with so many ``outputs``."""
        steps, b = diagonal.shape[:2]
        floor = _ROUNDINGS * unit_roundoff
        if steps == 0:
            nothing, empty = np.zeros(0), np.zeros((0, 0))
            return cls(nothing, empty, empty, nothing, math.inf, 0, False, wanted, floor)
        small = bidiagonal(diagonal, below)
        x, s, z = np.linalg.svd(small)
        first = s[0] or 1.0
        last = below[steps] @ z[:wanted, -b:].T
        estimates = np.maximum(np.linalg.norm(last, axis=0) / first, floor)
        rest = math.ceil(AT_REST / b)
        # A random vector outside the basis that the map sends to nothing: there is nothing else.
        exhausted = not diagonal[-1].any() and not below[steps - 1].any()
        moved = math.inf
        if steps * b >= outputs or exhausted:
            moved = 0.0
        elif (steps - rest) * b >= wanted:
            earlier = np.linalg.svd(small[: (steps - rest) * b, : (steps - rest) * b], compute_uv=False)
            moved = float(np.abs(s[:wanted] - earlier[:wanted]).max() / first)
        past = steps * b >= min(wanted + PAST_K, outputs) and since_restart >= rest
        past = past or steps * b >= outputs or (exhausted and steps * b >= wanted)
        return cls(s[:wanted], x[:, :wanted], z[:wanted].T, estimates, moved, steps, past, wanted, floor)

    @property
    def every(self) -> int:
        """How many steps to go before looking again."""
        return max(1, len(self.left) // _SMALL)

    def converged(self, aim: float) -> int:
        """How many of the wanted triplets have an estimate within ``aim``."""
        return int((self.estimates <= aim).sum())

    def meets(self, aim: float) -> bool:
        """Whether all wanted triplets should have residuals within ``aim``, and none seems missing."""
        return self.past and self.converged(aim) == self.wanted and self.moved <= aim


def bidiagonal(
    diagonal: Float[np.ndarray, "p b b"], below: Float[np.ndarray, "q b b"]
) -> Float[np.ndarray, "pb pb"]:
    """L [p·b, p·b] from its blocks."""
    steps, b = diagonal.shape[:2]
    small = np.zeros((steps, b, steps, b))
    for j in range(steps):
        small[j, :, j] = diagonal[j]
        if j:
            small[j, :, j - 1] = below[j]
    return small.reshape(steps * b, steps * b)


class Outlook:
    """Tells how far an iteration is and how long it will take, from how fast the residuals fall."""

    def __init__(self, request: Request, passes_a_step: int) -> None:
        self._request, self._passes = request, passes_a_step
        self._began, self._first_step = time.perf_counter(), 0
        self._seen: list[tuple[int, float]] = []

    def tell(self, ritz: Ritz, steps: int, aim: float) -> None:
        """Report to the request's progress."""
        wanted = self._request.k
        worst = float(ritz.estimates.max()) if len(ritz.estimates) == wanted else math.inf
        if not self._seen:
            self._first_step = steps - 1
        if not self._seen or self._seen[-1][0] != ritz.steps:
            self._seen.append((ritz.steps, worst))
        notes = [f"worst residual {worst:.0e}·σ₁"] if worst < math.inf else []
        notes.append(f"{steps * self._passes} passes")
        left = self._steps_left(aim)
        if left is not None:
            left *= (time.perf_counter() - self._began) / (steps - self._first_step)
        converged = ritz.converged(aim)
        # All of them only when they have come to rest too.
        done = wanted if ritz.meets(aim) else min(converged, wanted - 1)
        self._request.progress("solving", done, wanted, "triplets, " + ", ".join(notes), left)

    def _steps_left(self, aim: float) -> float | None:
        """Steps to the aim if the residual goes on falling as over the later half of the way."""
        known = [(step, math.log(worst)) for step, worst in self._seen if 0 < worst < math.inf]
        known = known[len(known) // 2 :]
        if len(known) < 3:
            return None
        (first, high), (last, low) = known[0], known[-1]
        if low >= high:
            return None
        return max(0.0, (low - math.log(aim)) * (last - first) / (high - low))
