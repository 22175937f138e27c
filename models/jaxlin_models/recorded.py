"""The recorded pass as a linear map, forwards and backwards: the whole of it, some layers, or one branch.

A replay touches the linear path alone: values, outputs, the live factor of gated products, down, and the
frozen scalings. Layers are taken from their stacks by number, so that one program serves every choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from jaxlin_models.decoder import Decoder, Recorded
from jaxlin_models.detach import DETACHED, Coefficient, Record, Replay
from jaxlin_models.dial import Dial
from jaxlin_models.sharding import filled
from jaxlin_models.stacks import Layer, at_layer, in_turn, loop

#: What of a layer is applied: all of it, or what one of its branches adds to the residual stream.
Branch = Literal["block", "attention", "mlp"]
BRANCHES: tuple[Branch, ...] = ("block", "attention", "mlp")


def replay(
    decoder: Decoder,
    recorded: Recorded,
    v: Float[Array, "... t d"],
    position: int | Int[Array, ""],
    layers: tuple[Layer, Layer] | None = None,
    which: Branch = "block",
    *,
    biases: bool = False,
) -> Float[Array, "... d"]:
    """The recorded pass, or some of it, applied to other embeddings: J·v, or J·v + c with ``biases``.

    Args:
        decoder: whose weights are on the linear path.
        recorded: the coefficients. Without those of the final norm the output is not normed.
        v: what enters the first of the layers.
        position: whose output is taken.
        layers: (first, last + 1); all of them if None, in a loop whose length the compiler knows. On a GPU
            a loop of unknown length asks the host before every layer whether it is to go on.
        which: ``block`` for whole layers, or the one branch of the first layer that is applied alone.
        biases: add the biases on the linear path.
    """
    first, last = (0, decoder.config.num_layers) if layers is None else layers
    if which == "block":
        x = through(decoder, recorded, v, first, last, biases=biases)
    else:
        x = branch(decoder, recorded, v, first, which, biases=biases)
    x = x[..., position, :]
    return normed(decoder, recorded["final"], x) if "final" in recorded else x


def replay_transpose(
    decoder: Decoder,
    recorded: Recorded,
    u: Float[Array, "... d"],
    length: int,
    position: int | Int[Array, ""],
    layers: tuple[Layer, Layer] | None = None,
    which: Branch = "block",
) -> Float[Array, "... t d"]:
    """Jᵀ·u, the transpose of :func:`replay`: the layers backwards, each one transposed by itself.

    ``jax.linear_transpose`` of the whole loop would be the same map, but it first runs a loop that copies
    every broadcast coefficient.
    """
    g = normed(decoder, recorded["final"], u) if "final" in recorded else u
    g = at_position(g, length, position)
    first, last = (0, decoder.config.num_layers) if layers is None else layers
    if which == "block":
        return through_transpose(decoder, recorded, g, first, last)
    return branch_transpose(decoder, recorded, g, first, which)


def normed(
    decoder: Decoder, recorded: Mapping[str, Coefficient], x: Float[Array, "... d"]
) -> Float[Array, "... d"]:
    """The final norm with its recorded statistic; a diagonal map, and so its own transpose."""
    return decoder.final_norm(x, Replay(recorded, biases=False))


def final_coefficients(decoder: Decoder, hidden: Float[Array, " d"]) -> Mapping[str, Coefficient]:
    """What :func:`normed` reads, for the final norm applied to any hidden state."""
    mode = Record(DETACHED, Dial())
    decoder.final_norm(hidden, mode)
    return mode.kept


def at_position(
    g: Float[Array, "... d"], length: int, position: int | Int[Array, ""]
) -> Float[Array, "... t d"]:
    """The transpose of taking one position of ``length``."""
    return jnp.zeros((*g.shape[:-1], length, g.shape[-1]), g.dtype).at[..., position, :].set(g)


def through(
    decoder: Decoder,
    recorded: Recorded,
    x: Float[Array, "... t d"],
    first: Layer,
    last: Layer,
    *,
    biases: bool = False,
) -> Float[Array, "... t d"]:
    """Layers ``first`` … ``last`` - 1 applied to what enters the first of them."""
    length, x = x.shape[-2], filled(decoder.layout, x)
    arrays, part = _parts(decoder, recorded, length, x.dtype, "block", biases=biases)

    def step(layer: Layer, x: Array) -> Array:
        leaving: Array = at_layer(lambda taken, x: part(*_in_turn(taken, layer, x)), arrays, layer, x)
        return leaving

    leaving: Array = loop(first, last, step, x, arrays)
    return leaving[..., :length, :]


def through_transpose(
    decoder: Decoder, recorded: Recorded, g: Float[Array, "... t d"], first: Layer, last: Layer
) -> Float[Array, "... t d"]:
    """The transpose of :func:`through`."""
    length, g = g.shape[-2], filled(decoder.layout, g)
    arrays, part = _parts(decoder, recorded, length, g.dtype, "block")

    def step(i: Layer, g: Array) -> Array:
        return _transposed(arrays, part, last - 1 - i, g)

    entering: Array = loop(0, last - first, step, g, arrays)
    return entering[..., :length, :]


def branch(
    decoder: Decoder,
    recorded: Recorded,
    x: Float[Array, "... t d"],
    layer: Layer,
    which: Branch,
    *,
    biases: bool = False,
) -> Float[Array, "... t d"]:
    """One layer applied to what enters it, or what its attention or MLP adds to that."""
    length, x = x.shape[-2], filled(decoder.layout, x)
    arrays, part = _parts(decoder, recorded, length, x.dtype, which, biases=biases)
    added: Array = at_layer(lambda taken, x: part(taken, layer, x), arrays, layer, x)
    return added[..., :length, :]


def branch_transpose(
    decoder: Decoder, recorded: Recorded, g: Float[Array, "... t d"], layer: Layer, which: Branch
) -> Float[Array, "... t d"]:
    """The transpose of :func:`branch`."""
    length, g = g.shape[-2], filled(decoder.layout, g)
    entering = _transposed(*_parts(decoder, recorded, length, g.dtype, which), layer, g)
    return entering[..., :length, :]


#: (a layer's weights and coefficients, its number, its input) -> its output.
_Part = Callable[[Any, Layer, Array], Array]


def _parts(
    decoder: Decoder,
    recorded: Recorded,
    length: int,
    dtype: DTypeLike,
    which: Branch,
    *,
    biases: bool = False,
) -> tuple[Any, _Part]:
    """The weights and coefficients of all layers, and what one layer does."""
    graphdef, params = nnx.split(decoder.layers)
    positions_of = decoder.positions(length, dtype)

    def part(taken: Any, layer: Layer, x: Array) -> Array:
        params, coefficients = taken
        block, mode = nnx.merge(graphdef, params), Replay(coefficients, biases)
        positions = positions_of(jnp.asarray(layer))
        if which == "attention":
            return block.attention_branch(x, positions, mode)
        return block.mlp_branch(x, mode) if which == "mlp" else block(x, positions, mode)

    return (params, recorded["layers"]), part


def _in_turn(taken: Any, layer: Layer, x: Array) -> tuple[Any, Layer, Array]:
    """The same arguments of a part; where the loop over layers is written out, each after the last one."""
    if not isinstance(layer, int):  # of a loop of the compiler, which goes through the layers in turn
        return taken, layer, x
    params, coefficients = taken
    coefficients, x = in_turn(coefficients, x)
    return (params, coefficients), layer, x


def _transposed(arrays: Any, part: _Part, layer: Layer, g: Array) -> Array:
    like = jax.ShapeDtypeStruct(g.shape, g.dtype)

    def pull_back(taken: Any, g: Array) -> Array:
        taken, _, g = _in_turn(taken, layer, g)
        pulled: Array = jax.linear_transpose(lambda x: part(taken, layer, x), like)(g)[0]
        return pulled

    entering: Array = at_layer(pull_back, arrays, layer, g)
    return entering
