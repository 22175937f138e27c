"""What a spectrum says: effective dimensions, and how near two sets of singular vectors are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

from jaxlin.results.dimensions import Dimensions
from jaxlin.results.svd import SVDResult


def dimensions(result: SVDResult) -> Dimensions:
    """The effective dimensions of the map that a result is of; 0 of the zero map."""
    s = np.asarray(result.s if result.spectrum is None else result.spectrum, np.float64)
    captured, fourth = float((s**2).sum()), float((s**4).sum())
    energy = result.certificate.energy
    whole = result.spectrum is not None or energy.captured == 0
    total = captured if whole else captured / energy.captured
    error = 0.0 if whole else total * energy.error / energy.captured
    if captured == 0:
        return Dimensions(total, error, 0.0, (0.0, 0.0))
    rest = max(total - captured, 0.0)
    least, most = total**2 / (fourth + rest * s[-1] ** 2), total**2 / fourth
    return Dimensions(total, error, total / s[0] ** 2, (least, most))


def principal_angles(
    a: Float[Array | np.ndarray, "i ..."], b: Float[Array | np.ndarray, "j ..."]
) -> Float[np.ndarray, " n"]:
    """Principal angles between the spans of two orthonormal sets [rad], rising, min(i, j) of them.

    Small ones by their sines, large ones by their cosines, so that all keep their digits
    (Björck & Golub 1973, §3).
    """
    flat = [np.asarray(vectors, np.float64).reshape(len(vectors), -1) for vectors in (a, b)]
    first, second = sorted(flat, key=len, reverse=True)
    cross = second @ first.T
    cosines = np.linalg.svd(cross, compute_uv=False)
    sines = np.linalg.svd(second - cross @ first, compute_uv=False)[::-1]
    small, large = np.arcsin(np.minimum(sines, 1)), np.arccos(np.minimum(cosines, 1))
    angles: np.ndarray = np.where(cosines > 0.7, small, large)
    return angles
