"""Tables with a row for each token, the embeddings and the head: arrays, or packed and read by rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin_models.packed import Packed
from jaxlin_models.precision import contract

#: An array [vocab, d], or one in codes.
Table = Array | Packed

#: Rows of a packed table whose numbers are there at once.
ROWS_AT_ONCE = 8192


def some_rows(table: Table, start: Array | int, count: int) -> Float[Array, "n d"]:
    """``count`` rows from row ``start`` on."""
    part = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, count), table)
    return part.numbers() if isinstance(part, Packed) else part


def scores(hidden: Float[Array, "... d"], table: Table, precision: str) -> Float[Array, "... vocab"]:
    """Products of hidden states with every row; the numbers of a packed table are never all there."""
    if not isinstance(table, Packed):
        return contract("...d,vd->...v", hidden, table, precision)
    size = len(table)
    count = min(ROWS_AT_ONCE, size)

    def part(start: Array) -> Float[Array, "... n"]:
        return contract("...d,vd->...v", hidden, some_rows(table, start, count), precision)

    def step(i: Array, scored: Array) -> Array:
        start = jnp.minimum(i * count, size - count)  # the last ones again, where they are fewer
        return jax.lax.dynamic_update_slice_in_dim(scored, part(start), start, axis=-1)

    like = jax.eval_shape(part, 0)
    empty = jnp.zeros((*like.shape[:-1], size), like.dtype)
    found: Array = jax.lax.fori_loop(0, -(-size // count), step, empty)
    return found
