"""Where in a checkpoint each parameter stands, and which part of a tensor a part of it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jaxlin_models.packing import TABLES, inputs_of
from jaxlin_models.slices import Index, run


@dataclass(frozen=True)
class Place:
    """Where in a checkpoint a parameter stands: ``rows`` of a tensor of shape ``tensor``, in each layer."""

    names: tuple[str, ...]
    tensor: tuple[int, ...]
    rows: slice
    stacked: bool


def places_of(names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, Place]:
    """Where each parameter stands. Those of one name share its tensor, by rows, in the order of ``names``."""
    sharing: dict[str, list[str]] = {}
    for key, name in names.items():
        if key in shapes:
            sharing.setdefault(name, []).append(key)
    if strays := shapes.keys() - names.keys():
        raise KeyError(f"no tensor names for {', '.join(sorted(strays))}")
    places = {}
    for name, keys in sharing.items():
        stacked = "{layer}" in name
        own = {key: _stock_shape(key, shapes[key][stacked:]) for key in keys}
        rows = sum(shape[0] for shape in own.values())
        start = 0
        for key, shape in own.items():
            layers = range(shapes[key][0]) if stacked else range(1)
            every = tuple(name.format(layer=layer) for layer in layers)
            places[key] = Place(every, (rows, *shape[1:]), slice(start, start + shape[0]), stacked)
            start += shape[0]
    return places


def to_stock(key: str, value: np.ndarray) -> np.ndarray:
    """One layer of a parameter as its tensor in a checkpoint."""
    if not key.endswith("kernel"):
        return value.reshape(-1)
    outputs, inputs = _stock_matrix(key, value.shape)
    return np.ascontiguousarray(value.reshape(inputs, outputs).T)


def _stock_shape(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one layer's tensor in the checkpoint, from the shape of ours."""
    if key in TABLES:
        return shape
    return _stock_matrix(key, shape) if key.endswith("kernel") else (math.prod(shape),)


def _stock_matrix(key: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """[outputs, inputs] of a torch ``nn.Linear`` from [inputs…, outputs…]: one side is always embed."""
    inputs = inputs_of(key, len(shape))
    return math.prod(shape[inputs:]), math.prod(shape[:inputs])


def stock_part(key: str, shape: tuple[int, ...], index: Index) -> tuple[slice, slice]:
    """Rows and columns of one layer's tensor in the checkpoint, from a part of ours."""
    if key in TABLES:
        return index[0], index[1]
    if not key.endswith("kernel"):
        return run(index, shape), slice(None)
    inputs = inputs_of(key, len(shape))
    return run(index[inputs:], shape[inputs:]), run(index[:inputs], shape[:inputs])


def sizes_of(index: Index) -> tuple[int, ...]:
    """The shape of a part."""
    return tuple(part.stop - part.start for part in index)
