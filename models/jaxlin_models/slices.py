"""Parameters put on several devices slice by slice: no host ever holds one whole that is divided."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, SingleDeviceSharding
from jaxtyping import Array

from jaxlin_models.divided import shardings
from jaxlin_models.sharding import Layout
from jaxlin_models.stacks import Apart, apart, keeps_apart

#: Of every axis of an array, the first place and the one after the last.
Index = tuple[slice, ...]
#: Reads the part of a parameter that an index says.
Load = Callable[[Index], np.ndarray]


def all_of(shape: Sequence[int]) -> Index:
    """The index of a whole array."""
    return tuple(slice(0, size) for size in shape)


def run(index: Index, shape: Sequence[int]) -> slice:
    """The part of an array of this shape as a run of the flattened one. Only its first axis may be cut."""
    assert index[1:] == all_of(shape[1:]), "no run"
    inner = math.prod(shape[1:])
    return slice(index[0].start * inner, index[0].stop * inner)


def spread(
    layout: Layout, axes: Sequence[str], shape: tuple[int, ...], load: Load, *, offload: bool = False
) -> Array | Apart:
    """A parameter on the devices of a layout, each of which gets what it is to hold.

    Args:
        layout: how it lies.
        axes: its logical axes.
        shape: of the whole.
        load: reads a part; each part that this process needs is read once.
        offload: put it into the host's memory, beside the device that will need it.
    """
    stacked = axes[0] == "layer"
    if stacked and keeps_apart() and not offload:
        sharding = layout.sharding(axes[1:])

        def layer(number: int) -> Array:
            return _placed(sharding, shape[1:], lambda index: load((slice(number, number + 1), *index))[0])

        return Apart(layer(number) for number in range(shape[0]))
    kind = "pinned_host" if offload else None
    return _placed(layout.sharding(axes, memory_kind=kind), shape, load)


def spread_codes(layout: Layout, axes: Sequence[str], value: Any, *, offload: bool = False) -> Any:
    """The same of a parameter in codes, or of a stack of several forms, that is in the host's memory."""
    if axes[0] == "layer" and keeps_apart() and not offload:
        return Apart(_spread_arrays(layout, axes[1:], layer, None) for layer in apart(value).layers)
    return _spread_arrays(layout, axes, value, "pinned_host" if offload else None)


def _spread_arrays(layout: Layout, axes: Sequence[str], value: Any, memory_kind: str | None) -> Any:
    return jax.tree.map(
        lambda array, sharding: _placed(sharding, array.shape, array.__getitem__),
        value,
        shardings(layout, axes, value, memory_kind=memory_kind),
    )


def _placed(sharding: NamedSharding, shape: tuple[int, ...], load: Load) -> Array:
    holders: dict[tuple[tuple[int, int], ...], list[jax.Device]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        assert index is not None
        ends = tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))
        holders.setdefault(ends, []).append(device)
    parts = []
    for ends, devices in holders.items():
        part = load(tuple(slice(*pair) for pair in ends))
        for device in devices:
            place = SingleDeviceSharding(device, memory_kind=sharding.memory_kind)
            parts.append(jax.device_put(part, place).block_until_ready())  # before the next is read
    return jax.make_array_from_single_device_arrays(shape, sharding, parts)
