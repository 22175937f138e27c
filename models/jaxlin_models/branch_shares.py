"""What every head and every MLP of every layer adds to linear functions of the last residual stream.

A share is ⟨row, what the branch adds at the output's position⟩, with the norm behind the branch frozen. The
bias of attention's output projection is no head's and stands apart, so the heads and it sum to attention.
Rows are those of the stream: a row that reads the output y goes through the final norm first
(:func:`jaxlin_models.recorded.normed`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from jaxlin_models.attention import Positions
from jaxlin_models.decoder import Block, Decoder, Recorded
from jaxlin_models.detach import DETACHED, Mode, Plain, Record, Replay
from jaxlin_models.dial import Dial
from jaxlin_models.recorded import at_position, through_transpose
from jaxlin_models.residual import Stream
from jaxlin_models.sharding import filled, filled_length
from jaxlin_models.stacks import Layer, at_layer, over_layers, stacked

Place = int | Int[Array, ""]


def shares_of_stream(
    decoder: Decoder, stream: Stream, rows: Float[Array, "r d"]
) -> tuple[Float[Array, "r layers heads"], Float[Array, "r layers"], Float[Array, "r layers"]]:
    """The shares of heads, of the output projections' biases, and of MLPs, in an ordinary pass.

    Nothing recorded is read, so they can be held against what is.
    """
    graphdef, params = nnx.split(decoder.layers)

    def step(_: None, index: Array, layer: tuple[Any, Array]) -> tuple[None, tuple[Array, Array]]:
        params, heads = layer
        block = nnx.merge(graphdef, params)
        norm = Record(DETACHED, Dial())  # the norm behind attention, at what attention puts out
        if block.attention_post_norm is not None:
            block.attention_post_norm(block.attention.output(heads, Plain()), norm)
        read = _behind_attention(block, rows, Replay(norm.kept, biases=False))
        return None, (_of_heads(block, heads, read), _of_bias(block, read))

    _, kept = over_layers(step, None, (params, stream.heads), decoder.config.num_layers)
    of_heads, of_biases = stacked(kept)
    of_mlps = jnp.einsum("ld,rd->rl", stream.mlp, rows, precision="highest")
    return jnp.moveaxis(of_heads, -1, 0), of_biases.T, of_mlps


def shares(
    decoder: Decoder,
    recorded: Recorded,
    x: Float[Array, "b t d"],
    rows: Float[Array, "r d"],
    position: Place,
    *,
    biases: bool = False,
) -> Float[Array, "b r layers branches"]:
    """The shares of all heads and, behind them, the MLP of every layer: the recorded pass applied to x.

    Args:
        decoder: whose weights are on the linear path.
        recorded: the coefficients.
        x: what enters layer 0, embeddings or some of them.
        rows: of the residual stream.
        position: the output's.
        biases: add the biases on the linear path, but for those of attention's output projections, which are
            no head's.
    """
    graphdef, params = nnx.split(decoder.layers)
    position = position % x.shape[-2]  # counted from the front
    positions_of = decoder.positions(x.shape[-2], x.dtype)
    x = filled(decoder.layout, x)

    def step(x: Array, index: Array, layer: tuple[Any, Mapping[str, Any]]) -> tuple[Array, Array]:
        params, coefficients = layer
        block, mode = nnx.merge(graphdef, params), Replay(coefficients, biases)
        return _through(block, x, positions_of(index), mode, rows, position)

    _, found = over_layers(step, x, (params, recorded["layers"]), decoder.config.num_layers)
    return jnp.moveaxis(stacked(found), 0, 2)


def shares_transpose(
    decoder: Decoder,
    recorded: Recorded,
    weights: Float[Array, "b r branches"],
    rows: Float[Array, "r d"],
    length: int,
    position: Place,
    layer: Layer,
) -> Float[Array, "b t d"]:
    """The transpose of :func:`shares`, of one layer's: weighted sums of them pulled back to layer 0.

    It takes the pass through the layers below alone.
    """
    graphdef, params = nnx.split(decoder.layers)
    position = position % length
    places = filled_length(decoder.layout, length)
    like = jax.ShapeDtypeStruct((len(weights), places, rows.shape[-1]), rows.dtype)
    positions_of = decoder.positions(length, rows.dtype)

    def pull_back(taken: tuple[Any, Mapping[str, Any]], weights: Array) -> Array:
        params, coefficients = taken
        block, mode = nnx.merge(graphdef, params), Replay(coefficients, biases=False)

        def apply(x: Array) -> Array:
            return _through(block, x, positions_of(jnp.asarray(layer)), mode, rows, position)[1]

        pulled: Array = jax.linear_transpose(apply, like)(weights)[0]
        return pulled

    entering = at_layer(pull_back, (params, recorded["layers"]), layer, weights)[..., :length, :]
    return through_transpose(decoder, recorded, entering, 0, layer)


def _through(
    block: Block,
    x: Float[Array, "b t d"],
    positions: Positions,
    mode: Mode,
    rows: Float[Array, "r d"],
    position: Place,
) -> tuple[Float[Array, "b t d"], Float[Array, "b r branches"]]:
    """What leaves a layer, and the shares of its heads and of its MLP."""
    heads = block.heads(x, positions, mode)
    x = x + block.attention_added(heads, mode)
    added = block.mlp_branch(x, mode)
    behind = _behind_attention(block, at_position(rows, x.shape[-2], position), mode)[:, position]
    of_heads = _of_heads(block, heads[..., position, :, :], behind)
    of_mlp = jnp.einsum("bd,rd->br", added[..., position, :], rows, precision="highest")
    return x + added, jnp.concatenate([jnp.moveaxis(of_heads, -1, 1), of_mlp[..., None]], axis=-1)


def _behind_attention(block: Block, rows: Float[Array, "r ..."], mode: Mode) -> Float[Array, "r ..."]:
    """Rows of the stream as rows of what attention puts out: through the norm between, which is diagonal."""
    return rows if block.attention_post_norm is None else block.attention_post_norm(rows, mode)


def _of_heads(
    block: Block, heads: Float[Array, "*b n h"], rows: Float[Array, "r d"]
) -> Float[Array, "*b n r"]:
    kernel = block.attention.output.kernel[...].astype(rows.dtype)
    read = jnp.einsum("rd,nhd->rnh", rows, kernel, precision="highest")
    return jnp.einsum("...nh,rnh->...nr", heads, read, precision="highest")


def _of_bias(block: Block, rows: Float[Array, "r d"]) -> Float[Array, " r"]:
    bias = block.attention.output.bias
    if bias is None:
        return jnp.zeros(len(rows), rows.dtype)
    return jnp.einsum("rd,d->r", rows, bias[...].astype(rows.dtype), precision="highest")
