"""The split of a logit: its sums, its shares against the dense matrix, and faults that it must notice."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILIES, check_pytree
from tiny_checkpoints import prompt_ids

import jaxlin
from jaxlin.prompts.target import LogitTarget

SOFT_CAPPED = "gemma3-text-final-softcap"


@pytest.mark.parametrize(
    ("name", "target"),
    [*((name, LogitTarget(5)) for name in FAMILIES), (SOFT_CAPPED, LogitTarget(5, 11))],
    ids=[*FAMILIES, "soft-capped difference"],
)
def test_every_split_sums_to_the_logit(tiny_model, name: str, target: LogitTarget):
    model, ids = tiny_model(name, "float64"), prompt_ids(name)
    recording = model.record(ids)
    operator = recording.stretch(0, recording.num_layers - 1)
    row = model.logit_row(operator.y, target)
    result = jaxlin.svd(operator, operator.shape[0], method="dense")
    shares = jaxlin.attribute(operator, recording, row, result)
    assert shares.holds
    check_pytree(shares)
    logits = model.logits(operator.y)
    expected = logits[5] - (logits[11] if target.minus is not None else 0)
    scale = np.abs(shares.tokens).sum()
    assert shares.value == pytest.approx(float(expected), rel=1e-12)
    assert shares.tokens.sum() + shares.offset == pytest.approx(shares.value, abs=1e-12 * scale)
    assert shares.embedding + shares.branches.sum() == pytest.approx(shares.value, abs=1e-12 * scale)
    assert (shares.offset != 0) == (name == "llama-biases")
    by_hand = np.einsum("m,mtd,td->t", row[0], operator.dense(), operator.x)
    np.testing.assert_allclose(shares.tokens, by_hand, atol=1e-12 * scale)
    # All directions together are the whole split.
    np.testing.assert_allclose(shares.directions.sum(0), shares.tokens, atol=1e-11 * scale)


def test_a_branch_is_what_its_module_adds(tiny_model):
    """Layer by layer: ⟨w, what attention adds⟩ through the frozen final norm, from the modules' own maps."""
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    recording = model.record(ids)
    operator = recording.stretch(0, recording.num_layers - 1)
    row = model.logit_row(operator.y, LogitTarget(7))
    shares = jaxlin.attribute(operator, recording, row)
    assert shares.directions is None
    final = np.asarray(recording.left(recording.num_layers - 1))
    read = np.asarray(row[0]) * np.asarray(operator.y) / final  # the norm is diagonal
    for layer in range(recording.num_layers):
        for which, share in zip(("attention", "mlp"), shares.branches[layer], strict=True):
            added = recording.module(layer, which, normed=False).y
            assert read @ np.asarray(added) == pytest.approx(share, rel=1e-10)


def test_a_map_that_is_not_the_prompts_is_caught(tiny_model):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    recording = model.record(ids)
    operator = recording.stretch(0, recording.num_layers - 1)
    row = model.logit_row(operator.y, LogitTarget(7))
    wrong = replace(operator, x=operator.x.at[3].multiply(1.01))
    failed = {check.name for check in jaxlin.attribute(wrong, recording, row).checks if not check.holds}
    assert "sum over tokens" in failed
    others = model.record(ids[::-1])
    failed = {check.name for check in jaxlin.attribute(operator, others, row).checks if not check.holds}
    assert failed == {"sum over branches"}


def test_a_row_of_another_shape_is_refused(tiny_model):
    model, ids = tiny_model("llama-biases", "float64"), prompt_ids("llama-biases")
    recording = model.record(ids)
    with pytest.raises(jaxlin.JaxlinError, match="each row of a target needs the output's shape"):
        jaxlin.attribute(recording.stretch(0, 2), recording, jnp.ones((1, 3)))
