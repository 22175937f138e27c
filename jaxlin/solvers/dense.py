"""The small mode: build the matrix from m passes and factorise it. Exact to rounding."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp

from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.solvers.result import Request, Triplets


def dense_svd(operator: DetachedJacobian, request: Request) -> Iterator[Triplets]:
    """The top k triplets from LAPACK's SVD of the built matrix [m, n]."""
    m, n = operator.shape
    matrix = operator.dense(request.progress).reshape(m, n).astype(solver_dtype(operator.dtype))
    request.progress("factorising", 0, 1)
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=False)
    request.progress("factorising", 1, 1)
    k = request.k
    yield Triplets(u[:, :k].T, s[:k], vt[:k], passes=m, spectrum=s)
