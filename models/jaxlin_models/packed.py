"""Weights that stay quantised: integer codes in groups, and what they become where they are multiplied.

Every quantised form that is supported says the same with other numbers: with q a code, f and g the codes of a
group's factors, s and m two numbers in float16 that a block of groups shares,

    value = (s · (f − f₀)) · (q − q₀) + m · g

Forms without factors have one group a block, and f − f₀ = g = 1. A code has at most 8 bits, so the products
are exact in float32 (s has 11 bits): value is the one rounding of a sum, whoever computes it.

Groups lie along the inputs of a matrix, which a product sums over. Arrays are [..., inputs, outputs]: there
the numbers of one group stand below each other, and those that are computed with together lie side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

#: Of codes of so many bits: the widths of the planes that hold them, lowest bits first. A byte holds whole
#: fields of one width, as many as fit.
_WIDTHS = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 8: (8,)}
_BYTE = 8
#: An array, its shape alone, or whatever JAX puts in its place while it rebuilds a pytree.
_Leaf = Any


@dataclass(frozen=True)
class Code:
    """Integers of ``bits`` bits; ``zero`` is the one that stands for 0."""

    bits: int
    zero: int = 0

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the planes that hold them."""
        return _WIDTHS[self.bits]


@dataclass(frozen=True)
class Form:
    """How numbers are written, ``block`` of them by one scale.

    Attributes:
        name: GGUF's.
        code: of a number.
        block: numbers that share s, and m if there is one.
        minima: whether there is an m.
        factor: code of f, and of g if there is an m; None without factors.
        group: numbers that share them; a block if 0.
    """

    name: str
    code: Code
    block: int
    minima: bool = False
    factor: Code | None = None
    group: int = 0


