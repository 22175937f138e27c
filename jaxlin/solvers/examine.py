"""Candidates under fresh passes, after the solver has finished: everything that a certificate says of them.

Where a method hands over left vectors alone, half of it is at the same time the recovery of the right ones: a
backward pass of u gives σv, and what a forward pass makes of that v is held against σu.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from jaxlin.linear.fresh import Alone, Layout, Passes, send
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


def layouts(most: int, k: int, *, estimates: bool) -> tuple[Layout, Layout]:
    """How the probes of :func:`examine` are sent backwards and forwards, for k triplets, ``most`` at a time.

    ``estimates`` says whether the energy is estimated: where a method does not know all singular values. One
    that does has all rows, from passes of this many probes: these have as many, and are the same program.
    """
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
    (examined,) = examine_together(Alone(operator), [operator], [triplets], seed, progress)
    return examined


def examine_together(
    passes: Passes,
    operators: Sequence[DetachedJacobian],
    candidates: Sequence[Triplets],
    seed: int,
    progress: Progress = silent,
) -> list[Examined]:
    """The same of several maps, of as many triplets each, whose ``passes`` go together.

    Raises:
        JaxlinError: as there, of any of them.
    """
    k, estimates = len(candidates[0].s), candidates[0].spectrum is None
    backward, forward = layouts(passes.probes_per_pass, k, estimates=estimates)
    pulled = [
        _Pulled(operator, triplets, seed, estimates=estimates)
        for operator, triplets in zip(operators, candidates, strict=True)
    ]
    stage = "recovering right vectors" if candidates[0].v is None else "checking residuals"
    sent = send(passes.rmatmat, [one.probe for one in pulled], backward, progress, stage, "rows")
    for number, rows in sent:
        for one, row in zip(pulled, rows, strict=True):
            one.take(number, row)
    pushed = [_Pushed(one) for one in pulled]
    probes = [each.probe for each in pushed]
    for number, images in send(passes.matmat, probes, forward, progress, "checking residuals", "triplets"):
        for each, image in zip(pushed, images, strict=True):
            each.take(number, image)
    return [each.examined(backward.passes + forward.passes) for each in pushed]


class _Pulled:
    """What backward passes make of the left vectors, of the checks' probe, and of those of the energy."""

    def __init__(self, operator: DetachedJacobian, triplets: Triplets, seed: int, *, estimates: bool) -> None:
        self.operator, self.given = operator, triplets
        self.probes = probes_of(operator, seed)
        self._k, self._precision = len(triplets.s), solver_dtype(operator.dtype)
        if triplets.v is None:
            self._left = np.asarray(triplets.u, self._precision)
            self._rows = np.empty((self._k, operator.shape[1]), self._precision)
        else:
            self._shaped = shaped(operator, triplets.u, triplets.s, triplets.v)
            self._left = self._shaped[0].reshape(self._k, -1)
        self._others = self.probes[0].reshape(1, -1)
        if estimates:
            self._others = np.concatenate([self._others, leftover_probes(self._left, seed)])
        self.right = np.zeros(self._k)
        self.of_check = np.empty(0)
        self.leftover = np.zeros(len(self._others) - 1)

    def probe(self, number: int) -> np.ndarray:
        """The left vector, or other probe, of this number."""
        flat = self._left[number] if number < self._k else self._others[number - self._k]
        return np.asarray(flat, self.operator.dtype).reshape(self.operator.output_shape)

    def take(self, number: int, row: np.ndarray) -> None:
        """Jᵀ of that probe."""
        other = number - self._k
        if other < 0 and self.given.v is None:
            self._rows[number] = row.reshape(-1)
        elif other < 0:
            self.right[number] = misfit_of(row, float(self._shaped[1][number]), self._shaped[2][number])
        elif other == 0:
            self.of_check = row
        elif other < len(self._others):
            self.leftover[other - 1] = np.linalg.norm(np.asarray(row, np.float64))

    def triplets(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """u, s, v in their shapes. Of recovered ones Jᵀu = σv holds: that is what they are made from."""
        if self.given.v is not None:
            return self._shaped
        refuse_nonfinite(self._rows)
        return shaped(self.operator, *factorise(self._left, self._rows))


class _Pushed:
    """What forward passes make of the checks' probes, and of the right vectors."""

    def __init__(self, pulled: _Pulled) -> None:
        self._pulled = pulled
        self._u, self._s, self._v = pulled.triplets()
        self._others = forward_probes(pulled.operator, pulled.probes[1])
        self._images: list[np.ndarray] = []
        self._left = np.empty(len(self._s))

    def probe(self, number: int) -> np.ndarray:
        """The probe, or right vector, of this number."""
        ahead = len(self._others)
        vector = self._others[number] if number < ahead else self._v[number - ahead]
        return np.asarray(vector, self._pulled.operator.dtype)

    def take(self, number: int, image: np.ndarray) -> None:
        """J of it; what comes after all of them are the first once more."""
        which = number - len(self._others)
        if which < 0 or which == len(self._s):
            self._images.append(image)
        elif which < len(self._s):
            self._left[which] = misfit_of(image, float(self._s[which]), self._u[which])

    def examined(self, passes: int) -> Examined:
        """What all passes say."""
        spectrum, pulled = self._pulled.given.spectrum, self._pulled
        if spectrum is None:
            energy = energy_of_leftover(self._s, pulled.leftover)
        else:
            energy = energy_of_spectrum(self._s, np.asarray(spectrum))
        with quietly():
            residual = np.hypot(self._left, pulled.right).astype(self._s.dtype)
        checks = checks_of(pulled.operator, pulled.probes, self._images, pulled.of_check)
        return Examined(self._u, self._s, self._v, residual, checks, energy, passes)


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
