"""Golub-Kahan bidiagonalisation by matfree (Krämer et al., arXiv:2405.17277), driven to a tolerance.

matfree takes a fixed number of steps and keeps every left and right vector. It is restarted with twice
the steps for as long as a better answer is asked for.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matfree.decomp import bidiag

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.result import Request, Triplets


def matfree_svd(operator: DetachedJacobian, request: Request) -> Iterator[Triplets]:
    """The top k triplets by restarted bidiagonalisation, a candidate a round; the last is all there is.

    Raises:
        JaxlinError: the Krylov space closes before it holds k vectors, or the passes return NaN.
    """
    k = request.k
    most = max(k, min(*operator.shape, request.max_passes // 2))
    steps, passes, before = first_steps(k, most), 0, None
    while True:
        u, s, v, held = _round(operator, steps, request.seed, request.progress)
        passes += 2 * steps
        if held == 0:
            raise JaxlinError(
                "the operator's passes return zero or NaN: check the weights, or use a wider dtype"
            )
        if held < k:
            raise JaxlinError(
                f"this map's Krylov space closes at {held} vectors (small rank, or repeated singular "
                f"values): ask for k ≤ {held}, or use method lanczos, which restarts there"
            )
        moved = None if before is None else float(jnp.abs(s[:k] - before).max() / s[0])
        yield Triplets(u[:k], s[:k], v[:k], passes, moved=moved)
        if held < steps or steps == most:
            return  # all there is to find
        before, steps = s[:k], min(2 * steps, most)


def first_steps(k: int, most: int) -> int:
    """Steps of the first round: enough past k for a spectrum that falls as those of decoders do."""
    return min(max(4 * k, 48), most)


def _round(
    operator: DetachedJacobian, steps: int, seed: int, progress: Progress
) -> tuple[Float[Array, "steps m"], Float[Array, " steps"], Float[Array, "steps n"], int]:
    """One whole bidiagonalisation and the SVD of what comes out, telling ``progress`` of every step.

    Returns flat left vectors as rows, values, right vectors, and how many of them hold.
    """
    counter = itertools.count(1)

    def tick() -> None:
        progress("bidiagonalising", next(counter), steps, "steps")

    # Without anybody listening the program is the same every time, and so is compiled once.
    on_pass = None if progress is silent else tick
    with jax.default_matmul_precision("highest"):
        bases, bidiagonal = bidiagonalise(operator, seed, steps, on_pass)
        *triplets, held = _ritz_triplets(*bases, *bidiagonal)
    return *triplets, int(held)


@partial(jax.jit, static_argnums=(2, 3))
def bidiagonalise(
    operator: DetachedJacobian, seed: int | Array, steps: int, on_pass: Callable[[], None] | None
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """matfree's bases (left and right vectors as rows) and bidiagonal (diagonal, superdiagonal)."""
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
        image: Array = jax.custom_derivatives.linear_call(forward, backward, operator, v)
        return image

    start = jax.random.normal(jax.random.key(seed), (operator.shape[1],), work)
    decomposition = bidiag(steps, materialize=False)(apply, start, operator)
    return decomposition.Q_tall, decomposition.J_small


@jax.jit
def _ritz_triplets(
    u: Float[Array, "steps m"], v: Float[Array, "steps n"], diagonal: Array, above: Array
) -> tuple[Array, Array, Array, Array]:
    """Singular triplets from a bidiagonalisation, without what followed a breakdown.

    At a map of smaller rank than steps the recurrence divides rounding by rounding and goes on with
    vectors that mean nothing (ghosts). They begin at the first coefficient that is lost in rounding.
    """
    in_order = jnp.stack([diagonal, jnp.append(above, 0)], axis=1).ravel()[:-1]
    floor = 100 * jnp.finfo(in_order.dtype).eps * jax.lax.cummax(in_order)
    sound = jnp.cumprod(in_order > floor).astype(bool)
    in_order = jnp.where(sound, in_order, 0)
    left_sound, right_sound = sound[::2], jnp.append(True, sound[1::2])
    small = jnp.diag(in_order[::2]) + jnp.diag(in_order[1::2], 1)
    left, s, right = jnp.linalg.svd(small)
    u = left.T @ jnp.where(left_sound[:, None], u, 0)
    v = right @ jnp.where(right_sound[:, None], v, 0)
    return u, s, v, left_sound.sum()
