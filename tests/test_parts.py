"""Spans, output positions and targets: parts of the map, against rows and columns of the dense matrix."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILIES
from jaxlin_models.checkpoint import DEMOS
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin import JaxlinError
from jaxlin.linear.certificate import check_operator
from jaxlin.prompts.span import parse_span
from jaxlin.prompts.target import LogitTarget, parse_target


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("16:", range(16, 20)),
        (":3", range(3)),
        (":", range(20)),
        ("2:5,0,18:", [0, 2, 3, 4, 18, 19]),
        ("-2:", [18, 19]),
        ("7", [7]),
        ("-1, 3,3", [3, 19]),
    ],
)
def test_spans(text: str, positions):
    assert parse_span(text, 20).tolist() == list(positions)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5:5", "the span 5:5 is empty or reversed at 20 tokens"),
        ("9:4", "the span 9:4 is empty or reversed"),
        ("20:", "the span 20: is empty or reversed"),
        ("3,25", "position 25 is outside the input: choose from 0 to 19"),
        ("-21", "position -1 is outside"),
        ("2:40", "position 39 is outside"),
        ("a:b", "`span` takes numbers and ranges like 16: or 0,3,8:12"),
        ("", "`span` takes numbers"),
    ],
)
def test_spans_that_are_none(text: str, message: str):
    with pytest.raises(JaxlinError, match=message):
        parse_span(text, 20)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_span_is_columns_and_the_rest_is_offset(tiny_operator, name: str):
    whole = tiny_operator(name, "float64")
    span = [1, 2, 5, 11]
    part = whole.select(span=span)
    assert part.input_shape == (4, whole.input_shape[1])
    np.testing.assert_allclose(part.dense(), whole.dense()[:, np.array(span)], atol=1e-13)
    assert all(check.holds for check in check_operator(part, 0))
    assert {check.name for check in check_operator(part, 0)} >= {"reconstruction"}
    result = jaxlin.svd(part, 3, method="lanczos")
    assert result.V.shape == (3, *part.input_shape)
    exact = np.linalg.svd(np.asarray(whole.dense()[:, np.array(span)]).reshape(whole.shape[0], -1))[1]
    np.testing.assert_allclose(result.s, exact[:3], rtol=1e-9)
    width = whole.input_shape[1]
    with pytest.raises(JaxlinError, match=f"k is {width + 1}, but this map has {width} singular values"):
        jaxlin.svd(whole.select(span=[3]), width + 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_padding_changes_nothing_and_its_columns_are_zero(tiny_model, tiny_operator, name: str):
    ids, whole = prompt_ids(name), tiny_operator(name, "float64")
    padded = tiny_model(name, "float64").jacobian(ids, length=len(ids) + 5)
    dense = padded.dense()
    np.testing.assert_allclose(dense[:, : len(ids)], whole.dense(), atol=1e-13)
    assert not np.asarray(dense[:, len(ids) :]).any()
    np.testing.assert_allclose(padded.y, whole.y, atol=1e-13)
    np.testing.assert_allclose(padded.offset, whole.offset, atol=1e-13)
    assert all(check.holds for check in check_operator(padded, 0))
    with pytest.raises(JaxlinError, match="cannot be padded to 3"):
        tiny_model(name, "float64").jacobian(ids, length=3)


@pytest.mark.parametrize("name", FAMILIES)
def test_an_output_position_is_the_prompt_up_to_it(tiny_model, name: str):
    """The Jacobian of a hidden state in the middle, from the full forward pass's own derivative there."""
    from jaxlin_models.detach import DETACHED, Detached

    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    operator = model.jacobian(ids, position=9)
    assert operator.input_shape[0] == 10
    x = model.decoder.embed(jnp.asarray(ids))
    whole = jaxlin.linearize(lambda x, decoder: decoder(x, Detached(DETACHED))[9], x, model.decoder)
    expected = np.asarray(whole.dense())
    np.testing.assert_allclose(operator.y, whole.y, atol=1e-12)
    np.testing.assert_allclose(operator.dense(), expected[:, :10], atol=1e-12 * np.abs(expected).max())
    assert np.all(expected[:, 10:] == 0)
    np.testing.assert_array_equal(model.jacobian(ids, position=-1).y, model.jacobian(ids).y)
    with pytest.raises(JaxlinError, match="output position 29 is outside the prompt: choose from 0 to 28"):
        model.jacobian(ids, position=29)


def test_an_output_position_that_depends_on_what_follows(tiny_model):
    """Longrope's angles are those of the whole prompt's length: here 29 tokens, where 28 are still short."""
    model, ids = tiny_model("phi3-longrope-long", "float64"), prompt_ids("phi3-longrope-long")
    with pytest.raises(JaxlinError, match=r"prompts of more than 28 tokens .* cut the prompt after it"):
        model.jacobian(ids, position=9)
    assert model.jacobian(ids[:10]).input_shape[0] == 10
    short = tiny_model("phi3-longrope-short", "float64")
    np.testing.assert_array_equal(short.jacobian(ids, position=9).y, short.jacobian(ids[:10]).y)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ('logits:" Paris"', LogitTarget(" Paris")),
        ('logits:" Paris"-" Rome"', LogitTarget(" Paris", " Rome")),
        ('logits: "a-b" - "\\"q"', LogitTarget("a-b", '"q')),
        ("logits:#5-#7", LogitTarget(5, 7)),
    ],
)
def test_targets(text: str, target: LogitTarget):
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["Paris", "logits:Paris", 'logits:"a"-', 'logit:"a"', 'logits:"a""b"', ""])
def test_targets_that_are_none(text: str):
    with pytest.raises(JaxlinError, match="`target` takes logits:"):
        parse_target(text)


@pytest.mark.parametrize("name", [*FAMILIES, "gemma3-text-final-softcap"])
def test_a_logit_is_one_row_and_exactly_attributed(tiny_model, name: str):
    """y is the model's own logit (or difference), soft-cap included, and what the tokens bring sums to it."""
    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    operator = model.jacobian(ids)
    logits = np.asarray(model.logits(operator.y))
    for target, value in ((LogitTarget(3), logits[3]), (LogitTarget(3, 8), logits[3] - logits[8])):
        row = operator.select(target=model.logit_row(operator.y, target))
        assert row.shape == (1, operator.shape[1])
        np.testing.assert_allclose(row.y[0], value, rtol=1e-12)
        result = jaxlin.svd(row)
        assert len(result.s) == 1
        brought = np.asarray(result.U[0, 0] * result.s[0] * np.einsum("td,td->t", result.V[0], row.x))
        np.testing.assert_allclose(brought.sum() + row.offset[0], value, rtol=1e-11)
        pulled = np.einsum("td,td->t", operator.rmatvec(model.logit_row(operator.y, target)[0]), operator.x)
        np.testing.assert_allclose(brought, pulled, atol=1e-11)


def test_target_rows_of_the_wrong_shape(tiny_operator):
    with pytest.raises(JaxlinError, match=r"each row of a target needs the output's shape \[32\]"):
        tiny_operator(FAMILIES[0], "float64").select(target=jnp.ones((1, 5)))


@pytest.mark.parametrize("demo", sorted(DEMOS))
def test_tokens_of_targets(demo: str):
    model = jaxlin.load(demo)
    assert model.token_text(model.token_id(" Paris")).strip() == "Paris"
    assert model.token_id(7) == 7
    with pytest.raises(JaxlinError, match=r"the target ' Paris is' is 2 tokens \(.*\): choose a single one"):
        model.token_id(" Paris is")
    with pytest.raises(JaxlinError, match="token id -1 is out of range"):
        model.token_id(-1)
