"""How much of the whole map some triplets are: Σσ² / ‖J‖_F², with an error bar."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

#: Passes of the estimate: one block of probes.
ENERGY_PASSES = 8


@dataclass(frozen=True)
class Energy:
    """Captured energy Σσ² / ‖J‖_F².

    Attributes:
        captured: the fraction, 0 … 1.
        error: its standard error; 0 where the whole spectrum is known.
    """

    captured: float
    error: float

    def __repr__(self) -> str:
        bar = f" ± {self.error:.1g}" if self.error else ""
        return f"Energy({self.captured:.4g}{bar})"


def energy_of_spectrum(s: Float[np.ndarray, " k"], spectrum: Float[np.ndarray, " m"]) -> Energy:
    """From all singular values: no estimate, no error."""
    return _energy(_squared(s), _squared(spectrum), 0.0)


def leftover_probes(u: Float[np.ndarray, "k m"], seed: int) -> Float[np.ndarray, "p m"]:
    """Gaussian probes ω without what the left vectors u span: as many as :data:`ENERGY_PASSES`."""
    drawn = np.random.default_rng(seed).standard_normal((ENERGY_PASSES, u.shape[1]))
    wide = np.asarray(u, np.float64)
    left: np.ndarray = drawn - (drawn @ wide.T) @ wide
    return left


def energy_of_leftover(s: Float[np.ndarray, " k"], lengths: Float[np.ndarray, " p"]) -> Energy:
    """From ‖Jᵀω‖ of the probes ω of :func:`leftover_probes`, of what the left vectors leave over.

    ‖J‖_F² = Σσ² + ‖(I − UUᵀ)J‖_F², and only the second term is estimated, by Hutchinson's method (deflated as
    in Hutch++, Meyer et al., arXiv:2010.09649), so that the error bar is of what was not found and shrinks
    with it.
    """
    squares = np.square(np.asarray(lengths, np.float64))
    captured, rest = _squared(s), float(squares.mean())
    return _energy(captured, captured + rest, float(squares.std() / math.sqrt(len(squares))))


def _squared(s: Float[np.ndarray, " k"]) -> float:
    return float(np.sum(np.square(s, dtype=np.float64)))


def _energy(captured: float, total: float, error: float) -> Energy:
    if total == 0:
        return Energy(1.0, 0.0)
    return Energy(captured / total, captured * error / total**2)
