"""Decoding against brute force in numpy, one vector at a time."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from readers import PlainReader, labels_of, with_labels
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin.analyses import decoding
from jaxlin.linear.energy import Energy
from jaxlin.prompts.model import Model
from jaxlin.results.directions import Direction, read_inputs
from jaxlin.results.svd import SVDResult

NAME, K = "gemma3-text-final-softcap", 3


@pytest.fixture(scope="module")
def model(tiny_model) -> Model:
    return tiny_model(NAME, "float64")


@pytest.fixture(scope="module")
def result(model: Model) -> SVDResult:
    operator = with_labels(model.jacobian(prompt_ids(NAME)), model, prompt_ids(NAME))
    return jaxlin.svd(operator, K, method="dense")


@pytest.fixture(scope="module")
def directions(result: SVDResult) -> tuple[Direction, ...]:
    return result.directions


def test_left_vectors_go_through_head_and_softcap(
    model: Model, result: SVDResult, directions: tuple[Direction, ...]
):
    cap = model.decoder.config.final_logit_softcap
    head = np.asarray(model.decoder.embedding[...])
    for u, direction in zip(np.asarray(result.U), directions, strict=True):
        scores = cap * np.tanh(head @ u / cap)
        best = np.argsort(-scores)[:8]
        assert [token.id for token in direction.outputs] == best.tolist()
        np.testing.assert_allclose([token.score for token in direction.outputs], scores[best], rtol=1e-12)
        assert direction.outputs[0].text == f"<{best[0]}>"


def test_right_vectors_by_position_and_nearest_embedding_to_rank_eight(
    model: Model, result: SVDResult, directions: tuple[Direction, ...]
):
    ids = prompt_ids(NAME)
    table = np.asarray(model.decoder.embedding[...])
    for v, direction in zip(np.asarray(result.V), directions, strict=True):
        norms = np.linalg.norm(v, axis=1)
        assert [place.position for place in direction.inputs] == np.argsort(-norms)[:3].tolist()
        near = read_inputs(v[None], norms[None], norms[None], result.labels, nearest=8)[0]
        for place, (count, nearest) in zip(
            direction.inputs * 2,
            [(3, place.nearest) for place in direction.inputs] + [(8, place.nearest) for place in near],
            strict=True,
        ):
            block = v[place.position]
            cosines = table @ block / np.linalg.norm(table, axis=1) / np.linalg.norm(block)
            best = np.argsort(-cosines)[:count]
            assert place.id == ids[place.position]
            np.testing.assert_allclose(place.norm, norms[place.position], rtol=1e-12)
            assert [token.id for token in nearest] == best.tolist()
            np.testing.assert_allclose([token.score for token in nearest], cosines[best], rtol=1e-12)


def test_short_prompts_and_small_vocabularies_give_what_there_is():
    result = SVDResult(
        jnp.eye(2), jnp.ones(2), jax.random.normal(jax.random.key(0), (2, 1, 2)), jnp.zeros(2),
        None, "dense", 0, 0.0, 0, jaxlin.Certificate(1.0, 0.0, 2, 2, (), Energy(1.0, 0.0)),
    )  # fmt: skip
    direction = replace(result, x=jnp.ones((1, 2)), labels=labels_of([1], PlainReader())).directions[0]
    assert [token.id for token in direction.outputs] == [0, 1]
    assert [place.position for place in direction.inputs] == [0]
    assert len(direction.inputs[0].nearest) == 2


def test_many_rows_of_the_vocabulary_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch):
    """The eight nearest of a table that is read in pieces, two of which they come from."""

    monkeypatch.setattr(decoding, "ROWS_AT_ONCE", 16)
    blocks, table = (jax.random.normal(jax.random.key(i), (n, 5)) for i, n in ((0, 4), (1, 60)))
    nearest = decoding.nearest_tokens(blocks[:, None], table, 8, str)
    cosines = np.asarray(blocks @ table.T) / np.linalg.norm(table, axis=1)
    for i, (near,) in enumerate(nearest):
        assert [token.id for token in near] == np.argsort(-cosines[i])[:8].tolist()


def test_vectors_of_the_residual_stream_go_through_the_final_norm_first(model: Model):
    hidden = jax.random.normal(jax.random.key(0), (2, model.decoder.config.embed_dim))
    scale = 1 + np.asarray(model.decoder.final_norm.scale[...])
    rms = np.sqrt(np.mean(np.square(hidden), -1, keepdims=True) + model.decoder.config.norm_eps)
    expected = model.logits(hidden / rms * scale)
    np.testing.assert_allclose(model.logits(hidden, normed=False), expected, rtol=1e-12)
