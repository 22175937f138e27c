"""Top-k singular triplets of an operator: one method a file, one result type for all."""

from __future__ import annotations

import time

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin.certificate import CHECK_PASSES, certify, residuals
from jaxlin.operator import DetachedJacobian
from jaxlin.plan import plan
from jaxlin.progress import Progress, silent
from jaxlin.svd.dense import dense_svd
from jaxlin.svd.matfree import matfree_svd
from jaxlin.svd.result import SVDResult, solver_dtype

__all__ = ["SVDResult", "default_tolerance", "svd"]


def svd(
    operator: DetachedJacobian,
    k: int = 16,
    *,
    method: str = "auto",
    tolerance: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> SVDResult:
    """The k largest singular triplets, with a certificate from fresh passes.

    Args:
        operator: the map, from ``jaxlin.load(…).jacobian(…)`` or :func:`jaxlin.linearize`.
        k: how many, 1 ≤ k ≤ min(m, n).
        method: ``dense`` (builds the matrix, exact), ``matfree`` (Golub-Kahan bidiagonalisation), or
            ``auto``, which takes ``dense`` while the matrix is small.
        tolerance: residual asked of every triplet, as a multiple of σ₁; by dtype if not given.
        seed: of the start vector and the adjoint test. Same seed, same answer.
        progress: told what is happening.

    Raises:
        JaxlinError: k or method out of range, or a method that does not fit into memory.
    """
    chosen = plan(operator, k, method)
    tolerance = default_tolerance(operator.dtype) if tolerance is None else tolerance
    started = time.perf_counter()
    if chosen.method == "dense":
        found = dense_svd(operator, k, progress)
    else:
        found = matfree_svd(
            operator,
            k,
            max_steps=chosen.max_steps,
            seed=seed,
            tolerance=tolerance,
            progress=progress,
        )
    precision = solver_dtype(operator.dtype)
    sign = _signs(found.u, operator.y)
    u = (sign * found.u).astype(precision).reshape(k, *operator.output_shape)
    v = (sign * found.v).astype(precision).reshape(k, *operator.input_shape)
    s = found.s.astype(precision)
    residual = residuals(operator, u, s, v, progress)
    return SVDResult(
        U=u,
        s=s,
        V=v,
        residuals=residual,
        method=chosen.method,
        passes=found.passes + 2 * k + CHECK_PASSES,
        seconds=time.perf_counter() - started,
        seed=seed,
        certificate=certify(operator, s, residual, tolerance, seed),
    )


def default_tolerance(dtype: jnp.dtype) -> float:
    """Residual asked for, as a multiple of σ₁: 1e-10, 1e-5 or 5e-2 in float64, float32, bfloat16."""
    return {8: 1e-10, 4: 1e-5, 2: 5e-2}[jnp.dtype(dtype).itemsize]


def _signs(u: Float[Array, "k m"], y: Float[Array, ...]) -> Float[Array, "k 1"]:
    """±1 for each left vector, such that ⟨u, y⟩ ≥ 0."""
    overlap = u @ y.ravel().astype(u.dtype)
    return jnp.where(overlap < 0, -1.0, 1.0).astype(u.dtype)[:, None]
