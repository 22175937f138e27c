"""Metrics of the prediction, and what directions contribute to it: against brute force and the real head."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import check_pytree
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin import JaxlinError
from jaxlin.analyses.comparison import compare
from jaxlin.analyses.weighing import weighed
from jaxlin.linear.metric import pulled_back, square_root
from jaxlin.prompts import head
from jaxlin.results.svd import SVDResult

#: One of every family: with and without a soft-cap, biases on the linear path, a head of its own.
EVERY_FAMILY = (
    "llama-biases", "mistral", "ministral", "phi3", "olmo2", "qwen2", "qwen3-sliding", "gemma2",
    "gemma3-text", "gemma3-text-final-softcap",
)  # fmt: skip
CAPPED = "gemma3-text-final-softcap"


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max())
    return shifted / shifted.sum()


@pytest.mark.parametrize("name", EVERY_FAMILY)
def test_all_directions_and_the_offset_sum_to_the_logits(tiny_model, name: str):
    """The prediction is that of the ordinary forward pass, and its centred logits are what is split."""
    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    result = jaxlin.svd(model.jacobian(ids), model.config.embed_dim, method="dense")
    logits = np.asarray(model.logits(model.decoder(model.decoder.embed(jnp.asarray(ids)))[-1]))
    best = np.argsort(-logits)[:2]
    tokens = result.prediction.tokens
    assert [token.id for token in tokens[:2]] == best.tolist()
    np.testing.assert_allclose([t.probability for t in tokens[:2]], softmax(logits)[best], rtol=1e-10)
    np.testing.assert_allclose([t.centred for t in tokens[:2]], logits[best] - logits.mean(), rtol=1e-10)
    split = result.split
    scale = max(1.0, np.abs(logits).max())
    np.testing.assert_allclose(split.whole.logits, logits[best] - logits.mean(), atol=1e-10 * scale)
    np.testing.assert_allclose(split.rest.logits, [0, 0], atol=1e-10 * scale)
    assert split.rest.output == pytest.approx(0, abs=1e-10)
    assert split.whole.output == pytest.approx(1)
    assert any(split.offset.logits) == (name in ("llama-biases", "qwen2"))


@pytest.mark.parametrize("metric", ["fisher", "logits"])
@pytest.mark.parametrize("name", ["llama-biases", CAPPED])
def test_in_a_metric_too(tiny_model, name: str, metric: str):
    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    result = model.svd(ids, k=model.config.embed_dim, metric=metric, method="dense")
    assert result.holds
    np.testing.assert_allclose(result.split.rest.logits, [0, 0], atol=1e-8)
    operator = model.jacobian(ids)
    np.testing.assert_allclose(result.images, operator.matmat(result.V), atol=1e-12)
    rows = np.asarray(model.metric_rows(operator.y, metric))
    np.testing.assert_allclose(
        result.images @ rows.T, np.asarray(result.s)[:, None] * np.asarray(result.U), atol=1e-9
    )
    # L has all of its rows here, so that nothing is lost by going back.
    back = pulled_back(rows, np.asarray(result.s)[:3, None] * np.asarray(result.U)[:3], np.dtype("float64"))
    np.testing.assert_allclose(back, result.images[:3], atol=1e-7)


@pytest.mark.parametrize("name", ["llama-biases", CAPPED])
def test_half_sigma_squared_is_the_divergence_of_a_step(tiny_model, name: str):
    """KL of the real head, soft-cap and all, at the hidden state that a small step makes."""
    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    operator = model.jacobian(ids)
    result = model.svd(ids, k=3, metric="fisher")
    before = softmax(np.asarray(model.logits(operator.y)))
    step = 1e-3
    for s, v in zip(np.asarray(result.s), np.asarray(result.V), strict=True):
        divergences = []
        for sign in (-1, 1):  # whose mean has no term of third order
            after = softmax(np.asarray(model.logits(operator.y + sign * step * operator.matvec(v))))
            divergences.append(np.sum(before * np.log(before / after)))
        assert np.mean(divergences) == pytest.approx(0.5 * (step * s) ** 2, rel=1e-4)


@pytest.mark.parametrize("metric", ["fisher", "logits"])
def test_a_metric_is_that_of_its_definition(tiny_model, monkeypatch: pytest.MonkeyPatch, metric: str):
    """F from the whole head at once; here it comes in parts."""
    monkeypatch.setattr(head, "ROWS_AT_ONCE", 7)
    model, ids = tiny_model(CAPPED, "float64"), prompt_ids(CAPPED)
    y = model.jacobian(ids).y
    cap, table = model.config.final_logit_softcap, np.asarray(model.decoder.embedding[...])
    logits = cap * np.tanh(table @ np.asarray(y) / cap)
    slopes = (1 - (logits / cap) ** 2)[:, None] * table
    p = softmax(logits) if metric == "fisher" else np.ones(len(table))
    middle = np.diag(p) - np.outer(p, p) / p.sum()
    rows = model.metric_rows(y, metric)
    np.testing.assert_allclose(rows.T @ rows, slopes.T @ middle @ slopes, atol=1e-10)
    assert np.all(np.diff(np.linalg.norm(rows, axis=1)) <= 0)
    with pytest.raises(JaxlinError, match="unknown metric 'length'"):
        model.metric_rows(y, "length")


def test_what_changes_no_prediction_is_cut():
    wide = np.random.default_rng(0).standard_normal((3, 8))
    rows = square_root(wide.T @ wide)
    assert rows.shape == (3, 8)
    np.testing.assert_allclose(rows.T @ rows, wide.T @ wide, atol=1e-12)
    np.testing.assert_array_equal(square_root(wide.T @ wide), rows)
    assert square_root(np.zeros((4, 4))).tolist() == [[0.0] * 4]
    seen = wide @ np.linalg.pinv(wide) @ wide  # the part of the space that is not cut
    np.testing.assert_allclose(pulled_back(rows, seen @ rows.T, np.dtype("float64")), seen, atol=1e-12)


def test_a_direction_that_no_metric_sees_is_still_counted(tiny_model):
    """The images are J·v itself, so that what L leaves out is in the rest and nowhere else."""
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    result = model.svd(ids, k=2, metric="fisher")
    split = result.split
    sums = [split.together, split.rest, split.offset]
    total = np.sum([part.logits for part in sums], axis=0)
    np.testing.assert_allclose(total, [token.centred for token in result.prediction.pair], rtol=1e-10)


def test_a_metric_is_part_of_what_a_result_is(tiny_model, tmp_path: Path):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    result = model.svd(ids, k=2, metric="fisher", order="contribution", out=str(tmp_path / "out"))
    check_pytree(result)
    back = jaxlin.read(tmp_path / "out")
    assert isinstance(back, SVDResult)
    summary = json.loads((tmp_path / "out" / "result.json").read_text())
    assert summary["metric"] == back.metric == "fisher"
    assert summary["metric_rows"] == result.U.shape[1]
    assert "metric='fisher', order='contribution'" in back.python()
    assert back.summary() == result.summary()
    assert back.rows() == result.rows()
    assert repr(back) == repr(result)
    assert "metric fisher" in repr(back)
    assert back.order == result.split.order
    np.testing.assert_array_equal(back.images, result.images)
    # And a damaged one does not pass for it.
    split = {**summary["contributions"], "along": [1.0]}
    damages: list[dict[str, Any]] = [
        {"metric": "length"}, {"metric_rows": 3}, {"prediction": {"tokens": []}}, {"contributions": split},
    ]  # fmt: skip
    for damage in [*damages, {"prediction": None}]:
        (tmp_path / "out" / "result.json").write_text(json.dumps(summary | damage))
        with pytest.raises(JaxlinError, match="lacks something or holds something else"):
            jaxlin.read(tmp_path / "out")


def test_two_metrics_are_not_compared(tiny_model):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    operator = model.jacobian(ids)
    other = weighed(operator, model.metric_rows(operator.y, "fisher"), "fisher")
    with pytest.raises(JaxlinError, match="in the metric hidden cannot be compared with one in the metric f"):
        compare([("a", operator), ("b", other)], 2)


@pytest.mark.parametrize(
    ("verb", "options", "said"),
    [
        (
            "svd",
            {"metric": "fisher", "target": "logits:#5"},
            "is one number, which needs no `metric`",
        ),
        ("svd", {"order": "contribution", "target": "logits:#5"}, "which needs no `order`"),
        ("layers", {"metric": "fisher", "raw": True}, "leave out `raw` or `metric`"),
        ("tokens", {"metric": "length"}, "unknown metric 'length': choose one of hidden, fisher, logits"),
    ],
)
def test_what_does_not_go_together_is_refused(tiny_model, verb: str, options: dict[str, Any], said: str):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    with pytest.raises(JaxlinError, match=said):
        getattr(model, verb)(ids, **options)


def test_every_layer_is_measured_by_the_prediction(tiny_model, tmp_path: Path):
    """At the last layer it is the map of svd; what is read as tokens are the images."""
    name = "llama-biases"
    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    result = model.layers(ids, k=2, parts="cumulative,attention", metric="fisher", out=str(tmp_path / "out"))
    assert result.holds
    whole = model.svd(ids, k=2, metric="fisher")
    last = result.parts["cumulative"][-1]
    np.testing.assert_allclose(last.s, whole.s, rtol=1e-8)
    np.testing.assert_allclose(last.images, whole.images, atol=1e-7)
    attention = result.parts["attention"][0]
    rows = model.metric_rows(whole.y, "fisher")
    np.testing.assert_allclose(
        attention.images @ rows.T, np.asarray(attention.s)[:, None] * attention.U, atol=1e-8
    )
    back = jaxlin.read(tmp_path / "out")
    assert back.summary() == result.summary()
    np.testing.assert_array_equal(back.parts["attention"][0].images, attention.images)
    assert "metric='fisher'" in back.python()


def test_every_token_is_measured_by_the_prediction(tiny_model, tmp_path: Path):
    name = "llama-biases"
    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    result = model.tokens(ids, k=1, metric="fisher", out=str(tmp_path / "out"))
    assert result.holds
    operator = model.jacobian(ids)
    rows = model.metric_rows(operator.y, "fisher")
    dense = np.asarray(operator.dense())
    for t in (0, 5):
        s = np.linalg.svd(rows @ dense[:, t], compute_uv=False)
        assert float(result.s[t, 0]) == pytest.approx(s[0], rel=1e-8)
        np.testing.assert_allclose(result.images[t], dense[:, t] @ result.V[t, 0], atol=1e-6)
    back = jaxlin.read(tmp_path / "out")
    assert back.summary() == result.summary()
    assert "metric='fisher'" in back.python()


def test_what_is_skipped_is_in_the_offset(tiny_model):
    """Whatever is left out, contributions sum to the whole prediction."""
    model, ids = tiny_model("gemma3-text", "float64"), prompt_ids("gemma3-text")
    result = model.svd(ids, k=model.config.embed_dim, skip_first=4, method="dense")
    split = result.split
    assert any(split.offset.logits)
    np.testing.assert_allclose(split.rest.logits, [0, 0], atol=1e-10)
    whole = model.svd(ids, k=1)
    assert result.prediction.tokens == whole.prediction.tokens
    assert replace(result).labels.positions[0] == 4
    for verb in ("tokens", "layers"):
        skipped = getattr(model, verb)(ids, skip_first=4)
        assert skipped.labels.positions[0] == 4
        assert skipped.prediction.tokens == whole.prediction.tokens
