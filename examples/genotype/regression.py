"""What regression finds: of single loci, of one pair at a time, and of all loci and pairs at once."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

#: Penalties that are tried, as fractions of the smallest that leaves nothing.
PENALTIES = (0.5, 0.3, 0.2, 0.13, 0.09, 0.06, 0.04, 0.025)


def linear(z: Float[np.ndarray, "n loci"], phenotype: Float[np.ndarray, " n"]) -> Float[np.ndarray, " loci"]:
    """Effects of all loci by least squares, without pairs."""
    effects: np.ndarray = np.linalg.lstsq(z - z.mean(0), phenotype - phenotype.mean(), rcond=None)[0]
    return effects


def pair_scan(
    z: Float[np.ndarray, "n loci"], phenotype: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " pairs"]:
    """The slope of what linear regression leaves on the product of each pair, one pair at a time."""
    left = phenotype - phenotype.mean() - (z - z.mean(0)) @ linear(z, phenotype)
    products = _products(z)
    slopes: np.ndarray = left @ products / (products**2).sum(0)
    return slopes


def pair_lasso(
    z: Float[np.ndarray, "n loci"],
    phenotype: Float[np.ndarray, " n"],
    *,
    penalties: Sequence[float] = PENALTIES,
    steps: int = 60,
) -> tuple[Float[np.ndarray, " loci"], Float[np.ndarray, " pairs"]]:
    """Effects of all loci and all pairs at once by the lasso, for more effects than individuals.

    The penalty is the one that predicts every fifth individual best when fitted to the others. Each is
    minimised by accelerated gradient steps from where the last ended (FISTA, Beck & Teboulle 2009), in
    float32.
    """
    columns = np.concatenate([z - z.mean(0), _products(z)], axis=1)
    scale = columns.std(0)
    scale[scale == 0] = 1
    x, y = jnp.asarray(columns / scale, jnp.float32), jnp.asarray(phenotype - phenotype.mean(), jnp.float32)
    held = np.arange(len(z)) % 5 == 0
    nothing = jnp.zeros(x.shape[1], x.dtype)
    tried = _path(x[~held], y[~held], nothing, penalties, steps)
    missed = [float(jnp.mean((x[held] @ effects - y[held]) ** 2)) for effects in tried]
    best = int(np.argmin(missed))
    chosen = np.asarray(_path(x, y, tried[best], penalties[best : best + 1], steps)[0]) / scale
    return chosen[: z.shape[1]], chosen[z.shape[1] :]


def _path(
    x: Float[Array, "n m"],
    y: Float[Array, " n"],
    start: Float[Array, " m"],
    penalties: Sequence[float],
    steps: int,
) -> Float[Array, "p m"]:
    """Lasso effects for falling penalties, each from where the last ended."""
    largest = jnp.max(jnp.abs(x.T @ y))
    curvature = _curvature(x)

    def for_one(effects: Array, penalty: Array) -> tuple[Array, Array]:
        threshold = penalty * largest / curvature

        def step(carried: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], None]:
            old, ahead, momentum = carried
            moved = ahead - x.T @ (x @ ahead - y) / curvature
            new = jnp.sign(moved) * jnp.maximum(jnp.abs(moved) - threshold, 0)
            after = (1 + jnp.sqrt(1 + 4 * momentum**2)) / 2
            return (new, new + (momentum - 1) / after * (new - old), after), None

        (effects, _, _), _ = jax.lax.scan(step, (effects, effects, jnp.float32(1)), None, length=steps)
        return effects, effects

    run = jax.jit(lambda start: jax.lax.scan(for_one, start, jnp.asarray(penalties, x.dtype))[1])
    every: Array = run(start)
    return every


def _curvature(x: Float[Array, "n m"]) -> Float[Array, ""]:
    """A little more than the largest eigenvalue of xᵀx, by the power method."""
    v = jnp.asarray(np.random.default_rng(0).standard_normal(x.shape[1]), x.dtype)
    for _ in range(20):
        v = x.T @ (x @ (v / jnp.linalg.norm(v)))
    return 1.1 * jnp.linalg.norm(v)


def _products(z: Float[np.ndarray, "n loci"]) -> Float[np.ndarray, "n pairs"]:
    """Centred products of all pairs, in the order of ``numpy.triu_indices``."""
    centred = z - z.mean(0)
    first, second = np.triu_indices(z.shape[1], 1)
    products = centred[:, first] * centred[:, second]
    return products - products.mean(0)
