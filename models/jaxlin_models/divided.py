"""How weights in codes lie on several devices: each of their arrays divided as the numbers would be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PyTree

from jaxlin_models.decoder import LOGICAL_AXES
from jaxlin_models.errors import ModelError
from jaxlin_models.mixed import Mixed
from jaxlin_models.packed import Form, Packed
from jaxlin_models.packing import Forms, fan_in
from jaxlin_models.sharding import Layout


def shardings(layout: Layout, axes: Sequence[str], value: Any, *, memory_kind: str | None = None) -> PyTree:
    """Of every array of a parameter with these logical axes: an array, one in codes, or a stack of both.

    Inputs that are divided divide codes and factors with them. What a whole block of numbers shares is on
    every device where the blocks cannot be divided.
    """
    if isinstance(value, Mixed):
        places = [shardings(layout, axes, stack, memory_kind=memory_kind) for stack in value.stacks]
        return Mixed(tuple(places), value.places)
    if not isinstance(value, Packed):
        return layout.sharding(axes, memory_kind=memory_kind)
    *lead, rows, columns = _flat_axes(layout, axes, value)
    into = _parts(layout, rows)

    def place(array: Any) -> NamedSharding:
        even = array.shape[-2] % into == 0
        spec = PartitionSpec(*lead, rows if even else None, columns)
        return NamedSharding(layout.mesh, spec, memory_kind=memory_kind)

    placed: PyTree = jax.tree.map(place, value)
    return placed


def check_groups(layout: Layout, forms: Forms, shapes: Mapping[str, Sequence[int]], owner: str) -> None:
    """Refuse a mesh that would divide a group of codes between devices.

    Args:
        layout: of the mesh.
        forms: how parameters are written.
        shapes: of these parameters' numbers.
        owner: of the weights, for the refusal.

    Raises:
        ModelError: it does.
    """
    for key, kinds in forms.items():
        axes = LOGICAL_AXES[key]
        divided = "columns" if axes == ("vocab", "embed") else axes[1]
        inputs = fan_in(key, tuple(shapes[key]))
        into = _parts(layout, layout.sharding((divided,)).spec[0])
        if into == 1 or not (divided == "columns" or axes[-1] == "embed"):  # outputs are divided, if any
            continue
        for form in {kind for kind in kinds if kind is not None}:
            if inputs % (into * _group(form)):
                raise ModelError(
                    f"the {inputs} inputs of {key} of {owner} are in groups of {_group(form)} codes, which "
                    f"{into} devices cannot divide: choose a `mesh` with a smaller tensor=, or `weights` "
                    f"unpacked"
                )


def _group(form: Form) -> int:
    """How many codes have to stay together."""
    return form.group or form.block


def _flat_axes(layout: Layout, axes: Sequence[str], packed: Packed) -> list[Any]:
    """What the axes of its arrays are divided over: those before a matrix, its inputs, its outputs."""
    spec = list(layout.sharding(axes).spec)
    lead = len(spec) - len(packed.inputs) - len(packed.outputs)
    columns = spec[lead + len(packed.inputs)] if packed.outputs else None
    return [*spec[:lead], spec[lead], columns]


def _parts(layout: Layout, names: Any) -> int:
    """Into how many parts these axes of a mesh divide something."""
    if names is None:
        return 1
    return math.prod(layout.mesh.shape[name] for name in ((names,) if isinstance(names, str) else names))
