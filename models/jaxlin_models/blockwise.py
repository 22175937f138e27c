"""Frozen attention in memory linear in the prompt: P is never whole, only a block of it at a time.

What is kept are queries, keys and the log-sum-exp of each row of scores, from which any block of

    P[t, s] = exp(cap(q_t·k_s·scale) − logsumexp_t)      for s ≤ t and t − s < reach

can be computed again (Dao et al., arXiv:2205.14135, §3; Milakov & Gimelshein, arXiv:1805.02867, for the
log-sum-exp in one sweep). Freezing q and k is freezing P, so what remains is linear in the values: V ↦ P·V
goes over the key blocks that a query block sees, its transpose G ↦ Pᵀ·G over the query blocks that see a key
block. A sliding layer touches its band alone. The two directions are tied by ``linear_call``: JAX could not
transpose loops whose bounds depend on the layer.

Axes: block n, position in it q (query) or s (key), kv head k, query of a group g, feature h, probe b. Queries
of a group stand side by side with the positions of their block (axis gq), probes with features (axis bh).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import linear_call
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxlin_models.modules import Leaf, soft_cap
from jaxlin_models.precision import contract

Index = int | Int[Array, "..."] | Int[np.ndarray, "..."]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class QueriesKeys:
    """A layer's probabilities as what they come from, cut into n blocks (the last one padded with zeros).

    Attributes:
        query: rotated queries [n, k, g·q, h], storage dtype.
        key: rotated keys [n, k, s, h], storage dtype; blocks of queries and keys are the same.
        logsumexp: of each query's visible scores [n, k, g·q], float32 or better.
        reach: how many positions back a query sees, itself included; an integer.
        scale: scores are q·k times this.
        softcap: then they become softcap·tanh(scores/softcap), unless it is None.
        precision: of the products, one of :data:`jaxlin_models.precision.PRECISIONS`.
    """

    query: Leaf
    key: Leaf
    logsumexp: Leaf
    reach: Leaf
    scale: float = field(metadata={"static": True})
    softcap: float | None = field(metadata={"static": True})
    precision: str = field(metadata={"static": True})

    @property
    def blocks(self) -> int:
        """n: how many blocks there are."""
        return self.key.shape[0]

    @property
    def block(self) -> int:
        """Positions in a block."""
        return self.key.shape[2]


def freeze(
    query: Float[Array, "t k g h"],
    key: Float[Array, "t k h"],
    reach: Int[Array, ""],
    *,
    block: int,
    scale: float,
    softcap: float | None,
    precision: str,
    storage: DTypeLike,
) -> QueriesKeys:
    """Queries and keys, rotated already, with the log-sum-exp of every row of visible scores.

    The statistics are those of the queries and keys as stored, so that rows of P sum to 1 again.
    """
    length = len(query)
    size = block_size(length, block)
    rows = _cut(query.astype(storage).transpose(1, 2, 0, 3), size)  # [n, k, g, q, h]
    frozen = QueriesKeys(
        query=rows.reshape(*rows.shape[:2], -1, rows.shape[-1]),
        key=_cut(key.astype(storage).transpose(1, 0, 2), size),
        logsumexp=None,
        reach=reach,
        scale=scale,
        softcap=softcap,
        precision=precision,
    )
    sums = jax.lax.map(lambda i: _logsumexp(frozen, i), jnp.arange(frozen.blocks))
    return replace(frozen, logsumexp=sums)


def mix(frozen: QueriesKeys, values: Float[Array, "*probes s k h"]) -> Float[Array, "*probes t k g h"]:
    """P·V for any number of probes, linear in ``values`` and transposable in them."""
    *probes, length, heads, features = values.shape
    group = frozen.query.shape[2] // frozen.block
    padded = frozen.blocks * frozen.block
    flat = (-1, length, heads, features)

    def forward(frozen: QueriesKeys, values: Array) -> Array:
        blocks = _side_by_side(values.reshape(flat).transpose(2, 1, 0, 3), frozen)  # [n, k, s, bh]
        mixed = _over_visible(frozen, blocks, _key_range, _apply)  # [n, k, g·q, bh]
        mixed = mixed.reshape(frozen.blocks, heads, group, frozen.block, -1, features)
        mixed = mixed.transpose(4, 0, 3, 1, 2, 5).reshape(-1, padded, heads, group, features)
        return mixed[:, :length].reshape(*probes, length, heads, group, features).astype(values.dtype)

    def backward(frozen: QueriesKeys, g: Array) -> Array:
        cotangent = g.reshape(-1, length, heads, group, features).transpose(2, 3, 1, 0, 4)
        blocks = _side_by_side(cotangent, frozen)  # [n, k, g, q, bh]
        blocks = blocks.reshape(frozen.blocks, heads, -1, blocks.shape[-1])
        gathered = _over_visible(frozen, blocks, _query_range, _apply_transposed)  # [n, k, s, bh]
        gathered = gathered.reshape(*gathered.shape[:3], -1, features).transpose(3, 0, 2, 1, 4)
        gathered = gathered.reshape(-1, padded, heads, features)
        return gathered[:, :length].reshape(*probes, length, heads, features).astype(g.dtype)

    mixed: Array = linear_call(forward, backward, frozen, values)
    return mixed


def block_size(length: int, block: int) -> int:
    """Positions in each of the fewest equal blocks of at most ``block``, so that little is padded."""
    return -(-length // -(-length // block))


def visible_key_blocks(query_block: Index, reach: Index, size: int) -> tuple[Index, Index]:
    """[first, last) of the key blocks of which some query of a block sees something."""
    return jnp.maximum(query_block * size - reach + 1, 0) // size, query_block + 1


def seeing_query_blocks(key_block: Index, reach: Index, size: int, blocks: int) -> tuple[Index, Index]:
    """[first, last) of the query blocks of which some query sees something of a key block."""
    furthest = (key_block + 1) * size + reach - 2  # the last query that sees the block's last key
    return key_block, jnp.minimum(furthest // size + 1, blocks)


def _key_range(frozen: QueriesKeys, i: Array) -> tuple[Index, Index]:
    return visible_key_blocks(i, frozen.reach, frozen.block)


def _query_range(frozen: QueriesKeys, j: Array) -> tuple[Index, Index]:
    return seeing_query_blocks(j, frozen.reach, frozen.block, frozen.blocks)


def _apply(frozen: QueriesKeys, i: Array, j: Array, values: Array) -> Array:
    return contract("kqs,ksn->kqn", _probabilities(frozen, i, j), values, frozen.precision)


def _apply_transposed(frozen: QueriesKeys, j: Array, i: Array, cotangent: Array) -> Array:
    return contract("kqs,kqn->ksn", _probabilities(frozen, i, j), cotangent, frozen.precision)


def _over_visible(
    frozen: QueriesKeys,
    blocks: Array,
    range_of: Callable[[QueriesKeys, Array], tuple[Index, Index]],
    apply: Callable[[QueriesKeys, Array, Array, Array], Array],
) -> Array:
    """For each block, the sum of ``apply`` over the blocks that it has to do with."""

    def attend(own: Array) -> Array:
        def add(other: Array, total: Array) -> Array:
            return total + apply(frozen, own, other, blocks[other])

        like = jax.eval_shape(apply, frozen, own, own, blocks[0])
        zero = jnp.zeros(like.shape, like.dtype)
        total: Array = jax.lax.fori_loop(*range_of(frozen, own), add, zero)
        return total

    totals: Array = jax.lax.map(attend, jnp.arange(frozen.blocks))
    return totals


def _scores(frozen: QueriesKeys, i: Array, j: Array) -> Array:
    """Scaled and capped scores of query block i with key block j [k, g·q, s], −∞ where invisible."""
    wide = jnp.promote_types(frozen.key.dtype, jnp.float32)
    query, key = frozen.query[i].astype(wide), frozen.key[j].astype(wide)
    scores = contract("kqh,ksh->kqs", query, key, frozen.precision) * frozen.scale
    scores = soft_cap(scores, frozen.softcap)
    row, column = (jnp.arange(axis) % frozen.block for axis in scores.shape[1:])
    distance = (i - j) * frozen.block + row[:, None] - column
    visible = (distance >= 0) & (distance < frozen.reach)
    return jnp.where(visible, scores, -jnp.inf)


def _probabilities(frozen: QueriesKeys, i: Array, j: Array) -> Array:
    return jnp.exp(_scores(frozen, i, j) - frozen.logsumexp[i][..., None])


def _logsumexp(frozen: QueriesKeys, i: Array) -> Array:
    """log Σ exp(scores) of each row of a query block [k, g·q], in one sweep over its key blocks."""

    def add(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        highest, total = state
        scores = _scores(frozen, i, j)
        higher = jnp.maximum(highest, scores.max(-1))
        return higher, total * jnp.exp(highest - higher) + jnp.exp(scores - higher[..., None]).sum(-1)

    dtype = jnp.promote_types(frozen.key.dtype, jnp.float32)
    shape = frozen.query.shape[1:3]
    # A finite start: a row may see nothing of its first blocks, and −∞ − (−∞) would be no number.
    start = jnp.full(shape, jnp.finfo(dtype).min, dtype), jnp.zeros(shape, dtype)
    highest, total = jax.lax.fori_loop(*_key_range(frozen, i), add, start)
    logsumexp: Array = highest + jnp.log(total)
    return logsumexp


def _cut(x: Float[Array, "*heads t h"], size: int) -> Float[Array, "n *heads size h"]:
    """The position axis cut into blocks, which come first; the last one padded with zeros."""
    *heads, length, features = x.shape
    blocks = -(-length // size)
    x = jnp.pad(x, [(0, 0)] * len(heads) + [(0, blocks * size - length), (0, 0)])
    return jnp.moveaxis(x.reshape(*heads, blocks, size, features), -3, 0)


def _side_by_side(x: Float[Array, "*heads t b h"], frozen: QueriesKeys) -> Float[Array, "n *heads size bh"]:
    """Blocks of positions, probes and features joined, so that a block of P is used once for all probes."""
    return _cut(x.reshape(*x.shape[:-2], -1), frozen.block)
