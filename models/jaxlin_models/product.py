"""Products of rounded operands, as one primitive that is bilinear and knows its own transposes.

Rounding the operands by hand would be wrong under transposition: JAX transposes a rounding into a rounding of
the *result*, while on an accelerator the transposed product rounds its cotangent. So the product is one
primitive: bilinear, transposed into itself with the cotangent in an operand's place, and batched by a letter
more. Accelerators get XLA's algorithm of that name. CPUs do not have them (XLA raises for TF32, and silently
computes the bfloat16 ones in float32), so there operands are rounded and multiplied in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from string import ascii_uppercase
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

_PRESETS: Mapping[str, jax.lax.DotAlgorithmPreset] = {
    "tf32": jax.lax.DotAlgorithmPreset.TF32_TF32_F32,
    "bf16x3": jax.lax.DotAlgorithmPreset.BF16_BF16_F32_X3,
    "bfloat16": jax.lax.DotAlgorithmPreset.BF16_BF16_F32,
}
_EXPONENT_BITS, _TF32_BITS, _BFLOAT16_BITS = 8, 10, 7

_product = Primitive("rounded_product")
_bind: Callable[..., Array] = _product.bind


def product(spec: str, a: Array, b: Array, precision: str) -> Array:
    """Einsum of float32 operands rounded to ``precision`` (tf32, bf16x3 or bfloat16), sums in float32.

    ``spec`` as in :func:`jaxlin_models.precision.contract`.
    """
    operands, result = spec.split("->")
    first = operands.split(",")[0]
    leading = ascii_uppercase[: a.ndim - len(first.replace("...", ""))]
    return _bind(a, b, spec=f"{operands}->{result}".replace("...", leading), precision=precision)


def emulated(a: Array, b: Array, *, spec: str, precision: str) -> Array:
    """The product with its operands rounded explicitly, in exact float32 products and float32 sums."""
    exact = partial(jnp.einsum, spec, precision=jax.lax.Precision.HIGHEST)
    if precision == "tf32":
        return exact(_rounded(a, _TF32_BITS), _rounded(b, _TF32_BITS))
    a_high, b_high = _rounded(a, _BFLOAT16_BITS), _rounded(b, _BFLOAT16_BITS)
    if precision == "bfloat16":
        return exact(a_high, b_high)
    a_low, b_low = _rounded(a - a_high, _BFLOAT16_BITS), _rounded(b - b_high, _BFLOAT16_BITS)
    return exact(a_high, b_low) + exact(a_low, b_high) + exact(a_high, b_high)  # small terms first


def _native(a: Array, b: Array, *, spec: str, precision: str) -> Array:
    return jnp.einsum(spec, a, b, precision=_PRESETS[precision])


def _rounded(x: Array, bits: int) -> Array:
    return jax.lax.reduce_precision(x, _EXPONENT_BITS, bits)


def _parts(spec: str) -> tuple[str, str, str]:
    operands, result = spec.split("->")
    a, b = operands.split(",")
    return a, b, result


@partial(jax.jit, static_argnames=("spec", "precision"))
def _eager(a: Array, b: Array, *, spec: str, precision: str) -> Array:
    return _bind(a, b, spec=spec, precision=precision)


def _abstract(a: Any, b: Any, *, spec: str, precision: str) -> Any:
    like = jax.eval_shape(partial(jnp.einsum, spec), a, b)
    return a.update(shape=like.shape)


def _transposed_in_a(cotangent: Any, a: Any, b: Any, *, spec: str, precision: str) -> Array:
    of_a, of_b, of_result = _parts(spec)
    return _bind(cotangent, b, spec=f"{of_result},{of_b}->{of_a}", precision=precision)


def _transposed_in_b(cotangent: Any, a: Any, b: Any, *, spec: str, precision: str) -> Array:
    of_a, of_b, of_result = _parts(spec)
    return _bind(a, cotangent, spec=f"{of_a},{of_result}->{of_b}", precision=precision)


def _batched(
    operands: Sequence[Any], axes: Sequence[int | None], *, spec: str, precision: str
) -> tuple[Array, int]:
    new = next(letter for letter in reversed(ascii_uppercase) if letter not in spec)
    moved, parts = [], []
    *of_operands, of_result = _parts(spec)
    for operand, axis, part in zip(operands, axes, of_operands, strict=True):
        moved.append(operand if axis is None else jnp.moveaxis(operand, axis, 0))
        parts.append(part if axis is None else new + part)
    spec = f"{','.join(parts)}->{new}{of_result}"
    return _bind(*moved, spec=spec, precision=precision), 0


_product.def_impl(_eager)
_product.def_abstract_eval(_abstract)
ad.defbilinear(_product, _transposed_in_a, _transposed_in_b)
batching.primitive_batchers[_product] = _batched
mlir.register_lowering(_product, mlir.lower_fun(_native, multiple_results=False))
mlir.register_lowering(_product, mlir.lower_fun(emulated, multiple_results=False), platform="cpu")
