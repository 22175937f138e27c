"""The square root of a metric: L with LᵀL = F, by which the rows of a map are weighed before its SVD."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def square_root(gram: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "r d"]:
    """L [r, d] with LᵀL = F for a symmetric F ≥ 0 in float64, by its eigenvectors, the largest first.

    Eigenvalues that are rounding of the largest (d·ε of it) are numerically none: their rows are left out, so
    that a map to r < d numbers takes fewer passes. One row of zeros stands for F = 0.
    """
    squares, vectors = np.linalg.eigh(gram)
    kept = squares > len(gram) * np.finfo(np.float64).eps * max(squares[-1], 0)
    if not kept.any():
        return np.zeros((1, len(gram)))
    rows: np.ndarray = (np.sqrt(squares[kept])[:, None] * vectors[:, kept].T)[::-1]
    # Of one sign wherever it is computed, so that the state of a solver can go on from there.
    largest = np.take_along_axis(rows, np.abs(rows).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(rows * np.sign(largest))


def pulled_back(
    rows: Float[np.ndarray, "r d"], images: Float[np.ndarray, "n r"], dtype: np.dtype
) -> Float[np.ndarray, "n d"]:
    """L⁺·image: the shortest change of the output that the metric sees as these.

    Directions whose length in L is below √ε of the largest are left out, ε that of ``dtype``, in which the
    images were computed: there they are rounding.
    """
    lengths = np.linalg.norm(rows, axis=1)
    seen = lengths > np.sqrt(np.finfo(dtype).eps) * lengths.max(initial=0)
    # The rows of a square root are orthogonal, so the pseudoinverse is a division.
    kept = rows[seen]
    pulled: np.ndarray = (images[:, seen] / np.square(lengths[seen])) @ kept
    return pulled
