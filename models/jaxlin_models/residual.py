"""The residual stream of an ordinary forward pass: what enters every branch, and what it adds."""

from __future__ import annotations

from dataclasses import dataclass

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxlin_models.decoder import Decoder, Weights
from jaxlin_models.detach import Plain
from jaxlin_models.modules import Leaf
from jaxlin_models.sharding import filled
from jaxlin_models.stacks import over_layers, stacked


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Stream:
    """The residual stream at all layers; what is added to it at the last position.

    Attributes:
        before_attention: what enters each layer [layers, T, d].
        before_mlp: what enters its MLP branch [layers, T, d].
        heads: what each head of attention reads for the last position [layers, heads, h].
        attention: what attention adds at the last position [layers, d].
        mlp: what the MLP adds there [layers, d].
        final: what leaves the last layer there [d], before the final norm.
    """

    before_attention: Leaf
    before_mlp: Leaf
    heads: Leaf
    attention: Leaf
    mlp: Leaf
    final: Leaf


def stream(decoder: Decoder, x: Float[Array, "t d"]) -> Stream:
    """One ordinary forward pass from the embeddings x, which keeps 2·layers·T·d numbers."""
    graphdef, params = nnx.split(decoder.layers)
    length, x = len(x), filled(decoder.layout, x)
    positions_of = decoder.positions(length, x.dtype)
    mode = Plain()

    def step(x: Array, index: Array, params: Weights) -> tuple[Array, tuple[Array, ...]]:
        block = nnx.merge(graphdef, params)
        heads = block.heads(x, positions_of(index), mode)
        attention = block.attention_added(heads, mode)
        between = x + attention
        mlp = block.mlp_branch(between, mode)
        last = length - 1
        kept = (x[:length], between[:length], heads[last], attention[last], mlp[last])
        return between + mlp, kept

    leaving, kept = over_layers(step, x, params, decoder.config.num_layers)
    before_attention, before_mlp, heads, attention, mlp = stacked(kept)
    return Stream(before_attention, before_mlp, heads, attention, mlp, leaving[length - 1])
