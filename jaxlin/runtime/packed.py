"""A pytree of arrays and a note in one Orbax checkpoint, under one checksum.

The arrays are packed into one of bytes, because Orbax's cost is by the array and not by the byte: the six of
a solver's state make 33 files and folders, which take longer to write, and above all to remove, than a short
step of the solver. For the same reason everything is switched off that only many processes need.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

_NAME = "state"


def save(folder: Path, state: Any, note: Mapping[str, Any], seal: str) -> None:
    """Write a new ``folder``.

    Args:
        folder: must not exist. It may be left half-written: rename it once this returns.
        state: pytree of arrays of any shape and dtype.
        note: what JSON can hold, which ``load`` will need to know the shapes.
        seal: a text that ``load`` must be given again; part of the checksum.
    """
    from orbax.checkpoint import v1 as ocp  # a second to import, and few runs need it

    packed = _pack(jax.tree.leaves(state))
    context = ocp.Context()
    context.asynchronous.create_directories_asynchronously = False
    context.memory.deepcopy_host_arrays = False
    saving = context.array.saving
    saving.use_ocdbt = saving.use_compression = False
    saving.enable_post_merge_validation = saving.enable_write_sharding_file = False
    saving.array_metadata_store = None
    with _quiet(), context:
        label = {"note": dict(note), "sha256": _checksum(packed, note, seal)}
        ocp.save(folder, {_NAME: packed}, custom_metadata=label)


def load(folder: Path, shapes_for: Callable[[dict[str, Any]], Any], seal: str) -> Any:
    """Read it back: the pytree of ``shapes_for(note)`` with numpy arrays in it.

    Raises:
        Exception: of any kind, where a file is missing, cut off, changed, or sealed with another text.
    """
    from orbax.checkpoint import v1 as ocp

    with _quiet():
        label = ocp.metadata(folder).custom_metadata
        packed = np.asarray(ocp.load(folder)[_NAME])
    if label["sha256"] != _checksum(packed, label["note"], seal):
        raise ValueError("the checksum is another")
    shapes, tree = jax.tree.flatten(shapes_for(label["note"]))
    return jax.tree.unflatten(tree, _unpack(packed, shapes))


def _pack(leaves: list[Any]) -> np.ndarray:
    """All bytes one after the other, uint8 [total]."""
    return np.concatenate([np.ascontiguousarray(leaf).reshape(-1).view(np.uint8) for leaf in leaves])


def _unpack(packed: np.ndarray, shapes: list[jax.ShapeDtypeStruct]) -> Iterator[np.ndarray]:
    sizes = [math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in shapes]
    if sum(sizes) != packed.size:
        raise ValueError(f"{packed.size} bytes where the arrays have {sum(sizes)}")
    ends = np.cumsum(sizes)
    for leaf, size, end in zip(shapes, sizes, ends, strict=True):
        yield packed[end - size : end].copy().view(leaf.dtype).reshape(leaf.shape)


def _checksum(packed: np.ndarray, note: Mapping[str, Any], seal: str) -> str:
    total = hashlib.sha256(json.dumps([seal, note], sort_keys=True).encode())
    total.update(packed.data)
    return total.hexdigest()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Orbax's log: it warns at every save that there was nothing to merge."""
    log = logging.getLogger("absl")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)