@dataclass(frozen=True, eq=False)
class Codes:
    """The parts of matrices [..., inputs, outputs] or of their transpose, one array each; None where a form
    has no such part. Codes are one a byte here, s and m are the bits of float16.
    """

    form: Form
    codes: np.ndarray
    scales: np.ndarray
    minima: np.ndarray | None = None
    factors: np.ndarray | None = None
    minimum_factors: np.ndarray | None = None

    def turned(self, turn: Callable[[np.ndarray], np.ndarray]) -> Codes:
        """The same with every part turned."""
        beside = (self.minima, self.factors, self.minimum_factors)
        turned = [None if part is None else turn(part) for part in beside]
        return Codes(self.form, turn(self.codes), turn(self.scales), *turned)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Packed:
    """Matrices in codes, in the place of their numbers [..., *inputs, *outputs]; codes are packed to bytes.

    ``Packed[index]`` are the numbers of some along the first axis: of a table, rows.

    Attributes:
        codes, factors, minimum_factors: planes, each [..., inputs · width / 8, outputs] of its own codes.
        scales, minima: bits of float16 [..., inputs / block, outputs].
        form: how they are written.
        inputs, outputs: axes of a matrix; a row of a table has no outputs.
        dtype: of the numbers.
    """

    codes: tuple[_Leaf, ...]
    scales: _Leaf
    minima: _Leaf | None
    factors: tuple[_Leaf, ...]
    minimum_factors: tuple[_Leaf, ...]
    form: Form = field(metadata={"static": True})
    inputs: tuple[int, ...] = field(metadata={"static": True})
    outputs: tuple[int, ...] = field(metadata={"static": True})
    dtype: Any = field(metadata={"static": True})

    def __repr__(self) -> str:
        return f"Packed({self.form.name}, {list(self.shape)}, {np.dtype(self.dtype).name})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the numbers."""
        return (*self.scales.shape[:-2], *self.inputs, *self.outputs)

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Any:
        return self if index is Ellipsis else unpacked(jax.tree.map(lambda a: a[index], self))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(unpacked(self), dtype)

    def numbers(self) -> Float[Array, ...]:
        """The numbers, in float32 before they are rounded to their dtype."""
        form = self.form
        q = _fields(self.codes, form.code)
        scale = self._of_groups(self.scales, self.factors, form.factor)
        values = _times(q, scale)
        if self.minima is not None:
            code = None if form.factor is None else Code(form.factor.bits)
            values = _plus(values, self._of_groups(self.minima, self.minimum_factors, code))
        return values.reshape(self.shape).astype(self.dtype)

    def _of_groups(self, whole: Array, factors: Sequence[Array], code: Code | None) -> Float[Array, ...]:
        """s or m of every group."""
        halves = jax.lax.bitcast_convert_type(whole, jnp.float16).astype(jnp.float32)
        if code is None:
            return halves
        # The shared number is spread over its groups, and not the groups joined to blocks: there are devices
        # that divide the groups where they cannot divide the blocks.
        of_groups = _fields(factors, code)
        spread = jnp.repeat(halves, of_groups.shape[-2] // halves.shape[-2], axis=-2)
        return of_groups * spread


@jax.jit
def unpacked(packed: Packed) -> Float[Array, ...]:
    """The numbers, in one program that keeps nothing between."""
    return packed.numbers()


def pack(codes: Codes, inputs: tuple[int, ...], outputs: tuple[int, ...], dtype: Any) -> Packed:
    """Codes as they are held, in NumPy.

    Args:
        codes: arrays [..., inputs, outputs] each of its own number of inputs.
        inputs, outputs: the axes of a matrix.
        dtype: of the numbers that are computed of them.
    """
    form = codes.form
    factor = form.factor
    return Packed(
        _planes(codes.codes, form.code),
        codes.scales,
        codes.minima,
        () if factor is None or codes.factors is None else _planes(codes.factors, factor),
        () if factor is None or codes.minimum_factors is None else _planes(codes.minimum_factors, factor),
        form,
        inputs,
        outputs,
        np.dtype(dtype),
    )


def packed_shape(
    form: Form, lead: tuple[int, ...], inputs: tuple[int, ...], outputs: tuple[int, ...], dtype: Any
) -> Packed:
    """What :func:`pack` gives, in shapes alone, of stacks of matrices.

    Args:
        form: how they are written.
        lead: axes before those of a matrix.
        inputs, outputs, dtype: as there.
    """
    fan_in, fan_out = math.prod(inputs), math.prod(outputs)

    def shape(rows: int, kind: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((*lead, rows, fan_out), kind)

    def planes(count: int, code: Code | None) -> tuple[jax.ShapeDtypeStruct, ...]:
        widths = () if code is None else code.widths
        return tuple(shape(count * width // _BYTE, np.uint8) for width in widths)

    groups = fan_in // (form.group or form.block)
    halves = shape(fan_in // form.block, np.uint16)
    return Packed(
        planes(fan_in, form.code),
        halves,
        halves if form.minima else None,
        planes(groups, form.factor),
        planes(groups, form.factor) if form.minima else (),
        form,
        inputs,
        outputs,
        np.dtype(dtype),
    )


def is_packed(node: Any) -> bool:
    """Whether a node of a pytree is in codes."""
    return isinstance(node, Packed)


def _planes(codes: UInt8[np.ndarray, "*lead n o"], code: Code) -> tuple[UInt8[np.ndarray, "*lead m o"], ...]:
    """Codes in bytes: field j of byte i in a plane is of number i · fields + j."""
    planes, shift = [], 0
    for width in code.widths:
        fields = _BYTE // width
        part = (codes >> shift) & (2**width - 1)
        part = part.reshape(*codes.shape[:-2], -1, fields, codes.shape[-1])
        plane = np.zeros((*part.shape[:-2], part.shape[-1]), np.uint8)
        for j in range(fields):
            plane |= part[..., j, :] << np.uint8(width * j)
        planes.append(plane)
        shift += width
    return tuple(planes)


def _fields(planes: Sequence[Array], code: Code) -> Float[Array, "*lead n o"]:
    """q − q₀ of every code, in float32."""
    whole: Any = None
    shift = 0
    for width, plane in zip(code.widths, planes, strict=True):
        places = np.arange(0, _BYTE, width).astype(np.uint8)[:, None]
        part = (plane[..., :, None, :] >> places) & np.uint8(2**width - 1)
        part = part.reshape(*plane.shape[:-2], -1, plane.shape[-1]) << np.uint8(shift)
        whole = part if whole is None else whole | part
        shift += width
    return _centred(whole, code.zero)


def _centred(codes: Int[Array, ...], zero: int) -> Float[Array, ...]:
    return codes.astype(jnp.float32) - np.float32(zero) if zero else codes.astype(jnp.float32)


def _times(many: Float[Array, "*lead n o"], few: Float[Array, "*lead g o"]) -> Float[Array, "*lead n o"]:
    """Each of g groups by its own number."""
    return (_grouped(many, few) * few[..., :, None, :]).reshape(many.shape)


def _plus(many: Float[Array, "*lead n o"], few: Float[Array, "*lead g o"]) -> Float[Array, "*lead n o"]:
    """To each of g groups its own number."""
    return (_grouped(many, few) + few[..., :, None, :]).reshape(many.shape)


def _grouped(many: Array, few: Array) -> Array:
    return many.reshape(*many.shape[:-2], few.shape[-2], -1, many.shape[-1])
