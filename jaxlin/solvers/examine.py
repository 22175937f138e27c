"""Candidates under fresh passes, after the solver has finished: everything that a certificate says of them.

Where a method hands over left vectors alone, half of it is at the same time the recovery of the right ones: a
backward pass of u gives σv, and what a forward pass makes of that v is held against σu.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from jaxlin.linear.certificate import Check, checks_of, forward_probes, misfit_of, probes_of
from jaxlin.linear.energy import (
    ENERGY_PASSES,
    Energy,
    energy_of_leftover,
    energy_of_spectrum,
    leftover_probes,
)
from jaxlin.linear.fresh import Layout, send
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.linear.vectors import quietly
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.recover import factorise, refuse_nonfinite
from jaxlin.solvers.result import Triplets


@dataclass(frozen=True, eq=False)
class Examined:
    """Triplets in their shapes, on the host, with what fresh passes say of them.

    Attributes:
        u: left vectors [k, …], ⟨u, y⟩ ≥ 0.
        s: values [k], falling.
        v: right vectors [k, …].
        residual: √(‖Jv − σu‖² + ‖Jᵀu − σv‖²) [k].
        checks: those of the operator.
        energy: what the triplets capture of ‖J‖².
        passes: that it took.
    """

    u: np.ndarray
    s: np.ndarray
    v: np.ndarray
    residual: np.ndarray
    checks: tuple[Check, ...]
    energy: Energy
    passes: int


def layouts(operator: DetachedJacobian, k: int, *, estimates: bool) -> tuple[Layout, Layout]:
    """How the probes of :func:`examine` are sent backwards and forwards, for k triplets.

    ``estimates`` says whether the energy is estimated: where a method does not know all singular values. One
    that does has all rows, from passes of this many probes: these have as many, and are the same program.
    """
    most = operator.probes_per_pass
    forward = Layout.of(k + 3, most, again=True)
    if estimates:
        return Layout.of(k + 1 + ENERGY_PASSES, most), forward
    return Layout(k + 1, most, -(-(k + 1) // most)), forward


def examine(
    operator: DetachedJacobian, triplets: Triplets, seed: int, progress: Progress = silent
) -> Examined:
    """Residuals, checks and energy of a candidate.

    Args:
        operator: the map.
        triplets: as a method hands them over.
        seed: of the random probes.
        progress: told of the passes.

    Raises:
        JaxlinError: right vectors are to be recovered, and the passes return NaN or infinity.
    """
    k, estimates = len(triplets.s), triplets.spectrum is None
    probes = probes_of(operator, seed)
    backward, forward = layouts(operator, k, estimates=estimates)
    pulled = _Pulled(operator, triplets, probes[0], seed if estimates else None)
    stage = "recovering right vectors" if triplets.v is None else "checking residuals"
    for number, row in send(operator.rmatmat, pulled.probe, backward, progress, stage, "rows"):
        pulled.take(number, row)
    u, s, v = pulled.triplets()
    others = forward_probes(operator, probes[1])
    images: list[np.ndarray] = []
    left = np.empty(k)

    def probe(number: int) -> np.ndarray:
        return np.asarray(others[number] if number < 3 else v[number - 3], operator.dtype)

    for number, image in send(operator.matmat, probe, forward, progress, "checking residuals", "triplets"):
        if number < 3 or number == forward.count:
            images.append(image)
        elif number < forward.count:
            left[number - 3] = misfit_of(image, float(s[number - 3]), u[number - 3])
    if estimates:
        energy = energy_of_leftover(s, pulled.leftover)
    else:
        energy = energy_of_spectrum(s, np.asarray(triplets.spectrum))
    with quietly():
        residual = np.hypot(left, pulled.right).astype(s.dtype)
    return Examined(
        u=u,
        s=s,
        v=v,
        residual=residual,
        checks=checks_of(operator, probes, images, pulled.of_check),
        energy=energy,
        passes=backward.passes + forward.passes,
    )


class _Pulled:
    """What backward passes make of the left vectors, of the checks' probe, and of those of the energy."""

    def __init__(
        self, operator: DetachedJacobian, triplets: Triplets, check: np.ndarray, seed: int | None
    ) -> None:
        self._operator, self._given = operator, triplets
        self._k, self._precision = len(triplets.s), solver_dtype(operator.dtype)
        if triplets.v is None:
            self._left = np.asarray(triplets.u, self._precision)
            self._rows = np.empty((self._k, operator.shape[1]), self._precision)
        else:
            self._shaped = shaped(operator, triplets.u, triplets.s, triplets.v)
            self._left = self._shaped[0].reshape(self._k, -1)
        self._others = check.reshape(1, -1)
        if seed is not None:
            self._others = np.concatenate([self._others, leftover_probes(self._left, seed)])
        self.right = np.zeros(self._k)
        self.of_check = np.empty(0)
        self.leftover = np.zeros(len(self._others) - 1)

    def probe(self, number: int) -> np.ndarray:
        """The left vector, or other probe, of this number."""
        flat = self._left[number] if number < self._k else self._others[number - self._k]
        return np.asarray(flat, self._operator.dtype).reshape(self._operator.output_shape)

    def take(self, number: int, row: np.ndarray) -> None:
        """Jᵀ of that probe."""
        other = number - self._k
        if other < 0 and self._given.v is None:
            self._rows[number] = row.reshape(-1)
        elif other < 0:
            self.right[number] = misfit_of(row, float(self._shaped[1][number]), self._shaped[2][number])
        elif other == 0:
            self.of_check = row
        elif other < len(self._others):
            self.leftover[other - 1] = np.linalg.norm(np.asarray(row, np.float64))

    def triplets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """u, s, v in their shapes. Of recovered ones Jᵀu = σv holds: that is what they are made from."""
        if self._given.v is not None:
            return self._shaped
        refuse_nonfinite(self._rows)
        return shaped(self._operator, *factorise(self._left, self._rows))


def shaped(
    operator: DetachedJacobian,
    u: Float[Array | np.ndarray, "k m"],
    s: Float[Array | np.ndarray, " k"],
    v: Float[Array | np.ndarray, "k n"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triplets in their shapes, on the host, with signs such that ⟨u, y⟩ ≥ 0."""
    precision = solver_dtype(operator.dtype)
    left = np.asarray(u, precision)
    overlap = left @ np.asarray(operator.y, precision).ravel()
    sign = np.where(overlap < 0, -1, 1).astype(precision)[:, None]
    right = np.asarray(v, precision)
    if not right.flags.writeable:  # the device's own; those on the host are large, and nobody else's
        right = right.copy()
    right *= sign
    return (
        (left * sign).reshape(-1, *operator.output_shape),
        np.asarray(s, precision),
        right.reshape(-1, *operator.input_shape),
    )
