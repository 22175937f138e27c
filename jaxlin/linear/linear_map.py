"""What every map offers that is only applied: products with arrays, its transpose, and scipy's view of it.

    J @ x            an input of ``input_shape``    -> an output of ``output_shape``
    J @ flat         [n]                            -> [m]
    J @ columns      [n, b]                         -> [m, b]
    J.T @ y          the transpose takes outputs and gives inputs, by the same rule

The three are told apart by shape alone, in this order.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxlin.errors import JaxlinError
from jaxlin.runtime.progress import Progress, silent


class LinearMap(ABC):
    """A linear map J: inputs of ``input_shape``, n numbers, to outputs of ``output_shape``, m numbers."""

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input."""

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output."""

    @property
    @abstractmethod
    def dtype(self) -> jnp.dtype:
        """Dtype of inputs and outputs."""

    @property
    @abstractmethod
    def probes_per_pass(self) -> int:
        """How many probes to send together when many are needed."""

    @abstractmethod
    def matmat(self, v: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
        """J·V for b probes at once: [b, *input_shape] -> [b, *output_shape]. b passes."""

    @abstractmethod
    def rmatmat(self, u: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
        """Jᵀ·U for b probes at once: [b, *output_shape] -> [b, *input_shape]. b passes."""

    @abstractmethod
    def dense(self, progress: Progress = silent) -> Float[Array, "m ..."]:
        """The matrix itself, [m, *input_shape]. For small m·n."""

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n) of the matrix: output size, input size."""
        return math.prod(self.output_shape), math.prod(self.input_shape)

    @property
    def T(self) -> LinearMap:
        """The transpose, which takes outputs and gives inputs; ``J.T.T`` is ``J``."""
        return Transpose(self)

    def matvec(self, v: Shaped[Array | np.ndarray, ...]) -> Float[Array, ...]:
        """J·v: ``input_shape`` -> ``output_shape``. One pass."""
        return self.matmat(jnp.asarray(v)[None])[0]

    def rmatvec(self, u: Shaped[Array | np.ndarray, ...]) -> Float[Array, ...]:
        """Jᵀ·u: ``output_shape`` -> ``input_shape``. One pass."""
        return self.rmatmat(jnp.asarray(u)[None])[0]

    def __matmul__(self, v: Shaped[Array | np.ndarray, ...]) -> Float[Array, ...]:
        """J·v of an input [*input_shape], a flat one [n], or of the columns of a matrix [n, b].

        Returns:
            [*output_shape], [m] or [m, b]. Where one shape can be read in two ways, the first of these is
            meant.

        Raises:
            JaxlinError: an array of another shape.
        """
        v = jnp.asarray(v)
        m, n = self.shape
        if v.shape == self.input_shape:
            return self.matvec(v)
        if v.shape == (n,):
            return self.matvec(v.reshape(self.input_shape)).reshape(m)
        if v.ndim == 2 and len(v) == n:
            return _times_columns(self, v)
        raise JaxlinError(
            f"an array of shape {list(v.shape)} cannot be multiplied by this {m} × {n} map: give an input "
            f"{list(self.input_shape)}, a flat one [{n}], or columns [{n}, b]"
        )

    def as_linear_operator(self) -> Any:
        """This map as a ``scipy.sparse.linalg.LinearOperator`` over flat vectors, in float32 or better.

        Each product is a pass; nothing is built. For scipy's own solvers, such as ``svds``.
        """
        from scipy.sparse.linalg import LinearOperator  # 0.2 s to import, and few need it

        dtype = np.dtype(jnp.promote_types(self.dtype, jnp.float32))  # scipy knows no bfloat16

        def vector(of: LinearMap) -> Callable[[np.ndarray], np.ndarray]:
            return lambda v: np.asarray(of.matvec(np.reshape(v, of.input_shape)), dtype).ravel()

        def matrix(of: LinearMap) -> Callable[[np.ndarray], np.ndarray]:
            return lambda v: np.asarray(_times_columns(of, v), dtype)

        return LinearOperator(
            self.shape,
            matvec=vector(self),
            rmatvec=vector(self.T),
            matmat=matrix(self),
            rmatmat=matrix(self.T),
            dtype=dtype,
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Transpose(LinearMap):
    """Jᵀ of a map, without its labels. Its SVD is that of J with U and V in each other's place.

    Attributes:
        original: J.
    """

    original: LinearMap | Any  # JAX rebuilds pytrees with other things in their places

    def __repr__(self) -> str:
        return f"{self.original!r}.T"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.original.output_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.original.input_shape

    @property
    def dtype(self) -> jnp.dtype:
        return self.original.dtype

    @property
    def probes_per_pass(self) -> int:
        return self.original.probes_per_pass

    @property
    def T(self) -> LinearMap:
        return self.original

    def matmat(self, v: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
        return self.original.rmatmat(v)

    def rmatmat(self, u: Shaped[Array | np.ndarray, "b ..."]) -> Float[Array, "b ..."]:
        return self.original.matmat(u)

    def dense(self, progress: Progress = silent) -> Float[Array, "m ..."]:
        m, n = self.shape
        return self.original.dense(progress).reshape(n, m).T.reshape(m, *self.input_shape)


def _times_columns(linear_map: LinearMap, columns: Shaped[Array | np.ndarray, "n b"]) -> Float[Array, "m b"]:
    """J·V of the columns of V, some at a time."""
    m, _ = linear_map.shape
    count = columns.shape[1]
    if count == 0:
        return jnp.zeros((m, 0), linear_map.dtype)
    probes = jnp.asarray(columns).T.reshape(count, *linear_map.input_shape)
    step = linear_map.probes_per_pass
    images = [linear_map.matmat(probes[start : start + step]) for start in range(0, count, step)]
    return jnp.concatenate(images).reshape(count, m).T
