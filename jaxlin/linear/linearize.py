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

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.linear.stacked import stacked
from jaxlin.networks.freeze import Frozen


def linearize(
    f: Callable[..., Float[Array, ...]],
    x: Float[Array, ...],
    *parameters: Any,
    offset: Float[Array, ...] | None = None,
    batch: bool = False,
) -> DetachedJacobian:
    """The derivative of ``f`` at ``x`` as an operator: detached where ``f`` stops gradients.

    :func:`jaxlin.freeze` stops them in a function of known parts. The operator is a pytree, and this function
    may be vmapped: ``jax.vmap(lambda x: jaxlin.linearize(f, x))(X)`` has the maps of all points, each to be
    used, or built by ``dense()``, within ``jax.vmap`` and ``jax.jit``.

    Args:
        f: x, *parameters -> output array of any shape. Must allow jvp, vjp and vmap.
        x: the point, an array of any shape in a floating dtype.
        *parameters: pytrees of weights. Arrays that ``f`` closes over are copied into the compiled
            program, so pass large weights here.
        offset: c of y = J·x + c where it is known (zero for a bias-free network), so that the
            certificate's reconstruction means something. If not given it is computed for a function of
            :func:`jaxlin.freeze`, and y − J·x for any other.
        batch: ``x`` are many points [N, *input_shape], and the operator is that of all their maps below each
            other: outputs [N, *output_shape]. :func:`jaxlin.svd` of it finds the input directions that
            matter for all points together. It is taken at their mean, see :mod:`jaxlin.linear.stacked`.

    Raises:
        JaxlinError: a part of a frozen function has no rule, or a batch has no points, or an offset.
    """
    x = jnp.asarray(x)
    if batch:
        if offset is not None:
            raise JaxlinError("`offset` is that of one point: leave it out with `batch`")
        return stacked(f, x, *parameters)
    y = jax.jit(f)(x, *parameters)
    state = (x, parameters)
    forward, backward = JvpForward(f), VjpBackward(f)
    if offset is None and isinstance(f, Frozen):
        offset = jax.jit(f.offset)(x, *parameters)
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
        )(v.astype(x.dtype))
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
        return pulled.astype(u.dtype)
