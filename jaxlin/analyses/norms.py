"""Row and column norms of J, and its largest rows and columns read in tokens; J itself is never held."""

from __future__ import annotations

import numpy as np

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.vectors import block_norms
from jaxlin.results.directions import TOP
from jaxlin.results.labels import Labels
from jaxlin.results.norms import LargeColumn, LargeRow, Norms
from jaxlin.runtime.progress import Progress, silent


def norms(operator: DetachedJacobian, progress: Progress = silent) -> Norms:
    """All row and column norms, exactly, from m passes; never more than a chunk of rows in memory."""
    rows = np.zeros(operator.shape[0])
    columns = np.zeros(operator.input_shape)
    identity = np.eye(len(rows), dtype=operator.dtype)
    for these, chunk in operator.rows(identity, progress, "norms of rows and columns"):
        squares = np.square(np.asarray(chunk, np.float64))
        rows[these] = squares.reshape(len(squares), -1).sum(1)
        columns += squares.sum(0)
    return Norms(np.sqrt(rows), np.sqrt(columns))


def largest(
    operator: DetachedJacobian, measured: Norms, count: int, *, top: int = TOP
) -> tuple[list[LargeRow], list[LargeColumn]]:
    """The largest rows and columns of a decoder's map in tokens: 2·count passes.

    Args:
        operator: from embeddings [T, d] to a hidden state [d], with labels that something reads.
        measured: its norms.
        count: how many rows, and how many columns.
        top: how many tokens of each.

    Raises:
        JaxlinError: a map of no prompt, or one whose output is no hidden state.
    """
    labels: Labels | None = operator.labels
    if labels is None or labels.reader is None or not labels.hidden:
        raise JaxlinError(
            "rows and columns are read as tokens where a map goes from a prompt to a hidden state: give "
            "model.jacobian(prompt), without a target"
        )
    features = np.argsort(-measured.rows, kind="stable")[:count]
    rows = np.asarray(operator.rmatmat(np.eye(len(measured.rows), dtype=operator.dtype)[features]))
    at = block_norms(rows).argmax(1)
    nearest = labels.reader.nearest(rows[np.arange(len(rows)), at][:, None], top)
    large_rows = [
        LargeRow(
            feature=int(feature),
            norm=float(measured.rows[feature]),
            position=labels.positions[t],
            text=labels.texts[t],
            nearest=nearest[i][0],
        )
        for i, (feature, t) in enumerate(zip(features, at, strict=True))
    ]
    flat = np.argsort(-measured.columns.ravel(), kind="stable")[:count]
    probes = np.zeros((len(flat), measured.columns.size), operator.dtype)
    probes[np.arange(len(flat)), flat] = 1
    outputs = labels.reader.outputs(operator.matmat(probes.reshape(-1, *operator.input_shape)), top)
    large_columns = [
        LargeColumn(
            position=labels.positions[t],
            text=labels.texts[t],
            feature=int(feature),
            norm=float(measured.columns[t, feature]),
            outputs=outputs[i],
        )
        for i, (t, feature) in enumerate(zip(*np.unravel_index(flat, measured.columns.shape), strict=True))
    ]
    return large_rows, large_columns
