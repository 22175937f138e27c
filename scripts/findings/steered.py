"""Continuations while the map of a concept prompt acts on the residual stream, and how likely they are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from flax import nnx
from jaxlin_models.decoder import Graph, Weights
from jaxtyping import Array, Float, Int

import jaxlin
from jaxlin.analyses.steering import concept_of, low_rank_concept, random_concept
from jaxlin.prompts.model import Model

RANK = 8
#: Ways to steer: the map of the concept, its first directions, and what they are compared with.
WAYS = ("whole map", f"rank {RANK}", "random, same spectrum", "as published")


def additions(
    model: Model, concept: str, layer: int, ways: tuple[str, ...] = WAYS
) -> Iterator[tuple[str, models.Addition]]:
    """What can be added to what leaves a layer, at strength 0, by :data:`WAYS` to steer.

    Args:
        model: whose map.
        concept: a prompt.
        layer: its number.
        ways: some of them.
    """
    recording = model.record(concept)
    operator = recording.stretch(0, layer, normed=False)
    for way in ways:
        where = layer + 1
        if way == "whole map":
            directions, state = concept_of(operator)
        elif way == "as published":
            directions, state = concept_of(recording.stretch(0, layer, normed=True), wrapped=True)
            where = layer
        elif way == "random, same spectrum":
            spectrum = jaxlin.svd(operator, operator.shape[0], method="dense").s
            shape = (operator.shape[0], *operator.input_shape)
            directions, state = random_concept(shape, spectrum, seed=0)
        else:
            directions, state = low_rank_concept(jaxlin.svd(operator, RANK, method="dense"))
        yield way, models.Addition(state, jnp.asarray(where), jnp.asarray(0.0), directions)


def continued(
    model: Model,
    ids: Int[np.ndarray, "b t"],
    count: int,
    addition: models.Addition | None = None,
    *,
    temperature: float = 1.0,
) -> Int[np.ndarray, "b n"]:
    """``count`` tokens more for each of b texts, sampled from one seed."""
    added, _ = models.generate(
        model.decoder,
        jnp.asarray(ids),
        count,
        key=jax.random.key(0),
        temperature=temperature,
        addition=addition,
    )
    return np.asarray(added)


def surprise(model: Model, ids: Int[np.ndarray, "b t"], start: int) -> Float[np.ndarray, " b"]:
    """Mean negative log-probability of the tokens from ``start`` on, under the unsteered model, by text."""
    graphdef, weights = nnx.split(model.decoder)
    return np.asarray(_surprise(graphdef, weights, jnp.asarray(ids), start), np.float64)


@partial(jax.jit, static_argnums=(0, 3))
def _surprise(graphdef: Graph, weights: Weights, ids: Int[Array, "b t"], start: int) -> Float[Array, " b"]:
    decoder = nnx.merge(graphdef, weights)
    hidden = decoder(decoder.embed(ids))
    logits = jax.nn.log_softmax(decoder.logits(hidden[:, start - 1 : -1]))
    return -jnp.take_along_axis(logits, ids[:, start:, None], axis=-1)[..., 0].mean(-1)


def perplexity(surprises: Float[np.ndarray, " n"]) -> float:
    """exp of the mean."""
    return math.exp(float(np.mean(surprises)))
