"""Maps of one shape whose passes go together: a batch of prompts beside the block of probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from jaxlin.linear.operator import POSITIONS_PER_PASS, PROBES_PER_PASS, DetachedJacobian
from jaxlin.runtime.mesh import DATA

#: The axis of every array of an operator that goes over the maps; None where they share it.
Axes = tuple[int | None, ...]


@dataclass(frozen=True, eq=False)
class OperatorBatch:
    """N maps of one shape. What they share, as the weights of a model, is there once.

    Attributes:
        maps: an operator whose arrays are those of all maps, those that differ along an axis more.
        axes: where that is in each of its arrays.
        count: N.
    """

    maps: DetachedJacobian
    axes: Axes
    count: int

    @classmethod
    def of(cls, operators: Sequence[DetachedJacobian]) -> OperatorBatch:
        """Of maps that differ in their arrays alone; their labels are left out."""
        structure: Any = jax.tree.structure(operators[0].bare)
        kinds: list[Any] = [jax.tree.structure(operator.bare) for operator in operators]
        assert all(kind == structure for kind in kinds), "maps of different kinds"
        leaves, axes = [], []
        for each in zip(*(jax.tree.leaves(operator.bare) for operator in operators), strict=True):
            shared = all(leaf is each[0] for leaf in each)
            # Coefficients are stacks of layers, of which a pass takes one after the other: those stay first.
            axis = None if shared else min(1, each[0].ndim)
            leaves.append(each[0] if axis is None else _stacked(each, axis))
            axes.append(axis)
        return cls(structure.unflatten(leaves), tuple(axes), len(operators))

    @property
    def probes_per_pass(self) -> int:
        """How many probes of each map to send together when many are needed."""
        several = self.maps.x.ndim > 2  # of one map its first axis, if it has another
        positions = self.count * (self.maps.x.shape[0] if several else 1)
        return max(1, min(PROBES_PER_PASS, POSITIONS_PER_PASS // positions))

    def matmat(self, v: Float[Array, "n b ..."]) -> Float[Array, "n b ..."]:
        """J·V of every map with its own b probes, some of them at a time."""
        return self._in_parts(_forward, v)

    def rmatmat(self, u: Float[Array, "n b ..."]) -> Float[Array, "n b ..."]:
        """Jᵀ·U likewise."""
        return self._in_parts(_backward, u)

    def _in_parts(self, run: Any, probes: Array) -> Array:
        step, count = self.probes_per_pass, probes.shape[1]
        filled = jnp.pad(probes, [(0, 0), (0, -count % step), *[(0, 0)] * (probes.ndim - 2)])
        parts = [
            run(self.maps, filled[:, start : start + step], self.axes)
            for start in range(0, filled.shape[1], step)
        ]
        return jnp.concatenate(parts, 1)[:, :count]


def _stacked(each: Sequence[Array], axis: int) -> Array:
    """Arrays with an axis more, which is divided over a mesh's ``data`` where it can be."""
    together = jnp.stack(each, axis)
    place = getattr(each[0], "sharding", None)
    if not isinstance(place, NamedSharding) or len(each) % place.mesh.shape.get(DATA, len(each) + 1):
        return together
    spec = [*place.spec, *[None] * (each[0].ndim - len(place.spec))]
    spec.insert(axis, DATA)
    divided: Array = jax.device_put(together, NamedSharding(place.mesh, PartitionSpec(*spec)))
    return divided


def axes_of(maps: DetachedJacobian, axes: Axes) -> Any:
    """What ``jax.vmap`` takes for the maps of a batch."""
    structure: Any = jax.tree.structure(maps)
    return structure.unflatten(axes)


@partial(jax.jit, static_argnames="axes")
def _forward(maps: DetachedJacobian, v: Array, axes: Axes) -> Array:
    def one(operator: DetachedJacobian, v: Array) -> Array:
        return operator.forward(operator.state, v.astype(operator.y.dtype))

    images: Array = jax.vmap(one, (axes_of(maps, axes), 0))(maps, v)
    return images


@partial(jax.jit, static_argnames="axes")
def _backward(maps: DetachedJacobian, u: Array, axes: Axes) -> Array:
    def one(operator: DetachedJacobian, u: Array) -> Array:
        return operator.backward(operator.state, u.astype(operator.y.dtype))

    pulled: Array = jax.vmap(one, (axes_of(maps, axes), 0))(maps, u)
    return pulled
