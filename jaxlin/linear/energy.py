"""How much of the whole map some triplets are: Σσ² / ‖J‖_F², with an error bar."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matfree import stochtrace

from jaxlin.linear.operator import DetachedJacobian

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

    def __repr__(self) -> str:
        bar = f" ± {self.error:.1g}" if self.error else ""
        return f"Energy({self.captured:.4g}{bar})"


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
    length_of = _pulled_length(operator)

    def leftover(probe: Array) -> Array:
        """As long a vector as Jᵀ(I − UUᵀ)ω: only its length counts, and that is one number."""
        return length_of(probe - basis.T @ (basis @ probe)).astype(precision)[None]

    like = jnp.zeros(operator.shape[0], precision)
    estimate = stochtrace.estimator_monte_carlo_mean_and_sem(
        stochtrace.monte_carlo_frobeniusnorm_squared(),
        stochtrace.sampler_normal(like, num=ENERGY_PASSES),
    )
    with jax.default_matmul_precision("highest"):
        rest, error = (float(figure) for figure in estimate(leftover, jax.random.key(seed)))
    return _energy(float(jnp.sum(jnp.square(s))), rest, error)


def leftover_probes(u: Float[np.ndarray, "k m"], seed: int) -> Float[np.ndarray, "p m"]:
    """Gaussian probes without what the left vectors u span: as many as :data:`ENERGY_PASSES`."""
    drawn = np.random.default_rng(seed).standard_normal((ENERGY_PASSES, u.shape[1]))
    wide = np.asarray(u, np.float64)
    left: np.ndarray = drawn - (drawn @ wide.T) @ wide
    return left


def energy_of_leftover(s: Float[np.ndarray, " k"], lengths: Float[np.ndarray, " p"]) -> Energy:
    """As :func:`estimate_energy`, from ‖Jᵀω‖ of the probes ω of :func:`leftover_probes`."""
    squares = np.square(np.asarray(lengths, np.float64))
    captured = float(np.sum(np.square(np.asarray(s, np.float64))))
    return _energy(captured, float(squares.mean()), float(squares.std() / math.sqrt(len(squares))))


def _energy(captured: float, rest: float, error: float) -> Energy:
    total = captured + rest
    if total == 0:
        return Energy(1.0, 0.0)
    return Energy(captured / total, captured * error / total**2)


def _pulled_length(operator: DetachedJacobian) -> Callable[[Array], Array]:
    """u ↦ ‖Jᵀu‖; under vmap in passes with several probes, because frozen attention cannot be vmapped."""

    def lengths(u: Float[Array, "b m"]) -> Float[Array, " b"]:
        pulled = operator.rmatmat(u.astype(operator.dtype).reshape(-1, *operator.output_shape))
        norms: Array = jnp.linalg.norm(pulled.astype(u.dtype).reshape(len(u), -1), axis=1)
        return norms

    @jax.custom_batching.custom_vmap
    def length(u: Array) -> Array:
        return lengths(u[None])[0]

    @length.def_vmap
    def _(axis_size: int, in_batched: list[bool], u: Array) -> tuple[Array, bool]:
        assert in_batched == [True]
        at_once = operator.probes_per_pass
        chunks = [lengths(u[start : start + at_once]) for start in range(0, axis_size, at_once)]
        return jnp.concatenate(chunks), True

    return length
