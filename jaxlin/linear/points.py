"""The maps of many points at once: J, c and y of each, from one compiled program, with checks of each.

J comes from derivatives of the linear path, c from the path at zero, y from the function as it was written.
None of the three is computed from another, so that J·x + c = y tests them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin.networks.classify import Plan
from jaxlin.networks.evaluate import along_path, values_of
from jaxlin.networks.freeze import Frozen
from jaxlin.networks.kinds import Role
from jaxlin.networks.waist import Waist, cheapest_waist, jacobian


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of some points.

    Attributes:
        jacobian: J_n [N, *output_shape, *input_shape].
        offset: c_n [N, *output_shape].
        y: f(x_n) [N, *output_shape].
        reconstruction: ‖J·x + c − y‖ / (‖J‖·‖x‖ + ‖c‖ + ‖y‖) of each point [N].
        adjoint: ‖J·v + c − F(v)‖ / (‖J‖·‖v‖ + ‖c‖ + ‖F(v)‖) of each point at a random v,
            where F is the path forwards [N].
    """

    jacobian: Any
    offset: Any
    y: Any
    reconstruction: Any
    adjoint: Any


class PointMaps:
    """What is compiled once for points of one shape."""

    def __init__(self, f: Frozen, like: Any, *parameters: Any) -> None:
        """Trace ``f`` for points like this one, without computing anything.

        Raises:
            JaxlinError: ``f`` is not linear once all coefficients are frozen; the part is named.
        """
        self._parameters = parameters
        with jax.default_matmul_precision("highest"):
            self._plan: Plan = f.plan(like, *parameters)
        self._waist: Waist = cheapest_waist(self._plan)
        probe = np.random.default_rng(0).standard_normal(self.input_shape)
        self._probe = jnp.asarray(probe, self._type(self._plan.program.inputs[0]).dtype)
        self._run = jax.jit(jax.vmap(self._at, in_axes=(None, None, None, 0)))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one point."""
        return tuple(self._type(self._plan.program.inputs[0]).shape)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of one output."""
        return tuple(self._type(self._plan.program.outputs[0]).shape)

    @property
    def dtype(self) -> Any:
        """Of the output."""
        return self._type(self._plan.program.outputs[0]).dtype

    @cached_property
    def method(self) -> str:
        """How the matrix is computed, in words."""
        if self._waist.values == self._plan.program.outputs:
            return f"{self._waist.width} passes backwards from the output"
        if self._waist.values == self._plan.program.inputs[:1]:
            return f"{self._waist.width} passes forwards from the input"
        return f"{self._waist.width} passes to and from the narrowest part"

    @property
    def bytes_per_point(self) -> int:
        """About what one point needs while it is computed."""
        m, n = math.prod(self.output_shape), math.prod(self.input_shape)
        plan, types = self._plan, self._plan.program.types
        path = max(math.prod(types[i].shape) for i, kind in plan.kinds.items() if kind.role is Role.LINEAR)
        values = sum(math.prod(types[i].shape) for i, kind in plan.kinds.items() if kind.depends)
        return int(self.dtype.itemsize * (2 * m * n + 2 * self._waist.width * path + values))

    def at(self, points: Float[Array, "N ..."]) -> Maps:
        """The maps of these points [N, *input_shape]."""
        leaves = jax.tree.leaves(self._parameters)
        maps: Maps = self._run(self._plan.program.weights, leaves, self._probe, points)
        return maps

    def _at(self, weights: Any, leaves: Any, probe: Array, x: Array) -> Maps:
        program = self._plan.program
        with jax.default_matmul_precision("highest"):
            values = values_of(self._plan, (x, *leaves), weights)
            matrix = jacobian(self._plan, self._waist, values)

            def path(z: Array) -> Array:
                along: Array = along_path(self._plan, values, {program.inputs[0]: z}, program.outputs)[0]
                return along

            y = program.original(weights, x, *leaves)
            c, image = jax.vmap(path)(jnp.stack([jnp.zeros_like(x), probe]))
            rebuilt, forwards = _misfits(matrix, jnp.stack([x, probe]), c, jnp.stack([y, image]))
        shaped = matrix.reshape(*self.output_shape, *self.input_shape)
        return Maps(shaped, c, y, rebuilt, forwards)

    def _type(self, number: int) -> Any:
        return self._plan.program.types[number]


def _misfits(
    matrix: Float[Array, "m n"],
    at: Float[Array, "2 ..."],
    c: Float[Array, ...],
    expected: Float[Array, "2 ..."],
) -> Float[Array, " 2"]:
    """‖J·z + c − expected‖ of two inputs z, as fractions of the terms of that sum."""
    z, wanted = at.reshape(2, -1), expected.reshape(2, -1)
    images = z @ matrix.T + c.ravel()
    size = jnp.linalg.norm(matrix) * jnp.linalg.norm(z, axis=1)
    size += jnp.linalg.norm(c) + jnp.linalg.norm(wanted, axis=1)
    error = jnp.linalg.norm(images - wanted, axis=1)
    misfits: Array = error / jnp.where((size == 0) & (error == 0), 1, size)
    return misfits
