"""The core operations of PyTorch in JAX, by their names; their arguments are those of PyTorch.

https://docs.pytorch.org/docs/stable/torch.compiler_ir.html lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import erf, erfc

from jaxlin.networks.torch_layers import (
    avg_pool,
    batch_norm,
    convolution,
    group_norm,
    layer_norm,
    max_pool,
    nearest,
    statistics_norm,
)

_Axes = int | Sequence[int] | None


def _dtype(kind: Any) -> Any:
    """What a dtype of PyTorch is called in JAX; none stays none."""
    return None if kind is None else jnp.dtype(str(kind).removeprefix("torch."))


def _axes(dim: _Axes) -> Any:
    return None if dim is None or dim == [] else dim if isinstance(dim, int) else tuple(dim)


def _scaled_sum(a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return a + b if alpha == 1 else a + alpha * b


def _scaled_difference(a: Any, b: Any, *, alpha: Any = 1) -> Any:
    return a - b if alpha == 1 else a - alpha * b


def _divided(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    whole = {"floor": jnp.floor, "trunc": jnp.trunc}
    return a / b if rounding_mode is None else whole[rounding_mode](a / b)


def _addmm(bias: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    product = a @ b if alpha == 1 else alpha * (a @ b)
    return (bias if beta == 1 else beta * bias) + product


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    product = x @ weight.T
    return product if bias is None else product + bias


def _expanded(x: Any, sizes: Sequence[int], **_: Any) -> Any:
    shape = (1,) * (len(sizes) - x.ndim) + x.shape
    wanted = [old if new == -1 else new for old, new in zip(shape, sizes, strict=True)]
    return jnp.broadcast_to(x.reshape(shape), wanted)


def _sliced(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    index: list[Any] = [slice(None)] * x.ndim
    index[dim] = slice(start, end, step)
    return x[tuple(index)]


def _selected(x: Any, dim: int, index: int) -> Any:
    return jnp.take(x, index, axis=dim)


def _split(x: Any, sizes: Any, dim: int = 0) -> Any:
    every = range(sizes, x.shape[dim], sizes) if isinstance(sizes, int) else _ends(sizes)
    return jnp.split(x, list(every), axis=dim)


def _ends(sizes: Sequence[int]) -> list[int]:
    return [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]


def _squeezed(x: Any, dim: _Axes = None) -> Any:
    dims = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    return jnp.squeeze(x, tuple(axis for axis in dims if x.shape[axis] == 1))


def _converted(x: Any, *, dtype: Any = None, **_: Any) -> Any:
    return x if dtype is None else x.astype(_dtype(dtype))


def _mean(x: Any, dim: _Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    return jnp.mean(x, _axes(dim), _dtype(dtype), keepdims=keepdim)


def _sum(x: Any, dim: _Axes = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    return jnp.sum(x, _axes(dim), _dtype(dtype), keepdims=keepdim)


def _variance(x: Any, dim: _Axes = None, *, correction: Any = 1, keepdim: bool = False) -> Any:
    return jnp.var(x, _axes(dim), ddof=1 if correction is None else correction, keepdims=keepdim)


def _largest(x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    if dim is None:
        return jnp.max(x)
    return jnp.max(x, dim, keepdims=keepdim), jnp.argmax(x, dim, keepdims=keepdim)


def _elu(x: Any, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    below = alpha * jnp.expm1(jnp.where(x > 0, 0, x) * input_scale)
    return jnp.where(x > 0, x, below) * scale


def _gelu(x: Any, *, approximate: str = "none") -> Any:
    return jax.nn.gelu(x, approximate=approximate == "tanh")


def _clamp(x: Any, low: Any = None, high: Any = None) -> Any:
    x = x if low is None else jnp.maximum(x, low)
    return x if high is None else jnp.minimum(x, high)


def _softplus(x: Any, beta: Any = 1, threshold: Any = 20) -> Any:
    return jnp.where(x * beta > threshold, x, jnp.log1p(jnp.exp(x * beta)) / beta)


def _padded(x: Any, pads: Sequence[int], value: Any = 0.0) -> Any:
    widths = [(0, 0)] * x.ndim
    for i in range(len(pads) // 2):  # from the last axis
        widths[x.ndim - 1 - i] = (pads[2 * i], pads[2 * i + 1])
    return jnp.pad(x, widths, constant_values=value)


def _sorted(x: Any, dim: int = -1, descending: bool = False, **_: Any) -> Any:
    order = jnp.argsort(x, dim, descending=descending)
    return jnp.take_along_axis(x, order, dim), order


def _top(x: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    values, order = _sorted(x, dim, largest)
    return _sliced(values, dim, 0, k), _sliced(order, dim, 0, k)


def _written(x: Any, part: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    index: list[Any] = [slice(None)] * x.ndim
    index[dim] = slice(start, end, step)
    return x.at[tuple(index)].set(part)


def _zeros(shape: Sequence[int], *, dtype: Any = None, **_: Any) -> Any:
    return jnp.zeros(shape, _dtype(dtype))


def _full(shape: Sequence[int], value: Any, *, dtype: Any = None, **_: Any) -> Any:
    return jnp.full(shape, value, _dtype(dtype))


def _full_like(x: Any, value: Any, *, dtype: Any = None, **_: Any) -> Any:
    return jnp.full(x.shape, value, x.dtype if dtype is None else _dtype(dtype))


def _range(start: Any, end: Any, step: Any = 1, *, dtype: Any = None, **_: Any) -> Any:
    return jnp.arange(start, end, step, _dtype(dtype))


def _indexed(x: Any, indices: Sequence[Any]) -> Any:
    return x[tuple(slice(None) if index is None else index for index in indices)]


def _of_one(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, **_: function(x)


def _compared(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, b, **_: function(a, b)


#: Operation -> the same in JAX.
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "add": _scaled_sum, "sub": _scaled_difference, "mul": jnp.multiply, "div": _divided,
    "rsub": lambda a, b, alpha=1: _scaled_difference(b, a, alpha=alpha),
    "neg": jnp.negative, "abs": jnp.abs, "sign": jnp.sign, "reciprocal": lambda x: 1 / x,
    "pow": lambda a, b: a**b, "square": jnp.square, "maximum": jnp.maximum, "minimum": jnp.minimum,
    **{name: _of_one(getattr(jnp, name)) for name in (
        "exp", "expm1", "log", "log1p", "log2", "sqrt", "sin", "cos", "tan", "tanh", "sinh", "cosh", "floor",
        "ceil", "round", "trunc", "logical_not")},
    "asin": jnp.arcsin, "acos": jnp.arccos, "atan": jnp.arctan, "asinh": jnp.arcsinh, "rsqrt": lax.rsqrt,
    "erf": erf, "erfc": erfc, "sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "silu": jax.nn.silu,
    "gelu": _gelu, "elu": _elu, "softplus": _softplus,
    "leaky_relu": lambda x, slope=0.01: jnp.where(x > 0, x, slope * x),
    "hardtanh": lambda x, low=-1, high=1: _clamp(x, low, high), "clamp": _clamp,
    "clamp_min": _clamp, "clamp_max": lambda x, high: _clamp(x, None, high),
    "hardswish": jax.nn.hard_swish, "hardsigmoid": jax.nn.hard_sigmoid, "mish": jax.nn.mish,
    "_softmax": lambda x, dim, _: jax.nn.softmax(x, dim),
    "_log_softmax": lambda x, dim, _: jax.nn.log_softmax(x, dim),
    **{name: _compared(getattr(jnp, jax_name)) for name, jax_name in (
        ("gt", "greater"), ("ge", "greater_equal"), ("lt", "less"), ("le", "less_equal"), ("eq", "equal"),
        ("ne", "not_equal"), ("logical_and", "logical_and"), ("logical_or", "logical_or"))},
    "where": jnp.where, "masked_fill": lambda x, mask, value: jnp.where(mask, value, x),
    "addmm": _addmm, "mm": jnp.matmul, "bmm": jnp.matmul, "matmul": jnp.matmul, "linear": _linear,
    "baddbmm": _addmm, "mv": jnp.matmul, "dot": jnp.dot,
    "convolution": convolution, "native_layer_norm": layer_norm, "native_group_norm": group_norm,
    "_native_batch_norm_legit_no_training": batch_norm, "_native_batch_norm_legit": statistics_norm,
    "max_pool1d": lambda *a: max_pool(*a)[0], "max_pool2d_with_indices": max_pool,
    "max_pool3d_with_indices": max_pool, "avg_pool1d": avg_pool, "avg_pool2d": avg_pool,
    "avg_pool3d": avg_pool, "upsample_nearest1d": nearest, "upsample_nearest2d": nearest,
    "upsample_nearest3d": nearest, "constant_pad_nd": _padded,
    "view": jnp.reshape, "_unsafe_view": jnp.reshape, "reshape": jnp.reshape,
    "permute": jnp.transpose, "transpose": lambda x, a, b: jnp.swapaxes(x, a, b), "t": jnp.transpose,
    "expand": _expanded, "unsqueeze": jnp.expand_dims, "squeeze": _squeezed, "slice": _sliced,
    "select": _selected, "split": _split, "split_with_sizes": _split, "index": _indexed,
    "cat": lambda parts, dim=0: jnp.concatenate(parts, dim),
    "stack": lambda parts, dim=0: jnp.stack(parts, dim),
    "flip": jnp.flip, "repeat": jnp.tile, "clone": _of_one(jnp.asarray), "alias": _of_one(jnp.asarray),
    "detach": _of_one(lax.stop_gradient), "_to_copy": _converted, "contiguous": _of_one(jnp.asarray),
    "mean": _mean, "sum": _sum, "var": _variance, "max": _largest,
    "amax": lambda x, dim=(), keepdim=False: jnp.max(x, _axes(dim), keepdims=keepdim),
    "amin": lambda x, dim=(), keepdim=False: jnp.min(x, _axes(dim), keepdims=keepdim),
    "any": lambda x, dim=None, keepdim=False: jnp.any(x, _axes(dim), keepdims=keepdim),
    "argmax": lambda x, dim=None, keepdim=False: jnp.argmax(x, dim, keepdims=keepdim),
    "cumsum": lambda x, dim, dtype=None: jnp.cumsum(x, dim, _dtype(dtype)),
    "embedding": lambda table, index, *_: table[index],
    "full": _full, "full_like": _full_like, "arange": _range, "scalar_tensor": _of_one(jnp.asarray),
    "sort": _sorted, "topk": _top, "slice_scatter": _written, "empty": _zeros, "zeros": _zeros,
    "copy": lambda x, other, *_: jnp.broadcast_to(other, x.shape).astype(x.dtype),
    "gather": lambda x, dim, index, **_: jnp.take_along_axis(x, index, dim),
    "tril": jnp.tril, "triu": jnp.triu, "lift_fresh_copy": _of_one(jnp.asarray),
}  # fmt: skip
