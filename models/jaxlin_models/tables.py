"""Tables with a row for each token, the embeddings and the head: arrays, or packed and read by rows."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin_models.bits import from_bits, to_bits
from jaxlin_models.packed import Packed
from jaxlin_models.precision import contract

#: An array [vocab, d], or one in codes.
Table = Array | Packed

#: Rows whose numbers are there at once, of a table that is not multiplied as it is stored.
ROWS_AT_ONCE = 8192


def some_rows(table: Table, start: Array | int, count: int) -> Float[Array, "n d"]:
    """``count`` rows from row ``start`` on."""
    part = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start, count), to_bits(table))
    rows: Array = part.numbers() if isinstance(part, Packed) else from_bits(part)
    return rows


def scores(hidden: Float[Array, "... d"], table: Table, precision: str) -> Float[Array, "... vocab"]:
    """Products of hidden states with every row.

    The numbers of a table that is packed, or converted before it is multiplied, are never all there.
    """
    if not isinstance(table, Packed) and not _is_converted(table, precision):
        return contract("...d,vd->...v", hidden, table, precision)
    size = len(table)
    count = min(ROWS_AT_ONCE, size)

    def part(start: Array) -> Float[Array, "... n"]:
        # Tied to the place where it starts: else a CPU reads all rows anew as another dtype before the loop.
        waiting, start = jax.lax.optimization_barrier((table, start))
        return contract("...d,vd->...v", hidden, some_rows(waiting, start, count), precision)

    def step(i: Array, scored: Array) -> Array:
        start = jnp.minimum(i * count, size - count)  # the last ones again, where they are fewer
        return jax.lax.dynamic_update_slice_in_dim(scored, part(start), start, axis=-1)

    like = jax.eval_shape(part, 0)
    empty = jnp.zeros((*like.shape[:-1], size), like.dtype)
    found: Array = jax.lax.fori_loop(0, -(-size // count), step, empty)
    return found


def _is_converted(table: Array, precision: str) -> bool:
    """Whether products take the table in other numbers than it is stored in, which are a copy of it.

    A CPU has no products of bfloat16, and emulates the narrow precisions.
    """
    narrow = table.dtype == jnp.bfloat16
    if jax.default_backend() == "cpu":
        return bool(narrow) or precision not in ("float32", "float64")
    return bool(narrow) and precision != "bfloat16"
