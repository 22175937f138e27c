"""The small mode: build the matrix from m passes and factorise it. Exact to rounding."""

from __future__ import annotations

import jax.numpy as jnp

from jaxlin.operator import DetachedJacobian
from jaxlin.progress import Progress
from jaxlin.svd.result import Triplets, solver_dtype


def dense_svd(operator: DetachedJacobian, k: int, progress: Progress) -> Triplets:
    """The top k triplets from LAPACK's SVD of the built matrix [m, n]."""
    m, n = operator.shape
    matrix = operator.dense(progress).reshape(m, n).astype(solver_dtype(operator.dtype))
    progress("factorising", 0, 1)
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=False)
    return Triplets(u[:, :k].T, s[:k], vt[:k], passes=m)
