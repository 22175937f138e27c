"""The maps of many points as one: their rows below each other, [N·m, n].

Its right singular vectors are the input directions that matter for all points together; the left ones say
at which points and outputs.
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
from jaxlin.networks.freeze import Frozen

#: Points that one step of a pass computes together.
_POINTS = 256


def stacked(
    f: Callable[..., Float[Array, ...]], points: Float[Array, "N ..."], *parameters: Any
) -> DetachedJacobian:
    """The operator v ↦ (J_1·v, …, J_N·v), from an input to outputs [N, *output_shape].

    It is taken at the mean of the points: there ``x`` is that mean, and ``y`` what each point's affine map
    gives for it. For a function of :func:`jaxlin.freeze` its offsets are known without its maps.

    Raises:
        JaxlinError: there are no points.
    """
    if points.ndim < 1 or len(points) == 0:
        raise JaxlinError(
            f"the points have the shape {list(points.shape)}: give [N, features…], N of 1 or more"
        )
    mean = jnp.mean(points, axis=0)
    state = (points, parameters)
    forward, backward = StackedForward(f), StackedBackward(f)
    if isinstance(f, Frozen):

        def affine(at: Array) -> Any:
            return f.offset(at, *parameters), f.affine(at, mean, *parameters)

        offset, y = jax.lax.map(affine, points, batch_size=_POINTS)
    else:
        y = jax.jit(forward)(state, mean[None])[0]
        offset = jnp.zeros_like(y)
    return DetachedJacobian(state, mean, y, offset, forward, backward, isinstance(f, Frozen))


@dataclass(frozen=True)
class StackedForward:
    """J_n·V of every point, by jvp."""

    f: Callable[..., Any]

    def __call__(self, state: tuple[Array, tuple[Any, ...]], v: Array) -> Array:
        points, parameters = state

        def images(x: Array) -> Array:
            _, push = jax.linearize(lambda x: self.f(x, *parameters), x)
            pushed: Array = jax.vmap(push)(v.astype(x.dtype))
            return pushed

        made: Array = jnp.moveaxis(jax.lax.map(images, points, batch_size=_POINTS), 0, 1)
        return made


@dataclass(frozen=True)
class StackedBackward:
    """Σ_n J_nᵀ·U_n, by vjp, some points at a time."""

    f: Callable[..., Any]

    def __call__(self, state: tuple[Array, tuple[Any, ...]], u: Array) -> Array:
        points, parameters = state
        count = len(points)
        size = min(count, _POINTS)
        more = -count % size
        # Points that are there twice, with nothing to pull back.
        filled = jnp.concatenate([points, jnp.repeat(points[-1:], more, axis=0)])
        rows = jnp.moveaxis(u, 1, 0)
        rows = jnp.concatenate([rows, jnp.zeros((more, *rows.shape[1:]), rows.dtype)])

        def pulled(x: Array, of_point: Array) -> Array:
            _, pull = jax.vjp(lambda x: self.f(x, *parameters), x)
            made: Array = jax.vmap(pull)(of_point)[0]
            return made.astype(u.dtype)

        def step(total: Array, chunk: tuple[Array, Array]) -> tuple[Array, None]:
            return total + jnp.sum(jax.vmap(pulled)(*chunk), 0), None

        start = jnp.zeros((len(u), *points.shape[1:]), u.dtype)
        chunks = [a.reshape(-1, size, *a.shape[1:]) for a in (filled, rows)]
        total: Array = jax.lax.scan(step, start, (chunks[0], chunks[1]))[0]
        return total
