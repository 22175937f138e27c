"""How a decoder is spread over a mesh of devices: what each logical axis of an array is divided over.

Over ``tensor`` devices the attention heads and the width of the MLP are divided: each device holds some heads
and some of the MLP's features, and what attention and MLP add to the residual stream is summed over the
devices (Shoeybi et al., arXiv:1909.08053). Nothing else has to be sent in a pass. Over ``data`` the probes of
a pass are divided, and every part holds all weights.

Over ``sequence`` the positions are divided, with all that is kept of them, and every part holds all weights.
A device computes what its positions get; attention reads the values of those before them, and so each layer's
values (and keys, where probabilities are computed again) are gathered, and backwards what they are given is
summed. Prompts are filled up with zeros behind their end, which nothing before them sees.

Where there are fewer kv heads than devices, a kv head is held by several, each of which has some of its
queries. So ``tensor`` is two axes of the mesh: ``kv`` divides the kv heads, ``group`` the queries of each.

The tables (embeddings and head) are divided by their columns: rows are looked up, and gone through some at a
time, which needs something of every row on each device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, Shaped

from jaxlin_models.config import DecoderConfig
from jaxlin_models.errors import ModelError

#: The axes of a mesh.
DATA, SEQUENCE, KV, GROUP = "data", "sequence", "kv", "group"
#: Both axes over which weights are divided.
TENSOR = (KV, GROUP)

#: Logical axis -> the axes of the mesh that it is divided over; all others are whole on every device.
RULES: Mapping[str, str | tuple[str, ...]] = {
    "position": SEQUENCE,
    "block": SEQUENCE,
    "heads": TENSOR,
    "kv_heads": KV,
    "group": GROUP,
    "mlp": TENSOR,
    "columns": TENSOR,
}
#: An axis that is not divided.
WHOLE = "whole"

#: What is recorded of a layer, by its name and that of the array in it -> its last axes. All else is whole.
COEFFICIENT_AXES: Mapping[str, tuple[str, ...]] = {
    "attention_norm.inverse_rms": ("position", WHOLE),
    "attention_post_norm.inverse_rms": ("position", WHOLE),
    "mlp_norm.inverse_rms": ("position", WHOLE),
    "mlp_post_norm.inverse_rms": ("position", WHOLE),
    "attention.probabilities": ("kv_heads", "group", "position", WHOLE),
    "attention.probabilities.query": ("block", "kv_heads", "group", WHOLE),
    "attention.probabilities.key": ("block", "kv_heads", WHOLE, WHOLE),
    "attention.probabilities.logsumexp": ("block", "kv_heads", "group"),
    "attention.key": ("kv_heads", WHOLE),
    "attention.value": ("kv_heads", WHOLE),
    "mlp.gate": ("position", "mlp"),
    "mlp.gate.hidden": ("position", WHOLE),
    "mlp.gated_up": ("position", "mlp"),
    "mlp.gated_up.hidden": ("position", WHOLE),
}

Tree = TypeVar("Tree", bound=PyTree)


@dataclass(frozen=True)
class Layout:
    """A mesh of devices, and how a decoder's arrays lie on it.

    Attributes:
        mesh: its axes are ``data``, ``sequence``, ``kv`` and ``group``.
    """

    mesh: Mesh

    @classmethod
    def of(
        cls,
        config: DecoderConfig,
        devices: Sequence[jax.Device],
        *,
        data: int = 1,
        sequence: int = 1,
        tensor: int = 1,
    ) -> Layout:
        """The layout of a decoder over the first ``data``·``sequence``·``tensor`` of these devices.

        Raises:
            ModelError: the decoder's heads or widths cannot be divided by ``tensor``.
        """
        parts = _parts(config, tensor)
        if parts is None:
            usable = [str(n) for n in range(1, config.num_heads + 1) if _parts(config, n) is not None]
            heads = f"{config.num_heads} heads on {config.num_kv_heads} kv heads"
            raise ModelError(
                f"a decoder of {heads}, width {config.embed_dim} and an MLP of {config.mlp_dim} cannot be "
                f"divided over {tensor} devices: choose a `mesh` with tensor={' or '.join(usable)}"
            )
        grid = np.asarray(devices[: data * sequence * tensor]).reshape(data, sequence, *parts)
        return cls(Mesh(grid, (DATA, SEQUENCE, KV, GROUP)))

    def __str__(self) -> str:
        data, sequence, kv, group = self.mesh.shape.values()
        sizes = {"data": data, "sequence": sequence, "tensor": kv * group}
        return ",".join(f"{name}={size}" for name, size in sizes.items() if size > 1) or "tensor=1"

    @property
    def sequence(self) -> int:
        """Into how many parts the positions are divided."""
        return int(self.mesh.shape[SEQUENCE])

    @property
    def whole(self) -> NamedSharding:
        """Of an array that every device holds."""
        return NamedSharding(self.mesh, PartitionSpec())

    def sharding(self, axes: Sequence[str], *, memory_kind: str | None = None) -> NamedSharding:
        """Of an array with these logical axes, see :data:`jaxlin_models.decoder.LOGICAL_AXES`."""
        names = ("vocab", "columns") if tuple(axes) == ("vocab", "embed") else axes
        spec = PartitionSpec(*(RULES.get(name) for name in names))
        return NamedSharding(self.mesh, spec, memory_kind=memory_kind)


def laid(layout: Layout | None, x: Shaped[Array, ...], *axes: str) -> Shaped[Array, ...]:
    """A traced array whose last axes are these, laid so; those in front of them as they come.

    Without a layout nothing joins the program.
    """
    if layout is None:
        return x
    in_front = (PartitionSpec.UNCONSTRAINED,) * (x.ndim - len(axes))
    spec = PartitionSpec(*in_front, *(RULES.get(name) for name in axes))
    return _lay(x, NamedSharding(layout.mesh, spec))


def filled(layout: Layout | None, x: Shaped[Array, "... t d"]) -> Shaped[Array, "... filled d"]:
    """What enters a layer, traced, with zeros behind its last position, so that positions can be divided."""
    if layout is None or layout.sequence == 1:
        return x
    missing = filled_length(layout, x.shape[-2]) - x.shape[-2]
    return laid(layout, jnp.pad(x, [*[(0, 0)] * (x.ndim - 2), (0, missing), (0, 0)]), "position", WHOLE)


def filled_length(layout: Layout | None, length: int) -> int:
    """How many positions a prompt of this length has then."""
    return length if layout is None else -(-length // layout.sequence) * layout.sequence


def laid_coefficients(layout: Layout | None, kept: Tree) -> Tree:
    """What is kept of one layer, traced, laid by :data:`COEFFICIENT_AXES`."""
    if layout is None:
        return kept
    lay: Tree = jax.tree_util.tree_map_with_path(lambda path, a: laid(layout, a, *_axes_of(path, a)), kept)
    return lay


def coefficient_sharding(layout: Layout, path: tuple[Any, ...], shape: Any) -> NamedSharding:
    """Of an array of the coefficients of all layers, or of one of them, by where it is in their pytree."""
    axes = _axes_of(path, shape)
    in_front = (None,) * (len(shape.shape) - len(axes))
    return NamedSharding(layout.mesh, PartitionSpec(*in_front, *(RULES.get(name) for name in axes)))


def _axes_of(path: tuple[Any, ...], array: Any) -> tuple[str, ...]:
    """The last axes of a coefficient, by its names in a pytree."""
    names = [getattr(key, "name", getattr(key, "key", None)) for key in path]
    name = ".".join(each for each in names if isinstance(each, str) and each not in ("layers", "final"))
    axes = COEFFICIENT_AXES.get(name)
    return (WHOLE,) * min(len(array.shape), 1) if axes is None else axes


def whole(layout: Layout | None, x: Shaped[Array, ...]) -> Shaped[Array, ...]:
    """An array, traced or not, as every device is to hold it."""
    return x if layout is None else _lay(x, layout.whole)


def by_columns(layout: Layout | None, x: Shaped[Array, "... d"]) -> Shaped[Array, "... d"]:
    """Hidden states, traced or not, divided as the tables are: a product of both sums over devices."""
    if layout is None:
        return x
    spec = PartitionSpec(*(None,) * (x.ndim - 1), RULES["columns"])
    return _lay(x, NamedSharding(layout.mesh, spec))


def held_by_one(array: Any) -> int:
    """Bytes that one device holds of an array, or of one of this shape."""
    shape, sharding = array.shape, getattr(array, "sharding", None)
    if isinstance(sharding, NamedSharding):
        shape = sharding.shard_shape(shape)
    size: int = math.prod(shape) * array.dtype.itemsize
    return size


def divided(layout: Layout | None, v: Shaped[Array, "b ..."]) -> Shaped[Array, "b ..."]:
    """Traced probes, divided over ``data`` where their number can be, and whole on every device otherwise."""
    if layout is None:
        return v
    even = len(v) % layout.mesh.shape[DATA] == 0
    v = whole(layout, v)  # what is done with them elsewhere is not divided for that
    return _lay(v, NamedSharding(layout.mesh, PartitionSpec(DATA if even else None)))


def _lay(x: Array, sharding: NamedSharding) -> Array:
    placed: Array = jax.lax.with_sharding_constraint(x, sharding)
    return placed


def _parts(config: DecoderConfig, tensor: int) -> tuple[int, int] | None:
    """Into how many parts the kv heads and the queries of each are divided; None where that cannot be."""
    kv = math.gcd(config.num_kv_heads, tensor)
    group = tensor // kv
    # Kv heads that are several in a part cannot be divided further: a part of q is a run of its heads.
    heads = group == 1 or (config.num_kv_heads == kv and config.queries_per_kv % group == 0)
    widths = config.mlp_dim % tensor == 0 and config.embed_dim % tensor == 0
    return (kv, group) if heads and widths else None
