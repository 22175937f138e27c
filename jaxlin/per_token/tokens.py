"""The SVD of every input position's own Jacobian J_t, all positions from the same passes.

y = Σ_t J_t e_t + c, and one backward pass Jᵀu gives J_tᵀu of every t: with m left vectors the blocks are
known exactly, and with a left basis that holds what matters of all of them, to a proven accuracy.
"""

from __future__ import annotations

import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxlin.errors import JaxlinError, shortened
from jaxlin.linear.certificate import CHECK_PASSES, check_operator
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.tolerance import checked_tolerance
from jaxlin.per_token.exact import exact_tokens
from jaxlin.per_token.result import TokenRequest
from jaxlin.per_token.shared import shared_tokens
from jaxlin.results.labels import prompt_checks
from jaxlin.results.tokens import TokenCertificate, TokensResult
from jaxlin.runtime.progress import Progress, silent

__all__ = ["METHODS", "TokensResult", "tokens"]

METHODS = ("exact", "shared")
#: Triplets that are recomputed from fresh passes, two each.
_SPOTS = 8


def tokens(
    operator: DetachedJacobian,
    k: int = 1,
    *,
    method: str = "exact",
    tolerance: float | None = None,
    seed: int = 0,
    scratch: Path | None = None,
    progress: Progress = silent,
) -> TokensResult:
    """The k largest singular triplets of J_t for every position t.

    Args:
        operator: from inputs [T, d] to outputs of any shape, m numbers.
        k: how many a position, 1 ≤ k ≤ min(m, d).
        method: ``exact`` (m passes) or ``shared`` (a common left basis, grown until the error bound of
            every singular value of every position is within the tolerance).
        tolerance: error allowed in each σ, as a multiple of that position's own σ₁; by arithmetic if not
            given.
        seed: of every random vector. Same seed, same answer.
        scratch: folder for rows that wait on disk; the system's temporary folder if not given.
        progress: told what is happening.

    Raises:
        JaxlinError: k, method or tolerance out of range, passes that return NaN, or a full disk.
    """
    bare = operator.bare  # what is compiled for it serves every prompt of its length
    m = operator.shape[0]
    most = min(m, operator.shape[1] // operator.input_shape[0])
    if not 1 <= k <= most:
        raise JaxlinError(f"k is {k}, but each J_t has {most} singular values: choose 1 ≤ k ≤ {most}")
    if method not in METHODS:
        raise JaxlinError(f"unknown method {shortened(method)!r}: choose one of {', '.join(METHODS)}")
    request = TokenRequest(k, checked_tolerance(bare, tolerance), seed, progress, scratch)
    started = time.perf_counter()
    triplets = (exact_tokens if method == "exact" else shared_tokens)(bare, request)
    checks = (*check_operator(bare, seed), *prompt_checks(operator.labels))
    spots = min(_SPOTS, operator.input_shape[0])
    first = np.where(triplets.s[:, 0] > 0, triplets.s[:, 0], 1)
    certificate = TokenCertificate(
        tolerance=request.tolerance,
        worst_error=float((triplets.errors.max(axis=1) / first).max()),
        converged=int((triplets.errors.max(axis=1) <= request.tolerance * triplets.s[:, 0]).sum()),
        wanted=len(triplets.s),
        confidence=triplets.confidence,
        spot_residual=_spot_residual(bare, triplets.s, triplets.u, triplets.v, spots, seed),
        checks=checks,
        zero=not triplets.s.any(),
    )
    # Here what is known of the prompt goes over from ``operator`` to its result.
    return TokensResult(
        U=triplets.u.reshape(*triplets.s.shape, *operator.output_shape),
        s=triplets.s,
        V=triplets.v.reshape(*triplets.s.shape, *operator.input_shape[1:]),
        errors=triplets.errors,
        norms=triplets.norms,
        method=method,
        rank=triplets.rank,
        passes=triplets.passes + CHECK_PASSES + 2 * spots,
        seconds=time.perf_counter() - started,
        seed=seed,
        certificate=certificate,
        x=operator.x,
        y=operator.y,
        offset=operator.offset,
        labels=operator.labels,
    )


def _spot_residual(
    operator: DetachedJacobian, s: np.ndarray, u: np.ndarray, v: np.ndarray, spots: int, seed: int
) -> float:
    """Largest √(‖J_t v − σu‖² + ‖J_tᵀu − σv‖²) / σ₁(J_t) of some triplets drawn at random; 2 passes each."""
    rng = np.random.default_rng(seed)
    worst = 0.0
    for t, i in zip(
        rng.choice(len(s), spots, replace=False), rng.integers(s.shape[1], size=spots), strict=True
    ):
        probe = jnp.zeros((len(s), v.shape[2]), v.dtype).at[t].set(v[t, i]).reshape(operator.input_shape)
        left = np.asarray(operator.matvec(probe), s.dtype).ravel() - s[t, i] * u[t, i]
        pulled = operator.rmatvec(jnp.asarray(u[t, i]).reshape(operator.output_shape))[t]
        right = np.asarray(pulled, s.dtype).ravel() - s[t, i] * v[t, i]
        worst = max(worst, float(np.hypot(np.linalg.norm(left), np.linalg.norm(right)) / (s[t, 0] or 1)))
    return worst
