"""How products are computed, by name, apart from how weights are stored.

=========== ============== =============================================== ==============
precision   storage        operands of every product                       sums
=========== ============== =============================================== ==============
float64     float64        as they are                                     float64
float32     float32, bf16  as they are, never TF32                         float32
tf32        float32, bf16  rounded to TF32 (10-bit mantissa)               float32
bf16x3      float32, bf16  split x = hi + lo in bfloat16: hi·hi + hi·lo    float32
                           + lo·hi (Henry, Tang & Heinecke,
                           arXiv:1904.06376)
bfloat16    float32, bf16  rounded to bfloat16                             float32
=========== ============== =============================================== ==============

Between products everything is in the working dtype: float64 in float64, bfloat16 where storage and precision
both are bfloat16, float32 elsewhere. Norm statistics and softmax sums are in float32 or better throughout.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array

from jaxlin_models.errors import ModelError
from jaxlin_models.product import product
from jaxlin_models.spelling import shortened

PRECISIONS = ("float32", "tf32", "bf16x3", "bfloat16", "float64")
_STORAGE = ("float32", "bfloat16", "float64")

#: XLA's name of the algorithm on accelerators, and the name in words.
_ALGORITHMS = {
    "float64": ("F64_F64_F64", "float64 products, float64 sums"),
    "float32": ("F32_F32_F32", "float32 products, float32 sums"),
    "tf32": ("TF32_TF32_F32", "tf32 products, float32 sums"),
    "bf16x3": ("BF16_BF16_F32_X3", "three bfloat16 products, float32 sums"),
    "bfloat16": ("BF16_BF16_F32", "bfloat16 products, float32 sums"),
}
_EMULATION = {
    "tf32": "rounding operands",
    "bf16x3": "splitting operands",
    "bfloat16": "rounding operands",
}


def choose_precision(storage: DTypeLike, precision: str | None = None) -> str:
    """The precision to compute in with weights stored so: the given one if it can be, storage's own if None.

    Raises:
        ModelError: unknown storage or precision, or two that do not go together.
    """
    stored = jnp.dtype(storage).name
    if stored not in _STORAGE:
        raise ModelError(f"weights cannot be stored as {stored}: choose one of {', '.join(_STORAGE)}")
    if jax.dtypes.canonicalize_dtype(stored).name != stored:
        raise ModelError("float64 is off in this process: set jax_enable_x64 before anything is loaded")
    if precision is None:
        return stored
    if precision not in PRECISIONS:
        raise ModelError(f"unknown precision {shortened(precision)!r}: choose one of {', '.join(PRECISIONS)}")
    if precision == "float64" and stored != "float64":
        raise ModelError(
            f"float64 products need weights stored in float64, not {stored}: choose dtype float64, "
            f"or precision float32"
        )
    if stored == "float64" and precision != "float64":
        raise ModelError(
            f"weights stored in float64 are multiplied in float64, not {precision}: choose precision "
            f"float64, or dtype float32"
        )
    return precision


def working_dtype(storage: DTypeLike, precision: str) -> jnp.dtype:
    """Dtype of embeddings, hidden states, probes and outputs at this storage and precision."""
    narrow = precision == "bfloat16" and jnp.dtype(storage) == jnp.bfloat16
    wide = jnp.float64 if precision == "float64" else jnp.float32
    dtype: jnp.dtype = jnp.dtype(jnp.bfloat16 if narrow else wide)
    return dtype


def contract(spec: str, a: Array, b: Array, precision: str) -> Array:
    """Einsum of two operands in the named precision: every matrix product of a model goes through here.

    The result is bfloat16 where both operands are bfloat16 and so is the precision (sums are float32
    nevertheless, rounded once); float64 in float64; float32 elsewhere. Transposing it in either operand
    rounds the cotangent as that operand was rounded.

    Args:
        spec: an einsum of two operands that sums no index of one alone; an ellipsis stands for the leading
            axes of ``a`` (and of ``b``, if it has one there).
        a, b: operands; narrower ones are widened first.
        precision: one of ``PRECISIONS``.
    """
    if precision == "bfloat16" and a.dtype == b.dtype == jnp.bfloat16:
        return jnp.einsum(spec, a, b, precision=jax.lax.Precision.HIGHEST)
    wide = jnp.float64 if precision == "float64" else jnp.float32
    a, b = a.astype(wide), b.astype(wide)
    if precision in ("float64", "float32"):
        return jnp.einsum(spec, a, b, precision=jax.lax.Precision.HIGHEST)
    return product(spec, a, b, precision)


def unit_roundoff(precision: str) -> float:
    """Largest relative rounding error of an operand of a product in this precision.

    A bf16x3 operand keeps hi and lo, 8 bits each and lo signed: 2⁻¹⁷ of it is lost at most, and the missing
    lo·lo costs as much again, hence 2⁻¹⁶.
    """
    return {
        "float64": 2.0**-53,
        "float32": 2.0**-24,
        "bf16x3": 2.0**-16,
        "tf32": 2.0**-11,
        "bfloat16": 2.0**-8,
    }[precision]


def algorithm(precision: str, platform: str) -> str:
    """What a product is really computed with on a platform (``cpu``, ``gpu``, …), in words, for results."""
    words = _ALGORITHMS[precision][1]
    if platform == "cpu" and precision in _EMULATION:
        return f"{words} (emulated on cpu by {_EMULATION[precision]})"
    return words
