"""Generation with a cache against the whole pass at every step, and what steering adds."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
import pytest
from conftest import QUICK_TO_COMPILE
from jaxlin_models import Addition, ModelError, generate
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin.analyses.steering import concept_of, low_rank_concept, random_concept, windows_of, wrapped_windows

COUNT, TEMPERATURE = 3, 1.5
#: Windows, q/k norms, soft-caps, biases, partial and scaled rotations.
NAMES = ("llama-biases", "gemma3-text-final-softcap", "qwen3-sliding", "phi3")


def whole_passes(model, ids: list[int], steer=None) -> tuple[list[int], list[float]]:
    """COUNT sampled tokens and their log-probabilities, each from a whole ordinary pass.

    ``steer``: the direction v at every position, from their embeddings; where; how much. What comes after a
    position cannot act on it, so every pass has the full length, and is compiled once.
    """

    @partial(jax.jit, compiler_options=QUICK_TO_COMPILE)
    def run(x, v):
        def enter(a, number):
            size = steer[2] * jnp.linalg.norm(a, axis=-1, keepdims=True) / 2
            steered = a + size * v / jnp.linalg.norm(v, axis=-1, keepdims=True)
            return jnp.where(number == steer[1], steered, a)

        return model.decoder.run(x, lambda _: models.Plain(), enter=enter if steer else None)[0]

    known = len(ids)
    ids, spoken = [*ids, *[0] * COUNT], []
    for place, key in enumerate(jax.random.split(jax.random.key(0), COUNT), known):
        x = model.decoder.embed(jnp.asarray(ids))
        hidden = run(x, steer[0](np.asarray(x)) if steer else None)
        logits = model.logits(hidden[place - 1])
        ids[place] = int(jax.random.categorical(key, logits[None] / TEMPERATURE)[0])
        spoken.append(float(jax.nn.log_softmax(logits)[ids[place]]))
    return ids[known:], spoken


def cached(model, ids: list[int], addition: Addition | None = None) -> tuple[list[int], list[float]]:
    found, spoken = generate(
        model.decoder,
        jnp.asarray([ids]),
        COUNT,
        key=jax.random.key(0),
        temperature=TEMPERATURE,
        addition=addition,
    )
    return found[0].tolist(), spoken[0].tolist()


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_changes_nothing(tiny_model, name: str):
    model = tiny_model(name, "float64")
    prompt = prompt_ids(name)[:9]
    expected, spoken = whole_passes(model, prompt)
    found, log_probabilities = cached(model, prompt)
    assert found == expected
    np.testing.assert_allclose(log_probabilities, spoken, rtol=1e-10)
    assert abs(cached(model, prompt[1:])[1][0] - spoken[0]) > 1e-6


def test_zero_temperature_takes_the_largest_logit(tiny_model):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    logits = model.logits(model.decoder(model.decoder.embed(jnp.asarray(ids)))[-1])
    assert model.generate(ids, 1) == [int(jnp.argmax(logits))]


def test_bfloat16_is_cached_as_such(tiny_model):
    model = tiny_model("llama-biases", "bfloat16")
    assert len(model.generate(prompt_ids("llama-biases"), 3)) == 3


def test_a_batch_is_its_prompts_and_sampling_goes_by_seed(tiny_model):
    model = tiny_model("llama-biases", "float64")
    prompts = jnp.asarray([prompt_ids("llama-biases")[:5], prompt_ids("llama-biases")[4:9]])
    both, _ = generate(model.decoder, prompts, COUNT)
    for prompt, found in zip(prompts, both, strict=True):
        assert found.tolist() == model.generate([int(i) for i in prompt], COUNT)
    sampled = [model.generate(prompt_ids("llama-biases"), 12, temperature=2.0, seed=s) for s in (0, 0, 1)]
    assert sampled[0] == sampled[1] != sampled[2]


def test_sampling_follows_the_softmax(tiny_model):
    """The first token of many samples, against the probabilities of the ordinary pass."""
    model = tiny_model("llama-biases", "float64")
    ids = prompt_ids("llama-biases")
    logits = model.logits(model.decoder(model.decoder.embed(jnp.asarray(ids)))[-1])
    expected = jax.nn.softmax(logits / 0.7)
    many = 4000
    found, _ = generate(model.decoder, jnp.asarray([ids] * many), 1, key=jax.random.key(0), temperature=0.7)
    share = np.bincount(np.asarray(found[:, 0]), minlength=len(expected)) / many
    assert np.abs(share - expected).max() < 5 * np.sqrt(0.25 / many)
    assert np.corrcoef(share, expected)[0, 1] > 0.95


@pytest.mark.parametrize("as_published", [False, True])
@pytest.mark.parametrize("rank", [None, 3])
def test_steering_adds_the_concepts_map_of_the_running_text(tiny_model, as_published: bool, rank: int | None):
    """Against whole passes in which the addition is written out with the dense matrix."""
    name, layer, strength = "llama-biases", 1, 1.5
    model = tiny_model(name, "float64")
    concept, prompt = prompt_ids(name)[2:7], prompt_ids(name)[:9]
    operator = model.record(concept).stretch(0, layer, normed=as_published)
    directions, state = concept_of(operator, wrapped=as_published)
    dense = np.asarray(operator.dense())
    if rank is not None:
        result = jaxlin.svd(operator, rank, method="dense")
        directions, state = low_rank_concept(result, wrapped=as_published)
        dense = np.einsum("kd,k,kce->dce", result.U, result.s, result.V)
    where = layer if as_published else layer + 1
    addition = Addition(state, jnp.asarray(where), jnp.asarray(strength), directions)

    def directions_at(embeddings):
        length = len(concept)
        v = np.zeros_like(embeddings)
        for p in range(len(embeddings)):
            for c in range(length):
                if as_published and p % length == c:
                    v[p] += dense[:, c] @ embeddings[p]
                elif not as_published and p - (length - 1 - c) >= 0:
                    v[p] += dense[:, c] @ embeddings[p - (length - 1 - c)]
        return v

    expected, spoken = whole_passes(model, prompt, (directions_at, where, strength))
    found, log_probabilities = cached(model, prompt, addition)
    assert found == expected
    np.testing.assert_allclose(log_probabilities, spoken, rtol=1e-10)
    plain = cached(model, prompt)
    assert abs(plain[1][0] - spoken[0]) > 1e-6
    assert cached(model, prompt, Addition(state, jnp.asarray(where), jnp.asarray(0.0), directions)) == plain


def test_windows():
    embeddings = jnp.arange(1.0, 6.0)[None, :, None]
    at = jnp.asarray([0, 1, 4])
    assert windows_of(embeddings, at, 3)[0, :, :, 0].tolist() == [[0, 0, 1], [0, 1, 2], [3, 4, 5]]
    assert wrapped_windows(embeddings, at, 3)[0, :, :, 0].tolist() == [[1, 0, 0], [0, 2, 0], [0, 5, 0]]


def test_a_random_operator_has_the_spectrum_it_was_given():
    spectrum = np.array([3.0, 2.0, 0.5])
    concept, state = random_concept((8, 2, 8), spectrum, seed=1)
    basis = jnp.eye(16).reshape(16, 2, 8)
    matrix = np.asarray(concept.apply(state, basis)).T
    np.testing.assert_allclose(np.linalg.svd(matrix, compute_uv=False)[:3], spectrum, rtol=1e-12)
    other = random_concept((8, 2, 8), spectrum, seed=2)[1]
    assert not np.allclose(state[0], other[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "0 tokens are asked for"),
        ({"count": 10_000}, "are over the model's"),
        ({"count": 2, "temperature": -1.0}, "the temperature is -1.0"),
    ],
)
def test_requests_that_cannot_be_met(tiny_model, settings: dict, message: str):
    with pytest.raises(ModelError, match=message):
        tiny_model("llama-biases", "float64").generate(prompt_ids("llama-biases"), **settings)
