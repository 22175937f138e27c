"""``jaxlin.freeze``: a function with the same values whose derivative is the detached map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.networks.classify import Plan, classified
from jaxlin.networks.evaluate import along_path, values_of
from jaxlin.networks.modules import as_function
from jaxlin.networks.program import traced
from jaxlin.networks.rules import checked_rules


@dataclass(frozen=True)
class Frozen:
    """A function whose nonlinear coefficients are frozen at whatever point it is given.

    ``frozen(x, *parameters)`` has the values of ``f``. Its derivative in ``x`` is the detached Jacobian J(x),
    by ``jax.jvp``, ``jax.vjp`` or ``jax.jacrev``; it can be jitted and vmapped. Derivatives in the parameters
    are not those of ``f``: train ``f`` itself.

    Attributes:
        f: the function: one array, and parameters, to one array.
        rules: primitive -> ``linear`` or ``coefficient``, for those without a rule.
    """

    f: Callable[..., Any]
    rules: tuple[tuple[str, str], ...] = ()

    def __call__(self, x: Float[Array | np.ndarray, ...], *parameters: Any) -> Float[Array, ...]:
        """f(x)."""
        y, along = self._both(x, x, parameters)
        # The value of f to the bit, the derivative of the path.
        return y + (along - jax.lax.stop_gradient(along))

    def affine(
        self, x: Float[Array | np.ndarray, ...], z: Float[Array | np.ndarray, ...], *parameters: Any
    ) -> Float[Array, ...]:
        """J(x)·z + c(x): the network with the coefficients of ``x``, at another input ``z``."""
        return self._both(x, z, parameters)[1]

    def offset(self, x: Float[Array | np.ndarray, ...], *parameters: Any) -> Float[Array, ...]:
        """c of f(x) = J(x)·x + c, computed without f(x): the affine map at zero."""
        return self.affine(x, jnp.zeros_like(x), *parameters)

    def of_one(self) -> Frozen:
        """The same of one point, where ``f`` takes many at once."""
        return replace(self, f=OfOne(self.f))

    def plan(self, x: Any, *parameters: Any) -> Plan:
        """What is linear and what is frozen, for a point of this shape; the leaves of parameters follow it.

        Raises:
            JaxlinError: a part of ``f`` has no rule; it is named.
        """
        structure = jax.tree.structure(parameters)

        def of_leaves(x: Array, *leaves: Any) -> Any:
            return self.f(x, *jax.tree.unflatten(structure, leaves))

        return classified(traced(of_leaves, x, *jax.tree.leaves(parameters)), dict(self.rules))

    def _both(self, x: Any, z: Any, parameters: tuple[Any, ...]) -> tuple[Array, Array]:
        """The value at ``x``, and the path at ``z``."""
        x, z = jnp.asarray(x), jnp.asarray(z)
        plan = self.plan(x, *parameters)
        values = values_of(plan, (x, *jax.tree.leaves(parameters)))
        wanted = plan.program.outputs
        (along,) = along_path(plan, values, {plan.program.inputs[0]: z}, wanted)
        return values[wanted[0]], along


@dataclass(frozen=True)
class OfOne:
    """A function of one point from one of many."""

    f: Callable[..., Any]

    def __call__(self, x: Any, *parameters: Any) -> Any:
        return self.f(x[None], *parameters)[0]


def freeze(f: Any, *, rules: Mapping[str, str] | None = None) -> Frozen:
    """A function with the values of ``f`` whose derivative is the detached map.

    Activations (relu, gelu, silu, tanh, elu …), softmax attention, norms and gates are frozen, so that
    f(x) = J(x)·x + c(x). Every primitive of JAX that ``f`` is made of has a rule, or is refused by name
    where it would be on the linear path; see :mod:`jaxlin.networks.rules` for the rules.

    Args:
        f: one array [*input_shape], and parameters, to one array: a function, or a module of Flax NNX,
            Equinox or PyTorch that is not in training mode. PyTorch is translated, see
            :mod:`jaxlin.networks.torch_module`.
        rules: for primitives without a rule, by name: ``linear`` (in all floating operands together) or
            ``coefficient``. A certificate tests what is said here.

    Returns:
        The function; ``affine(x, z)`` is J(x)·z + c(x), and ``offset(x)`` is c(x).

    Raises:
        JaxlinError: a module in training mode, nothing that can be called, or an unknown rule. What has no
            rule is refused when the function is called.
    """
    given = checked_rules(rules or {})
    if isinstance(f, Frozen):
        return replace(f, rules=(*f.rules, *given))
    return Frozen(as_function(f), given)
