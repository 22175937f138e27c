"""The certificate of a result: figures from fresh passes, none of them from the solver.

A residual proves that *a* singular value lies within it of σ, not that none was missed. What speaks
against a missed one: the solver went past k and its values no longer moved (stagnation), a second seed
found the same values, and the energy that the triplets capture leaves room for no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.linear.energy import Energy
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.runtime.progress import Progress, silent

#: Passes of the checks of the operator: adjoint test, repetition, linearity and reconstruction.
CHECK_PASSES = 5
#: Units of roundoff that may accumulate in one pass of a whole network; at coarse arithmetic, a fraction.
_ROUNDINGS, _AT_MOST = 200.0, 0.2


@dataclass(frozen=True)
class Check:
    """One named figure and the limit it has to keep; NaN never does."""

    name: str
    value: float
    limit: float
    meaning: str

    @property
    def holds(self) -> bool:
        """Whether the figure keeps its limit."""
        return self.value <= self.limit


@dataclass(frozen=True)
class Certificate:
    """Fresh checks of one result.

    Attributes:
        tolerance: asked of every residual, as a multiple of σ₁.
        worst_residual: the largest residual, as a multiple of σ₁.
        converged: how many of the triplets meet the tolerance.
        wanted: how many triplets there are.
        checks: the other figures, each with its limit: ``adjoint``, ``repetition``, ``linearity``,
            ``reconstruction`` (where c was found without y), ``stagnation`` (of iterative methods),
            ``second seed`` (where asked for).
        energy: Σσ² / ‖J‖_F² with its standard error.
        zero: whether σ₁ is 0. Everything holds of the zero map, and says nothing.
    """

    tolerance: float
    worst_residual: float
    converged: int
    wanted: int
    checks: tuple[Check, ...]
    energy: Energy
    zero: bool = False

    def __repr__(self) -> str:
        failed = [f"{self.wanted - self.converged} of {self.wanted} triplets"] * (
            self.converged < self.wanted
        )
        failed += [check.name for check in self.failed]
        verdict = f"FAILS at {', '.join(failed)}" if failed else "holds"
        verdict += ", THE MAP IS ZERO" * self.zero
        return (
            f"Certificate({verdict}, worst residual {self.worst_residual:.1e}·σ₁ of {self.tolerance:.0e}, "
            f"captured energy {repr(self.energy)[7:-1]})"
        )

    @property
    def holds(self) -> bool:
        """Whether every triplet meets the tolerance and every check its limit."""
        return self.converged == self.wanted and not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that do not keep their limits, by name."""
        return tuple(check for check in self.checks if not check.holds)

    def check(self, name: str) -> Check | None:
        """The check of this name, or None where it does not apply."""
        return next((check for check in self.checks if check.name == name), None)


def residuals(
    operator: DetachedJacobian,
    u: Float[Array, "k ..."],
    s: Float[Array, " k"],
    v: Float[np.ndarray | Array, "k ..."],
    progress: Progress = silent,
) -> Float[Array, " k"]:
    """√(‖Jv − σu‖² + ‖Jᵀu − σv‖²) of each triplet, from 2k fresh passes."""
    lengths, step = [], operator.probes_per_pass
    chunks = zip(operator.blocks(v), operator.blocks(u), operator.blocks(s), strict=True)
    for number, (right_vectors, left_vectors, values) in enumerate(chunks):
        progress("checking residuals", number * step, len(s), "triplets")
        left = misfit(operator.matmat(right_vectors), values, left_vectors)
        right = misfit(operator.rmatmat(left_vectors), values, right_vectors)
        lengths.append(jnp.hypot(left, right))
    progress("checking residuals", len(s), len(s), "triplets")
    return jnp.concatenate(lengths)


@jax.jit
def misfit(image: Array, s: Array, expected: Array) -> Array:
    """‖image − σ·expected‖ of each probe, in the precision of ``s``."""
    k = len(s)
    difference = image.astype(s.dtype).reshape(k, -1) - s[:, None] * expected.astype(s.dtype).reshape(k, -1)
    lengths: Array = jnp.linalg.norm(difference, axis=1)
    return lengths


def certify(
    s: Float[Array, " k"],
    residual: Float[Array, " k"],
    tolerance: float,
    checks: tuple[Check, ...],
    energy: Energy,
) -> Certificate:
    """Put a result's residuals beside the other checks."""
    relative = np.asarray(_ratio(residual, s[0]))
    return Certificate(
        tolerance=tolerance,
        worst_residual=float(relative.max()),
        converged=int((relative <= tolerance).sum()),
        wanted=len(s),
        checks=checks,
        energy=energy,
        zero=not bool(s[0] != 0),
    )


