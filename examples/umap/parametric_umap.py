"""A parametric UMAP: a network places every cell, so that neighbours in the graph are near each other.

The graph is umap-learn's. The network is trained on the loss that UMAP's sampling has on average, over all
pairs of cells at once: no sampling noise, and the same picture every time.

McInnes, Healy & Melville 2018, "UMAP: Uniform Manifold Approximation and Projection", arXiv:1802.03426.
Sainburg, McInnes & Gentner 2021, "Parametric UMAP embeddings", arXiv:2009.12981.
Damrich & Hamprecht 2021, "On UMAP's true loss function", arXiv:2103.14608 (the average over its samples).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize

Weights = Sequence[Float[Array, "inside outside"]]
#: Cells pushed away for each that is pulled near, as in UMAP.
NEGATIVES = 5.0
#: Added to squared distances, so that their logarithm has a slope where two cells meet.
_NEAREST = 1e-3
#: How far from the origin the picture begins to extend, as in UMAP.
_EXTENT = 10.0


def embed(cell: Float[Array, "... genes"], weights: Weights) -> Float[Array, "... 2"]:
    """Where the network places a cell: ReLU layers without biases, so that an empty cell is at the origin."""
    for weight in weights[:-1]:
        cell = jax.nn.relu(cell @ weight)
    return cell @ weights[-1]


def principal_components(x: Float[np.ndarray, "cells genes"], k: int) -> Float[np.ndarray, "cells k"]:
    """The scores of the k largest principal components."""
    left, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    scores: np.ndarray = left[:, :k] * s[:k]
    return scores


def umap_graph(x: Float[np.ndarray, "cells d"], neighbours: int) -> Float[np.ndarray, "cells cells"]:
    """umap-learn's fuzzy graph of exact nearest neighbours, as a symmetric matrix of weights from 0 to 1."""
    with warnings.catch_warnings():
        # A notebook without widgets is told that it could have other bars of progress.
        warnings.filterwarnings("ignore", "IProgress not found")
        from umap.umap_ import fuzzy_simplicial_set

    far = np.linalg.norm(x[:, None] - x[None], axis=-1)
    nearest = np.argsort(far, axis=1, kind="stable")[:, :neighbours]  # each cell itself comes first
    found = fuzzy_simplicial_set(
        x, neighbours, np.random.RandomState(0), "euclidean",
        knn_indices=nearest, knn_dists=np.take_along_axis(far, nearest, 1).astype(np.float32),
    )  # fmt: skip
    graph: np.ndarray = found[0].toarray().astype(np.float64)
    return graph


def closeness_curve(min_dist: float) -> tuple[float, float]:
    """UMAP's a and b: 1 / (1 + a·d^(2b)) is fitted to 1 up to ``min_dist``, to exp(min_dist − d) beyond."""
    d = np.linspace(0, 3, 300)
    wanted = np.where(d < min_dist, 1.0, np.exp(min_dist - d))
    (a, b), _ = optimize.curve_fit(lambda d, a, b: 1 / (1 + a * d ** (2 * b)), d, wanted, p0=(1.0, 1.0))
    return float(a), float(b)


def loss(
    placed: Float[Array, "cells 2"], graph: Float[Array, "cells cells"], curve: tuple[float, float]
) -> Float[Array, ""]:
    """What UMAP's sampled loss is on average, for each unit of weight in the graph."""
    a, b = curve
    squared = ((placed[:, None] - placed[None]) ** 2).sum(-1)
    power = b * jnp.log(squared + _NEAREST)
    pulls = jnp.log1p(a * jnp.exp(power))  # −log of the closeness q
    pushes = (pulls - jnp.log(a) - power) * (1 - jnp.eye(len(placed), dtype=placed.dtype))  # −log(1 − q)
    degree = graph.sum(1)
    pushed = NEGATIVES / len(placed) * degree @ pushes.sum(1)
    return ((graph * pulls).sum() + pushed) / graph.sum()


@dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        weights: one matrix for each layer.
        losses: before every step [steps]; those of the first steps are distances from principal components.
    """

    weights: tuple[Any, ...]
    losses: Any


def train(
    x: Float[np.ndarray, "cells genes"],
    graph: Float[np.ndarray, "cells cells"],
    *,
    hidden: Sequence[int] = (128, 128),
    min_dist: float = 0.3,
    steps: int = 250,
    first_steps: int = 50,
    rate: float = 3e-3,
    decay: float = 1.0,
    seed: int = 0,
) -> Trained:
    """A network that places these cells by this graph, by Adam on all pairs at once.

    It begins where UMAP can begin as well, at the first two principal components, which it learns in its
    first steps. Networks from other first weights then arrange groups of cells alike, and the origin is amid
    the cells.

    Args:
        x: the cells, in the dtype that it is trained in.
        graph: symmetric weights from 0 to 1.
        hidden: the widths of the ReLU layers.
        min_dist: UMAP's: how near neighbours should be.
        steps: how many steps, the first ones included.
        first_steps: how many of them learn the principal components.
        rate: the step size at the start; it falls to 0 along a cosine.
        decay: weight decay, which spreads the work over genes that say the same.
        seed: of the first weights.
    """
    import optax

    cells, edges = jnp.asarray(x), jnp.asarray(graph, x.dtype)
    begin = principal_components(x, 2)
    layout = jnp.asarray(_EXTENT * begin / np.abs(begin).max(), x.dtype)
    curve = closeness_curve(min_dist)
    optimiser = optax.adamw(optax.cosine_decay_schedule(rate, steps), weight_decay=decay)

    def step(carried: Any, number: Array) -> Any:
        weights, state = carried

        def of(weights: Weights) -> Float[Array, ""]:
            return jax.lax.cond(
                number < first_steps,
                lambda placed: ((placed - layout) ** 2).sum(-1).mean(),
                lambda placed: loss(placed, edges, curve),
                embed(cells, weights),
            )

        value, slope = jax.value_and_grad(of)(weights)
        change, state = optimiser.update(slope, state, weights)
        return (optax.apply_updates(weights, change), state), value

    first = _first_weights(x, hidden, seed)
    run = jax.jit(lambda start: jax.lax.scan(step, (start, optimiser.init(start)), jnp.arange(steps)))
    (weights, _), losses = run(first)
    return Trained(tuple(weights), np.asarray(losses))


def _first_weights(x: np.ndarray, hidden: Sequence[int], seed: int) -> tuple[Array, ...]:
    """Random weights that keep the size of what goes through (He et al. 2015, arXiv:1502.01852)."""
    random = np.random.default_rng(seed)
    sizes = (x.shape[1], *hidden, 2)
    scales = [1 / np.sqrt(np.mean(x**2)), *(1.0 for _ in hidden)]
    return tuple(
        jnp.asarray(scale * np.sqrt(2 / m) * random.standard_normal((m, n)), x.dtype)
        for scale, m, n in zip(scales, sizes[:-1], sizes[1:], strict=True)
    )
