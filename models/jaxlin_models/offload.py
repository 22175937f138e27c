"""Stacks of layers that wait in the host's memory while the device works on one layer at a time.

For GPUs whose memory is too small for all layers at once. On a CPU the two memories are the same hardware,
but JAX tells arrays in them apart by type and refuses to compute with both at once: what is tested there is
where arrays are, and nothing of speed. It has not been run on a GPU.

XLA pins 64 GB of the host's memory for a GPU, unless ``XLA_PJRT_GPU_HOST_MEMORY_LIMIT_GB`` says otherwise.
"""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree


def to_host(tree: PyTree) -> PyTree:
    """Arrays, traced or not, or shapes of arrays, in the host's pinned memory."""
    return jax.tree.map(_to_host, tree)


def to_device(tree: PyTree) -> PyTree:
    """Traced arrays in the device's memory. Where one is there already, nothing joins the program."""
    return jax.tree.map(lambda a: jax.device_put(a, jax.memory.Space.Device) if on_host(a) else a, tree)


def on_host(a: Array | jax.ShapeDtypeStruct) -> bool:
    """Whether an array, traced or not, or one of this shape, is in the host's memory."""
    if isinstance(a, jax.ShapeDtypeStruct):
        return a.sharding is not None and a.sharding.memory_kind == "pinned_host"
    return bool(jax.typeof(a).memory_space == jax.memory.Space.Host)


def _to_host(a: Array | np.ndarray | jax.ShapeDtypeStruct) -> Array | jax.ShapeDtypeStruct:
    if isinstance(a, jax.ShapeDtypeStruct):
        # A mesh of no axes: from a SingleDeviceSharding, JAX (0.10.2) does not trace shapes as on the host.
        mesh = Mesh(np.asarray(jax.local_devices()[0]), ())
        place = NamedSharding(mesh, PartitionSpec(), memory_kind="pinned_host")
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place)
    moved: Array = jax.device_put(a, jax.memory.Space.Host)
    return moved
