"""The same operator from any JAX function whose nonlinear coefficients are stopped, by jvp and vjp.

The way in for models that this project does not provide, and the reference that replay is tested against.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxlin.linear.operator import DetachedJacobian


def linearize(
    f: Callable[..., Float[Array, ...]],
    x: Float[Array, ...],
    *parameters: Any,
    offset: Float[Array, ...] | None = None,
) -> DetachedJacobian:
    """The derivative of ``f`` at ``x`` as an operator: detached where ``f`` stops gradients.

    Args:
        f: x, *parameters -> output array of any shape. Must allow jvp, vjp and vmap.
        x: the point, an array of any shape in a floating dtype.
        *parameters: pytrees of weights. Arrays that ``f`` closes over are copied into the compiled
            program, so pass large weights here.
        offset: c of y = J·x + c where it is known (zero for a bias-free network), so that the
            certificate's reconstruction means something; y − J·x if not given.
    """
    x = jnp.asarray(x)
    y = jax.jit(f)(x, *parameters)
    state = (x, parameters)
    forward, backward = JvpForward(f), VjpBackward(f)
    known = offset is not None
    c = jnp.asarray(offset, y.dtype) if known else y - jax.jit(forward)(state, x[None])[0]
    return DetachedJacobian(state, x, y, jnp.broadcast_to(c, y.shape), forward, backward, known)


@dataclass(frozen=True)
class JvpForward:
    """J·V by jvp, vectorised over the probe axis."""

    f: Callable[..., Array]

    def __call__(self, state: tuple[Array, tuple[Any, ...]], v: Array) -> Array:
        x, parameters = state
        images: Array = jax.vmap(
            lambda tangent: jax.jvp(lambda x: self.f(x, *parameters), (x,), (tangent,))[1]
        )(v)
        return images


@dataclass(frozen=True)
class VjpBackward:
    """Jᵀ·U by vjp, probe after probe: the linearisation is shared, and XLA's CPU backend (JAX 0.10.2) gives
    wrong numbers for this pull-back vectorised in float32 at long prompts."""

    f: Callable[..., Array]

    def __call__(self, state: tuple[Array, tuple[Any, ...]], u: Array) -> Array:
        x, parameters = state
        _, pull_back = jax.vjp(lambda x: self.f(x, *parameters), x)
        pulled: Array = jax.lax.map(pull_back, u)[0]
        return pulled
