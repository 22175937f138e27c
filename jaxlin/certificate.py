"""What stands behind a result: figures recomputed from fresh passes, none taken from the solver.

A residual proves that *a* singular value lies within it of σ, not that none was missed.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin.operator import PROBES_PER_PASS, DetachedJacobian
from jaxlin.progress import Progress, silent

#: Passes of the adjoint test and the reconstruction together.
CHECK_PASSES = 3


@dataclass(frozen=True)
class Certificate:
    """Fresh checks of one result.

    Attributes:
        tolerance: asked of every residual, as a multiple of σ₁.
        worst_residual: the largest residual, as a multiple of σ₁.
        converged: how many of the triplets meet the tolerance.
        wanted: how many triplets there are.
        adjoint_error: |⟨Jv, u⟩ − ⟨v, Jᵀu⟩| / (‖Jv‖·‖u‖) at random u, v: forward and backward pass
            are each other's transpose.
        reconstruction_error: ‖J·x + c − y‖ / ‖y‖, or None where c is y − J·x by definition.
    """

    tolerance: float
    worst_residual: float
    converged: int
    wanted: int
    adjoint_error: float
    reconstruction_error: float | None

    @property
    def holds(self) -> bool:
        """Whether every triplet meets the tolerance."""
        return self.converged == self.wanted


def residuals(
    operator: DetachedJacobian,
    u: Float[Array, "k ..."],
    s: Float[Array, " k"],
    v: Float[Array, "k ..."],
    progress: Progress = silent,
) -> Float[Array, " k"]:
    """√(‖Jv − σu‖² + ‖Jᵀu − σv‖²) of each triplet, from 2k fresh passes."""
    found = []
    for start in range(0, len(s), PROBES_PER_PASS):
        part = slice(start, start + PROBES_PER_PASS)
        progress("checking residuals", start, len(s), "triplets")
        left = _misfit(operator.matmat(v[part]), s[part], u[part])
        right = _misfit(operator.rmatmat(u[part]), s[part], v[part])
        found.append(jnp.hypot(left, right))
    progress("checking residuals", len(s), len(s), "triplets")
    return jnp.concatenate(found)


def _misfit(image: Array, s: Array, expected: Array) -> Array:
    """‖image − σ·expected‖ of each probe, in the precision of ``s``."""
    k = len(s)
    difference = image.astype(s.dtype).reshape(k, -1) - s[:, None] * expected.astype(s.dtype).reshape(k, -1)
    return jnp.linalg.norm(difference, axis=1)


def certify(
    operator: DetachedJacobian,
    s: Float[Array, " k"],
    residual: Float[Array, " k"],
    tolerance: float,
    seed: int,
) -> Certificate:
    """Put a result's residuals beside the adjoint test and the reconstruction (three more passes)."""
    relative = _ratio(residual, s[0])
    return Certificate(
        tolerance=tolerance,
        worst_residual=float(relative.max()),
        converged=int((relative <= tolerance).sum()),
        wanted=len(s),
        adjoint_error=_adjoint_error(operator, seed),
        reconstruction_error=_reconstruction_error(operator) if operator.offset_independent else None,
    )


def _adjoint_error(operator: DetachedJacobian, seed: int) -> float:
    key_u, key_v = jax.random.split(jax.random.key(seed))
    u = jax.random.normal(key_u, operator.output_shape, operator.dtype)
    v = jax.random.normal(key_v, operator.input_shape, operator.dtype)
    image, pulled = operator.matvec(v), operator.rmatvec(u)
    scale = jnp.linalg.norm(_wide(image)) * jnp.linalg.norm(_wide(u))
    return float(_ratio(jnp.abs(_dot(image, u) - _dot(v, pulled)), scale))


def _reconstruction_error(operator: DetachedJacobian) -> float:
    difference = _wide(operator.matvec(operator.x)) + _wide(operator.offset) - _wide(operator.y)
    return float(_ratio(jnp.linalg.norm(difference), jnp.linalg.norm(_wide(operator.y))))


def _ratio(error: Array, scale: Array) -> Array:
    """error / scale; 0 / 0, which the zero map gives, is no error."""
    return error / jnp.where((scale == 0) & (error == 0), 1, scale)


def _wide(a: Array) -> Array:
    """Flattened, in float32 or better, because sums over a bfloat16 array lose what they should show."""
    return a.astype(jnp.promote_types(a.dtype, jnp.float32)).ravel()


def _dot(a: Array, b: Array) -> Array:
    return jnp.vdot(_wide(a), _wide(b), precision=jax.lax.Precision.HIGHEST)
