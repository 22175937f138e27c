"""Arrays of all layers, how one layer's are taken from them, and the loops that go over the layers.

On a CPU the arrays of all layers are one array, a *stack*, that ``jax.lax.scan`` goes over: one small
program, and a slice is no copy. For a GPU each layer's array is one by itself (:class:`Apart`) and the loop
is written out. Compiled for an A100, the loop over stacks copied every weight of a layer, device to device,
before it was used; written out over stacks it took one compilation a layer. Apart, nothing is copied and
equal layers share their kernels: ``benchmarks/gpu_compile.py`` counts both.

In a stack arrays may also be in another form (:mod:`jaxlin_models.bits`, :mod:`jaxlin_models.packed`) and in
another memory (:mod:`jaxlin_models.offload`) than a layer can compute with. Every array that is taken from
one, or recorded into one, passes here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, PyTree

from jaxlin_models.bits import from_bits, to_bits
from jaxlin_models.mixed import Mixed, is_mixed
from jaxlin_models.offload import to_device, to_host
from jaxlin_models.packed import Packed, is_packed

Tree = TypeVar("Tree", bound=PyTree)
Carry = TypeVar("Carry")

#: The number of a layer, also while it is traced.
Layer = int | Int[Array, ""]


@jax.tree_util.register_pytree_node_class
class Apart:
    """One array for each layer, in the place of their stack.

    Its shape and dtype are those of the stack; ``np.asarray`` makes it.
    """

    def __init__(self, layers: Iterator[Any] | tuple[Any, ...]) -> None:
        self.layers = tuple(layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, index: Any) -> Any:
        return self if index is Ellipsis else self.layers[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.stack([np.asarray(layer, dtype) for layer in self.layers])

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.layers), *self.layers[0].shape)

    @property
    def dtype(self) -> Any:
        return self.layers[0].dtype

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        return self.layers, None

    @classmethod
    def tree_unflatten(cls, _: None, layers: Any) -> Apart:
        return cls(layers)


def keeps_apart() -> bool:
    """Whether layers are to be apart where programs run: everywhere but on a CPU."""
    return bool(jax.default_backend() != "cpu")


def apart(tree: Tree) -> Tree:
    """Every stack of a pytree, or its shape, as one array a layer."""
    separate: Tree = jax.tree.map(lambda a: Apart(_slices(a)), tree, is_leaf=is_in_codes)
    return separate


def are_apart(tree: PyTree) -> bool:
    """Whether a pytree holds layers that are apart."""
    return _holds(_is_apart, tree)


def stacked(tree: Tree) -> Tree:
    """Traced arrays that were kept layer by layer, as stacks."""
    joined: Tree = jax.tree.map(
        lambda a: jnp.stack(a.layers) if isinstance(a, Apart) else a, tree, is_leaf=_is_apart
    )
    return joined


def over_layers(
    step: Callable[[Carry, Int[Array, ""], Any], tuple[Carry, Any]], carry: Carry, arrays: Any, count: int
) -> tuple[Carry, Any]:
    """All layers in order, as ``jax.lax.scan`` goes over stacks.

    Args:
        step: (carry, the layer's number, its arrays) -> (carry, what is kept of the layer).
        carry: what the first layer is given.
        arrays: a pytree of stacks, or of layers apart, or of some of both.
        count: how many layers.

    Returns:
        the last carry; what was kept, apart where any of the arrays was.
    """

    def apply(carry: Carry, index: Array, taken: Any) -> tuple[Carry, Any]:
        return step(carry, index, from_stack(taken))

    def apply_at(carry: Carry, index: Array) -> tuple[Carry, Any]:
        return step(carry, index, from_stack(_taken(arrays, index)))

    if _holds(is_in_codes, arrays):
        # A derivative would keep every layer's numbers for its way back: there they are computed again.
        apply, apply_at = jax.checkpoint(apply), jax.checkpoint(apply_at)
    if not are_apart(arrays):
        if _holds(is_mixed, arrays):
            return jax.lax.scan(apply_at, carry, jnp.arange(count))
        return jax.lax.scan(lambda carry, layer: apply(carry, *layer), carry, (jnp.arange(count), arrays))
    kept = []
    for i in range(count):
        taken, carry = _codes_in_turn(_taken(arrays, i), carry)
        carry, one = apply(carry, jnp.asarray(i), taken)
        kept.append(one)
    return carry, jax.tree.map(lambda *layers: Apart(layers), *kept)


def at_layer(apply: Callable[[Any, Any], Any], arrays: Any, layer: Layer, x: Any) -> Any:
    """``apply(a layer's arrays, x)``, of the layer of this number."""
    if isinstance(layer, int):
        taken, x = _codes_in_turn(_taken(arrays, layer), x)
        return apply(from_stack(taken), x)
    if not are_apart(arrays):
        return apply(from_stack(_taken(arrays, layer)), x)
    leaves = jax.tree.leaves(arrays, is_leaf=_is_apart)
    count = next(len(leaf) for leaf in leaves if isinstance(leaf, Apart))
    choices = [lambda x, i=i: apply(from_stack(_taken(arrays, i)), x) for i in range(count)]
    return jax.lax.switch(layer, choices, x)


def in_turn(kept: Tree, x: Array) -> tuple[Tree, Array]:
    """What is kept of a layer, where layers are apart: to be used once x has come to this layer.

    What is computed again from it depends on nothing that was before. Without this the compiler does it for
    all layers at once, and for both directions of a step together, and holds it meanwhile.
    """
    waiting: tuple[Tree, Array] = jax.lax.optimization_barrier((kept, x))
    return waiting


def _codes_in_turn(taken: Tree, x: Any) -> tuple[Tree, Any]:
    """One layer's arrays, those of a written-out loop: codes become numbers once x has come to the layer."""
    return jax.lax.optimization_barrier((taken, x)) if _holds(is_packed, taken) else (taken, x)


def loop(first: Layer, last: Layer, body: Callable[[Layer, Any], Any], x: Any, arrays: Any) -> Any:
    """``body(layer, x)`` for the layers ``first`` … ``last`` - 1 of these arrays."""
    if isinstance(first, int) and isinstance(last, int) and are_apart(arrays):
        for layer in range(first, last):
            x = body(layer, x)
        return x
    return jax.lax.fori_loop(first, last, body, x)


def from_stack(tree: Tree) -> Tree:
    """Traced arrays of one layer as they are computed with: on the device, in their own dtype."""
    on_device: Tree = to_device(tree)
    numbers: Tree = jax.tree.map(
        lambda a: a.numbers() if isinstance(a, Packed) else a, on_device, is_leaf=is_packed
    )
    return from_bits(numbers)


def to_stack(tree: Tree, *, offload: bool = False) -> Tree:
    """Traced arrays of one layer, or of all, as they are stored; in the host's memory with ``offload``."""
    stored = to_bits(tree)
    placed: Tree = to_host(stored) if offload else stored
    return placed


def _taken(arrays: Tree, layer: Layer) -> Tree:
    """The arrays of one layer, as they are stored."""

    def take(a: Any) -> Any:
        if isinstance(a, Mixed) and not isinstance(layer, int):
            return _switched(a, layer)
        if isinstance(a, Apart | Mixed):
            return a[layer]
        return jax.lax.dynamic_index_in_dim(a, layer, keepdims=False)

    taken: Tree = jax.tree.map(take, arrays, is_leaf=lambda node: _is_apart(node) or is_mixed(node))
    return taken


def _switched(mixed: Mixed, layer: Layer) -> Array:
    """The numbers of the layer of a traced number, which does not tell what form they are in."""
    which, place = (jnp.asarray(column)[layer] for column in zip(*mixed.places, strict=True))
    choices = [lambda place, stack=stack: from_stack(_taken(stack, place)) for stack in mixed.stacks]
    numbers: Array = jax.lax.switch(which, choices, place)
    return numbers


def _slices(a: Any) -> Iterator[Any]:
    """The layers of a stack one by one, or their shapes."""
    if isinstance(a, Mixed):
        layers = [list(_slices(stack)) for stack in a.stacks]
        return (layers[which][place] for which, place in a.places)
    return (jax.tree.map(lambda part, i=i: _slice(part, i), a) for i in range(a.shape[0]))


def _slice(part: Any, i: int) -> Any:
    if isinstance(part, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(part.shape[1:], part.dtype, sharding=part.sharding)
    return part[i]


def _holds(is_such: Callable[[Any], bool], tree: PyTree) -> bool:
    return any(map(is_such, jax.tree.leaves(tree, is_leaf=is_such)))


def _is_apart(node: Any) -> bool:
    return isinstance(node, Apart)


def is_in_codes(node: Any) -> bool:
    """Whether a node of a pytree is a parameter in codes, of one form or of several."""
    return is_packed(node) or is_mixed(node)