def check_operator(operator: DetachedJacobian, seed: int) -> tuple[Check, ...]:
    """Whether forward and backward are a linear map and its transpose: five passes, random probes."""
    u, v = probes_of(operator, seed)
    # The last in a pass of its own, after the others.
    images = [*_images(operator, forward_probes(operator, v)), *_images(operator, v[None])]
    return checks_of(operator, (u, v), images, operator.rmatvec(u))


def _images(operator: DetachedJacobian, probes: Float[Array, "b ..."]) -> list[Float[Array, ...]]:
    """J of some probes."""
    return [image for block in operator.blocks(probes) for image in operator.matmat(block)]


def probes_of(operator: DetachedJacobian, seed: int) -> tuple[Float[Array, ...], Float[Array, ...]]:
    """Random probes of an output and of an input, which is as long as x: neither drowns in their sum."""
    key_u, key_v = jax.random.split(jax.random.key(seed))
    u = jax.random.normal(key_u, operator.output_shape, operator.dtype)
    v = jax.random.normal(key_v, operator.input_shape, operator.dtype)
    return u, v * (jnp.linalg.norm(_wide(operator.x)) / jnp.linalg.norm(_wide(v))).astype(v.dtype)


def forward_probes(operator: DetachedJacobian, v: Float[Array, ...]) -> Float[Array, "3 ..."]:
    """What the checks send forwards, before they send v once more in another pass: v, x, their sum."""
    return jnp.stack([v, operator.x, v + operator.x])


def checks_of(
    operator: DetachedJacobian,
    probes: tuple[Float[Array, ...], Float[Array, ...]],
    images: Sequence[Float[Array, ...]],
    pulled: Float[Array, ...],
) -> tuple[Check, ...]:
    """The checks, from what the passes made of the probes.

    Args:
        operator: the map.
        probes: u and v, see :func:`probes_of`.
        images: J of :func:`forward_probes`, and of v once more.
        pulled: Jᵀ·u.
    """
    rounding = min(_ROUNDINGS * operator.unit_roundoff, _AT_MOST)
    (u, v), (image, of_x, of_sum, again) = probes, images[:4]
    scale = _norm(image) * _norm(u)
    checks = [
        Check(
            "adjoint",
            float(_ratio(jnp.abs(_dot(image, u) - _dot(v, pulled)), scale)),
            rounding,
            "|⟨Jv, u⟩ − ⟨v, Jᵀu⟩| / (‖Jv‖·‖u‖): the two passes are each other's transpose",
        ),
        Check(
            "repetition",
            float(_ratio(_norm(again - image), _norm(image))),
            rounding,
            "‖Jv − Jv‖ / ‖Jv‖ of the same pass run twice: there is no noise in it",
        ),
        Check(
            "linearity",
            float(_ratio(_norm(_wide(of_sum) - _wide(of_x) - _wide(image)), _norm(image) + _norm(of_x))),
            rounding,
            "‖J(v+x) − Jv − Jx‖ / (‖Jv‖ + ‖Jx‖): the pass is linear",
        ),
    ]
    if operator.offset_independent:
        difference = _wide(of_x) + _wide(operator.offset) - _wide(operator.y)
        checks.append(
            Check(
                "reconstruction",
                float(_ratio(jnp.linalg.norm(difference), _norm(operator.y))),
                rounding,
                "‖J·x + c − y‖ / ‖y‖: the map gives back what the model said",
            )
        )
    return tuple(checks)


def _ratio(error: Array, scale: Array) -> Array:
    """error / scale; 0 / 0, which the zero map gives, is no error."""
    return error / jnp.where((scale == 0) & (error == 0), 1, scale)


def _wide(a: Array) -> Array:
    """Flattened, in float32 or better, because sums over a bfloat16 array lose what they should show."""
    return a.astype(jnp.promote_types(a.dtype, jnp.float32)).ravel()


def _norm(a: Array) -> Array:
    length: Array = jnp.linalg.norm(_wide(a))
    return length


def _dot(a: Array, b: Array) -> Array:
    return jnp.vdot(_wide(a), _wide(b), precision=jax.lax.Precision.HIGHEST)
