"""Every J_t through one left basis Q that holds what matters of all of them: 2r passes instead of m.

Q spans the left Krylov space of the *weighted* operator J·diag(1/‖J_t‖_F): without the weights a few large
blocks, such as that of an attention sink, would drown the others. The rows QᵀJ that Lanczos needs anyway are
all that is needed of every QᵀJ_t. With E_t = (I − QQᵀ)J_t,

    J_tᵀJ_t = (QᵀJ_t)ᵀ(QᵀJ_t) + E_tᵀE_t,    so    0 ≤ σ_i(J_t)² − σ_i(QᵀJ_t)² ≤ ‖E_t‖².

‖E_t‖ is bounded by c Gaussian probes ω that had no part in Q: Σ‖E_tᵀω‖² ≥ ‖E_t‖²·χ²_c, so that ‖E_t‖² is at
most that sum over the χ²_c quantile of a tiny probability. It is the a-posteriori bound of Halko,
Martinsson & Tropp (SIAM Review 53, 2011, §4.3) with all probes used instead of the largest. One pull-back
Jᵀω serves every position, and what Q takes out of it is known from the rows: the bound costs no passes
while Q grows. Where Q would need more than half of all left vectors, the others follow without Lanczos.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.linear.rows import RowFile
from jaxlin.per_token.blocks import factorise_blocks
from jaxlin.per_token.result import TokenRequest, TokenTriplets
from jaxlin.solvers.lanczos import start, step_with_rows, with_room

#: Probes for the weights, and for the bound: with more of these it is tighter.
_WEIGHT_PROBES, _BOUND_PROBES = 8, 16
#: Probability that the bound of one position or another is wrong.
_FAILURE = 1e-6
#: Probes at once while Q grows: larger blocks make a poorer basis of the same size.
_BLOCK = 4
#: How much larger Q gets before all positions are factorised once more to see whether it suffices.
_GROWTH = 1.2


def shared_tokens(operator: DetachedJacobian, request: TokenRequest) -> TokenTriplets:
    """The triplets of every position to within the tolerance, or through all m left vectors.

    Raises:
        JaxlinError: the passes return NaN or infinity.
    """
    m, length = operator.shape[0], operator.input_shape[0]
    norms = np.sqrt(np.mean(_squares(_pull_back(operator, _WEIGHT_PROBES, request.seed)), axis=0))
    leftover = _Leftover(operator, request)
    weighted = _weighted(operator, norms)
    b = min(_BLOCK, m)
    state = start(weighted, b, request.seed)
    basis = np.zeros((0, m), solver_dtype(operator.dtype))
    passes, look = _WEIGHT_PROBES + _BOUND_PROBES, 2 * request.k
    with RowFile(operator, m, request.scratch) as rows:
        while True:
            if 2 * len(basis) < m:
                left = np.asarray(state.basis[int(state.steps)])
                state, pulled = step_with_rows(weighted, with_room(state), request.seed)
                chunk = np.asarray(pulled).reshape(b, length, -1) * norms[:, None]
                passes += 2 * b
                _keep(rows, chunk)
                basis = np.concatenate([basis, left])
            else:
                rest = _complement(basis)
                for which, pulled in operator.rows(rest, request.progress):
                    _keep(rows, np.asarray(pulled).reshape(which.stop - which.start, length, -1))
                passes += len(rest)
                basis = np.concatenate([basis, rest])
            complete = len(basis) == m
            if not complete:
                leftover.take_out(left, chunk)
            outside = np.zeros(length) if complete else leftover.bounds()
            worst = _ratio(outside, norms).max()
            request.progress(
                "growing the shared basis", len(basis), m, f"vectors, up to {worst:.0e} of a norm outside"
            )
            # Necessary, because σ₁ ≤ ‖J_t‖_F: before, no position can pass (norms are estimates, hence 1.5).
            hopeful = (outside <= 1.5 * np.sqrt(2 * request.tolerance + request.tolerance**2) * norms).all()
            if complete or (hopeful and len(basis) >= look):
                u, s, v, misfit, _ = factorise_blocks(operator, rows, basis, request)
                errors = np.sqrt(np.square(s) + np.square(outside[:, None])) - s + misfit
                if complete or bool((errors <= request.tolerance * s[:, :1]).all()):
                    break
                look = int(np.ceil(_GROWTH * len(basis)))
    confidence = 1.0 if complete else 1 - _FAILURE
    return TokenTriplets(u, s, v, errors, norms, rank=len(basis), passes=passes, confidence=confidence)


def _keep(rows: RowFile, chunk: Float[np.ndarray, "b t e"]) -> None:
    if not np.isfinite(chunk).all():
        raise JaxlinError(
            "the operator's passes return NaN or infinity: check the weights, or use a wider dtype"
        )
    rows.append(chunk)


def _complement(basis: Float[np.ndarray, "r m"]) -> Float[np.ndarray, "q m"]:
    """Orthonormal rows that span what the basis leaves."""
    r, m = basis.shape
    return np.linalg.qr(np.concatenate([basis, np.eye(m, dtype=basis.dtype)]).T)[0].T[r:m]


class _Leftover:
    """(I − QQᵀ) as seen by a few Gaussian probes: Jᵀ(I − QQᵀ)ω, kept up to date as Q grows."""

    def __init__(self, operator: DetachedJacobian, request: TokenRequest) -> None:
        from scipy.special import gammaincinv  # takes a while to import, and few need it

        seed = np.random.SeedSequence(request.seed).generate_state(2)
        self._probes = np.random.default_rng(seed[1]).standard_normal((_BOUND_PROBES, operator.shape[0]))
        self._left: np.ndarray | None = None
        chunks = [np.asarray(chunk) for _, chunk in operator.rows(self._probes.astype(operator.dtype))]
        self._pulled = np.concatenate(chunks).reshape(_BOUND_PROBES, operator.input_shape[0], -1)
        # The χ² quantile of this probability, shared out over the positions.
        self._scale = 1 / (2 * gammaincinv(_BOUND_PROBES / 2, _FAILURE / operator.input_shape[0]))

    def take_out(self, left: Float[np.ndarray, "b m"], rows: Float[np.ndarray, "b t e"]) -> None:
        """Left vectors join Q; ``rows`` are their Jᵀ·u."""
        share = (self._probes @ left.T).astype(self._pulled.dtype)
        self._pulled -= np.einsum("cb,bte->cte", share, rows, optimize=True)

    def bounds(self) -> Float[np.ndarray, " t"]:
        """What ‖E_t‖ is at most, for every position at once with probability 1 − ``_FAILURE``."""
        bounds: np.ndarray = np.sqrt(_squares(self._pulled).sum(axis=0) * self._scale)
        return bounds


def _pull_back(operator: DetachedJacobian, count: int, seed: int) -> Float[np.ndarray, "c t e"]:
    probes = np.random.default_rng(seed).standard_normal((count, operator.shape[0])).astype(operator.dtype)
    chunks = [np.asarray(chunk) for _, chunk in operator.rows(probes)]
    return np.concatenate(chunks).reshape(count, operator.input_shape[0], -1)


def _squares(rows: Float[np.ndarray, "c t e"]) -> Float[np.ndarray, "c t"]:
    squares: np.ndarray = np.einsum("cte,cte->ct", rows, rows, dtype=np.float64)
    return squares


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return numerator / np.where(denominator > 0, denominator, 1)


def _weighted(operator: DetachedJacobian, norms: Float[np.ndarray, " t"]) -> DetachedJacobian:
    """J·diag(1/‖J_t‖); positions that do not act at all keep out of it."""
    scale = jnp.asarray(_ratio(norms > 0, norms), operator.dtype)
    return replace(
        operator,
        state=(operator.state, scale.reshape(-1, *(1,) * (len(operator.input_shape) - 1))),
        forward=_ScaledForward(operator.forward),
        backward=_ScaledBackward(operator.backward),
    )


@dataclass(frozen=True)
class _ScaledForward:
    forward: Callable[[Any, Array], Array]

    def __call__(self, state: tuple[Any, Array], v: Array) -> Array:
        inner, scale = state
        return self.forward(inner, v * scale)


@dataclass(frozen=True)
class _ScaledBackward:
    backward: Callable[[Any, Array], Array]

    def __call__(self, state: tuple[Any, Array], u: Array) -> Array:
        inner, scale = state
        return self.backward(inner, u) * scale
