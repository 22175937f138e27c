"""``jaxlin.freeze``: a function with the same values whose derivative is the detached map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin.networks.classify import classified
from jaxlin.networks.evaluate import along_path, values_of
from jaxlin.networks.program import traced


@dataclass(frozen=True)
class Frozen:
    """A function whose nonlinear coefficients are frozen at whatever point it is given.

    ``frozen(x, *parameters)`` has the values of ``f``. Its derivative in ``x`` is the detached Jacobian J(x),
    by ``jax.jvp``, ``jax.vjp``, ``jax.jacrev``; it can be jitted and vmapped. Derivatives in the parameters
    are not those of ``f``: leave the training to ``f`` itself.

    Attributes:
        f: the function: one array, and parameters, to one array.
    """

    f: Callable[..., Any]

    def __call__(self, x: Float[Array, ...], *parameters: Any) -> Float[Array, ...]:
        """f(x)."""
        y, along = self._both(x, x, parameters)
        # The value of f to the bit, the derivative of the path.
        return y + (along - jax.lax.stop_gradient(along))

    def affine(self, x: Float[Array, ...], z: Float[Array, ...], *parameters: Any) -> Float[Array, ...]:
        """J(x)·z + c(x): the network with the coefficients of ``x``, at another input ``z``."""
        return self._both(x, z, parameters)[1]

    def offset(self, x: Float[Array, ...], *parameters: Any) -> Float[Array, ...]:
        """c of f(x) = J(x)·x + c, computed without f(x): the affine map at zero."""
        return self.affine(x, jnp.zeros_like(x), *parameters)

    def flat(self, parameters: tuple[Any, ...]) -> Callable[..., Any]:
        """f of the point and the leaves of its parameters."""
        structure = jax.tree.structure(parameters)

        def of_leaves(x: Array, *leaves: Any) -> Any:
            return self.f(x, *jax.tree.unflatten(structure, leaves))

        return of_leaves

    def _both(self, x: Array, z: Array, parameters: tuple[Any, ...]) -> tuple[Array, Array]:
        leaves = jax.tree.leaves(parameters)
        plan = classified(traced(self.flat(parameters), x, *leaves))
        values = values_of(plan, (x, *leaves))
        wanted = plan.program.outputs
        (along,) = along_path(plan, values, {plan.program.inputs[0]: z}, wanted)
        return values[wanted[0]], along


def freeze(f: Callable[..., Any]) -> Frozen:
    """A function with the same values whose derivative is the detached map."""
    return f if isinstance(f, Frozen) else Frozen(f)
