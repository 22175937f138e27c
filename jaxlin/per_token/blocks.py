"""The small SVDs: top triplets of many blocks Qᵀ·J_t [r, d], some positions at a time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.rows import RowFile
from jaxlin.per_token.result import TokenRequest

#: Up to this many rows LAPACK's whole SVD of a block is as fast as iterating for a few triplets.
_SMALL = 96
#: Subspace iteration: directions beyond k, iterations between looks, and when to leave it to LAPACK.
_BESIDE, _A_LOOK, _LOOKS = 8, 4, 12


def factorise_blocks(
    operator: DetachedJacobian,
    rows: RowFile,
    basis: Float[np.ndarray, "r m"],
    request: TokenRequest,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """u [T, k, m], s [T, k], v [T, k, d], misfits ‖QᵀJ_t v − σu‖ [T, k] and norms ‖QᵀJ_t‖_F [T].

    Signs are such that ⟨u, y⟩ ≥ 0.

    Raises:
        JaxlinError: rows that are not finite.
    """
    length, k = rows.positions, request.k
    features = operator.shape[1] // length
    u = np.empty((length, k, basis.shape[1]), rows.dtype)
    s, misfit = np.empty((length, k), rows.dtype), np.empty((length, k), rows.dtype)
    v = np.empty((length, k, features), rows.dtype)
    norms = np.empty(length, rows.dtype)
    # A residual this small makes an error of σ that is far below the tolerance.
    aim = max(0.01 * request.tolerance, 8 * float(np.finfo(rows.dtype).eps))
    for where, blocks in rows.by_position():
        request.progress("factorising positions", where.start, length, "positions")
        if not np.isfinite(blocks).all():
            raise JaxlinError(
                "the operator's passes return NaN or infinity: check the weights, or use a wider dtype"
            )
        left, s[where], v[where], misfit[where] = top_triplets(blocks, k, aim, request.seed)
        u[where] = np.einsum("tkr,rm->tkm", left, basis, optimize=True)
        norms[where] = np.sqrt(np.einsum("pre,pre->p", blocks, blocks))
    request.progress("factorising positions", length, length, "positions")
    sign = np.where(u @ np.asarray(operator.y, rows.dtype).ravel() < 0, -1, 1).astype(rows.dtype)[..., None]
    return u * sign, s, v * sign, misfit, norms


def top_triplets(
    blocks: Float[np.ndarray, "t r e"], k: int, aim: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The k largest triplets of each block: u [t, k, r], s [t, k], v [t, k, e], residuals [t, k].

    By subspace iteration until ‖Av − σu‖ ≤ aim·σ₁ (Aᵀu = σv holds to rounding); by LAPACK for blocks that
    are small, or that it would take too long for.
    """
    t, r, e = blocks.shape
    width = min(k + _BESIDE, r, e)
    if r <= _SMALL or width * 4 > min(r, e):
        return _lapack(blocks, k)
    on_device = jnp.asarray(blocks)
    drawn = jax.random.normal(jax.random.key(seed), (width, r), on_device.dtype)
    left = jnp.broadcast_to(drawn, (t, width, r))
    for _ in range(_LOOKS):
        left, s, v, misfit = iterate(on_device, left)
        done = np.asarray((misfit[:, :k] <= aim * jnp.maximum(s[:, :1], 1e-30)).all(axis=1))
        if done.all():
            break
    triplets = np.array(left[:, :k]), np.array(s[:, :k]), np.array(v[:, :k]), np.array(misfit[:, :k])
    if not done.all():
        for whole, exact in zip(triplets, _lapack(blocks[~done], k), strict=True):
            whole[~done] = exact
    return triplets


def _lapack(
    blocks: Float[np.ndarray, "t r e"], k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, s, y = np.linalg.svd(blocks, full_matrices=False)
    u, s, v = x[:, :, :k].transpose(0, 2, 1), s[:, :k], y[:, :k]
    misfit = np.linalg.norm(np.einsum("tre,tke->tkr", blocks, v) - s[..., None] * u, axis=-1)
    return u, s, v, misfit


@jax.jit
def iterate(blocks: Float[Array, "t r e"], left: Float[Array, "t w r"]) -> tuple[Array, Array, Array, Array]:
    """Some rounds of subspace iteration, then Rayleigh-Ritz: left vectors, values, right ones, residuals."""
    with jax.default_matmul_precision("highest"):
        for _ in range(_A_LOOK):
            right, _ = jnp.linalg.qr(jnp.einsum("twr,tre->tew", left, blocks))
            left = jnp.linalg.qr(jnp.einsum("tew,tre->trw", right, blocks))[0].transpose(0, 2, 1)
        right, small = jnp.linalg.qr(jnp.einsum("twr,tre->tew", left, blocks))
        x, s, y = jnp.linalg.svd(small.transpose(0, 2, 1))
        left = jnp.einsum("twx,twr->txr", x, left)
        v = jnp.einsum("txw,tew->txe", y, right)
        misfit = jnp.linalg.norm(jnp.einsum("txe,tre->txr", v, blocks) - s[..., None] * left, axis=-1)
    return left, s, v, misfit
