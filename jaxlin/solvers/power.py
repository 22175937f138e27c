"""Power iteration on J·Jᵀ: a block of vectors, orthonormalised and turned by Rayleigh-Ritz at every step.

Here for comparison with the published "fast" mode, which runs a few steps and then projects onto its random
start instead of what the steps have made of it (arXiv:2505.24293, its code). Done to the end it gives the
right triplets (Halko, Martinsson & Tropp, arXiv:0909.4061, §4.5), at a rate of (σ_w / σ_k)² a step for a
block of w vectors, where Lanczos takes the best of all powers at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.solvers.recover import recover, refuse_nonfinite
from jaxlin.solvers.result import Request, Triplets

#: Vectors of the block beyond the wanted ones, where there are so many.
BESIDE = 8
#: Residuals on the way are asked to be this much better than the tolerance; if fresh ones do not hold, more.
_MARGIN, _HARDER = 0.7, 0.1
#: Roundings below which a residual means nothing.
_ROUNDINGS = 4.0


def width(operator: DetachedJacobian, k: int) -> int:
    """Vectors in the block."""
    return min(k + BESIDE, *operator.shape)


def power_svd(operator: DetachedJacobian, request: Request) -> Iterator[Triplets]:
    """The top k triplets once they should meet the tolerance; better ones for as long as they are asked for.

    Raises:
        JaxlinError: the passes return NaN or infinity.
    """
    k, m = request.k, operator.shape[0]
    precision = solver_dtype(operator.dtype)
    start = jax.random.normal(jax.random.key(request.seed), (m, width(operator, k)), precision)
    aim, floor = _MARGIN * request.tolerance, _ROUNDINGS * operator.unit_roundoff
    before, passes, q = None, 0, np.linalg.qr(np.asarray(start))[0].T
    while True:
        u, s, v = recover(operator, q)
        image = _image(operator, v)
        passes += 2 * len(q)
        refuse_nonfinite(image)
        scale = s[0] or 1
        estimates = np.linalg.norm(image - s[:, None] * u, axis=1)[:k] / scale
        moved = None if before is None else float(np.abs(s[:k] - before).max() / scale)
        held = int((estimates <= aim).sum())
        rest = moved is not None and moved <= aim
        note = f"triplets, worst residual {estimates.max():.0e}·σ₁, {passes} passes"
        request.progress("iterating", held if rest else min(held, k - 1), k, note)
        last = passes + 2 * len(q) > request.max_passes or len(q) == m
        if last or (held == k and rest):
            yield Triplets(u[:k], s[:k], v[:k], passes, moved=0.0 if len(q) == m else moved)
            aim *= _HARDER
        if last or aim < floor:
            return
        before, q = s[:k], np.linalg.qr(image.T)[0].T


def _image(operator: DetachedJacobian, v: Float[np.ndarray, "w n"]) -> Float[np.ndarray, "w m"]:
    """J·V, some probes at a time."""
    image = np.empty((len(v), operator.shape[0]), v.dtype)
    for start in range(0, len(v), operator.probes_per_pass):
        chunk = slice(start, start + operator.probes_per_pass)
        probes = jnp.asarray(v[chunk]).reshape(-1, *operator.input_shape)
        image[chunk] = np.asarray(operator.matmat(probes), v.dtype).reshape(len(probes), -1)
    return image
