"""Golub-Kahan bidiagonalisation by matfree (Krämer et al., arXiv:2405.17277), driven to a tolerance.

matfree takes a fixed number of steps and keeps every left and right vector. It is restarted with twice the steps
until the residuals, recomputed from fresh passes, meet the tolerance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matfree.decomp import bidiag
from matfree.eig import svd_partial

from jaxlin.certificate import residuals
from jaxlin.errors import JaxlinError
from jaxlin.operator import DetachedJacobian
from jaxlin.progress import Progress, silent
from jaxlin.svd.result import Triplets


def matfree_svd(
    operator: DetachedJacobian, k: int, *, seed: int, tolerance: float, progress: Progress
) -> Triplets:
    """The top k triplets by restarted bidiagonalisation; the last round's if none met the tolerance.

    Raises:
        JaxlinError: the Krylov space closed before k vectors were found (the map's rank is small).
    """
    most = min(operator.shape)
    steps, passes = first_steps(k, most), 0
    while True:
        u, s, v = _round(operator, steps, seed, progress)
        passes += 2 * steps
        if not bool(jnp.isfinite(s[:k]).all()):
            raise JaxlinError(
                f"matfree broke down within {steps} steps, as it does when the map's rank is smaller than that "
                f"(or a pass returned NaN); use method dense"
            )
        triplets = Triplets(u[:k], s[:k], v[:k], passes)
        if steps == most:
            return triplets
        relative = _residuals(operator, triplets, progress) / s[0]
        passes += 2 * k
        met = int((relative <= tolerance).sum())
        progress(
            "converged", met, k, f"of {k}, worst residual {float(relative.max()):.1e}·σ₁ at {steps} steps"
        )
        if met == k:
            return Triplets(u[:k], s[:k], v[:k], passes)
        steps = min(2 * steps, most)


def first_steps(k: int, most: int) -> int:
    """Steps of the first round: enough past k for a spectrum that falls as those of decoders do."""
    return min(max(4 * k, 48), most)


def _residuals(operator: DetachedJacobian, found: Triplets, progress: Progress) -> Float[Array, " k"]:
    k = len(found.s)
    u = found.u.reshape(k, *operator.output_shape)
    return residuals(operator, u, found.s, found.v.reshape(k, *operator.input_shape), progress)


def _round(
    operator: DetachedJacobian, steps: int, seed: int, progress: Progress
) -> tuple[Float[Array, "steps m"], Float[Array, " steps"], Float[Array, "steps n"]]:
    """One whole bidiagonalisation, flat vectors as rows, telling ``progress`` of every step."""
    counter = itertools.count(1)

    def tick() -> None:
        progress("bidiagonalising", next(counter), steps, "steps")

    # Without anybody listening the program is the same every time, and so is compiled once.
    on_pass = None if progress is silent else tick
    with jax.default_matmul_precision("highest"):
        return jax.block_until_ready(_bidiagonalise(operator, seed, steps, on_pass))


@partial(jax.jit, static_argnums=(2, 3))
def _bidiagonalise(
    operator: DetachedJacobian, seed: Array, steps: int, on_pass: Callable[[], None] | None
) -> tuple[Array, Array, Array]:
    # matfree works in JAX's default float dtype whatever its start vector's, so start in it.
    work = jnp.zeros(()).dtype

    def forward(operator: DetachedJacobian, v: Array) -> Array:
        if on_pass is not None:
            jax.debug.callback(on_pass)
        probe = v.astype(operator.dtype).reshape(1, *operator.input_shape)
        return operator.forward(operator.state, probe).ravel().astype(work)

    def backward(operator: DetachedJacobian, u: Array) -> Array:
        probe = u.astype(operator.dtype).reshape(1, *operator.output_shape)
        return operator.backward(operator.state, probe).ravel().astype(work)

    def apply(v: Array, operator: DetachedJacobian) -> Array:
        return jax.custom_derivatives.linear_call(forward, backward, operator, v)

    start = jax.random.normal(jax.random.key(seed), (operator.shape[1],), work)
    return svd_partial(bidiag(steps))(apply, start, operator)
