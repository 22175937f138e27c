"""What other methods say of the same network, to be compared with the exact contributions.

All of them share out f(x) − f(base) over the genes. Only where the network is linear must they agree.

Sundararajan, Taly & Yan 2017 (integrated gradients), arXiv:1703.01365.
Lundberg & Lee 2017 (SHAP), arXiv:1705.07874. Erion et al. 2021 (expected gradients), arXiv:1906.10670.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Network = Callable[[Array], Array]


def integrated_gradients(
    f: Network, x: Float[np.ndarray, "cells genes"], *, steps: int
) -> Float[np.ndarray, "cells 2 genes"]:
    """Gradients averaged along the line from no expression to each cell, times its expression: midpoints."""
    along = (jnp.arange(steps) + 0.5) / steps

    def one(cell: Array) -> Array:
        gradients = jax.lax.map(lambda t: jax.jacrev(f)(t * cell), along)
        return gradients.mean(0) * cell

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(x)))


def expected_gradients(
    f: Network,
    x: Float[np.ndarray, "cells genes"],
    background: Float[np.ndarray, "others genes"],
    *,
    samples: int,
    seed: int,
) -> Float[np.ndarray, "cells 2 genes"]:
    """Gradients at random places between each cell and random other cells, times their difference.

    The estimate of shap's ``GradientExplainer``, which does not take JAX functions.
    """
    random = np.random.default_rng(seed)
    others = jnp.asarray(background[random.integers(len(background), size=samples)])
    along = jnp.asarray(random.random(samples), others.dtype)

    def one(cell: Array) -> Array:
        def at(drawn: tuple[Array, Array]) -> Array:
            other, t = drawn
            return jax.jacrev(f)(other + t * (cell - other)) * (cell - other)

        return jax.lax.map(at, (others, along)).mean(0)

    return np.asarray(jax.jit(jax.vmap(one))(jnp.asarray(x)))


def permutation_shap(
    f: Network, x: Float[np.ndarray, "cells genes"], *, permutations: int, seed: int
) -> Float[np.ndarray, "cells 2 genes"]:
    """Shapley values against no expression, by shap's ``PermutationExplainer``."""
    import shap

    masker = shap.maskers.Independent(np.zeros_like(x[:1]))
    explainer = shap.PermutationExplainer(_on_numpy(f), masker, seed=seed)
    # Each permutation is walked forwards and backwards.
    explained = explainer(x, max_evals=permutations * (2 * x.shape[1] + 1), silent=True)
    return np.moveaxis(np.asarray(explained.values), -1, 1)


def kernel_shap(
    f: Network, x: Float[np.ndarray, "cells genes"], *, samples: int, seed: int
) -> Float[np.ndarray, "cells 2 genes"]:
    """Shapley values against no expression, by shap's ``KernelExplainer`` without its choice of features."""
    import shap

    explainer = shap.KernelExplainer(_on_numpy(f), np.zeros_like(x[:1]), seed=seed)
    np.random.seed(seed)  # noqa: NPY002 — the explainer draws from the global state
    values: Any = explainer.shap_values(x, nsamples=samples, l1_reg=False, silent=True)
    return np.moveaxis(np.asarray(values), -1, 1)


def _on_numpy(f: Network) -> Callable[[np.ndarray], np.ndarray]:
    compiled = jax.jit(f)
    most = 2048  # one shape for all calls: compiled once

    def of(points: np.ndarray) -> np.ndarray:
        parts = []
        for start in range(0, len(points), most):
            part = points[start : start + most]
            padded = np.zeros((most, points.shape[1]), points.dtype)
            padded[: len(part)] = part
            parts.append(np.asarray(compiled(padded))[: len(part)])
        return np.concatenate(parts)

    return of
