"""The studies of depth, of the causal test and of steering (scripts/findings), at small sizes."""

from __future__ import annotations

import math
from pathlib import Path

import causal
import causal_views
import depth
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import steered
import steering
from perturbed import Perturbed, compared, divergence, removal
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin.prompts.head import HeadAt
from jaxlin.runtime.progress import silent

#: With biases on the linear path, so that the offset is not zero; and with a soft-cap.
BIASED, CAPPED = "llama-biases", "gemma2"


@pytest.fixture(scope="module")
def case(tiny_model) -> Perturbed:
    return Perturbed(tiny_model(CAPPED, "float64"), prompt_ids(CAPPED))


@pytest.fixture(scope="module")
def directions(case: Perturbed) -> dict[str, np.ndarray]:
    found, holds = case.directions(5, seed=0)
    assert holds
    return found


def test_the_ordinary_map_tells_small_changes_to_second_order(case: Perturbed):
    change = np.random.default_rng(0).standard_normal((1, *case.x.shape))
    change *= 1e-4 * np.linalg.norm(case.x) / np.linalg.norm(change)
    both = np.concatenate([change, 2 * change])
    real, told = case.logits_at(both) - case.logits, case.told(both, "none")
    off = np.linalg.norm(told - real, axis=1)
    assert off[0] < 1e-2 * np.linalg.norm(real[0])
    assert off[1] / off[0] == pytest.approx(4, rel=0.02)


def test_without_all_directions_the_detached_map_has_nothing_left(case: Perturbed):
    matrix = np.asarray(case.detached.dense())
    every = np.linalg.svd(matrix.reshape(len(matrix), -1), full_matrices=False)[2]
    change = removal(every.reshape(matrix.shape), case.x)
    left = case.logits + case.told(change[None], "detached")[0]
    np.testing.assert_allclose(left, 0, atol=1e-9)


def test_without_the_embeddings_the_detached_map_has_the_offset_left(tiny_model):
    case = Perturbed(tiny_model(BIASED, "float64"), prompt_ids(BIASED))
    left = case.logits + case.told(-case.x[None], "detached")[0]
    offset = np.asarray(case.detached.offset)[None]
    assert offset.any()
    np.testing.assert_allclose(left, case.head.changes(offset)[0], rtol=0, atol=1e-9)


def test_the_network_is_run_at_the_changed_embeddings(case: Perturbed):
    """Against the decoder itself, and by the removal of one direction, of which nothing is left."""
    v = np.random.default_rng(1).standard_normal((1, *case.x.shape))
    v /= np.linalg.norm(v)
    change = removal(v, case.x)
    assert abs(np.vdot(v[0], case.x + change)) < 1e-12
    decoder = case.model.decoder
    expected = decoder.logits(decoder(jnp.asarray(case.x + change))[-1])
    np.testing.assert_allclose(case.logits_at(change[None])[0], expected, rtol=0, atol=1e-12)
    assert np.abs(case.logits_at(change[None])[0] - case.logits).max() > 1e-3


def test_directions_are_orthonormal_and_where_they_should_be(case: Perturbed, directions):
    for kind, v in directions.items():
        flat = v.reshape(5, -1)
        np.testing.assert_allclose(flat @ flat.T, np.eye(5), atol=1e-8, err_msg=kind)
    matrix = np.asarray(case.detached.dense()).reshape(len(case.detached.y), -1)
    inside = np.linalg.qr(matrix.T)[0]
    for kind in ("hidden", "fisher", "row space"):
        flat = directions[kind].reshape(5, -1)
        np.testing.assert_allclose(flat @ inside @ inside.T, flat, atol=1e-6, err_msg=kind)
    wanted = np.linalg.svd(matrix)[2][:5]
    np.testing.assert_allclose(np.abs(directions["hidden"].reshape(5, -1) @ wanted.T), np.eye(5), atol=1e-6)


