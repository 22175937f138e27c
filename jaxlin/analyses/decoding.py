"""Singular vectors as tokens: left ones through the head, right ones by position and nearest embedding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxlin.results.labels import TokenScore
from jaxlin.solvers.result import SVDResult

#: Rows of the vocabulary that are looked at together: a copy of a large table would be gigabytes.
ROWS_AT_ONCE = 16384
#: Vectors whose logits are looked at together.
_VECTORS_AT_ONCE = 64


@dataclass(frozen=True)
class InputPosition:
    """One position of the prompt as a singular direction sees it.

    ``norm`` is that of the right vector there, ``contribution`` is σ⟨v, x⟩ there (over all positions they
    sum to ⟨u, y − c⟩), and ``nearest`` is what the right vector points at.
    """

    position: int
    id: int
    text: str
    norm: float
    contribution: float
    nearest: tuple[TokenScore, ...]


@dataclass(frozen=True)
class Direction:
    """One singular direction, read out in tokens; without outputs where the target is no hidden state."""

    outputs: tuple[TokenScore, ...]
    inputs: tuple[InputPosition, ...]


def best_outputs(
    u: Float[np.ndarray | Array, "n d"],
    logits: Callable[[Float[Array, "k d"]], Float[Array, "k vocab"]],
    text: Callable[[int], str],
    top: int = 8,
) -> list[tuple[TokenScore, ...]]:
    """The output tokens that each left vector writes most, some vectors at a time."""
    found: list[tuple[TokenScore, ...]] = []
    for start in range(0, len(u), _VECTORS_AT_ONCE):
        scores = logits(jnp.asarray(u[start : start + _VECTORS_AT_ONCE]))
        best, ids = jax.lax.top_k(scores, min(top, scores.shape[-1]))
        found.extend(_spell(text, *pair) for pair in zip(ids, best, strict=True))
    return found


def _spell(text: Callable[[int], str], ids: Array, values: Array) -> tuple[TokenScore, ...]:
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return tuple(TokenScore(i, text(i), value) for i, value in pairs)


def contributions(
    s: Float[Array, " k"], v: Float[np.ndarray | Array, "k t d"], x: Float[Array, "t d"]
) -> Float[np.ndarray, "k t"]:
    """σ⟨v_t, x_t⟩: what each input position brings to each direction of y − c."""
    at = np.asarray(x, v.dtype)
    return np.asarray(s)[:, None] * np.stack([np.einsum("td,td->t", np.asarray(one), at) for one in v])


def block_norms(v: Float[np.ndarray | Array, "k t d"]) -> Float[np.ndarray, "k t"]:
    """‖v_t‖ of every right vector at every position; one vector after the other, since all are large."""
    return np.stack([np.linalg.norm(one, axis=-1) for one in np.asarray(v)])


def decode(
    result: SVDResult,
    x: Float[Array, "t d"],
    token_ids: Sequence[int],
    *,
    places: Sequence[int] | Int[np.ndarray, " t"] | None = None,
    logits: Callable[[Float[Array, "k d"]], Float[Array, "k vocab"]] | None,
    vocabulary: Float[Array, "vocab d"],
    text: Callable[[int], str],
    top: int = 8,
    positions: int = 3,
    nearest: int = 3,
) -> list[Direction]:
    """Read every direction of a result in tokens, all directions in one batch.

    Args:
        result: of a decoder's operator, U [k, d] and V [k, T, d].
        x: the embeddings [T, d] it was taken at.
        token_ids: their tokens, T of them.
        places: their positions in the prompt; 0 … T-1 if not given.
        logits: hidden states -> scores of the vocabulary, soft-cap and all; None where U is none.
        vocabulary: every token's embedding, to any scale.
        text: a token's spelling.
        top: output tokens of each left vector.
        positions: input positions of each right vector, by the norm of its block there; by how much they
            bring where U is no hidden state.
        nearest: vocabulary tokens at each of those positions, by cosine.
    """
    places = range(len(token_ids)) if places is None else places
    norms = block_norms(result.V)
    brought = contributions(result.s, result.V, x)
    if logits is None:  # of the target's own value, whichever sign the left vector has
        brought = brought * np.asarray(result.U).reshape(len(brought), -1)[:, :1]
    weight = norms if logits is not None else np.abs(brought)
    chosen = np.argsort(-weight, axis=1, kind="stable")[:, :positions]
    blocks = jnp.asarray(np.take_along_axis(np.asarray(result.V), chosen[..., None], axis=1))
    seen = nearest_tokens(blocks, vocabulary, nearest, text)
    outputs = [()] * len(result.s) if logits is None else best_outputs(result.U, logits, text, top)

    def place(i: int, j: int) -> InputPosition:
        at = int(chosen[i, j])
        token = token_ids[at]
        return InputPosition(
            int(places[at]), token, text(token), float(norms[i, at]), float(brought[i, at]), seen[i][j]
        )

    return [
        Direction(outputs[i], tuple(place(i, j) for j in range(chosen.shape[1])))
        for i in range(len(result.s))
    ]


def nearest_tokens(
    blocks: Float[Array, "k p d"], vocabulary: Float[Array, "vocab d"], count: int, text: Callable[[int], str]
) -> list[list[tuple[TokenScore, ...]]]:
    """The tokens whose embeddings are nearest to each block by cosine, all blocks in one batch."""
    cosines, rows = _nearest(blocks, vocabulary, count)
    return [
        [_spell(text, *pair) for pair in zip(*each, strict=True)] for each in zip(rows, cosines, strict=True)
    ]


def _nearest(
    blocks: Float[Array, "k p d"], vocabulary: Float[Array, "vocab d"], count: int
) -> tuple[Float[Array, "k p n"], Int[Array, "k p n"]]:
    """Cosines and ids of the nearest rows of the vocabulary, some thousand rows at a time."""
    cosines, ids = [], []
    for start in range(0, len(vocabulary), ROWS_AT_ONCE):
        part = cosine_table(blocks, vocabulary[start : start + ROWS_AT_ONCE])
        best, rows = jax.lax.top_k(part, min(count, part.shape[-1]))
        cosines.append(best)
        ids.append(rows + start)
    best, chosen = jax.lax.top_k(jnp.concatenate(cosines, -1), min(count, len(vocabulary)))
    return best, jnp.take_along_axis(jnp.concatenate(ids, -1), chosen, axis=-1)


@jax.jit
def cosine_table(
    blocks: Float[Array, "k p d"], vocabulary: Float[Array, "vocab d"]
) -> Float[Array, "k p vocab"]:
    table = _unit(vocabulary.astype(blocks.dtype))
    return jnp.einsum("kpd,vd->kpv", _unit(blocks), table, precision=jax.lax.Precision.HIGHEST)


def _unit(rows: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """Rows of length one; those of zeros, which unused tokens may have, stay as they are."""
    norms = jnp.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / jnp.where(norms > 0, norms, 1)
