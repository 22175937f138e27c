"""A decoder's weights in codes: which of them there are, their shapes, and how they are filled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxlin_models.aligned import aligned
from jaxlin_models.decoder import LOGICAL_AXES, Weights, key_of
from jaxlin_models.errors import ModelError
from jaxlin_models.mixed import Mixed
from jaxlin_models.packed import Codes, Form, Packed, pack, packed_shape
from jaxlin_models.tensors import Tensors

#: Parameters with a row for each token, which a checkpoint has as we do.
TABLES = ("embedding", "head")
#: Rows of a table that are taken apart at once.
_ROWS_AT_ONCE = 16384

#: Key of a parameter -> how each layer of it is written, or the one table; None where it is not in codes.
Forms = Mapping[str, tuple[Form | None, ...]]


@runtime_checkable
class Quantised(Tensors, Protocol):
    """Tensors of which some are in codes."""

    def form(self, name: str) -> Form | None:
        """How a tensor is written; None where it is not in codes."""

    def codes(self, name: str, rows: slice) -> Codes:
        """Some rows of one that is, its parts [rows, inputs]."""


def forms_in(tensors: Quantised, names: Mapping[str, Sequence[str]]) -> Forms:
    """How parameters are written that stand, layer by layer, under these names.

    Nothing if no layer is in codes.
    """
    forms = {key: tuple(map(tensors.form, each)) for key, each in names.items() if is_kernel_or_table(key)}
    forms = {key: each for key, each in forms.items() if any(each)}
    return forms if any(key.startswith("layers.") for key in forms) else {}


def refuse_unquantised(owner: str) -> NoReturn:
    """:class:`ModelError` that says why the weights of a model cannot stay quantised."""
    raise ModelError(
        f"the layers of {owner} are not quantised, so they cannot stay so; use `weights` unpacked, or a GGUF "
        f"file of quantised weights"
    )


def packed_shapes(weights: Weights, forms: Forms) -> Weights:
    """A decoder's weights in shapes, those in codes as they are held."""
    flat = []
    for path, variable in nnx.to_flat_state(weights):
        key = key_of(path)
        if key in forms:
            variable = variable.replace(shape_of(key, forms[key], variable.shape, variable.dtype))
        flat.append((path, variable))
    return nnx.from_flat_state(flat)


def shape_of(key: str, forms: Sequence[Form | None], shape: tuple[int, ...], dtype: DTypeLike) -> Any:
    """A parameter in codes, in shapes: a table, a stack of layers of one form, or of several.

    Args:
        key: of the parameter.
        forms: of its layers, or of the table.
        shape, dtype: of its numbers.
    """
    lead, inputs, outputs = _axes(key, shape)
    kinds = list(dict.fromkeys(forms))
    if len(kinds) == 1 and kinds[0] is not None:
        return packed_shape(kinds[0], lead, inputs, outputs, dtype)
    stacks: list[Any] = []
    places = []
    for kind in kinds:
        many = (sum(form == kind for form in forms),)
        plain = jax.ShapeDtypeStruct((*many, *inputs, *outputs), dtype)
        stacks.append(plain if kind is None else packed_shape(kind, many, inputs, outputs, dtype))
    for layer, form in enumerate(forms):
        places.append((kinds.index(form), sum(other == form for other in forms[:layer])))
    return Mixed(tuple(stacks), tuple(places))


def fill(
    key: str,
    forms: Sequence[Form | None],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    tensors: Quantised,
    names: Sequence[str],
    rows: slice,
    plain: Callable[[str], np.ndarray],
) -> Packed | Mixed:
    """The same with its values, in arrays of NumPy; holds one layer, or some rows of a table, beside it.

    Args:
        key, forms, shape, dtype: as in :func:`shape_of`.
        tensors: where the codes are.
        names, rows: of the tensor of each layer, or of the table.
        plain: the numbers of a tensor that is not in codes, as they are computed with.

    Raises:
        ModelError: scales that are not finite.
    """
    held: Packed | Mixed = jax.tree.map(
        lambda a: aligned(a.shape, a.dtype), shape_of(key, forms, shape, dtype)
    )
    _, inputs, outputs = _axes(key, shape)

    def packed(name: str, rows: slice, turn: Callable[[np.ndarray], np.ndarray]) -> Packed:
        codes = tensors.codes(name, rows)
        for halves in (codes.scales, codes.minima):
            if halves is not None and not np.isfinite(halves.view(np.float16)).all():
                raise ModelError(f"tensor {name} holds NaN or infinite values in {dtype}; {tensors.remedy}")
        return pack(codes.turned(turn), inputs, outputs, dtype)

    def write(place: int | slice, stack: Any, value: Any) -> None:
        for whole, part in zip(jax.tree.leaves(stack), jax.tree.leaves(value), strict=True):
            whole[place] = part

    if key in TABLES:
        for start in range(0, shape[0], _ROWS_AT_ONCE):
            some = slice(start, min(start + _ROWS_AT_ONCE, shape[0]))
            write(some, held, packed(names[0], some, lambda part: part[..., None]))
        return held
    for layer, (name, form) in enumerate(zip(names, forms, strict=True)):
        which, place = held.places[layer] if isinstance(held, Mixed) else (0, layer)
        stack = held.stacks[which] if isinstance(held, Mixed) else held
        write(place, stack, plain(name) if form is None else packed(name, rows, np.transpose))
    return held


def inputs_of(key: str, ndim: int) -> int:
    """How many of a layer's axes of a kernel are inputs, which stand first: one side is always embed."""
    return 1 if LOGICAL_AXES[key][1] == "embed" else ndim - 1


def _axes(key: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Axes before a matrix, its inputs, its outputs."""
    if key in TABLES:
        return shape[:1], shape[1:], ()
    inputs = 1 + inputs_of(key, len(shape) - 1)
    return shape[:1], shape[1:inputs], shape[inputs:]


def fan_in(key: str, shape: tuple[int, ...]) -> int:
    """How many numbers a product with a parameter of this shape sums over."""
    return math.prod(_axes(key, shape)[1])


def is_kernel_or_table(key: str) -> bool:
    """Whether a parameter is multiplied by, so that GGUF quantises it."""
    return key in TABLES or key.endswith("kernel")
