"""How a prompt becomes an operator: one pair of functions, forward and backward, for every part of the pass.

Nothing here looks at a value, so everything goes through ``jax.eval_shape`` as it is: that is how the planner
makes the operators whose programs it measures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jaxlin_models as models
from flax import nnx
from jaxlin_models.decoder import Graph, Recorded, Weights
from jaxlin_models.recorded import Branch
from jaxlin_models.sharding import divided, whole
from jaxtyping import Array, Float, Int

from jaxlin.linear.linearize import linearize
from jaxlin.linear.operator import DetachedJacobian, Leaf
from jaxlin.results.labels import Labels

#: The output is the last token's hidden state.
LAST = -1


class PassState(NamedTuple):
    """What a pass reads.

    Attributes:
        weights: of the decoder, on the linear path or not.
        recorded: the coefficients; without those of the final norm the output is not normed.
        layers: (first, last + 1), traced, so that one program serves every choice; all layers if None.
        position: whose output is taken, traced; the last one's if None.
    """

    weights: Weights
    recorded: Recorded
    layers: tuple[Leaf, Leaf] | None = None
    position: Leaf | None = None


@dataclass(frozen=True)
class Forward:
    """J·V: the recorded pass, its linear path alone, or with ``biases`` J·V + c."""

    graphdef: Graph
    which: Branch = "block"
    biases: bool = False

    def __call__(self, state: PassState, v: Array) -> Array:
        decoder = nnx.merge(self.graphdef, state.weights)
        position = LAST if state.position is None else state.position
        v = v if v.ndim == 2 else divided(decoder.layout, v)  # one input alone has no axis of probes
        y = models.replay(decoder, state.recorded, v, position, state.layers, self.which, biases=self.biases)
        return whole(decoder.layout, y)


@dataclass(frozen=True)
class Backward:
    """Jᵀ·U: the same pass backwards, to ``length`` input positions."""

    graphdef: Graph
    length: int
    which: Branch = "block"

    def __call__(self, state: PassState, u: Array) -> Array:
        decoder = nnx.merge(self.graphdef, state.weights)
        position = LAST if state.position is None else state.position
        u = divided(decoder.layout, u)
        x = models.replay_transpose(
            decoder, state.recorded, u, self.length, position, state.layers, self.which
        )
        return whole(decoder.layout, x)


@dataclass(frozen=True)
class OrdinaryPass:
    """The ordinary forward pass, embeddings [T, d] -> last hidden state [d]."""

    graphdef: Graph

    def __call__(self, x: Array, weights: Weights) -> Array:
        return nnx.merge(self.graphdef, weights)(x)[LAST]


@partial(jax.jit, static_argnums=(0, 3, 4))
def record(
    graphdef: Graph,
    weights: Weights,
    x: Float[Array, "t d"],
    dial: models.Dial,
    policy: str,
    position: Int[Array, ""] | None = None,
) -> tuple[Float[Array, " d"], Recorded]:
    """The hidden state at ``position``, the last if None, and all coefficients of the pass."""
    where = LAST if position is None else position
    return models.record(nnx.merge(graphdef, weights), x, where, dial, models.POLICIES[policy])


def recorded_operator(
    graphdef: Graph,
    state: PassState,
    x: Float[Array, "t d"],
    y: Float[Array, " d"],
    which: Branch = "block",
    *,
    biased: bool,
    roundoff: float,
    labels: Labels | None = None,
) -> DetachedJacobian:
    """The map of a recorded pass, or of a part of it, from x to y.

    Args:
        graphdef: of the decoder.
        state: its weights, the coefficients, and which part.
        x: what enters that part.
        y: what leaves it at the output's position.
        which: whole layers, or one branch of one layer.
        biased: whether there are biases on the linear path: only then the offset takes a pass.
        roundoff: unit roundoff of the products inside a pass.
        labels: the prompt behind it.
    """
    offset = jnp.zeros_like(y)
    if biased:
        offset = jax.jit(Forward(graphdef, which, biases=True))(state, jnp.zeros_like(x))
    forward, backward = Forward(graphdef, which), Backward(graphdef, len(x), which)
    return DetachedJacobian(state, x, y, offset, forward, backward, True, roundoff, labels)


def whole_operator(
    graphdef: Graph,
    weights: Weights,
    x: Float[Array, "t d"],
    dial: models.Dial,
    policy: str,
    position: Int[Array, ""] | None = None,
    *,
    biased: bool,
    roundoff: float,
    labels: Labels | None = None,
) -> DetachedJacobian:
    """Record, and take the map of all layers: :func:`record`, then :func:`recorded_operator`."""
    y, recorded = record(graphdef, weights, x, dial, policy, position)
    state = PassState(weights, recorded, None, position)
    return recorded_operator(graphdef, state, x, y, biased=biased, roundoff=roundoff, labels=labels)


def ordinary_operator(
    graphdef: Graph, weights: Weights, x: Float[Array, "t d"], labels: Labels | None = None
) -> DetachedJacobian:
    """The ordinary Jacobian at x, with nothing frozen and nothing recorded."""
    return replace(linearize(OrdinaryPass(graphdef), x, weights), labels=labels)
