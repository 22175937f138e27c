"""Right vectors from left ones: Rayleigh-Ritz on a few left directions, one pass each."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.runtime.progress import Progress, silent

#: Right blocks may take so much of the host's memory; passes are cheaper to find than more of it.
RIGHT_BYTES = 512 * 2**20
#: Columns of wide matrices that are worked on at a time.
_COLUMNS = 1 << 16
#: Relative error of a squared value, in roundings of the dtype, beyond which nothing is squared.
_LOSS = 0.1


def recover(
    operator: DetachedJacobian, left: Float[Array | np.ndarray, "k m"], progress: Progress = silent
) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, " k"], Float[np.ndarray, "k n"]]:
    """Triplets (u, s, v) of QᵀJ for the orthonormal rows Q, in the host's memory. k passes.

    Jᵀu = σv holds to rounding, and the values are second-order accurate in the angle of Q.

    Raises:
        JaxlinError: the passes return NaN or infinity.
    """
    precision = solver_dtype(operator.dtype)
    q = np.asarray(left, precision)
    rows = np.empty((len(q), operator.shape[1]), precision)
    for chunk, values in operator.rows(q, progress, "recovering right vectors"):
        rows[chunk] = np.asarray(values, precision).reshape(len(values), -1)
    refuse_nonfinite(rows)
    return factorise(q, rows)


def refuse_nonfinite(values: Float[Array | np.ndarray, ...]) -> None:
    """:class:`JaxlinError` at what came out of a pass and is no number."""
    if not np.isfinite(np.asarray(values)).all():
        raise JaxlinError(
            "the operator's passes return NaN or infinity: check the weights, or use a wider dtype"
        )


class RightBlocks:
    """The right blocks V_1 … V_p of a recurrence, in the host's memory for as long as they fit.

    Jᵀ·U = V·Lᵀ holds to rounding however orthogonal V is, so that σv = Jᵀu = V·zσ needs no pass.
    """

    def __init__(self, *, whole: bool) -> None:
        #: Whether every block since the first step is here; not so in a run that goes on from a stored state.
        self.whole = whole
        self._blocks: list[np.ndarray] = []
        self._room = RIGHT_BYTES

    def add(self, block: Float[Array | np.ndarray, "b n"]) -> None:
        """Keep another, or give up all of them."""
        self._room -= block.nbytes
        self.whole = self.whole and self._room >= 0
        if self.whole:
            self._blocks.append(np.asarray(block))
        else:
            self._blocks.clear()

    def combined(self, coefficients: Float[np.ndarray, "p k"]) -> Float[np.ndarray, "k n"]:
        """Σ_j coefficients_jᵀ·V_j."""
        n, precision = self._blocks[0].shape[1], self._blocks[0].dtype
        weights = coefficients.T.astype(precision)
        rows = np.empty((len(weights), n), precision)
        for columns in _column_chunks(rows):  # never all blocks a second time
            rows[:, columns] = weights @ np.concatenate([block[:, columns] for block in self._blocks])
        return rows


def factorise(
    q: Float[np.ndarray, "k m"], rows: Float[np.ndarray, "k n"]
) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, " k"], Float[np.ndarray, "k n"]]:
    """The singular triplets of Qᵀ·rows, a wide matrix known by its few rows, in the place of ``rows``.

    The right vectors of a long prompt are gigabytes: nothing here makes a second copy of them.
    """
    turn, squares = _turn_of(rows)
    # Squaring loses half of float64's digits, which leaves a coarser dtype's unless σ falls very far.
    if np.finfo(np.float64).eps * squares[0] < _LOSS * np.finfo(rows.dtype).eps * squares[-1]:
        s = np.sqrt(squares).astype(rows.dtype)
        across = turn.T.astype(rows.dtype)
        left = across @ q
        across /= s[:, None]
        for columns in _column_chunks(rows):
            rows[:, columns] = across @ rows[:, columns]
        return left, s, rows
    return _by_qr(q, rows)


def _by_qr(
    q: Float[np.ndarray, "k m"], rows: Float[np.ndarray, "k n"]
) -> tuple[Float[np.ndarray, "k m"], Float[np.ndarray, " k"], Float[np.ndarray, "k n"]]:
    """The same without squaring, by QR in pieces (TSQR: Demmel et al., arXiv:0808.2664).

    Each piece is replaced by its orthonormal factor, and all are put together through the QR of their small
    triangles.
    """
    triangles = []
    for columns in _column_chunks(rows):
        orthonormal, triangle = np.linalg.qr(rows[:, columns].T)
        rows[: len(triangle), columns] = orthonormal.T
        triangles.append(triangle)
    right, small = np.linalg.qr(np.concatenate(triangles))
    turn, s, across = np.linalg.svd(small.T)
    at = 0
    for columns, triangle in zip(_column_chunks(rows), triangles, strict=True):
        corner = right[at : at + len(triangle)]
        rows[:, columns] = across @ (corner.T @ rows[: len(triangle), columns])
        at += len(triangle)
    return turn.T @ q, s, rows


def _column_chunks(rows: Float[np.ndarray, "k n"]) -> list[slice]:
    """Columns that are worked on together."""
    return [slice(start, start + _COLUMNS) for start in range(0, rows.shape[1], _COLUMNS)]


def _turn_of(rows: Float[np.ndarray, "k n"]) -> tuple[Float[np.ndarray, "k k"], Float[np.ndarray, " k"]]:
    """Left singular vectors as columns and squared values, falling, from rows·rowsᵀ summed in float64."""
    gram = np.zeros((len(rows), len(rows)))
    for columns in _column_chunks(rows):
        wide = rows[:, columns].astype(np.float64)
        gram += wide @ wide.T
    squares, turn = np.linalg.eigh(gram)
    return turn[:, ::-1], squares[::-1]
