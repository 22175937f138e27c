"""Kinds of primitives of JAX that several rules ask for."""

from __future__ import annotations

#: The same numbers, in another shape or another dtype.
RESHAPED = (
    "reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "rev", "slice", "copy", "copy_p",
    "convert_element_type", "reduce_precision",
)  # fmt: skip
#: Numbers in other places, or some of them: an activation is still one.
MOVED = (*RESHAPED, "concatenate", "split", "tile", "stack", "unstack")
#: Values that only pass through, for somebody else to look at.
PASSED = ("device_put", "sharding_constraint", "layout_constraint", "name")
#: Element by element, so that what comes out is still a function of the same value.
ELEMENTWISE = (
    "add", "add_any", "sub", "neg", "convert_element_type", "reduce_precision", "copy", "copy_p", "mul",
    "integer_pow", "square", "real", "imag", "conj", "complex", *PASSED,
)  # fmt: skip
