"""Bfloat16 that a scan goes over on a CPU, held as the sixteen-bit integers it is stored in.

XLA's CPU compiler has no slice of bfloat16. It widens the whole stack of layers to float32, outside the loop,
and so holds every weight and coefficient once more at twice the size: bfloat16 would take more memory than
float32. Integers it slices as they are. What the scan takes from a stack becomes bfloat16 again inside the
loop, one layer at a time. Other backends slice bfloat16, and there nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PyTree

from jaxlin_models.offload import on_host, to_host

Tree = TypeVar("Tree", bound=PyTree)


def stacks_as_bits(weights: nnx.State[str, Any]) -> nnx.State[str, Any]:
    """A decoder's weights with its stacked bfloat16 layers as uint16 on a CPU; nothing is copied or moved.

    Takes shapes for arrays too, and gives shapes back.
    """
    if jax.default_backend() != "cpu":
        return weights
    return nnx.State({**weights, "layers": jax.tree.map(_same_bytes, weights["layers"])})


def to_bits(tree: Tree) -> Tree:
    """Traced bfloat16 arrays as uint16 on a CPU. They have no derivative then."""
    if jax.default_backend() != "cpu":
        return tree
    bits: Tree = jax.tree.map(lambda a: _reread(a, jnp.bfloat16, jnp.uint16), tree)
    return bits


def from_bits(tree: Tree) -> Tree:
    """Traced uint16 arrays as the bfloat16 that they stand for."""
    numbers: Tree = jax.tree.map(lambda a: _reread(a, jnp.uint16, jnp.bfloat16), tree)
    return numbers


def _reread(a: Array, old: type, new: type) -> Array:
    return jax.lax.bitcast_convert_type(a, new) if a.dtype == old else a


def _same_bytes(a: Array | jax.ShapeDtypeStruct) -> Array | jax.ShapeDtypeStruct:
    if a.dtype != jnp.bfloat16:
        return a
    if isinstance(a, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(a.shape, jnp.uint16, sharding=a.sharding)
    if len(a.sharding.device_set) > 1:
        return _same_shards(a)
    put: Callable[[np.ndarray], Array] = to_host if on_host(a) else jax.device_put
    return put(np.asarray(a).view(np.uint16))


def _same_shards(a: Array) -> Array:
    """The same of an array that is spread over several devices."""
    shards = [
        jax.device_put(np.asarray(shard.data).view(np.uint16), shard.data.sharding)
        for shard in a.addressable_shards
    ]
    return jax.make_array_from_single_device_arrays(a.shape, a.sharding, shards)
