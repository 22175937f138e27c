"""Continuations with a cache of keys and values, greedy or sampled; something may be added to the stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, Key

from jaxlin_models.attention import Positions
from jaxlin_models.decoder import Decoder, Graph, Recorded, Weights
from jaxlin_models.detach import Cached
from jaxlin_models.errors import ModelError
from jaxlin_models.modules import Leaf
from jaxlin_models.stacks import apart, are_apart, to_stack

#: Logits of the token to come, its position, caches, embeddings of all positions so far.
Carry = tuple[Array, Array, Recorded, Array]

#: (state, embeddings of all positions so far [b, s, d], some positions [t]) -> directions [b, t, d].
Directions = Callable[[Any, Float[Array, "b s d"], Int[Array, " t"]], Float[Array, "b t d"]]

#: Beyond these float32 divides logits by infinity, or makes infinity of them.
_TEMPERATURES = (1e-6, 1e6)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Addition:
    """What is added to the residual stream a, at every position: strength · ‖a‖ / (2‖v‖) · v.

    Attributes:
        state: what ``directions`` reads; any pytree of arrays.
        layer: v is added to what enters this layer, or, with the number of layers, to what leaves the last.
        strength: λ.
        directions: gives v; static, so it must compare equal where it does the same.
    """

    state: Any
    layer: Leaf
    strength: Leaf
    directions: Directions = field(metadata={"static": True})


def generate(
    decoder: Decoder,
    ids: Int[Array, "b t"],
    count: int,
    *,
    key: Key[Array, ""] | None = None,
    temperature: float = 0.0,
    addition: Addition | None = None,
) -> tuple[Int[Array, "b count"], Float[Array, "b count"]]:
    """Continue each of b prompts of one length by ``count`` tokens; also returns their log-probabilities.

    Args:
        decoder: the decoder.
        ids: the prompts.
        count: how many tokens to add, at least 1. Nothing stops at an end-of-text token.
        key: to sample with; needed where the temperature is not 0.
        temperature: logits are divided by it and sampled, from 1e-6 to 1e6; the largest is taken at 0.
        addition: added to the residual stream at all positions, those of the prompt included.

    Returns:
        the tokens, and the natural logarithms of the probabilities that the model, with what was added to its
        stream, gave them at temperature 1.

    Raises:
        ModelError: nothing to add, more tokens than positions, a temperature out of range or without a key,
            or logits that are not finite.
    """
    capacity = ids.shape[1] + count
    if count < 1:
        raise ModelError(f"{count} tokens are asked for: ask for at least 1")
    if capacity > decoder.config.max_positions:
        raise ModelError(
            f"{ids.shape[1]} tokens and {count} more are over the model's {decoder.config.max_positions} "
            f"positions: ask for fewer"
        )
    coldest, hottest = _TEMPERATURES
    if not (temperature == 0 or coldest <= temperature <= hottest) or (temperature > 0 and key is None):
        raise ModelError(
            f"the temperature is {temperature}: choose 0, or from {coldest:g} to {hottest:g} with a seed"
        )
    graphdef, weights = nnx.split(decoder)
    key = jax.random.key(0) if key is None else key
    found: tuple[Array, Array] = continued(
        graphdef, weights, ids, key, jnp.asarray(temperature), addition, count=count
    )
    if not bool(jnp.isfinite(found[1]).all()):
        raise ModelError(
            "the logits of this continuation are not finite: choose a wider `dtype`, or a smaller strength"
        )
    return found


@partial(jax.jit, static_argnames=("graphdef", "count"))
def continued(
    graphdef: Graph,
    weights: Weights,
    ids: Array,
    key: Array,
    temperature: Array,
    addition: Addition | None,
    *,
    count: int,
) -> tuple[Array, Array]:
    """The program of :func:`generate`, which checks what goes in and what comes out."""
    decoder = nnx.merge(graphdef, weights)
    batch, length = ids.shape
    capacity = length + count
    table = decoder.positions(capacity, decoder.working_dtype)

    def run(tokens: Array, start: Array, caches: Recorded, seen: Array) -> tuple[Array, Recorded, Array]:
        """Logits after these tokens, which begin at position ``start``."""
        x = decoder.embed(tokens)
        seen = jax.lax.dynamic_update_slice_in_dim(seen, x, start, axis=1)
        places = start + jnp.arange(tokens.shape[1])

        def positions_of(layer: Array) -> Positions:
            whole = table(layer)
            cos, sin = (
                jax.lax.dynamic_slice_in_dim(angles, start, len(places)) for angles in (whole.cos, whole.sin)
            )
            return Positions(whole.reach, cos, sin, start)

        enter = None
        if addition is not None:
            v = addition.directions(addition.state, seen, places)
            enter = partial(_added, v, addition)
        hidden, kept = decoder.run(
            x,
            lambda cache: Cached(cache, start),
            {"layers": caches["layers"], "final": {}},
            position=-1,
            positions_of=positions_of,
            enter=enter,
        )
        return decoder.logits(hidden), kept, seen

    def choose(logits: Array, key: Array) -> Array:
        sampled = jax.random.categorical(key, logits / jnp.where(temperature > 0, temperature, 1))
        return jnp.where(temperature > 0, sampled, jnp.argmax(logits, -1))

    def step(carry: Carry, key: Array) -> tuple[Carry, tuple[Array, Array]]:
        logits, start, caches, seen = carry
        chosen = choose(logits, key)
        spoken = jnp.take_along_axis(jax.nn.log_softmax(logits), chosen[:, None], axis=-1)[:, 0]
        logits, caches, seen = run(chosen[:, None], start, caches, seen)
        return (logits, start + 1, caches, seen), (chosen, spoken)

    seen = jnp.zeros((batch, capacity, decoder.config.embed_dim), decoder.working_dtype)
    logits, caches, seen = run(ids, jnp.asarray(0), _empty(decoder, batch, capacity), seen)
    carry = logits, jnp.asarray(length), caches, seen
    _, (tokens, spoken) = jax.lax.scan(step, carry, jax.random.split(key, count))
    return tokens.T, spoken.T


def _empty(decoder: Decoder, batch: int, capacity: int) -> Recorded:
    config = decoder.config
    shape = (config.num_layers, batch, capacity, config.num_kv_heads, config.head_dim)
    names = ("attention.key", "attention.value")
    caches = to_stack({name: jnp.zeros(shape, decoder.working_dtype) for name in names})
    separate = are_apart(nnx.state(decoder.layers))
    return {"layers": apart(caches) if separate else caches, "final": {}}


def _added(v: Array, addition: Addition, x: Array, layer: Array) -> Array:
    norm = jnp.linalg.norm(v, axis=-1, keepdims=True)
    size = addition.strength * jnp.linalg.norm(x, axis=-1, keepdims=True) / 2
    added = x + (size * v / jnp.where(norm > 0, norm, 1)).astype(x.dtype)
    return jnp.where(layer == addition.layer, added, x)