def test_gradient_times_input_takes_the_tokens_that_weigh_most(case: Perturbed, directions):
    decoder = case.model.decoder
    best = int(np.argmax(case.logits))

    def centred(x):
        # The soft-cap is frozen, as in the row that the study takes the gradient of.
        raw = jnp.einsum("d,vd->v", decoder(x)[-1], decoder.head_rows(jnp.arange(len(case.logits))))
        scores = raw * jnp.asarray(case.head.frozen)
        return scores[best] - scores.mean()

    gradient = np.asarray(jax.grad(centred)(jnp.asarray(case.x)))
    first = int(np.abs((gradient * case.x).sum(-1)).argmax())
    v = directions["gradient × input"][0]
    np.testing.assert_allclose(v[first], gradient[first] / np.linalg.norm(gradient[first]), atol=1e-9)
    assert np.count_nonzero(np.linalg.norm(v, axis=-1)) == 1


def test_changes_are_compared_without_their_means():
    before = np.array([3.0, 1.0, 0.0, -1.0])
    real = np.array([-1.0, 0.0, 1.0, 2.0])
    same = compared(before, real, real + 7)
    assert same["correlation"] == pytest.approx(1)
    assert same["error"] == pytest.approx(0, abs=1e-12)
    assert same["logit"] == pytest.approx(-1.5)
    half = compared(before, real, real / 2)
    assert half["error"] == pytest.approx(0.5)
    p = np.exp(before) / np.exp(before).sum()
    q = np.exp(before + real) / np.exp(before + real).sum()
    assert divergence(before, before + real) == pytest.approx(float((p * np.log(p / q)).sum()))
    assert same["kl"] == pytest.approx(divergence(before, before + real))


def test_reach_is_where_the_error_crosses_the_limit():
    steps = np.array(causal_views.STEPS)
    assert causal_views.reach((steps / 2).tolist()) == pytest.approx(0.2)
    assert causal_views.reach((3 * np.sqrt(steps) / 10).tolist()) == pytest.approx(1 / 9)
    assert causal_views.reach([0.2] * len(steps)) == 0
    assert causal_views.reach([0.01] * len(steps)) == math.inf


