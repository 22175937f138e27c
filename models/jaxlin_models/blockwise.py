"""Frozen attention in memory linear in the prompt: P is never whole, only a block of it at a time.

What is kept are queries, keys and the log-sum-exp of each row of scores, from which any block of

    P[t, s] = exp(cap(q_t·k_s·scale) − logsumexp_t)      for s ≤ t and t − s < reach

can be computed again (Dao et al., arXiv:2205.14135, §3; Milakov & Gimelshein, arXiv:1805.02867, for the
log-sum-exp in one sweep). Freezing q and k is freezing P, so what remains is linear in the values: V ↦ P·V
goes over the key blocks that a query block sees, its transpose G ↦ Pᵀ·G over the query blocks that see a key
block. A sliding layer touches its band alone. The two directions are tied by ``linear_call``: JAX could not
transpose loops whose bounds depend on the layer.

Where several devices divide the positions, each goes over the query blocks of its own. Forwards it is given
all keys and values; backwards what all give to a key block is summed where that block lies. A device whose
positions are later in the prompt sees more, and the others wait for it.

Axes: block n, position in it q (query) or s (key), kv head k, query of a group g, feature h, probe b. Queries
of a group stand side by side with the positions of their block (axis gq), probes with features (axis bh).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import linear_call
from jax.sharding import PartitionSpec
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxlin_models.cuts import Cut, Index
from jaxlin_models.modules import Leaf, soft_cap
from jaxlin_models.positions import zeros_after
from jaxlin_models.precision import contract
from jaxlin_models.sharding import SEQUENCE, Layout


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class QueriesKeys:
    """A layer's probabilities as what they come from, cut into n blocks (filled with zeros).

    Attributes:
        query: rotated queries [n, k, g·q, h], storage dtype.
        key: rotated keys [n, k, s, h], storage dtype; blocks of queries and keys are the same.
        logsumexp: of each query's visible scores [n, k, g·q], float32 or better.
        reach: how many positions back a query sees, itself included; an integer.
        cut: how positions are cut into blocks.
        scale: scores are q·k times this.
        softcap: then they become softcap·tanh(scores/softcap), unless it is None.
        precision: of the products, one of :data:`jaxlin_models.precision.PRECISIONS`.
        start: the number of the first query block, on a device that has some of them alone; None for 0.
    """

    query: Leaf
    key: Leaf
    logsumexp: Leaf
    reach: Leaf
    cut: Cut = field(metadata={"static": True})
    scale: float = field(metadata={"static": True})
    softcap: float | None = field(metadata={"static": True})
    precision: str = field(metadata={"static": True})
    start: Leaf = None

    @property
    def own(self) -> tuple[Index, Index]:
        """[first, last) of the query blocks that are here."""
        first = 0 if self.start is None else self.start
        return first, first + self.query.shape[0]


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
    layout: Layout | None = None,
) -> QueriesKeys:
    """Queries and keys, rotated already, with the log-sum-exp of every row of visible scores.

    The statistics are those of the queries and keys as stored, so that rows of P sum to 1 again.
    """
    cut = Cut.of(len(query), block, 1 if layout is None else layout.sequence)
    rows = cut.apart(query.astype(storage).transpose(1, 2, 0, 3))  # [n, k, g, q, h]
    frozen = QueriesKeys(
        query=rows.reshape(*rows.shape[:2], -1, rows.shape[-1]),
        key=cut.apart(key.astype(storage).transpose(1, 0, 2)),
        logsumexp=None,
        reach=reach,
        cut=cut,
        scale=scale,
        softcap=softcap,
        precision=precision,
    )
    return replace(frozen, logsumexp=_on_devices(layout, _logsumexps, frozen, None))


def mix(
    frozen: QueriesKeys, values: Float[Array, "*probes s k h"], layout: Layout | None = None
) -> Float[Array, "*probes t k g h"]:
    """P·V for any number of probes, linear in ``values`` and transposable in them."""
    *probes, length, heads, features = values.shape
    cut = frozen.cut
    group = frozen.query.shape[2] // cut.size
    flat = (-1, length, heads, features)

    def forward(frozen: QueriesKeys, values: Array) -> Array:
        blocks = _side_by_side(values.reshape(flat).transpose(2, 1, 0, 3), cut)  # [n, k, s, bh]
        mixed = _on_devices(layout, _mixed, frozen, blocks)  # [n, k, g·q, bh]
        mixed = mixed.reshape(cut.blocks, heads, group, cut.size, -1, features)
        mixed = cut.together(mixed.transpose(4, 0, 3, 1, 2, 5))
        return mixed.reshape(*probes, length, heads, group, features).astype(values.dtype)

    def backward(frozen: QueriesKeys, g: Array) -> Array:
        cotangent = g.reshape(-1, length, heads, group, features).transpose(2, 3, 1, 0, 4)
        blocks = _side_by_side(cotangent, cut)  # [n, k, g, q, bh]
        blocks = blocks.reshape(cut.blocks, heads, -1, blocks.shape[-1])
        given = _on_devices(layout, _given, frozen, blocks, summed=True)  # [n, k, s, bh]
        given = cut.together(given.reshape(*given.shape[:3], -1, features).transpose(3, 0, 2, 1, 4))
        return given.reshape(*probes, length, heads, features).astype(g.dtype)

    mixed: Array = linear_call(forward, backward, frozen, values)
    return mixed


def _on_devices(
    layout: Layout | None,
    compute: Callable[[QueriesKeys, Any], Array],
    frozen: QueriesKeys,
    blocks: Array | None,
    *,
    summed: bool = False,
) -> Array:
    """``compute(frozen, blocks)`` with the query blocks that each device has, if positions are divided.

    Args:
        layout: how they lie.
        compute: gives an array of blocks.
        frozen: all of it; each device is given all keys.
        blocks: those of all keys' positions; with ``summed``, those of the queries.
        summed: whether what each gives is one part of the sum for every block, and not the own blocks.
    """
    if layout is None or layout.sequence == 1:
        return compute(frozen, blocks)
    own, all_of = PartitionSpec(SEQUENCE), PartitionSpec()

    def on_each(number: Array, frozen: QueriesKeys, blocks: Array | None) -> Array:
        given = compute(replace(frozen, start=number[0] * frozen.query.shape[0]), blocks)
        return jax.lax.psum_scatter(given, SEQUENCE, tiled=True) if summed else given

    sums = None if frozen.logsumexp is None else own
    places = replace(frozen, query=own, key=all_of, logsumexp=sums, reach=all_of)
    computed: Array = jax.shard_map(
        on_each,
        mesh=layout.mesh,
        in_specs=(own, places, own if summed else all_of),
        out_specs=own,
        axis_names={SEQUENCE},
        check_vma=False,
    )(jnp.arange(layout.sequence), frozen, blocks)
    return computed


def _mixed(frozen: QueriesKeys, values: Array) -> Array:
    """P·V of the query blocks that are here."""

    def attend(i: Array) -> Array:
        def one(j: Array) -> Array:
            return contract("kqs,ksn->kqn", _probabilities(frozen, i, j), values[j], frozen.precision)

        return _sum(one, *frozen.cut.visible_key_blocks(i, frozen.reach))

    return _each(attend, _here(frozen), values)


def _given(frozen: QueriesKeys, cotangent: Array) -> Array:
    """Pᵀ·G: what the query blocks that are here give to every key block."""
    start, end = frozen.own

    def gather(j: Array) -> Array:
        def one(i: Array) -> Array:
            probabilities = _probabilities(frozen, i, j)
            return contract("kqs,kqn->ksn", probabilities, cotangent[i - start], frozen.precision)

        first, last = frozen.cut.seeing_query_blocks(j, frozen.reach)
        return _sum(one, jnp.maximum(first, start), jnp.minimum(last, end))

    return _each(gather, jnp.arange(frozen.cut.blocks), cotangent)


def _each(one: Callable[[Array], Array], numbers: Int[Array, " n"], after: Array) -> Array:
    """``one`` of each number, side by side, as ``jax.lax.map`` gives it, in room taken after ``after``."""
    like = jax.eval_shape(one, numbers[0])

    def put(i: Array, done: Array) -> Array:
        filled: Array = jax.lax.dynamic_update_index_in_dim(done, one(numbers[i]), i, axis=0)
        return filled

    room = zeros_after(after, (len(numbers), *like.shape), like.dtype)
    done: Array = jax.lax.fori_loop(0, len(numbers), put, room)
    return done


def _here(frozen: QueriesKeys) -> Array:
    """The numbers of the query blocks that are here."""
    here: Array = jnp.arange(len(frozen.query)) + frozen.own[0]
    return here


def _sum(one: Callable[[Array], Array], first: Index, last: Index) -> Array:
    """``one(first)`` + … + ``one(last - 1)``; zeros if there is none."""
    like = jax.eval_shape(one, jnp.asarray(0))
    zero = jnp.zeros(like.shape, like.dtype)
    total: Array = jax.lax.fori_loop(first, last, lambda i, total: total + one(i), zero)
    return total


def _scores(frozen: QueriesKeys, i: Array, j: Array) -> Array:
    """Scaled and capped scores of query block i with key block j [k, g·q, s], −∞ where invisible."""
    wide = jnp.promote_types(frozen.key.dtype, jnp.float32)
    cut = frozen.cut
    query = frozen.query[i - frozen.own[0]].astype(wide)
    scores = contract("kqh,ksh->kqs", query, frozen.key[j].astype(wide), frozen.precision) * frozen.scale
    scores = soft_cap(scores, frozen.softcap)
    row, column = (jnp.arange(axis) % cut.size for axis in scores.shape[1:])
    distance = cut.first(i) - cut.first(j) + row[:, None] - column
    visible = (distance >= 0) & (distance < frozen.reach)
    if cut.filled and cut.runs > 1:  # what is filled in the middle of a prompt is before other positions
        visible &= (column < cut.count(j)) | (row >= cut.count(i))[:, None]
    return jnp.where(visible, scores, -jnp.inf)


def _probabilities(frozen: QueriesKeys, i: Array, j: Array) -> Array:
    return jnp.exp(_scores(frozen, i, j) - frozen.logsumexp[i - frozen.own[0]][..., None])


def _logsumexps(frozen: QueriesKeys, _: None) -> Array:
    """:func:`_logsumexp` of the query blocks that are here."""
    sums: Array = jax.lax.map(lambda i: _logsumexp(frozen, i), _here(frozen))
    return sums


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
    highest, total = jax.lax.fori_loop(*frozen.cut.visible_key_blocks(i, frozen.reach), add, start)
    logsumexp: Array = highest + jnp.log(total)
    return logsumexp


def _side_by_side(x: Float[Array, "*heads t b h"], cut: Cut) -> Float[Array, "n *heads size bh"]:
    """Blocks of positions, probes and features joined, so that a block of P is used once for all probes."""
    return cut.apart(x.reshape(*x.shape[:-2], -1))
