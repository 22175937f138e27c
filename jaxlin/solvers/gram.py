"""All singular values from J·Jᵀ, an m × m matrix summed up from rows that are never all in memory.

m passes backwards give the rows; they wait in a scratch file and are read position by position:
J·Jᵀ = Σ_t J_t·J_tᵀ. The sum is in float64, because squaring halves the digits, and the wanted triplets are
then taken from QᵀJ itself (Rayleigh-Ritz), so that they do not suffer from it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.rows import RowFile
from jaxlin.solvers.recover import factorise
from jaxlin.solvers.result import Request, Triplets


def gram_svd(operator: DetachedJacobian, request: Request) -> Iterator[Triplets]:
    """The top k triplets and all singular values. m passes.

    Values below σ₁·√(machine epsilon of float64), 1.5e-8·σ₁, are lost in the squaring and may read zero.

    Raises:
        JaxlinError: the passes return NaN or infinity, or there is no room for the rows on disk.
    """
    m, n = operator.shape
    k = request.k
    with RowFile(operator, m, request.scratch) as rows:
        for _, chunk in operator.rows(np.eye(m, dtype=operator.dtype), request.progress):
            rows.append(np.asarray(chunk))
        gram = np.zeros((m, m))
        for where, blocks in rows.by_position():
            request.progress("summing J·Jᵀ", where.start, rows.positions, "positions")
            flat = np.asarray(blocks, np.float64).transpose(1, 0, 2).reshape(m, -1)
            gram += flat @ flat.T
        request.progress("summing J·Jᵀ", rows.positions, rows.positions, "positions")
        if not np.isfinite(gram).all():
            raise JaxlinError(
                "the operator's passes return NaN or infinity: check the weights, or use a wider dtype"
            )
        values, vectors = np.linalg.eigh(gram)
        spectrum = np.sqrt(np.maximum(values[::-1], 0))[: min(m, n)]
        q = np.ascontiguousarray(vectors[:, ::-1][:, :k].T, rows.dtype)
        wanted = np.empty((k, rows.positions, n // rows.positions), rows.dtype)
        for where, blocks in rows.by_position():
            wanted[:, where] = np.einsum("km,pme->kpe", q, blocks, optimize=True)
    u, s, v = factorise(q, wanted.reshape(k, n))
    spectrum[:k] = s
    yield Triplets(u, s, v, passes=m, spectrum=spectrum.astype(rows.dtype))
