"""The detached Jacobian as an operator: applied forwards and backwards, never built unless asked for.

The engine sees a model through this class alone. It is a pytree, so a jitted solver takes it as an argument:
the weights and coefficients inside ``state`` are passed by reference, never baked into a program.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxlin.errors import JaxlinError
from jaxlin.progress import Progress, silent

#: An array; typed loosely because JAX rebuilds pytrees with other things in their places.
Leaf = Any

#: Probes that one pass carries when many are needed anyway: most of the matrix rate, little memory.
PROBES_PER_PASS = 8


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class DetachedJacobian:
    """The linear map J of y = J·x + c, from inputs of ``input_shape`` to outputs of ``output_shape``.

    Attributes:
        state: whatever ``forward`` and ``backward`` read (weights on the linear path, coefficients).
        x: the input it was taken at; for a decoder the embeddings [T, d] as they enter layer 0.
        y: the output at ``x``; for a decoder the last hidden state [d] after the final norm.
        offset: c, of the output's shape; zero unless there are biases on the linear path.
        forward: (state, V [b, *input_shape]) -> J·V [b, *output_shape].
        backward: (state, U [b, *output_shape]) -> Jᵀ·U [b, *input_shape].
        offset_independent: whether c was found without using y, so that y = J·x + c tests something.
    """

    state: PyTree
    x: Leaf
    y: Leaf
    offset: Leaf
    forward: Callable[[Any, Array], Array] = field(metadata={"static": True})
    backward: Callable[[Any, Array], Array] = field(metadata={"static": True})
    offset_independent: bool = field(metadata={"static": True})

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, [T, d] for a decoder."""
        return self.x.shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output, [d] for a decoder."""
        return self.y.shape

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of the matrix: output size, input size."""
        return math.prod(self.output_shape), math.prod(self.input_shape)

    @property
    def dtype(self) -> jnp.dtype:
        """Dtype of inputs, outputs and the passes between them."""
        return self.y.dtype

    def matvec(self, v: Float[Array, ...]) -> Float[Array, ...]:
        """J·v: ``input_shape`` -> ``output_shape``. One pass."""
        return self.matmat(jnp.asarray(v)[None])[0]

    def rmatvec(self, u: Float[Array, ...]) -> Float[Array, ...]:
        """Jᵀ·u: ``output_shape`` -> ``input_shape``. One pass."""
        return self.rmatmat(jnp.asarray(u)[None])[0]

    def matmat(self, v: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """J·V for b probes at once: [b, *input_shape] -> [b, *output_shape]. b passes."""
        return _forward(self, self._probes(v, self.input_shape))

    def rmatmat(self, u: Float[Array, "b ..."]) -> Float[Array, "b ..."]:
        """Jᵀ·U for b probes at once: [b, *output_shape] -> [b, *input_shape]. b passes."""
        return _backward(self, self._probes(u, self.output_shape))

    def dense(self, progress: Progress = silent) -> Float[Array, "m ..."]:
        """The matrix itself, [m, *input_shape], row by row from m passes. For small m·n."""
        rows, _ = self.shape
        matrix = np.empty((rows, *self.input_shape), self.dtype)
        for start in range(0, rows, PROBES_PER_PASS):
            stop = min(start + PROBES_PER_PASS, rows)
            progress("building the matrix", start, rows, "rows")
            unit = jnp.eye(stop - start, rows, start, dtype=self.dtype)
            matrix[start:stop] = self.rmatmat(unit.reshape(-1, *self.output_shape))
        progress("building the matrix", rows, rows, "rows")
        return jnp.asarray(matrix)

    def _probes(self, probes: Array, shape: tuple[int, ...]) -> Array:
        probes = jnp.asarray(probes, self.dtype)
        if probes.shape[1:] != shape:
            raise JaxlinError(
                f"a probe has shape {list(probes.shape[1:])} where the operator takes {list(shape)}"
            )
        return probes


@jax.jit
def _forward(operator: DetachedJacobian, v: Array) -> Array:
    return operator.forward(operator.state, v)


@jax.jit
def _backward(operator: DetachedJacobian, u: Array) -> Array:
    return operator.backward(operator.state, u)
