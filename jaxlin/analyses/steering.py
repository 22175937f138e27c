"""The map of a concept prompt, applied to the embeddings of another text while that text is continued.

The operator of a concept prompt, from its C embeddings to the residual stream after a layer, is applied to
the text's own tokens, and what comes out is added to the residual stream there (arXiv:2505.24293, §5). At
every position the last C tokens of the text stand where the concept's tokens stood; before the first token
there is nothing, which is zero. What comes out is in the space it is added to.

The published code differs twice: it takes the operator through the final norm and adds the result to the
un-normed *input* of the layer, and token p goes alone through the block of position p modulo C.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxlin.linear.operator import DetachedJacobian
from jaxlin.results.svd import SVDResult

#: (state, windows [b, C, d]) -> directions [b, d].
_Apply = Callable[[Any, Array], Array]


@dataclass(frozen=True)
class Concept:
    """(state, embeddings [b, s, d], positions [t]) -> what to add there [b, t, d], up to its length.

    Attributes:
        apply: the concept's operator.
        length: C, its tokens.
        wrapped: whether each token goes through the block of its position modulo C, alone.
    """

    apply: _Apply
    length: int
    wrapped: bool = False

    def __call__(
        self, state: Any, embeddings: Float[Array, "b s d"], positions: Int[Array, " t"]
    ) -> Float[Array, "b t d"]:
        windows = (wrapped_windows if self.wrapped else windows_of)(embeddings, positions, self.length)
        batch, count = windows.shape[:2]
        directions = self.apply(state, windows.reshape(batch * count, *windows.shape[2:]))
        return directions.reshape(batch, count, -1)


def concept_of(operator: DetachedJacobian, *, wrapped: bool = False) -> tuple[Concept, Any]:
    """The whole operator of a concept prompt, matrix-free, and its state."""
    return Concept(operator.forward, operator.input_shape[0], wrapped), operator.state


def low_rank_concept(result: SVDResult, *, wrapped: bool = False) -> tuple[Concept, Any]:
    """Its singular triplets alone: U·diag(s)·Vᵀ, and its state."""
    v = jnp.asarray(result.V)
    return Concept(_low_rank, v.shape[1], wrapped), (jnp.asarray(result.U), jnp.asarray(result.s), v)


def random_concept(
    shape: tuple[int, int, int], spectrum: Float[np.ndarray | Array, " k"], seed: int
) -> tuple[Concept, Any]:
    """A random operator [d, C, d] of this spectrum, to compare a concept with."""
    rows, length, width = shape
    k = len(spectrum)
    left, right = jax.random.split(jax.random.key(seed))
    u = jnp.linalg.qr(jax.random.normal(left, (rows, k)))[0].T
    v = jnp.linalg.qr(jax.random.normal(right, (length * width, k)))[0].T
    return Concept(_low_rank, length), (u, jnp.asarray(spectrum, u.dtype), v.reshape(k, length, width))


def windows_of(
    embeddings: Float[Array, "b s d"], positions: Int[Array, " t"], length: int
) -> Float[Array, "b t c d"]:
    """The last ``length`` embeddings up to each position; zeros before the first."""
    where = positions[:, None] + jnp.arange(1 - length, 1)
    taken = embeddings[:, jnp.maximum(where, 0)]
    return jnp.where((where >= 0)[None, :, :, None], taken, 0)


def wrapped_windows(
    embeddings: Float[Array, "b s d"], positions: Int[Array, " t"], length: int
) -> Float[Array, "b t c d"]:
    """Each position's embedding alone, at its position modulo ``length``; as published."""
    place = (positions % length)[:, None] == jnp.arange(length)
    return jnp.where(place[None, :, :, None], embeddings[:, positions][:, :, None], 0)


def _low_rank(state: tuple[Array, Array, Array], windows: Array) -> Array:
    u, s, v = state
    along = jnp.einsum("bcd,kcd->bk", windows.astype(v.dtype), v, precision="highest")
    return jnp.einsum("bk,k,kd->bd", along, s, u, precision="highest").astype(windows.dtype)
