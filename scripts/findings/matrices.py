"""Maps of short prompts as matrices, built once from many probes a pass, and taken as operators again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxlin import DetachedJacobian, SVDResult, svd

#: At short prompts so many probes a pass make full use of a CPU; the library's own 8 take half as long again.
PROBES = 64


def matrix_of(operator: DetachedJacobian) -> Float[np.ndarray, "m ..."]:
    """The matrix itself, [m, *input_shape], from m passes backwards. For short prompts."""
    rows = np.eye(operator.shape[0], dtype=operator.dtype).reshape(-1, *operator.output_shape)
    return np.concatenate(
        [np.asarray(operator.rmatmat(rows[start : start + PROBES])) for start in range(0, len(rows), PROBES)]
    )


def stored(operator: DetachedJacobian, matrix: Float[np.ndarray, "m ..."]) -> DetachedJacobian:
    """The same map, whose passes are products with its matrix.

    A certificate of it says of the matrix that it gives back the model's output, J·x + c = y, and of the
    triplets that they are the matrix's.
    """
    return replace(operator, state=jnp.asarray(matrix), forward=_forward, backward=_backward)


def decomposed(operator: DetachedJacobian, k: int) -> SVDResult:
    """The first k triplets of a map that is stored, and its whole spectrum."""
    return svd(operator, min(k, *operator.shape), method="gram")


def without_check_of_prediction(operator: DetachedJacobian) -> DetachedJacobian:
    """The same map; its certificate leaves out the second way to the prediction.

    That way reads every tensor of the file again, which for a hundred prompts is most of the work, and it
    says the same of the model each time.
    """
    return replace(operator, labels=replace(operator.labels, prediction=None))


def vectorised(operator: DetachedJacobian) -> DetachedJacobian:
    """The ordinary Jacobian with all probes of a pass at once; the library sends one after the other.

    XLA's CPU backend gives wrong numbers for that at long prompts in float32; so the ``adjoint`` check of
    a certificate is to be asked for, or the rows compared.
    """
    return replace(operator, backward=VectorisedBackward(operator.backward.f))


@dataclass(frozen=True)
class VectorisedBackward:
    """Jᵀ·U by vjp, vectorised over the probe axis."""

    f: Callable[..., Array]

    def __call__(self, state: tuple[Array, tuple[Any, ...]], u: Array) -> Array:
        x, parameters = state
        _, pull_back = jax.vjp(lambda x: self.f(x, *parameters), x)
        pulled: Array = jax.vmap(pull_back)(u)[0]
        return pulled


def _forward(matrix: Array, v: Array) -> Array:
    return jnp.einsum("mte,bte->bm", matrix, v, precision="highest")


def _backward(matrix: Array, u: Array) -> Array:
    return jnp.einsum("mte,bm->bte", matrix, u, precision="highest")
