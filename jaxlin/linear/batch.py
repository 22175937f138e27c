"""Maps of one shape whose passes go together: a batch of prompts beside the block of probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float

from jaxlin.linear.operator import DetachedJacobian, beside, probes_at
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
    def of(cls, operators: Sequence[DetachedJacobian], count: int | None = None) -> OperatorBatch:
        """Of maps that differ in their arrays alone, or of the first ``count``; their labels are left out.

        What is one array for all of them is there once, also for those that come later (:meth:`with_map`).
        """
        structure: Any = jax.tree.structure(operators[0].bare)
        kinds: list[Any] = [jax.tree.structure(operator.bare) for operator in operators]
        assert all(kind == structure for kind in kinds), "maps of different kinds"
        count = len(operators) if count is None else count
        leaves, axes = [], []
        for each in zip(*(jax.tree.leaves(operator.bare) for operator in operators), strict=True):
            shared = all(leaf is each[0] for leaf in each)
            # Coefficients are stacks of layers, of which a pass takes one after the other: those stay first.
            axis = None if shared else min(1, each[0].ndim)
            leaves.append(each[0] if axis is None else _stacked(each[:count], axis))
            axes.append(axis)
        return cls(structure.unflatten(leaves), tuple(axes), count)

    def with_map(self, place: int, operator: DetachedJacobian) -> OperatorBatch:
        """The same with another map in one place. This batch is used up: its arrays are written to."""
        structure: Any = jax.tree.structure(self.maps)
        leaves, own = jax.tree.leaves(self.maps), jax.tree.leaves(operator.bare)
        varying = [number for number, axis in enumerate(self.axes) if axis is not None]
        put = put_in(
            [leaves[number] for number in varying],
            [own[number] for number in varying],
            place,
            tuple(axis for axis in self.axes if axis is not None),
        )
        for number, leaf in zip(varying, put, strict=True):
            leaves[number] = leaf
        return OperatorBatch(structure.unflatten(leaves), self.axes, self.count)

    @property
    def probes_per_pass(self) -> int:
        """How many probes of each map to send together when many are needed."""
        several = self.maps.x.ndim > 2  # of one map its first axis, if it has another
        return probes_at(self.count * (self.maps.x.shape[0] if several else 1))

    def matmat(self, v: Float[np.ndarray | Array, "n b ..."]) -> Float[Array, "n b ..."]:
        """J·V of every map with its own b probes."""
        images: Array = _forward(self.maps, self._placed(v), self.axes)
        return images

    def rmatmat(self, u: Float[np.ndarray | Array, "n b ..."]) -> Float[Array, "n b ..."]:
        """Jᵀ·U likewise."""
        pulled: Array = _backward(self.maps, self._placed(u), self.axes)
        return pulled

    def _placed(self, probes: np.ndarray | Array) -> Array:
        placed: Array = beside(self.maps.x, jnp.asarray(probes, self.maps.dtype))
        return placed


def data_groups(array: Array) -> int:
    """How many groups of devices divide a batch between them: the mesh's ``data``."""
    place = getattr(array, "sharding", None)
    return int(place.mesh.shape.get(DATA, 1)) if isinstance(place, NamedSharding) else 1


def _stacked(each: Sequence[Array], axis: int) -> Array:
    """Arrays with an axis more, which is divided over a mesh's ``data`` where it can be."""
    together = jnp.stack(each, axis)
    place = getattr(each[0], "sharding", None)
    if not isinstance(place, NamedSharding) or DATA not in place.mesh.shape:  # or of the host's memory
        return together
    if len(each) % data_groups(each[0]):
        return together
    spec = [*place.spec, *[None] * (each[0].ndim - len(place.spec))]
    spec.insert(axis, DATA)
    divided: Array = jax.device_put(together, NamedSharding(place.mesh, PartitionSpec(*spec)))
    return divided


def put_in(
    arrays: Sequence[Array], others: Sequence[Array], place: int, axes: tuple[int, ...]
) -> list[Array]:
    """Arrays with others in one place of their axes; the first ones are written to.

    On a mesh they stay divided as they are. What lay on no device in particular is whole on all of them.
    """
    put = _updated(arrays, others, place, axes)
    return [
        jax.device_put(new, old.sharding) if isinstance(old.sharding, NamedSharding) else new
        for new, old in zip(put, arrays, strict=True)
    ]


@partial(jax.jit, static_argnames="axes", donate_argnums=0)
def _updated(
    arrays: Sequence[Array], others: Sequence[Array], place: int | Array, axes: tuple[int, ...]
) -> list[Array]:
    return [
        jax.lax.dynamic_update_index_in_dim(array, other, place, axis)
        for array, other, axis in zip(arrays, others, axes, strict=True)
    ]


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
