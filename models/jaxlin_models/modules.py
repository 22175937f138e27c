"""The small modules a block is made of: linear map, RMS norm, gated MLP.

Every module class says its ``kind``, which is what a freeze policy has rules for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxlin_models.config import DecoderConfig
from jaxlin_models.detach import Mode, Plain
from jaxlin_models.positions import by_positions
from jaxlin_models.precision import contract
from jaxlin_models.sharding import WHOLE, Layout, laid

#: An array, or whatever JAX puts in its place while it rebuilds a pytree.
Leaf = Array | Any

ACTIVATIONS: Mapping[str, Callable[[Array], Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}


#: act(x) / x, which has a limit at 0 for all of them.
QUOTIENTS: Mapping[str, Callable[[Array], Array]] = {
    "silu": jax.nn.sigmoid,
    "gelu": lambda x: (1 + jax.lax.erf(x * math.sqrt(0.5))) / 2,
    "gelu_tanh": lambda x: (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: (x > 0).astype(x.dtype),
}


def at_least_float32(x: Array) -> Array:
    """Statistics are taken in float32 or better, whatever the storage dtype."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def soft_cap(x: Array, cap: float | None) -> Array:
    """cap·tanh(x/cap), which is nearly x far below the cap; x itself without one."""
    return x if cap is None else cap * jnp.tanh(x / cap)


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
        precision: str,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.precision = precision
        spread = jnp.asarray(math.prod(inputs) ** -0.5, dtype)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (*inputs, *outputs), dtype) * spread)
        self.bias = nnx.Param(jnp.zeros(outputs, dtype)) if bias else None

    @property
    def dtype(self) -> jnp.dtype:
        """Storage dtype, of weights and of recorded coefficients."""
        return self.kernel[...].dtype

    def __call__(self, x: Float[Array, ...], mode: Mode) -> Float[Array, ...]:
        leading = x.shape[: x.ndim - len(self.inputs)]
        fan_in = math.prod(self.inputs)
        matrix = self.kernel[...].reshape(fan_in, -1)
        y = contract("...i,io->...o", x.reshape(*leading, fan_in), matrix, self.precision)
        y = y.reshape(*leading, *self.outputs)
        bias = None if self.bias is None else mode.bias(self.bias[...])
        return y if bias is None else y + bias


class RMSNorm(nnx.Module):
    """x ↦ w·x / rms(x) (Zhang & Sennrich, arXiv:1910.07467), or (1 + w)·x / rms(x) in Gemma.

    The mean square is taken over the last axes of x, those of ``shape``.
    """

    kind: ClassVar[str] = "rms_norm"

    def __init__(self, shape: tuple[int, ...], config: DecoderConfig, *, site: str, dtype: DTypeLike) -> None:
        self.site = site
        self.eps = config.norm_eps
        self.plus_one = config.norm_plus_one
        self.scale = nnx.Param((jnp.zeros if self.plus_one else jnp.ones)(shape, dtype))

    def __call__(self, x: Float[Array, "... n"], mode: Mode) -> Float[Array, "... n"]:
        axes = tuple(range(-self.scale[...].ndim, 0))

        def inverse_rms() -> Array:
            mean_square = jnp.mean(jnp.square(at_least_float32(x)), axis=axes, keepdims=True)
            return jax.lax.rsqrt(mean_square + self.eps)

        frozen: Array = mode.coefficient(self.kind, self.site, "inverse_rms", inverse_rms)
        scale = at_least_float32(self.scale[...])
        if self.plus_one:
            scale = 1 + scale
        return (at_least_float32(x) * frozen * scale).astype(x.dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GateInput:
    """A frozen factor as what it comes from: the MLP's input ``hidden`` [..., d], storage dtype."""

    hidden: Leaf


class GatedMLP(nnx.Module):
    """x ↦ down(act(gate(x)) · up(x)) (Shazeer, arXiv:2002.05202).

    Freezing act(gate(x)) leaves it linear in ``up``; freezing up(x)·act(gate(x))/gate(x), in ``gate``.
    """

    kind: ClassVar[str] = "gated_mlp"

    def __init__(
        self,
        config: DecoderConfig,
        *,
        site: str,
        rngs: nnx.Rngs,
        dtype: DTypeLike,
        precision: str,
        layout: Layout | None = None,
    ) -> None:
        self.site = site
        self.layout = layout
        self.activation = config.activation
        d, f = (config.embed_dim,), (config.mlp_dim,)
        linear = partial(Linear, bias=config.mlp_bias, rngs=rngs, dtype=dtype, precision=precision)
        self.gate, self.up, self.down = linear(d, f), linear(d, f), linear(f, d)

    def __call__(self, x: Float[Array, "... d"], mode: Mode) -> Float[Array, "... d"]:
        # For the way back: what comes out of each device is summed here.
        x = laid(self.layout, x, "position", WHOLE)
        names = mode.factors(self.kind, self.site)
        share = 1 / len(names)
        frozen = {name: self._coefficient(x, name, share, mode) for name in names}

        def product(x: Array, frozen: Mapping[str, Any]) -> Array:
            ways = [self._product(x, name, share, frozen[name], mode) for name in names]
            return self.down(sum(ways[1:], ways[0]), mode)

        divided = self.layout is not None and self.layout.sequence > 1  # then no device has many positions
        whole = divided or mode.differentiated
        added = product(x, frozen) if whole else by_positions(product, x, frozen)
        return laid(self.layout, added, "position", WHOLE)

    def _coefficient(
        self, x: Float[Array, "... d"], name: str, share: float, mode: Mode
    ) -> Float[Array, "... f"] | GateInput:
        """The factor ``name``, or what it comes from."""

        def compute() -> Array | GateInput:
            if mode.dial.gate == "recomputed":
                return GateInput(x.astype(self.gate.dtype))
            return self._factor(x, name, share).astype(self.gate.dtype)

        frozen: Array | GateInput = mode.coefficient(self.kind, self.site, name, compute)
        return frozen

    def _product(
        self, x: Float[Array, "... d"], name: str, share: float, frozen: Array | GateInput, mode: Mode
    ) -> Float[Array, "... f"]:
        """This share of act(g)·up, with the factor ``name`` as the coefficient."""
        factor = self._factor(frozen.hidden, name, share) if isinstance(frozen, GateInput) else frozen
        live = self.up if name == "gate" else self.gate
        return laid(self.layout, factor * live(x, mode), "position", "mlp")

    def _factor(self, x: Float[Array, "... d"], name: str, share: float) -> Float[Array, "... f"]:
        """The factor itself. Always plain inside, biases included: it is no part of the linear path."""
        gate = self.gate(x, Plain())
        if name == "gate":
            return share * ACTIVATIONS[self.activation](gate)
        return share * QUOTIENTS[self.activation](gate) * self.up(x, Plain())
