"""Attention with a frozen probability matrix: once P is recorded, what is left is P·V.

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
from jaxtyping import Array, Bool, Float

from models.config import DecoderConfig
from models.detach import Mode, Plain
from models.modules import Linear, RMSNorm, at_least_float32, contract
from models.rope import rotate


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Positions:
    """What a layer needs to know about positions: who sees whom, and the rotary angles."""

    visible_ts: Bool[Array, "t t"]
    cos: Float[Array, "t half"]
    sin: Float[Array, "t half"]


class Attention(nnx.Module):
    """Grouped-query attention (Ainslie et al., arXiv:2305.13245); axes: kv head k, query of a group g."""

    kind: ClassVar[str] = "softmax_attention"

    def __init__(self, config: DecoderConfig, *, site: str, rngs: nnx.Rngs, dtype: DTypeLike) -> None:
        self.site = site
        self.scale = config.query_scale
        d, h = config.embed_dim, config.head_dim
        k, g = config.num_kv_heads, config.queries_per_kv
        linear = partial(Linear, bias=config.attention_bias, rngs=rngs, dtype=dtype)
        self.query = linear((d,), (k * g, h))
        self.key = linear((d,), (k, h))
        self.value = linear((d,), (k, h))
        self.output = linear((k * g, h), (d,))
        norm = partial(RMSNorm, h, config, dtype=dtype)
        self.query_norm = norm(site="query_norm") if config.qk_norm else None
        self.key_norm = norm(site="key_norm") if config.qk_norm else None

    def __call__(
        self, x: Float[Array, "... t d"], positions: Positions, mode: Mode
    ) -> Float[Array, "... t d"]:
        probabilities = mode.coefficient(
            self.kind, self.site, "probabilities", lambda: self.probabilities(x, positions)
        )
        mixed = _mix(probabilities, self.value(x, mode))
        return self.output(mixed.reshape(*mixed.shape[:-3], -1, mixed.shape[-1]), mode)

    def probabilities(self, x: Float[Array, "... t d"], positions: Positions) -> Float[Array, "... k g t s"]:
        """softmax(q·kᵀ·scale) over the visible positions, in float32 or better.

        Always plain inside: what is frozen about attention is P as a whole.
        """
        query, key = self.query(x, Plain()), self.key(x, Plain())
        if self.query_norm is not None and self.key_norm is not None:
            query, key = self.query_norm(query, Plain()), self.key_norm(key, Plain())
        query = rotate(query, positions.cos, positions.sin)
        key = rotate(key, positions.cos, positions.sin)
        query = query.reshape(*query.shape[:-2], key.shape[-2], -1, query.shape[-1])
        scores = at_least_float32(contract("...tkgh,...skh->...kgts", query, key)) * self.scale
        scores = jnp.where(positions.visible_ts, scores, -jnp.inf)
        return jax.nn.softmax(scores, axis=-1).astype(x.dtype)


def _mix(
    probabilities: Float[Array, "... k g t s"], values: Float[Array, "*probes s k h"]
) -> Float[Array, "*probes t k g h"]:
    """P·V with probes and features side by side, so that P is read once for all probes."""
    if probabilities.ndim > 4:  # a batch of prompts, each with its own P
        return contract("...kgts,...skh->...tkgh", probabilities, values)
    batched = values.reshape(-1, *values.shape[-3:])
    mixed = jax.lax.dot_general(
        probabilities,
        batched,
        (((3,), (1,)), ((0,), (2,))),
        precision=jax.lax.Precision.HIGHEST,
    )  # [k, g, t, b, h]
    mixed = mixed.transpose(3, 2, 0, 1, 4)
    return mixed.reshape(*values.shape[:-3], *mixed.shape[1:])
