"""Attention with a frozen probability matrix: once P is recorded, what is left is P·V.

P is kept whole (this file: fast, T² memory) or as queries and keys (:mod:`jaxlin_models.blockwise`: linear
memory).

Queries and keys act on the output only through P, so freezing P freezes them (DESIGN: the matvec is attention
with the tangent in the place of the values, its transpose applies Pᵀ).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxlin_models import blockwise
from jaxlin_models.blockwise import QueriesKeys
from jaxlin_models.config import DecoderConfig
from jaxlin_models.detach import Mode, Plain
from jaxlin_models.modules import Leaf, Linear, RMSNorm, at_least_float32, soft_cap
from jaxlin_models.precision import contract
from jaxlin_models.rope import rotate
from jaxlin_models.sharding import WHOLE, Layout, laid


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Positions:
    """What a layer needs to know about positions.

    Attributes:
        reach: how many positions back a query sees, itself included; an integer.
        cos, sin: of the rotary angles [t, turned features / 2].
        start: the number of the first query's position; keys are counted from 0.
    """

    reach: Leaf
    cos: Leaf
    sin: Leaf
    start: Leaf = 0


class Attention(nnx.Module):
    """Grouped-query attention (Ainslie et al., arXiv:2305.13245); axes: kv head k, query of a group g."""

    kind: ClassVar[str] = "softmax_attention"

    def __init__(
        self,
        config: DecoderConfig,
        *,
        site: str,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
        precision: str,
        layout: Layout | None = None,
    ) -> None:
        self.site = site
        self.layout = layout
        self.precision = precision
        self.scale = config.query_scale
        self.softcap = config.attention_softcap
        d, h = config.embed_dim, config.head_dim
        k, g = config.num_kv_heads, config.queries_per_kv
        linear = partial(Linear, rngs=rngs, dtype=dtype, precision=precision)
        self.query = linear((d,), (k * g, h), bias=config.qkv_bias)
        self.key = linear((d,), (k, h), bias=config.qkv_bias)
        self.value = linear((d,), (k, h), bias=config.qkv_bias)
        self.output = linear((k * g, h), (d,), bias=config.attention_output_bias)
        norm = partial(RMSNorm, config=config, dtype=dtype)
        by_head, joint = config.qk_norm == "head", config.qk_norm == "joint"
        self.query_norm = norm((h,), site="query_norm") if by_head else None
        self.key_norm = norm((h,), site="key_norm") if by_head else None
        self.joint_query_norm = norm((k * g, h), site="joint_query_norm") if joint else None
        self.joint_key_norm = norm((k, h), site="joint_key_norm") if joint else None

    def __call__(
        self, x: Float[Array, "... t d"], positions: Positions, mode: Mode
    ) -> Float[Array, "... t d"]:
        return self.output(self.mixed(x, positions, mode), mode)

    def mixed(
        self, x: Float[Array, "... t d"], positions: Positions, mode: Mode
    ) -> Float[Array, "... t heads h"]:
        """What every head reads: P·V, before the output projection that sums over heads."""

        # For the way back: what comes out of each device is summed here.
        x = laid(self.layout, x, "position", WHOLE)

        def compute() -> Array | QueriesKeys:
            if mode.dial.attention == "queries_keys":
                return self.queries_keys(x, positions, mode.dial.block)
            return self.probabilities(x, positions, mode)

        frozen = mode.coefficient(self.kind, self.site, "probabilities", compute)
        values = mode.remember(self.site, "value", self.value(x, mode))
        if isinstance(frozen, QueriesKeys):
            mixed = blockwise.mix(frozen, values, self.layout)
        else:
            mixed = _mix(frozen, values, self.precision)
        mixed = laid(self.layout, mixed, "position", "kv_heads", "group", "head_dim")
        return mixed.reshape(*mixed.shape[:-3], -1, mixed.shape[-1])

    def probabilities(
        self, x: Float[Array, "... t d"], positions: Positions, mode: Mode
    ) -> Float[Array, "... k g t s"]:
        """softmax(q·kᵀ·scale) over the visible positions, in float32 or better, in the storage dtype.

        Scores go through the soft-cap if there is one.
        """
        query, key = self.rotated(x, positions)
        key = mode.remember(self.site, "key", key)
        scores = contract("...tkgh,...skh->...kgts", query, key, self.precision)
        scores = soft_cap(at_least_float32(scores) * self.scale, self.softcap)
        distance = positions.start + jnp.arange(x.shape[-2])[:, None] - jnp.arange(key.shape[-3])
        visible = (distance >= 0) & (distance < positions.reach)
        return jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), axis=-1).astype(self.value.dtype)

    def queries_keys(self, x: Float[Array, "t d"], positions: Positions, block: int) -> QueriesKeys:
        """The same probabilities as what they come from, for blocks of at most ``block`` positions."""
        query, key = self.rotated(x, positions)
        return blockwise.freeze(
            query,
            key,
            positions.reach,
            block=block,
            scale=self.scale,
            softcap=self.softcap,
            precision=self.precision,
            storage=self.value.dtype,
            layout=self.layout,
        )

    def rotated(
        self, x: Float[Array, "... t d"], positions: Positions
    ) -> tuple[Float[Array, "... t k g h"], Float[Array, "... t k h"]]:
        """Queries and keys, normed where the family does so, turned by their positions' angles.

        Always plain inside: what is frozen about attention is P as a whole.
        """
        query, key = self.query(x, Plain()), self.key(x, Plain())
        for norm in (self.query_norm, self.joint_query_norm):
            query = query if norm is None else norm(query, Plain())
        for norm in (self.key_norm, self.joint_key_norm):
            key = key if norm is None else norm(key, Plain())
        query = rotate(query, positions.cos, positions.sin)
        key = rotate(key, positions.cos, positions.sin)
        return query.reshape(*query.shape[:-2], key.shape[-2], -1, query.shape[-1]), key


def _mix(
    probabilities: Float[Array, "... k g t s"], values: Float[Array, "*probes s k h"], precision: str
) -> Float[Array, "*probes t k g h"]:
    """P·V with probes and features side by side, so that P is read once for all probes."""
    if probabilities.ndim > 4:  # a batch of prompts, each with its own P
        return contract("...kgts,...skh->...tkgh", probabilities, values, precision)
    batched = values.reshape(-1, *values.shape[-3:])
    mixed = contract("kgts,bskh->kgtbh", probabilities, batched, precision)
    mixed = mixed.transpose(3, 2, 0, 1, 4)
    return mixed.reshape(*values.shape[:-3], *mixed.shape[1:])
