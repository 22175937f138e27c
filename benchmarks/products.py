"""J and its transpose as a host's solver sees them: passes counted, their time measured, and a limit kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from common import Cost
from numpy.typing import NDArray

from jaxlin import DetachedJacobian

Product = Callable[[NDArray], NDArray]
Triplet = tuple[NDArray, NDArray, NDArray]


@dataclass(frozen=True)
class Found:
    """What a row found: u [k, m], s [k], v [k, n], and what it cost.

    Attributes:
        passes: of the whole network, those of its right vectors included.
        cost: where the row knows better than a clock around it (scaled rows); else None.
        held: bytes likewise.
        note: what a reader of the table must know.
    """

    u: NDArray
    s: NDArray
    v: NDArray
    passes: int
    cost: Cost | None = None
    held: int | None = None
    note: str = ""


class TooLong(Exception):
    """The passes have used up their time."""


class Products:
    """J·V and Jᵀ·U on rows of numpy arrays, metered."""

    def __init__(
        self, shape: tuple[int, int], forward: Product, backward: Product, limit: float = float("inf")
    ) -> None:
        self.shape, self.limit = shape, limit
        self.passes, self.cost = 0, Cost()
        self._forward, self._backward = forward, backward

    def forward(self, v: NDArray) -> NDArray:
        """[b, n] -> [b, m]; b passes."""
        return self._metered(self._forward, v)

    def backward(self, u: NDArray) -> NDArray:
        """[b, m] -> [b, n]; b passes."""
        return self._metered(self._backward, u)

    def _metered(self, product: Product, rows: NDArray) -> NDArray:
        if self.cost.seconds > self.limit:
            raise TooLong
        start = Cost.now()
        image = product(rows)
        self.cost += Cost.since(start)
        self.passes += len(rows)
        return image


def products_of(operator: DetachedJacobian, limit: float) -> Products:
    """Ours, as many probes at once as the operator likes."""

    def blocked(apply: Callable[[jax.Array], jax.Array], shape: tuple[int, ...]) -> Product:
        def product(rows: NDArray) -> NDArray:
            step = operator.probes_per_pass
            probes = (rows[i : i + step].reshape(-1, *shape) for i in range(0, len(rows), step))
            return np.concatenate([np.asarray(apply(p)).reshape(len(p), -1) for p in probes])

        return product

    forward = blocked(operator.matmat, operator.input_shape)
    backward = blocked(operator.rmatmat, operator.output_shape)
    return Products(operator.shape, forward, backward, limit)


def products_of_matrix(matrix: NDArray) -> Products:
    """A built matrix, for what only needs to know how many passes a solver takes."""
    return Products(matrix.shape, lambda v: v @ matrix.T, lambda u: u @ matrix)


def finished(
    solver: Callable[[Products], Triplet],
    real: Products,
    matrix: Callable[[], NDArray],
    held: Callable[[], int],
) -> Found:
    """Run a solver to its end; where its passes take too long, count them on the built matrix instead.

    The time is then that of the measured passes, scaled to how many there are, and of the solver's own work
    between them.
    """
    try:
        return Found(*solver(real), real.passes)
    except TooLong:
        memory = held()
    exact = products_of_matrix(matrix())
    start = Cost.now()
    triplets = solver(exact)
    cost = real.cost * (exact.passes / real.passes) + Cost.since(start) + exact.cost * -1
    return Found(*triplets, exact.passes, cost, memory, f"scaled from {real.passes} of {exact.passes} passes")


def matrix_operator(matrix: NDArray, like: DetachedJacobian) -> DetachedJacobian:
    """A built matrix [m, n] behind the interface of an operator of the same shapes."""
    return DetachedJacobian(
        jnp.asarray(matrix), like.x, like.y, like.offset, _forward_matrix, _backward_matrix, False
    )


def _forward_matrix(matrix: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.matmul(v.reshape(len(v), -1), matrix.T, precision="highest")


def _backward_matrix(matrix: jax.Array, u: jax.Array) -> jax.Array:
    rows = jnp.matmul(u, matrix, precision="highest")
    return rows.reshape(len(u), -1, matrix.shape[0])
