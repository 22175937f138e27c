"""The small modules a block is made of: linear map, RMS norm, gated MLP.

Every module class says its ``kind``, which is what a freeze policy has rules for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from models.config import DecoderConfig
from models.detach import Mode

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}


def contract(spec: str, x: Array, weight: Array) -> Array:
    """Einsum in the operands' own precision: float32 means float32, on GPUs too (never TF32)."""
    return jnp.einsum(spec, x, weight, precision=jax.lax.Precision.HIGHEST)


def at_least_float32(x: Array) -> Array:
    """Statistics are taken in float32 or better, whatever the storage dtype."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class Linear(nnx.Module):
    """x ↦ x·W + b over the last axes, with W [inputs…, outputs…].

    Always one plain matrix product on flattened axes, with W as stored: an einsum over several axes leaves
    XLA free to transpose the weight inside the layer scan, which copies it at every pass.
    """

    kind: ClassVar[str] = "linear"

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        *,
        bias: bool,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        spread = jnp.asarray(math.prod(inputs) ** -0.5, dtype)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (*inputs, *outputs), dtype) * spread)
        self.bias = nnx.Param(jnp.zeros(outputs, dtype)) if bias else None

    def __call__(self, x: Float[Array, ...], mode: Mode) -> Float[Array, ...]:
        leading = x.shape[: x.ndim - len(self.inputs)]
        fan_in = math.prod(self.inputs)
        y = contract(
            "...i,io->...o", x.reshape(*leading, fan_in), self.kernel[...].reshape(fan_in, -1)
        ).reshape(*leading, *self.outputs)
        bias = None if self.bias is None else mode.bias(self.bias[...])
        return y if bias is None else y + bias


class RMSNorm(nnx.Module):
    """x ↦ w·x / rms(x) (Zhang & Sennrich, arXiv:1910.07467), or (1 + w)·x / rms(x) in Gemma."""

    kind: ClassVar[str] = "rms_norm"

    def __init__(self, size: int, config: DecoderConfig, *, site: str, dtype: DTypeLike) -> None:
        self.site = site
        self.eps = config.norm_eps
        self.plus_one = config.norm_plus_one
        self.scale = nnx.Param((jnp.zeros if self.plus_one else jnp.ones)((size,), dtype))

    def __call__(self, x: Float[Array, "... n"], mode: Mode) -> Float[Array, "... n"]:
        def inverse_rms() -> Array:
            mean_square = jnp.mean(jnp.square(at_least_float32(x)), axis=-1, keepdims=True)
            return jax.lax.rsqrt(mean_square + self.eps)

        frozen = mode.coefficient(self.kind, self.site, "inverse_rms", inverse_rms)
        scale = at_least_float32(self.scale[...])
        if self.plus_one:
            scale = 1 + scale
        return (at_least_float32(x) * frozen * scale).astype(x.dtype)


class GatedMLP(nnx.Module):
    """x ↦ down(act(gate(x)) · up(x)) (Shazeer, arXiv:2002.05202): linear in ``up`` once gated."""

    kind: ClassVar[str] = "gated_mlp"

    def __init__(self, config: DecoderConfig, *, site: str, rngs: nnx.Rngs, dtype: DTypeLike) -> None:
        self.site = site
        self.activation = config.activation
        d, f = (config.embed_dim,), (config.mlp_dim,)
        linear = partial(Linear, bias=config.mlp_bias, rngs=rngs, dtype=dtype)
        self.gate, self.up, self.down = linear(d, f), linear(d, f), linear(f, d)

    def __call__(self, x: Float[Array, "... d"], mode: Mode) -> Float[Array, "... d"]:
        def gate() -> Array:
            return ACTIVATIONS[self.activation](self.gate(x, mode))

        gated = mode.coefficient(self.kind, self.site, "gate", gate) * self.up(x, mode)
        return self.down(gated, mode)
