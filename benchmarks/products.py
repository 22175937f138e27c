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


class Products:
    """J·V and Jᵀ·U on rows of numpy arrays, metered.

    Once the passes have taken longer than ``limit`` seconds, the built matrix answers in their place, so that
    a solver still runs to its end and its passes are still counted.
    """

    def __init__(self, shape: tuple[int, int], forward: Product, backward: Product, limit: float) -> None:
        self.shape, self.limit = shape, limit
        #: Passes that were asked for, those of them that the network ran, and what these cost.
        self.passes, self.measured, self.cost = 0, 0, Cost()
        #: What the matrix took in the place of passes, and its loading.
        self.aside = Cost()
        self._forward, self._backward = forward, backward
        self._matrix: NDArray | None = None
        self._load: Callable[[], NDArray] | None = None

    def fall_back_on(self, load: Callable[[], NDArray]) -> None:
        """Where the matrix [m, n] comes from, once it is needed."""
        self._load = load

    def forward(self, v: NDArray) -> NDArray:
        """[b, n] -> [b, m]; b passes."""
        return self._metered(self._forward, v, lambda matrix: v @ matrix.T)

    def backward(self, u: NDArray) -> NDArray:
        """[b, m] -> [b, n]; b passes."""
        return self._metered(self._backward, u, lambda matrix: u @ matrix)

    def _metered(self, product: Product, rows: NDArray, instead: Product) -> NDArray:
        self.passes += len(rows)
        start = Cost.now()
        if self.cost.seconds <= self.limit:
            image = product(rows)
            self.cost += Cost.since(start)
            self.measured += len(rows)
            return image
        if self._matrix is None:
            assert self._load is not None, "the passes take too long, and there is no matrix to go on with"
            self._matrix = self._load()
        image = instead(self._matrix)
        self.aside += Cost.since(start)
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


def finished(
    solver: Callable[[Products], Triplet],
    products: Products,
    matrix: Callable[[], NDArray],
    held: Callable[[], int],
) -> Found:
    """Run a solver to its end. Where its passes take too long, their cost is scaled from those measured.

    The solver's own work between the passes is never scaled.
    """
    memory: list[int] = []

    def load() -> NDArray:
        memory.append(held())
        return matrix()

    products.fall_back_on(load)
    start = Cost.now()
    triplets = solver(products)
    between = Cost.since(start) + (products.cost + products.aside) * -1
    if not memory:
        return Found(*triplets, products.passes)
    cost = products.cost * (products.passes / products.measured) + between
    note = f"scaled from {products.measured} of {products.passes} passes"
    return Found(*triplets, products.passes, cost, memory[0], note)


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
