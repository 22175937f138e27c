"""Part of a map: fewer input positions (a span), or linear functions of its output (a target).

What is wrapped here are the two functions of an operator;
:meth:`jaxlin.linear.operator.DetachedJacobian.select` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxlin.errors import JaxlinError

Apply = Callable[[Any, Array], Array]


def positions_in(span: Sequence[int] | Int[np.ndarray, " s"], length: int) -> Int[np.ndarray, " s"]:
    """The positions of a span, checked against the ``length`` of the input.

    Raises:
        JaxlinError: an empty span, or positions that do not rise or lie outside.
    """
    if len(span) > length:  # before there is an array of it
        raise JaxlinError(
            f"the span has {len(span)} positions and the input {length}: choose from 0 to {length - 1}"
        )
    try:
        positions = np.asarray(span, np.int64).ravel()
    except OverflowError as error:
        raise JaxlinError(f"a span's positions go from 0 to {length - 1}: choose from these") from error
    if positions.size == 0:
        raise JaxlinError(f"the span is empty: choose positions from 0 to {length - 1}")
    if np.any(np.diff(positions) <= 0):
        raise JaxlinError("a span's positions must rise and not repeat: sort them")
    if positions[0] < 0 or positions[-1] >= length:
        outside = positions[0] if positions[0] < 0 else positions[-1]
        raise JaxlinError(f"position {outside} is outside the input: choose from 0 to {length - 1}")
    return positions


def outputs_of(rows: Float[Array, "r ..."], outputs: Float[Array, "b ..."]) -> Float[Array, "b r"]:
    """⟨row, output⟩ of every row of a target with every output."""
    flat = rows.reshape(len(rows), -1), outputs.reshape(len(outputs), -1)
    return jnp.einsum("rm,bm->br", *flat, precision="highest")


@dataclass(frozen=True)
class SpanForward:
    """J·V of probes that live on a span and are zero elsewhere."""

    forward: Apply
    length: int

    def __call__(self, state: tuple[Any, Array], v: Array) -> Array:
        inner, where = state
        whole = jnp.zeros((len(v), self.length, *v.shape[2:]), v.dtype).at[:, where].set(v)
        return self.forward(inner, whole)


@dataclass(frozen=True)
class SpanBackward:
    """Jᵀ·U, of which only the span is kept."""

    backward: Apply

    def __call__(self, state: tuple[Any, Array], u: Array) -> Array:
        inner, where = state
        return self.backward(inner, u)[:, where]


@dataclass(frozen=True)
class TargetForward:
    """W·J·V for the rows W of a target."""

    forward: Apply

    def __call__(self, state: tuple[Any, Array], v: Array) -> Array:
        inner, rows = state
        return outputs_of(rows, self.forward(inner, v))


@dataclass(frozen=True)
class TargetBackward:
    """Jᵀ·Wᵀ·U."""

    backward: Apply

    def __call__(self, state: tuple[Any, Array], u: Array) -> Array:
        inner, rows = state
        return self.backward(inner, jnp.einsum("br,r...->b...", u, rows, precision="highest"))
