"""A network that predicts the phenotype: the mean of five, each trained without another fifth of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

#: Arrays of all members, by name: base [m], inner [m, loci, hidden], outer [m, hidden].
Weights = dict[str, Any]


def predict(z: Float[Array, " loci"], weights: Weights) -> Float[Array, ""]:
    """The phenotype of one individual: a hidden layer of SiLU without biases, and a base value."""
    hidden = jax.nn.silu(jnp.einsum("l,mlh->mh", z, weights["inner"]))
    return jnp.mean(weights["base"] + jnp.einsum("mh,mh->m", hidden, weights["outer"]))


@dataclass(frozen=True)
class Fitted:
    """A trained network.

    Attributes:
        weights: of all members, in float64.
        explained: the share of the variance that members explain in what they were not trained on. It chose
            the penalty, and the step at which each member stopped, so it is a little too large.
        sparse: the penalty that was chosen.
    """

    weights: Weights
    explained: float
    sparse: float


def fit(
    z: Float[np.ndarray, "individuals loci"],
    phenotype: Float[np.ndarray, " individuals"],
    *,
    hidden: int = 64,
    members: int = 5,
    steps: int = 700,
    rate: float = 5e-3,
    sparse: Sequence[float] = (1e-3, 3e-3),
    decay: float = 1e-2,
    seed: int = 0,
) -> Fitted:
    """A trained network, by Adam on all individuals at once, in float32.

    Args:
        z: centred genotypes.
        phenotype: what is to be predicted.
        hidden: width of the hidden layer.
        members: how many networks; each leaves out every ``members``-th individual, and keeps the weights
            that predict those best.
        steps: how many steps.
        rate: the step size at the start; it falls to 0 along a cosine.
        sparse: weights of the sum of absolute inner weights; the one that explains more is kept.
        decay: weight of the sum of squared outer weights.
        seed: of the first weights.
    """
    import optax

    x, y = jnp.asarray(z, jnp.float32), jnp.asarray(phenotype, jnp.float32)
    left_out = jnp.asarray(np.arange(len(z)) % members == np.arange(members)[:, None], jnp.float32)
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def objective(weights: Weights, out: Array, sparse: Array) -> tuple[Array, Array]:
        squared = (_one(x, weights) - y) ** 2
        inside, outside = 1 - out, out
        penalty = sparse * jnp.abs(weights["inner"]).sum() + decay * (weights["outer"] ** 2).sum()
        missed = (squared * outside).sum() / outside.sum()
        return (squared * inside).sum() / inside.sum() + penalty, missed

    def train_one(given: tuple[Weights, Array, Array]) -> tuple[Weights, Array]:
        first, out, sparse = given

        def step(carried: Any, _: None) -> Any:
            weights, state, best, least = carried
            (_, missed), slope = jax.value_and_grad(objective, has_aux=True)(weights, out, sparse)
            better = missed < least
            best = jax.tree.map(lambda new, old: jnp.where(better, new, old), weights, best)
            change, state = optimiser.update(slope, state)
            return (optax.apply_updates(weights, change), state, best, jnp.minimum(missed, least)), None

        start = (first, optimiser.init(first), first, jnp.float32(jnp.inf))
        (_, _, best, least), _ = jax.lax.scan(step, start, None, length=steps)
        return best, least

    first = _first_weights(z.shape[1], hidden, members, seed)
    every = jax.jit(lambda penalties: jax.lax.map(train_one, (first, left_out, penalties)))
    found = [(*every(jnp.full(members, penalty, jnp.float32)), penalty) for penalty in sparse]
    weights, least, chosen = min(found, key=lambda tried: float(jnp.mean(tried[1])))
    explained = 1 - float(jnp.mean(least)) / float(np.var(phenotype))
    return Fitted(jax.tree.map(lambda w: np.asarray(w, np.float64), weights), explained, chosen)


def _one(x: Float[Array, "individuals loci"], weights: Weights) -> Float[Array, " individuals"]:
    return weights["base"] + jax.nn.silu(x @ weights["inner"]) @ weights["outer"]


def _first_weights(loci: int, hidden: int, members: int, seed: int) -> Weights:
    random = np.random.default_rng(seed)

    def normal(*shape: int) -> Array:
        return jnp.asarray(random.standard_normal(shape), jnp.float32)

    return {
        "base": jnp.zeros(members, jnp.float32),
        "inner": normal(members, loci, hidden) / loci**0.5,
        "outer": normal(members, hidden) / hidden**0.5,
    }
