"""How a layer's arrays go into the stacks that a scan goes over, and how they come out of them.

In a stack they may be in another form (:mod:`jaxlin_models.bits`) and in another memory
(:mod:`jaxlin_models.offload`) than a layer can compute with. Every array that is taken from a stack, or
recorded into one, passes here.
"""

from __future__ import annotations

from typing import TypeVar

from jaxtyping import PyTree

from jaxlin_models.bits import from_bits, to_bits
from jaxlin_models.offload import to_device, to_host

Tree = TypeVar("Tree", bound=PyTree)


def from_stack(tree: Tree) -> Tree:
    """Traced arrays of one layer as they are computed with: on the device, in their own dtype."""
    on_device: Tree = to_device(tree)
    return from_bits(on_device)


def to_stack(tree: Tree, *, offload: bool = False) -> Tree:
    """Traced arrays of one layer, or of all, as they are stored; in the host's memory with ``offload``."""
    stored = to_bits(tree)
    placed: Tree = to_host(stored) if offload else stored
    return placed
