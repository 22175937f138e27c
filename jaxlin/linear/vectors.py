"""What singular vectors say position by position, and how far two sets of them lie along each other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float


def quietly() -> np.errstate:
    """For arithmetic without warnings: numbers that are too large are seen in what comes out, as infinity."""
    return np.errstate(over="ignore", invalid="ignore")


def block_norms(v: Float[np.ndarray | Array, "k t ..."]) -> Float[np.ndarray, "k t"]:
    """‖v_t‖ of every right vector at every input position; vector by vector, since all are large."""
    with quietly():
        return np.stack([np.linalg.norm(_rows(vector), axis=-1) for vector in np.asarray(v)])


def contributions(
    s: Float[Array | np.ndarray, " k"],
    v: Float[np.ndarray | Array, "k t ..."],
    x: Float[Array | np.ndarray, "t ..."],
) -> Float[np.ndarray, "k t"]:
    """σ⟨v_t, x_t⟩: what each input position contributes to each direction of y − c.

    Over the positions they sum to ⟨u, y − c⟩.
    """
    with quietly():
        at = _rows(np.asarray(x, v.dtype))
        along = np.stack([np.einsum("td,td->t", _rows(np.asarray(vector)), at) for vector in v])
        contributed: np.ndarray = np.asarray(s)[:, None] * along
    return contributed


def overlaps(
    a: Float[Array | np.ndarray, "i ..."], b: Float[Array | np.ndarray, "j ..."]
) -> Float[np.ndarray, "i j"]:
    """⟨a_i, b_j⟩ in float64, for vectors of any shape."""
    flat = [np.asarray(vectors, np.float64).reshape(len(vectors), -1) for vectors in (a, b)]
    with np.errstate(over="ignore", invalid="ignore"):
        return flat[0] @ flat[1].T


def _rows(vector: Float[np.ndarray, "t ..."]) -> Float[np.ndarray, "t d"]:
    """One row an input position, whatever the shape of an input."""
    return vector.reshape(len(vector), -1)
