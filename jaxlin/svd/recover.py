"""Right vectors from left ones: Rayleigh-Ritz on a few left directions, one pass each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

from jaxlin.operator import DetachedJacobian, solver_dtype
from jaxlin.progress import Progress

#: Columns that are factorised together.
_COLUMNS = 2**20


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
    """The singular triplets of Qᵀ·rows, a wide matrix known by its few rows, in the place of ``rows``.

    QR in pieces (TSQR: Demmel et al., arXiv:0808.2664), because the right vectors of a long prompt are
    gigabytes and LAPACK would hold them three times: each piece is replaced by its orthonormal factor, and
    those of all pieces are put together through the QR of their small triangles.
    """
    parts = [slice(start, start + _COLUMNS) for start in range(0, rows.shape[1], _COLUMNS)]
    triangles = []
    for part in parts:
        orthonormal, triangle = np.linalg.qr(rows[:, part].T)
        rows[: len(triangle), part] = orthonormal.T
        triangles.append(triangle)
    right, small = np.linalg.qr(np.concatenate(triangles))
    turn, s, across = np.linalg.svd(small.T)
    at = 0
    for part, triangle in zip(parts, triangles, strict=True):
        mine = right[at : at + len(triangle)]
        rows[:, part] = across @ (mine.T @ rows[: len(triangle), part])
        at += len(triangle)
    return turn.T @ q, s, rows
