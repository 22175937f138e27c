"""Rotary position embeddings (Su et al., arXiv:2104.09864) and the scalings that real checkpoints use.

Inverse frequencies are computed in float64 on the host. The angles of all positions come from two short
tables, p = 256·a + b, joined by the addition theorem: a float32 product p·f would lose 2e-3 rad at
position 32,768, and a full float64 table would be a large constant inside the compiled program.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from numpy.typing import NDArray

from jaxlin_models.config import RopeConfig

_FINE = 256


def inverse_frequencies(rope: RopeConfig, features: int, length: int) -> NDArray[np.float64]:
    """Angular frequency of each feature pair, radians per position, float64 [⌈features / 2⌉].

    Args:
        rope: which embedding.
        features: how many leading features of a head are turned.
        length: positions in the prompt, by which longrope chooses between its two sets.
    """
    exponents = np.arange(0, features, 2, dtype=np.float64) / features
    frequencies = 1.0 / rope.theta**exponents
    if rope.kind == "default":
        return frequencies
    if rope.kind == "linear":
        return frequencies / rope.factor
    if rope.kind == "llama3":
        return _llama3(frequencies, rope)
    if rope.kind == "yarn":
        return _yarn(frequencies, rope, features)
    if rope.kind == "longrope":
        is_long = length > rope.original_max_positions
        return frequencies / np.asarray(rope.long_factors if is_long else rope.short_factors, np.float64)
    raise ValueError(f"unknown rotary embedding {rope.kind!r}")


def _llama3(frequencies: NDArray[np.float64], rope: RopeConfig) -> NDArray[np.float64]:
    """Long wavelengths are stretched, short ones kept, the ones between blended."""
    wavelengths = 2 * np.pi / frequencies
    turns = rope.original_max_positions / wavelengths
    blend = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    blend = np.clip(blend, 0.0, 1.0)
    return (1 - blend) * frequencies / rope.factor + blend * frequencies


def _yarn(frequencies: NDArray[np.float64], rope: RopeConfig, features: int) -> NDArray[np.float64]:
    """NTK-by-parts (YaRN §3.2): interpolate the pairs that turn rarely, keep the ones that turn often."""

    def pair_with(turns: float) -> float:
        spread = math.log(rope.original_max_positions / (turns * 2 * math.pi))
        return features * spread / (2 * math.log(rope.theta))

    low, high = pair_with(rope.beta_fast), pair_with(rope.beta_slow)
    if rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, features - 1)
    if low == high:
        high += 0.001  # the published formula's guard against a division by zero
    keep: NDArray[np.float64] = 1 - np.clip((np.arange(features // 2) - low) / (high - low), 0.0, 1.0)
    return (1 - keep) * frequencies / rope.factor + keep * frequencies


def rotary_table(
    rope: RopeConfig, features: int, length: int, dtype: DTypeLike, places: int | None = None
) -> tuple[Float[Array, "t half"], Float[Array, "t half"]]:
    """cos and sin of positions 0 … places-1, each [places, features / 2], times ``attention_factor``.

    Args:
        rope: which embedding.
        features: how many leading features of a head are turned.
        length: positions in the prompt.
        dtype: of the tables.
        places: how many positions; ``length`` if not given.
    """
    places = length if places is None else places
    frequencies = inverse_frequencies(rope, features, length)
    coarse = np.arange(-(-places // _FINE))[:, None] * _FINE * frequencies
    fine = np.arange(min(_FINE, places))[:, None] * frequencies
    cos_a, sin_a = (jnp.asarray(f(coarse), dtype)[:, None] for f in (np.cos, np.sin))
    cos_b, sin_b = (jnp.asarray(f(fine), dtype)[None] for f in (np.cos, np.sin))
    cos = (cos_a * cos_b - sin_a * sin_b).reshape(-1, len(frequencies))[:places]
    sin = (sin_a * cos_b + cos_a * sin_b).reshape(-1, len(frequencies))[:places]
    return cos * rope.attention_factor, sin * rope.attention_factor


def rotate(
    x: Float[Array, "... t heads head_dim"],
    cos: Float[Array, "t half"],
    sin: Float[Array, "t half"],
) -> Float[Array, "... t heads head_dim"]:
    """Turn each feature pair (i, i + half) by its position's angle; features from 2·half on stay."""
    half = cos.shape[-1]
    first, second, rest = jnp.split(x, (half, 2 * half), axis=-1)
    cos, sin = cos[:, None], sin[:, None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)
