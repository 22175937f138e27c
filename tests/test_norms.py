"""Row and column norms against the dense matrix; the largest ones decoded by brute force."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from readers import with_labels
from tiny_checkpoints import prompt_ids

from jaxlin import JaxlinError
from jaxlin.analyses.norms import largest, norms

NAME = "gemma3-text"


def test_norms_and_the_largest_rows_and_columns(tiny_model):
    model, ids = tiny_model(NAME, "float64"), prompt_ids(NAME)
    span = np.array([1, 4, 5, 9])
    operator = with_labels(model.jacobian(ids), model, ids).select(span=span)
    dense = np.asarray(operator.dense())
    measured = norms(operator)
    np.testing.assert_allclose(measured.rows, np.sqrt((dense**2).sum((1, 2))), rtol=1e-12)
    np.testing.assert_allclose(measured.columns, np.sqrt((dense**2).sum(0)), rtol=1e-12)
    rows, columns = largest(operator, measured, 3)

    assert [row.feature for row in rows] == np.argsort(-measured.rows)[:3].tolist()
    table = np.asarray(model.decoder.embedding[...])
    for row in rows:
        by_position = np.linalg.norm(dense[row.feature], axis=1)
        t = int(by_position.argmax())
        assert (row.position, row.text) == (span[t], f"<{ids[span[t]]}>")
        block = dense[row.feature, t]
        cosines = table @ block / np.linalg.norm(table, axis=1) / np.linalg.norm(block)
        assert [token.id for token in row.nearest] == np.argsort(-cosines)[:8].tolist()

    flat = np.argsort(-measured.columns.ravel())[:3]
    for column, (t, j) in zip(
        columns, zip(*np.unravel_index(flat, measured.columns.shape), strict=True), strict=True
    ):
        assert (column.position, column.feature) == (span[t], j)
        best = np.argsort(-np.asarray(model.logits(jnp.asarray(dense[:, t, j]))))[:8]
        assert [token.id for token in column.outputs] == best.tolist()


def test_a_map_that_nothing_reads_is_refused(tiny_model):
    model, ids = tiny_model(NAME, "float64"), prompt_ids(NAME)
    operator = replace(model.jacobian(ids), labels=None)
    labelled = with_labels(operator, model, ids)
    for other in (operator, replace(labelled, labels=replace(labelled.labels, hidden=False))):
        with pytest.raises(JaxlinError, match=r"give model.jacobian\(prompt\), without a target"):
            largest(other, norms(other), 1)
