"""Vectors as tokens: hidden states through the head, blocks of right vectors by the nearest embedding.

What a :class:`jaxlin.results.labels.Reader` computes with; results show what it gives back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxlin.results.labels import TokenScore

#: An array [vocab, d], or what gives rows of one by slices.
Table = Any

#: Rows of the vocabulary that are looked at together: a copy of a large table would be gigabytes, and one of
#: some megabytes takes no new pages.
ROWS_AT_ONCE = 4096
#: Vectors whose logits are looked at together.
_VECTORS_AT_ONCE = 64


def best_outputs(
    u: Float[np.ndarray | Array, "n d"],
    logits: Callable[[Float[Array, "k d"]], Float[Array, "k vocab"]],
    text: Callable[[int], str],
    top: int = 8,
) -> list[tuple[TokenScore, ...]]:
    """The output tokens that each left vector writes most, some vectors at a time.

    Args:
        u: hidden states.
        logits: hidden states -> scores of the vocabulary, soft-cap and all.
        text: a token's spelling.
        top: how many tokens of each.
    """
    tokens: list[tuple[TokenScore, ...]] = []
    for start in range(0, len(u), _VECTORS_AT_ONCE):
        scores = logits(jnp.asarray(u[start : start + _VECTORS_AT_ONCE]))
        best, ids = map(np.asarray, jax.lax.top_k(scores, min(top, scores.shape[-1])))
        tokens.extend(_spell(text, *pair) for pair in zip(ids, best, strict=True))
    return tokens


def _spell(text: Callable[[int], str], ids: np.ndarray, values: np.ndarray) -> tuple[TokenScore, ...]:
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return tuple(TokenScore(i, text(i), value) for i, value in pairs)


def nearest_tokens(
    blocks: Float[Array | np.ndarray, "k p d"],
    vocabulary: Table,
    count: int,
    text: Callable[[int], str],
) -> list[list[tuple[TokenScore, ...]]]:
    """The tokens whose embeddings are nearest to each block by cosine, all blocks in one batch.

    Args:
        blocks: of right vectors, one for each direction and position.
        vocabulary: every token's embedding, to any scale; it is read some thousand rows at a time.
        count: how many tokens of each.
        text: a token's spelling.
    """
    cosines, rows = map(np.asarray, _nearest(jnp.asarray(blocks), vocabulary, count))
    return [
        [_spell(text, *pair) for pair in zip(*each, strict=True)] for each in zip(rows, cosines, strict=True)
    ]


def _nearest(
    blocks: Float[Array, "k p d"], vocabulary: Table, count: int
) -> tuple[Float[Array, "k p n"], Int[Array, "k p n"]]:
    """Cosines and ids of the nearest rows of the vocabulary, some thousand rows at a time."""
    cosines, ids = [], []
    for start in range(0, len(vocabulary), ROWS_AT_ONCE):
        part = cosines_of(blocks, vocabulary[start : start + ROWS_AT_ONCE])
        best, rows = jax.lax.top_k(part, min(count, part.shape[-1]))
        cosines.append(best)
        ids.append(rows + start)
    best, chosen = jax.lax.top_k(jnp.concatenate(cosines, -1), min(count, len(vocabulary)))
    return best, jnp.take_along_axis(jnp.concatenate(ids, -1), chosen, axis=-1)


@jax.jit
def cosines_of(
    blocks: Float[Array, "k p d"], vocabulary: Float[Array, "vocab d"]
) -> Float[Array, "k p vocab"]:
    """The cosine of each block to each of some rows of the vocabulary."""
    table = vocabulary.astype(blocks.dtype)
    # Divided after the product: a table of rows of length one would be a second one.
    dots = jnp.einsum("kpd,vd->kpv", blocks, table, precision=jax.lax.Precision.HIGHEST)
    return dots / _lengths(blocks)[..., None] / _lengths(table)


def _lengths(rows: Float[Array, "... d"]) -> Float[Array, ...]:
    """Of rows; 1 of those of zeros, which unused tokens may have."""
    norms = jnp.linalg.norm(rows, axis=-1)
    lengths: Array = jnp.where(norms > 0, norms, 1)
    return lengths
