"""Row and column norms of J, and its largest rows and columns read in tokens; J itself is never held."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxlin.analyses.decoding import TokenScore, best_outputs, block_norms, nearest_tokens
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.runtime.progress import Progress, silent


@dataclass(frozen=True, eq=False)
class Norms:
    """Euclidean norms of a map's rows [m] and columns [*input_shape], in float64."""

    rows: Float[np.ndarray, " m"]
    columns: Float[np.ndarray, ...]


@dataclass(frozen=True)
class LargeRow:
    """One output feature: where in the prompt it is made, and what its row points at there."""

    feature: int
    norm: float
    position: int
    text: str
    nearest: tuple[TokenScore, ...]


@dataclass(frozen=True)
class LargeColumn:
    """One input feature at one position, and the tokens that it writes."""

    position: int
    text: str
    feature: int
    norm: float
    outputs: tuple[TokenScore, ...]


def norms(operator: DetachedJacobian, progress: Progress = silent) -> Norms:
    """All row and column norms, exactly, from m passes; never more than a chunk of rows in memory."""
    rows = np.zeros(operator.shape[0])
    columns = np.zeros(operator.input_shape)
    identity = np.eye(len(rows), dtype=operator.dtype)
    for part, chunk in operator.rows(identity, progress, "norms of rows and columns"):
        squares = np.square(np.asarray(chunk, np.float64))
        rows[part] = squares.reshape(len(squares), -1).sum(1)
        columns += squares.sum(0)
    return Norms(np.sqrt(rows), np.sqrt(columns))


def largest(
    operator: DetachedJacobian,
    found: Norms,
    count: int,
    *,
    token_ids: Sequence[int],
    places: Sequence[int] | Int[np.ndarray, " t"],
    logits: Callable[[Float[Array, "k d"]], Float[Array, "k vocab"]],
    vocabulary: Float[Array, "vocab d"],
    text: Callable[[int], str],
    top: int = 8,
) -> tuple[list[LargeRow], list[LargeColumn]]:
    """The largest rows and columns of a decoder's map, decoded: 2·count passes.

    Args:
        operator: from embeddings [T, d] to a hidden state [d].
        found: its norms.
        count: how many rows, and how many columns.
        token_ids, places: the input's tokens and their positions in the prompt.
        logits, vocabulary, text, top: as in :func:`jaxlin.analyses.decoding.decode`.
    """
    features = np.argsort(-found.rows, kind="stable")[:count]
    rows = operator.rmatmat(np.eye(len(found.rows), dtype=operator.dtype)[features])
    at = block_norms(rows).argmax(1)
    blocks = jnp.asarray(np.asarray(rows)[np.arange(len(rows)), at][:, None])
    nearest = nearest_tokens(blocks, vocabulary, top, text)
    large_rows = [
        LargeRow(int(feature), float(found.rows[feature]), int(places[t]), text(token_ids[t]), nearest[i][0])
        for i, (feature, t) in enumerate(zip(features, at, strict=True))
    ]
    flat = np.argsort(-found.columns.ravel(), kind="stable")[:count]
    probes = np.zeros((len(flat), found.columns.size), operator.dtype)
    probes[np.arange(len(flat)), flat] = 1
    columns = operator.matmat(probes.reshape(-1, *operator.input_shape))
    outputs = best_outputs(columns, logits, text, top)
    large_columns = [
        LargeColumn(int(places[t]), text(token_ids[t]), int(j), float(found.columns[t, j]), outputs[i])
        for i, (t, j) in enumerate(zip(*np.unravel_index(flat, found.columns.shape), strict=True))
    ]
    return large_rows, large_columns
