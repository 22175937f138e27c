"""Networks that tests freeze, each with the same network detached by hand where that says more."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Network = Callable[[Any], Any]


def weights(seed: int, *shape: int) -> np.ndarray:
    """Random, and of a size that keeps activations near 1."""
    return np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[0])


def mlp(act: Network, seed: int = 0, sizes: tuple[int, ...] = (6, 9, 8, 3)) -> Network:
    """Layers with biases and one activation between them."""
    layers = [
        (weights(seed + i, *pair), weights(seed + 50 + i, pair[1]))
        for i, pair in enumerate(itertools.pairwise(sizes))
    ]

    def run(x: Any) -> Any:
        for w, b in layers[:-1]:
            x = act(x @ w + b)
        return x @ layers[-1][0] + layers[-1][1]

    return run


def layer_norm(x: Any, frozen: Network = lambda a: a) -> Any:
    """Without weights."""
    centred = x - x.mean(-1, keepdims=True)
    return centred * frozen(jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5))


def attention(seed: int = 0, heads: int = 2, frozen: Network = lambda a: a) -> Network:
    """A block of a transformer, with a gated MLP: [5, 6] -> [6]."""
    q, k, v, o = (weights(seed + i, 6, 6) for i in range(4))
    gate, up, down = weights(seed + 4, 6, 10), weights(seed + 5, 6, 10), weights(seed + 6, 10, 6)

    def split(a: Any) -> Any:
        return a.reshape(len(a), heads, -1)

    def run(x: Any) -> Any:
        h = layer_norm(x, frozen)
        scores = jnp.einsum("qhd,khd->hqk", split(h @ q), split(h @ k)) / np.sqrt(6 / heads)
        scores = jnp.where(np.tril(np.ones((5, 5), bool)), scores, -jnp.inf)
        mixed = jnp.einsum("hqk,khd->qhd", frozen(jax.nn.softmax(scores)), split(h @ v)).reshape(5, 6)
        x = x + mixed @ o
        h = layer_norm(x, frozen)
        return (x + (frozen(jax.nn.silu(h @ gate)) * (h @ up)) @ down).mean(0)

    return run


def convolutional() -> Network:
    """A residual block with batch norm as it is after training, and pooling: [8, 8, 3] -> [4]."""
    first, second, last = weights(0, 3, 3, 3, 5) / 3, weights(1, 3, 3, 5, 5) / 3, weights(2, 5, 4)
    mean, variance = weights(3, 5), np.abs(weights(4, 5)) + 1

    def convolve(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(
            x[None], w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )[0]

    def run(x: Any) -> Any:
        h = jax.nn.relu((convolve(x, first) - mean) / jnp.sqrt(variance + 1e-5))
        h = h + jax.nn.relu(convolve(h, second))
        pooled = jax.lax.reduce_window(h, -jnp.inf, jax.lax.max, (2, 2, 1), (2, 2, 1), "VALID")
        return pooled.mean((0, 1)) @ last

    return run


def recurrent(x: Any) -> Any:
    """A gated unit over a sequence, by scan: [7, 3] -> [4]."""
    z, r, h = (weights(i, 7, 4) for i in range(3))

    def step(state: Any, now: Any) -> Any:
        both = jnp.concatenate([now, state])
        new = jnp.tanh(jnp.concatenate([now, jax.nn.sigmoid(both @ r) * state]) @ h)
        update = jax.nn.sigmoid(both @ z)
        return (1 - update) * state + update * new, None

    return jax.lax.scan(step, jnp.zeros(4, x.dtype), x)[0]


def branching(x: Any) -> Any:
    """One branch or another, by the sign of a sum, then a loop of fixed length: [6] -> [6]."""
    w = weights(0, 6, 6)
    x = jax.lax.cond(x.sum() > 0, lambda x: jax.nn.gelu(x @ w), lambda x: x @ w.T + 1, x)
    return jax.lax.fori_loop(0, 3, lambda i, x: x + jax.nn.relu(x @ w) * (i + 1) / 3, x)


def narrow(x: Any) -> Any:
    """An autoencoder: [20] -> 2 -> [30]."""
    code = jax.nn.relu(x @ weights(0, 20, 9)) @ weights(1, 9, 2)
    return jax.nn.gelu(code @ weights(2, 2, 9)) @ weights(3, 9, 30) + weights(4, 30)


def u_shaped(x: Any) -> Any:
    """Downwards and upwards with connections across: [12] -> []."""
    a = jax.nn.silu(x @ weights(0, 12, 8))
    b = jax.nn.elu(a @ weights(1, 8, 4))
    up = jnp.tanh(jnp.concatenate([b @ weights(2, 4, 8), a]) @ weights(3, 16, 8))
    return jnp.concatenate([up, x]) @ weights(4, 20)


def flash_attention(x: Any) -> Any:
    """Attention in one scan over keys, with a running maximum: [5, 6] -> [5, 6]."""
    q, k, v = (x @ weights(i, 6, 6) for i in range(3))

    def step(state: Any, now: Any) -> Any:
        top, total, mixed = state
        scores = q @ now[0]
        new = jnp.maximum(top, scores)
        share, scale = jnp.exp(scores - new), jnp.exp(top - new)
        return (new, total * scale + share, mixed * scale[:, None] + share[:, None] * now[1]), None

    start = jnp.full(5, -jnp.inf), jnp.zeros(5), jnp.zeros((5, 6))
    (_, total, mixed), _ = jax.lax.scan(step, start, (k, v))
    return mixed / total[:, None]


@jax.custom_vjp
def relu_with_a_derivative_of_its_own(x: Any) -> Any:
    """Whose derivative is another one, which freezing does not use: [6] -> [6]."""
    return jax.nn.relu(x @ weights(9, 6, 6))


relu_with_a_derivative_of_its_own.defvjp(
    lambda x: (relu_with_a_derivative_of_its_own(x), None), lambda _, g: (7 * g,)
)
