"""What is done to each position alone, done to some positions at a time where a prompt is long.

What an MLP holds on the way is several times as wide as the residual stream. At 32,768 positions that is more
than all else that a pass needs beside its arguments; a few thousand positions use the machine as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

#: More positions than these are gone through in parts of at most so many.
POSITIONS_AT_ONCE = 4096


def by_positions(
    apply: Callable[[Array, Any], Array], x: Float[Array, "... t d"], beside: PyTree[Float[Array, "... t _"]]
) -> Float[Array, "... t d"]:
    """``apply(x, beside)``, where each position of the result depends on that position alone.

    It can be transposed in ``x`` if ``apply`` is linear in it, and not be differentiated otherwise. The
    transpose of a loop of JAX would first compute what is not linear, for all positions, and hold it.

    Args:
        apply: keeps the shape of x.
        x: positions are its last axis but one.
        beside: arrays of which the same holds.
    """
    length = x.shape[-2]
    if length <= POSITIONS_AT_ONCE:
        return apply(x, beside)
    parts = -(-length // POSITIONS_AT_ONCE)
    size = -(-length // parts)

    def go_through(one: Callable[[Array, Any], Array], x: Array, beside: Any) -> Array:
        def put(i: Int[Array, ""], done: Array) -> Array:
            start = jnp.minimum(i * size, length - size)  # the last part has some positions once more
            some = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, size, axis=-2), (x, beside))
            filled: Array = jax.lax.dynamic_update_slice_in_dim(done, one(*some), start, axis=-2)
            return filled

        done: Array = jax.lax.fori_loop(0, parts, put, zeros_after(x, x.shape, x.dtype))
        return done

    def backward(beside: Any, g: Array) -> Array:
        def pull_back(g: Array, beside: Any) -> Array:
            pulled: Array = jax.linear_transpose(lambda x: apply(x, beside), g)(g)[0]
            return pulled

        return go_through(pull_back, g, beside)

    whole: Array = linear_call(lambda beside, x: go_through(apply, x, beside), backward, beside, x)
    return whole


def zeros_after(after: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Zeros in which a loop puts its results, made once ``after`` is there.

    Zeros depend on nothing: where the loop over layers is written out, the compiler would make those of all
    layers at once, before the first, and hold them.
    """
    zero, _ = jax.lax.optimization_barrier((jnp.zeros((), dtype), after))
    return jnp.broadcast_to(zero, shape)
