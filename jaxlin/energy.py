"""How much of the whole map the found triplets are: Σσ² / ‖J‖_F², with an error bar."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from matfree import stochtrace

from jaxlin.operator import DetachedJacobian

#: Passes of the estimate: one block of probes.
ENERGY_PASSES = 8


@dataclass(frozen=True)
class Energy:
    """Captured energy Σσ² / ‖J‖_F².

    Attributes:
        captured: the fraction, 0 … 1.
        error: its standard error; 0 where the whole spectrum is known.
    """

    captured: float
    error: float


def energy_of_spectrum(s: Float[Array, " k"], spectrum: Float[Array, " m"]) -> Energy:
    """From all singular values: no estimate, no error."""
    total = jnp.sum(jnp.square(spectrum))
    return Energy(float(jnp.where(total > 0, jnp.sum(jnp.square(s)) / total, 1.0)), 0.0)


def estimate_energy(
    operator: DetachedJacobian, u: Float[Array, "k ..."], s: Float[Array, " k"], seed: int
) -> Energy:
    """From random probes of what the left vectors leave over: 8 passes.

    ‖J‖_F² = Σσ² + ‖(I − UUᵀ)J‖_F², and only the second term is estimated, by Hutchinson's method as
    matfree.stochtrace has it (deflated as in Hutch++, Meyer et al., arXiv:2010.09649), so that the error
    bar is of what was not found and shrinks with it.
    """
    precision = s.dtype
    basis = u.reshape(len(s), -1).astype(precision)
    pull_back = _pull_back_of(operator)

    def leftover(probe: Array) -> Array:
        outside = probe - basis.T @ (basis @ probe)
        return pull_back(outside.astype(operator.dtype).reshape(operator.output_shape)).astype(precision)

    like = jnp.zeros(operator.shape[0], precision)
    estimate = stochtrace.estimator_monte_carlo_mean_and_sem(
        stochtrace.monte_carlo_frobeniusnorm_squared(),
        stochtrace.sampler_normal(like, num=ENERGY_PASSES),
    )
    with jax.default_matmul_precision("highest"):
        rest, error = (float(figure) for figure in estimate(leftover, jax.random.key(seed)))
    found = float(jnp.sum(jnp.square(s)))
    total = found + rest
    if total == 0:
        return Energy(1.0, 0.0)
    return Energy(found / total, found * error / total**2)


def _pull_back_of(operator: DetachedJacobian):
    """Jᵀu of one u; under vmap one pass with as many probes, because frozen attention cannot be vmapped."""

    @jax.custom_batching.custom_vmap
    def pull_back(u: Array) -> Array:
        return operator.rmatvec(u)

    @pull_back.def_vmap
    def _(axis_size: int, in_batched: list[bool], u: Array) -> tuple[Array, bool]:
        del axis_size
        (batched,) = in_batched
        return (operator.rmatmat(u), True) if batched else (operator.rmatvec(u), False)

    return pull_back
