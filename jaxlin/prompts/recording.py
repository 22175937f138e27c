"""A prompt recorded once: the map of any stretch of layers, and of any layer's attention or MLP.

Knows both :mod:`jaxlin_models` and the engine, which sees the operators alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import jaxlin_models as models
from flax import nnx
from jaxlin_models.replay import (
    Branch,
    at_position,
    branch,
    branch_transpose,
    final_coefficients,
    normed,
    through,
    through_transpose,
)
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian

MODULES = ("attention", "mlp")


@dataclass(frozen=True, eq=False)
class Recording:
    """The coefficients of one prompt under a linear policy, and the maps they make.

    Every map is to the last position. With ``normed``, the default, its output goes through the final norm,
    with the statistic of that output, as in arXiv:2505.24293 §4; else it is what is in the residual stream.

    Attributes:
        graphdef: of the decoder.
        state: its weights and the coefficients.
        x: embeddings [T, d] as they enter layer 0.
        num_layers: how many layers there are.
        biased: whether there are biases on the linear path.
        roundoff: unit roundoff of the products inside a pass.
    """

    graphdef: nnx.GraphDef
    state: tuple[nnx.State, Any]
    x: Float[Array, "t d"]
    num_layers: int
    biased: bool
    roundoff: float

    @cached_property
    def stream(self) -> models.Stream:
        """The residual stream of the ordinary forward pass, which knows nothing of the coefficients."""
        return _stream(self.graphdef, self.state[0], self.x)

    def left(self, layer: int) -> Float[Array, " d"]:
        """What leaves a layer at the last position, before any final norm."""
        entering, last = self.stream.before_attention, self.num_layers - 1
        return self.stream.final if layer == last else entering[layer + 1, -1]

    def stretch(self, first: int, last: int, *, normed: bool = True) -> DetachedJacobian:
        """From what enters layer ``first`` [T, d] to what leaves layer ``last`` at the last position [d].

        Raises:
            JaxlinError: layers that do not exist, or the last before the first.
        """
        if not 0 <= first <= last < self.num_layers:
            raise JaxlinError(
                f"there is no way from layer {first} to layer {last}: choose 0 ≤ first ≤ last < "
                f"{self.num_layers}"
            )
        x = self.stream.before_attention[first]
        return self._part(x, self.left(last), (first, last + 1), "block", normed)

    def module(self, layer: int, which: str, *, normed: bool = True) -> DetachedJacobian:
        """From what enters a layer's attention or MLP branch [T, d] to what it adds to the stream [d].

        The branch's own norms belong to it. An MLP sees nothing but the last position.

        Raises:
            JaxlinError: a layer or a module that does not exist.
        """
        if not 0 <= layer < self.num_layers:
            raise JaxlinError(f"there is no layer {layer}: choose from 0 to {self.num_layers - 1}")
        if which not in MODULES:
            raise JaxlinError(f"unknown module {which!r}: choose {' or '.join(MODULES)}")
        stream, kind = self.stream, cast(Branch, which)
        entering = stream.before_attention if which == "attention" else stream.before_mlp
        added = stream.attention if which == "attention" else stream.mlp
        part = self._part(entering[layer], added[layer], (layer, layer + 1), kind, normed)
        return part if which == "attention" else part.select([len(self.x) - 1])

    def branch_contributions(
        self, row: Float[Array, " d"]
    ) -> tuple[Float[Array, ""], Float[Array, "layers 2"]]:
        """What the last embedding, and the attention and MLP of every layer, bring to ⟨row, y⟩.

        y is what leaves the final norm, which is frozen at the last hidden state. They sum to ⟨row, y⟩.
        """
        return _branch_contributions(self.graphdef, self.state[0], self.stream, self.x[-1], row)

    def _part(
        self, x: Array, y: Array, layers: tuple[int, int], which: Branch, normed: bool
    ) -> DetachedJacobian:
        final = None
        if normed:
            final, y = _finish(self.graphdef, self.state[0], y)
        state = (*self.state, final, *(jnp.asarray(layer, jnp.int32) for layer in layers))
        offset = jnp.zeros_like(y)
        if self.biased:
            offset = jax.jit(_Forward(self.graphdef, which, biases=True))(state, jnp.zeros_like(x))
        forward, backward = _Forward(self.graphdef, which), _Backward(self.graphdef, which, len(x))
        return DetachedJacobian(state, x, y, offset, forward, backward, True, self.roundoff)


@dataclass(frozen=True)
class _Forward:
    """J·V of a part; which layers is in the state, so that one program serves them all."""

    graphdef: nnx.GraphDef
    which: Branch
    biases: bool = False

    def __call__(self, state: tuple, v: Array) -> Array:
        weights, recorded, final, first, last = state
        decoder = nnx.merge(self.graphdef, weights)
        if self.which == "block":
            x = through(decoder, recorded, v, first, last, biases=self.biases)
        else:
            x = branch(decoder, recorded, v, first, self.which, biases=self.biases)
        return x[..., -1, :] if final is None else normed(decoder, final, x[..., -1, :])


@dataclass(frozen=True)
class _Backward:
    """Jᵀ·U of a part."""

    graphdef: nnx.GraphDef
    which: Branch
    length: int

    def __call__(self, state: tuple, u: Array) -> Array:
        weights, recorded, final, first, last = state
        decoder = nnx.merge(self.graphdef, weights)
        g = at_position(u if final is None else normed(decoder, final, u), self.length, -1)
        if self.which == "block":
            return through_transpose(decoder, recorded, g, first, last)
        return branch_transpose(decoder, recorded, g, first, self.which)


@partial(jax.jit, static_argnums=0)
def _stream(graphdef: nnx.GraphDef, weights: nnx.State, x: Array) -> models.Stream:
    return models.stream(nnx.merge(graphdef, weights), x)


@partial(jax.jit, static_argnums=0)
def _finish(graphdef: nnx.GraphDef, weights: nnx.State, hidden: Array) -> tuple[Any, Array]:
    """What the final norm's coefficients are at a hidden state, and what it makes of it."""
    decoder = nnx.merge(graphdef, weights)
    return final_coefficients(decoder, hidden), decoder.final_norm(hidden, models.Plain())


@partial(jax.jit, static_argnums=0)
def _branch_contributions(
    graphdef: nnx.GraphDef, weights: nnx.State, stream: models.Stream, embedding: Array, row: Array
) -> tuple[Array, Array]:
    decoder = nnx.merge(graphdef, weights)
    read = normed(decoder, final_coefficients(decoder, stream.final), row)
    dot = partial(jnp.vdot, precision="highest")
    added = jnp.stack([stream.attention, stream.mlp], axis=1)
    return dot(read, embedding), jnp.einsum("lbd,d->lb", added, read, precision="highest")
