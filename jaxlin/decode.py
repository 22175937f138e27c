"""Singular vectors as tokens: left ones through the head, right ones by position and nearest embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin.svd.result import SVDResult


@dataclass(frozen=True)
class TokenScore:
    """A vocabulary token and its score: a logit for outputs, a cosine for inputs."""

    id: int
    text: str
    score: float


@dataclass(frozen=True)
class InputPosition:
    """One position of the prompt, the norm of the right vector there, and what it points at."""

    position: int
    id: int
    text: str
    norm: float
    nearest: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Direction:
    """One singular direction, read out in tokens."""

    outputs: tuple[TokenScore, ...]
    inputs: tuple[InputPosition, ...]


def decode(
    result: SVDResult,
    token_ids: Sequence[int],
    *,
    logits: Callable[[Float[Array, "k d"]], Float[Array, "k vocab"]],
    vocabulary: Float[Array, "vocab d"],
    text: Callable[[int], str],
    top: int = 8,
    positions: int = 3,
    nearest: int = 3,
) -> list[Direction]:
    """Read every direction of a result in tokens, all directions in one batch.

    Args:
        result: of a decoder's operator, U [k, d] and V [k, T, d].
        token_ids: the prompt's tokens, T of them.
        logits: hidden states -> scores of the vocabulary, soft-cap and all.
        vocabulary: every token's embedding as it enters layer 0.
        text: a token's spelling.
        top: output tokens of each left vector.
        positions: input positions of each right vector, by the norm of its block there.
        nearest: vocabulary tokens at each of those positions, by cosine.
    """
    scores, best = jax.lax.top_k(logits(result.U), min(top, len(vocabulary)))
    norms, places = jax.lax.top_k(jnp.linalg.norm(result.V, axis=-1), min(positions, len(token_ids)))
    blocks = jnp.take_along_axis(result.V, places[..., None], axis=1)
    cosines, rows = jax.lax.top_k(_cosines(blocks, vocabulary), min(nearest, len(vocabulary)))

    def spell(ids: Array, values: Array) -> tuple[TokenScore, ...]:
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        return tuple(TokenScore(i, text(i), value) for i, value in pairs)

    def place(position: int, norm: float, ids: Array, values: Array) -> InputPosition:
        token = token_ids[position]
        return InputPosition(position, token, text(token), norm, spell(ids, values))

    return [
        Direction(
            outputs=spell(best[i], scores[i]),
            inputs=tuple(
                place(int(places[i, j]), float(norms[i, j]), rows[i, j], cosines[i, j])
                for j in range(places.shape[1])
            ),
        )
        for i in range(len(result.s))
    ]


@jax.jit
def _cosines(blocks: Float[Array, "k p d"], vocabulary: Float[Array, "vocab d"]) -> Float[Array, "k p vocab"]:
    table = _unit(vocabulary.astype(blocks.dtype))
    return jnp.einsum("kpd,vd->kpv", _unit(blocks), table, precision=jax.lax.Precision.HIGHEST)


def _unit(rows: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Rows of length one; those of zeros, which unused tokens may have, stay as they are."""
    norms = jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / jnp.where(norms > 0, norms, 1)