def test_the_causal_study_of_one_prompt(tiny_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for module in (causal, causal_views):
        monkeypatch.setattr(module, "REMOVED", (1, 2))
    row = causal.measure(tiny_model(CAPPED, "float64"), prompt_ids(CAPPED), seed=0)
    assert row["holds"]
    for kind, (_, as_long_as) in causal.KINDS.items():
        for j in ("1", "2"):
            cell = row["removed"][kind][j]
            assert cell["kl"] >= 0
            if as_long_as is not None:
                assert cell["length"] == pytest.approx(row["removed"][as_long_as][j]["length"], rel=1e-3)
    # The derivative is right at the shortest step; the detached map is another one.
    for kind, found in row["steps"].items():
        assert found["none"][0] < 0.01, kind
        assert found["detached"][0] > 0.05, kind
    summary = causal_views.summary_of([row])
    assert summary["short"]["steps"]["hidden"]["none"]["reach"][0] > causal_views.STEPS[0]
    removal, steps = causal.tables({"tiny": [row]})
    assert len(removal.lines) == 2 * len(causal.KINDS)
    assert len(steps.lines) == 5
    causal.draw(tmp_path / "causal.png", {"tiny": [row]})
    assert (tmp_path / "causal.png").stat().st_size > 10_000


def test_the_study_of_depth_ends_at_the_prediction(tiny_model, tmp_path: Path):
    model = tiny_model(CAPPED, "float64")
    row = depth.measure(model, prompt_ids(CAPPED), number=2, seed=0)
    assert row["holds"]
    assert row["layers"][-1]["state"] == 1
    operator = model.jacobian(prompt_ids(CAPPED))
    head = HeadAt(model, operator.y)
    best, rival = head.prediction.tokens[:2]
    assert row["lead"]["value"] == pytest.approx(best.logit - rival.logit, rel=1e-3)
    assert row["layers"][-1]["logit"] == pytest.approx(best.centred, rel=1e-3)
    for what in ("lead", "centred logit"):
        split = row[what]
        assert split["embedding"] + np.sum(split["branches"]) == pytest.approx(split["value"], rel=0.01)
    # What four directions carry, from the matrix of the whole map.
    matrix, x = np.asarray(operator.dense()).reshape(len(operator.y), -1), np.asarray(operator.x).ravel()
    for metric, lens in {"hidden": np.eye(len(matrix)), "fisher": head.metric("fisher")}.items():
        v = np.linalg.svd(lens @ matrix, full_matrices=False)[2][: depth.DIRECTIONS]
        carried = head.rows[0] @ matrix @ v.T @ (v @ x) / best.centred
        assert row["layers"][-1][metric]["carried"] == pytest.approx(carried, rel=1e-3)
    assert depth.summary_of([row])["first token"]["state"][-1] == 1
    depth.draw(tmp_path / "depth.png", {"tiny": [row]})
    assert [len(table.lines) for table in depth.tables({"tiny": [row]})] == [2, 5]


def test_ranks_count_the_tokens_before_it(tiny_model):
    model = tiny_model(CAPPED, "float64")
    hidden = np.random.default_rng(0).standard_normal((3, model.config.embed_dim))
    order = np.argsort(-np.asarray(model.logits(hidden)), axis=1)
    token = int(order[1, 6])
    assert depth.ranks(model, hidden, token) == [1 + row.tolist().index(token) for row in order]


def test_mentions_are_whole_words_in_any_case():
    texts = ["a BRIDGE.", "bridged", "Golden", "gates", "the bay's end", ""]
    assert steering.mentions(texts, "The Golden Gate") == 3


def test_mentions_of_a_concept_by_the_others():
    def row(concept: str | None, *texts: str) -> dict:
        told = {"texts": list(texts), "surprises": [math.log(8)] * len(texts), "greedy": "a"}
        ways = (
            {steering.UNSTEERED: ("0",)}
            if concept is None
            else dict.fromkeys(steering.WAYS, ("0.5", "1.0", "2.0"))
        )
        return {
            "concept": concept,
            "layer": 3,
            "written": {way: dict.fromkeys(strengths, told) for way, strengths in ways.items()},
        }

    rows = [
        row(None, "a", "a bridge"),
        row("The Golden Gate", "a bridge", "Rome"),
        row("The Roman Empire", "", "bay"),
    ]
    plain, first, *_ = steering.cells_of(rows)
    assert plain["mentions"] == {"The Golden Gate": 1, "The Roman Empire": 0}
    assert first["mentions"] == {"The Golden Gate": 1, "The Roman Empire": 0}
    assert first["by the others"] == {"The Golden Gate": 1, "The Roman Empire": 1}
    assert steering.share(first) == pytest.approx(1 / 4)
    assert steering.share_of_others(first) == "50%"
    assert first["perplexity"] == pytest.approx(8)


def test_the_study_of_steering(tmp_path: Path):
    arguments = ["--prompts", "1", "--concepts", "1", "--layers", "1", "--samples", "1", "--tokens", "2"]
    places = ["--json", str(tmp_path / "s.json"), "--picture", str(tmp_path / "s.png")]
    asked = steering.parser().parse_args(["--model", "demo-llama", *arguments, *places])
    steering.study(asked, silent)
    assert (tmp_path / "s.png").exists()
    model = jaxlin.load("demo-llama")
    ids = model.tokenize(steering.OPENINGS[0])
    # At strength 0 nothing is added; and the surprise is the mean of what the model itself says.
    way, addition = next(steered.additions(model, "The Golden Gate", 3, ("whole map",)))
    assert way == "whole map"
    plain = steered.continued(model, np.array([ids]), 2)
    np.testing.assert_array_equal(plain, steered.continued(model, np.array([ids]), 2, addition))
    whole = np.concatenate([[ids], plain], axis=1)
    decoder = model.decoder
    chances = jax.nn.log_softmax(decoder.logits(decoder(decoder.embed(jnp.asarray(whole[0])))))
    expected = -np.mean([chances[len(ids) - 1 + i, plain[0, i]] for i in range(2)])
    assert steered.surprise(model, whole, len(ids))[0] == pytest.approx(float(expected), abs=1e-5)
