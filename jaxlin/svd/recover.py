"""Right vectors from left ones: Rayleigh-Ritz on a few left directions, one pass each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

from jaxlin.operator import DetachedJacobian, solver_dtype
from jaxlin.progress import Progress


def recover(
    operator: DetachedJacobian, left: Float[Array | np.ndarray, "k m"], progress: Progress
) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, " k"], Float[np.ndarray, "k n"]]:
    """Triplets (u, s, v) of QᵀJ for the orthonormal rows Q, in the host's memory. k passes.

    Jᵀu = σv holds to rounding, and the values are second-order accurate in the angle of Q.
    """
    precision = solver_dtype(operator.dtype)
    q = np.asarray(left, precision)
    rows = np.empty((len(q), operator.shape[1]), precision)
    for part, chunk in operator.rows(q, progress, "recovering right vectors"):
        rows[part] = np.asarray(chunk, precision).reshape(len(chunk), -1)
    return factorise(q, rows)


def factorise(
    q: Float[np.ndarray, "k m"], rows: Float[np.ndarray, "k n"]
) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, " k"], Float[np.ndarray, "k n"]]:
    """The singular triplets of Qᵀ·rows, a wide matrix known by its few rows."""
    right, small = np.linalg.qr(rows.T)
    turn, s, across = np.linalg.svd(small.T)
    return turn.T @ q, s, across @ right.T
