"""What a spectrum says: effective dimensions, and how near two sets of singular vectors are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from jaxlin.solvers.result import SVDResult


@dataclass(frozen=True)
class Dimensions:
    """How many directions a map really uses.

    Attributes:
        frobenius2: ‖J‖_F²; exact where the whole spectrum is known, else estimated.
        frobenius2_error: its standard error, 0 where it is exact.
        stable_rank: ‖J‖_F² / σ₁².
        participation: (Σσ²)² / Σσ⁴, as the least and the most it can be: what is beyond the top k has
            a known energy, and no σ above σ_k. Both are the same where the whole spectrum is known.
    """

    frobenius2: float
    frobenius2_error: float
    stable_rank: float
    participation: tuple[float, float]


def dimensions(result: SVDResult) -> Dimensions:
    """The effective dimensions of the map that a result is of; 0 of the zero map."""
    s = np.asarray(result.s if result.spectrum is None else result.spectrum, np.float64)
    found, fourth = float((s**2).sum()), float((s**4).sum())
    energy = result.certificate.energy
    whole = result.spectrum is not None or energy.captured == 0
    total = found if whole else found / energy.captured
    error = 0.0 if whole else total * energy.error / energy.captured
    if found == 0:
        return Dimensions(total, error, 0.0, (0.0, 0.0))
    rest = max(total - found, 0.0)
    least, most = total**2 / (fourth + rest * s[-1] ** 2), total**2 / fourth
    return Dimensions(total, error, total / s[0] ** 2, (least, most))


def overlaps(
    a: Float[Array | np.ndarray, "i n"], b: Float[Array | np.ndarray, "j n"]
) -> Float[np.ndarray, "i j"]:
    """⟨a_i, b_j⟩ in float64, for vectors of any shape."""
    flat = [np.asarray(each, np.float64).reshape(len(each), -1) for each in (a, b)]
    return flat[0] @ flat[1].T


def principal_angles(
    a: Float[Array | np.ndarray, "i ..."], b: Float[Array | np.ndarray, "j ..."]
) -> Float[np.ndarray, " n"]:
    """Principal angles between the spans of two orthonormal sets [rad], rising, min(i, j) of them.

    Small ones by their sines, large ones by their cosines, so that all keep their digits
    (Björck & Golub 1973, §3).
    """
    flat = [np.asarray(each, np.float64).reshape(len(each), -1) for each in (a, b)]
    first, second = sorted(flat, key=len, reverse=True)
    cross = second @ first.T
    cosines = np.linalg.svd(cross, compute_uv=False)
    sines = np.linalg.svd(second - cross @ first, compute_uv=False)[::-1]
    return np.where(cosines > 0.7, np.arcsin(np.minimum(sines, 1)), np.arccos(np.minimum(cosines, 1)))
