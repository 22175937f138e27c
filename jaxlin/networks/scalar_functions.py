"""Functions of one number as networks use them, with their slopes: what an activation is near 0.

``act(x) = (act(x) / x)·x`` is a linear map with a frozen coefficient where act(0) = 0. Whether that is so is
found by carrying a value and a slope through the steps that make up an activation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from jaxlin.networks.kinds import Germ

_Number = Callable[[Any], Any]

#: Primitive -> the function and its derivative.
_FUNCTIONS: Mapping[str, tuple[_Number, _Number]] = {
    "exp": (np.exp, np.exp),
    "exp2": (np.exp2, lambda x: np.log(2) * np.exp2(x)),
    "expm1": (np.expm1, np.exp),
    "log": (np.log, lambda x: 1 / x),
    "log1p": (np.log1p, lambda x: 1 / (1 + x)),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "sinh": (np.sinh, np.cosh),
    "cosh": (np.cosh, np.sinh),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda x: -np.sin(x)),
    "tan": (np.tan, lambda x: 1 + np.tan(x) ** 2),
    "asin": (np.arcsin, lambda x: 1 / np.sqrt(1 - x * x)),
    "acos": (np.arccos, lambda x: -1 / np.sqrt(1 - x * x)),
    "atan": (np.arctan, lambda x: 1 / (1 + x * x)),
    "asinh": (np.arcsinh, lambda x: 1 / np.sqrt(1 + x * x)),
    "acosh": (np.arccosh, lambda x: 1 / np.sqrt(x * x - 1)),
    "atanh": (np.arctanh, lambda x: 1 / (1 - x * x)),
    "logistic": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "erf": (special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-x * x)),
    "erfc": (special.erfc, lambda x: -2 / np.sqrt(np.pi) * np.exp(-x * x)),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "rsqrt": (lambda x: 1 / np.sqrt(x), lambda x: -0.5 / np.sqrt(x) ** 3),
    "cbrt": (np.cbrt, lambda x: 1 / (3 * np.cbrt(x) ** 2)),
    "abs": (np.abs, np.sign),
    "neg": (np.negative, lambda x: -1.0),
    "square": (np.square, lambda x: 2 * x),
    **dict.fromkeys(
        ("convert_element_type", "device_put", "sharding_constraint", "layout_constraint", "name"),
        (lambda x: x, lambda x: 1.0),
    ),
    "reduce_precision": (lambda x: x, lambda x: 1.0),
    "copy": (lambda x: x, lambda x: 1.0),
    "copy_p": (lambda x: x, lambda x: 1.0),
    "not": (np.logical_not, lambda x: 0.0),
}

#: Primitive of two numbers -> value and slope from values and slopes.
_PAIRS: Mapping[str, Callable[[Germ, Germ], tuple[Any, Any]]] = {
    "add": lambda a, b: (a.value + b.value, a.slope + b.slope),
    "add_any": lambda a, b: (a.value + b.value, a.slope + b.slope),
    "sub": lambda a, b: (a.value - b.value, a.slope - b.slope),
    "mul": lambda a, b: (a.value * b.value, a.slope * b.value + a.value * b.slope),
    "div": lambda a, b: (
        np.divide(a.value, b.value),
        np.divide(a.slope * b.value - a.value * b.slope, b.value**2),
    ),
    "max": lambda a, b: (max(a.value, b.value), _chosen(a, b, a.value - b.value)),
    "min": lambda a, b: (min(a.value, b.value), _chosen(a, b, b.value - a.value)),
    "gt": lambda a, b: (a.value > b.value, 0.0),
    "ge": lambda a, b: (a.value >= b.value, 0.0),
    "lt": lambda a, b: (a.value < b.value, 0.0),
    "le": lambda a, b: (a.value <= b.value, 0.0),
    "eq": lambda a, b: (a.value == b.value, 0.0),
    "ne": lambda a, b: (a.value != b.value, 0.0),
    "and": lambda a, b: (bool(a.value) and bool(b.value), 0.0),
    "or": lambda a, b: (bool(a.value) or bool(b.value), 0.0),
}


def is_scalar_function(primitive: str) -> bool:
    """Whether it is one of the functions of one number that are known here."""
    return primitive in _FUNCTIONS


def germ_of(primitive: str, params: Mapping[str, Any], germs: Sequence[Germ | None]) -> Germ | None:
    """Value and slope of a primitive from those of its operands; None where something is not known."""
    if any(germ is None for germ in germs):
        return None
    known = [germ for germ in germs if germ is not None]
    with np.errstate(all="ignore"):
        try:
            found = _evaluated(primitive, params, known)
        except (ZeroDivisionError, OverflowError):
            return None
    return None if found is None else Germ(float(found[0]), float(found[1]))


def _evaluated(primitive: str, params: Mapping[str, Any], known: list[Germ]) -> tuple[Any, Any] | None:
    if primitive in _FUNCTIONS:
        function, slope = _FUNCTIONS[primitive]
        at = np.float64(known[0].value)
        return function(at), slope(at) * known[0].slope
    if primitive in _PAIRS:
        return _PAIRS[primitive](*known)
    if primitive == "integer_pow":
        base, power = np.float64(known[0].value), params["y"]
        return np.power(base, power), power * np.power(base, power - 1.0) * known[0].slope
    if primitive == "select_n":
        chosen = known[1 + int(known[0].value)]
        return chosen.value, chosen.slope
    if primitive == "clamp":
        low, middle, high = known
        inside = low.value < middle.value < high.value
        return min(max(middle.value, low.value), high.value), middle.slope if inside else 0.0
    return None


def _chosen(a: Germ, b: Germ, lead: float) -> float:
    """The slope of the larger one; of both half where they are equal."""
    return a.slope if lead > 0 else b.slope if lead < 0 else (a.slope + b.slope) / 2
