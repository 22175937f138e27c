"""The core operations of PyTorch in JAX, by their names; their arguments are those of PyTorch.

https://docs.pytorch.org/docs/stable/torch.compiler_ir.html lists them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import erf, erfc

from jaxlin.errors import JaxlinError

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


def _layer_norm(x: Any, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    axes = tuple(range(-len(shape), 0))
    centred = x - jnp.mean(x, axes, keepdims=True)
    rstd = lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + eps)
    return _affine(centred * rstd, weight, bias), None, rstd


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def _group_norm(
    x: Any, weight: Any, bias: Any, count: int, channels: int, size: int, groups: int, eps: float
) -> Any:
    grouped = x.reshape(count, groups, -1)
    normed = _layer_norm(grouped, grouped.shape[-1:], None, None, eps)[0].reshape(x.shape)
    return _affine(normed, *(_over_channels(each, x.ndim) for each in (weight, bias))), None, None


def _over_channels(weight: Any, ndim: int) -> Any:
    """A number for each channel, which is the second axis."""
    return None if weight is None else weight.reshape(-1, *(1,) * (ndim - 2))


def _batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float
) -> Any:
    mean, weight, bias = (_over_channels(each, x.ndim) for each in (mean, weight, bias))
    scale = lax.rsqrt(_over_channels(variance, x.ndim) + eps)
    return _affine((x - mean) * scale, weight, bias), None, None


def _statistics_norm(
    x: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float
) -> Any:
    """By the statistics of the input itself, as instance norm does."""
    axes = (0, *range(2, x.ndim))
    centred = x - jnp.mean(x, axes, keepdims=True)
    scale = lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + eps)
    weight, bias = (_over_channels(each, x.ndim) for each in (weight, bias))
    return _affine(centred * scale, weight, bias), None, None


def _convolution(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int,
) -> Any:  # fmt: skip
    spatial = "DHW"[-len(stride) :]
    layout = (f"NC{spatial}", f"OI{spatial}", f"NC{spatial}")
    pads = [(pad, pad) for pad in padding]
    strides, spread = tuple(stride), None
    if transposed:
        # Its transpose: the input is spread out, and the kernel is turned round.
        shape = weight.shape
        grouped = weight.reshape(groups, shape[0] // groups, *shape[1:])
        swapped = jnp.swapaxes(grouped, 1, 2).reshape(shape[1] * groups, shape[0] // groups, *shape[2:])
        weight = jnp.flip(swapped, tuple(range(2, x.ndim)))
        reach = [d * (size - 1) for d, size in zip(dilation, shape[2:], strict=True)]
        pads = [
            (far - pad, far - pad + more)
            for far, pad, more in zip(reach, padding, output_padding, strict=True)
        ]
        strides, spread = (1,) * len(stride), tuple(stride)
    made = lax.conv_general_dilated(
        x, weight, strides, pads, lhs_dilation=spread, rhs_dilation=tuple(dilation),
        dimension_numbers=layout, feature_group_count=groups,
    )  # fmt: skip
    return made if bias is None else made + _over_channels(bias, made.ndim)


def _windows(x: Any, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Any, ...]:
    """Sizes, steps, paddings and dilations of windows over the last axes."""
    axes = len(kernel)
    before = x.ndim - axes
    stride, padding, dilation = (
        [each] * axes if isinstance(each, int) else list(each) * (axes // len(each))
        for each in (stride or kernel, padding, dilation)
    )
    return (
        (1,) * before + tuple(kernel),
        (1,) * before + tuple(stride),
        ((0, 0),) * before + tuple((pad, pad) for pad in padding),
        (1,) * before + tuple(dilation),
    )


def _max_pool(
    x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    sizes, steps, pads, dilations = _windows(x, kernel, stride, padding, dilation)
    if ceil_mode:
        pads = _ceiled(x, sizes, steps, pads, dilations)
    pooled = lax.reduce_window(
        x, -jnp.inf, lax.max, sizes, steps, pads, window_dilation=dilations
    )
    return pooled, None


def _ceiled(x: Any, sizes: Any, steps: Any, pads: Any, dilations: Any) -> Any:
    """More padding behind, so that a window that begins inside is whole."""
    made = []
    for length, size, step, (low, high), spread in zip(x.shape, sizes, steps, pads, dilations, strict=True):
        reach = spread * (size - 1) + 1
        windows = -(-(length + low + high - reach) // step) + 1
        windows -= (windows - 1) * step >= length + low
        made.append((low, max(high, (windows - 1) * step + reach - length - low)))
    return tuple(made)


def _avg_pool(
    x: Any, kernel: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    if ceil_mode:
        raise JaxlinError("average pooling with ceil_mode has no translation: use ceil_mode=False")
    sizes, steps, pads, _ = _windows(x, kernel, stride, padding, 1)
    total = lax.reduce_window(x, 0.0, lax.add, sizes, steps, pads)
    if count_include_pad or divisor_override:
        return total / (divisor_override or math.prod(kernel))
    ones = jnp.ones(x.shape, x.dtype)
    return total / lax.reduce_window(ones, 0.0, lax.add, sizes, steps, pads)


def _nearest(x: Any, size: Any, factors: Any = None) -> Any:
    for axis, i in enumerate(range(2, x.ndim)):
        length = x.shape[i]
        wanted = size[axis] if size is not None else int(length * factors[axis])
        x = jnp.take(x, (jnp.arange(wanted) * length) // wanted, axis=i)
    return x


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
    "convolution": _convolution, "native_layer_norm": _layer_norm, "native_group_norm": _group_norm,
    "_native_batch_norm_legit_no_training": _batch_norm, "_native_batch_norm_legit": _statistics_norm,
    "max_pool1d": lambda *a: _max_pool(*a)[0], "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool, "avg_pool1d": _avg_pool, "avg_pool2d": _avg_pool,
    "avg_pool3d": _avg_pool, "upsample_nearest1d": _nearest, "upsample_nearest2d": _nearest,
    "upsample_nearest3d": _nearest, "constant_pad_nd": _padded,
    "view": jnp.reshape, "_unsafe_view": jnp.reshape, "reshape": jnp.reshape,
    "permute": jnp.transpose, "transpose": lambda x, a, b: jnp.swapaxes(x, a, b), "t": jnp.transpose,
    "expand": _expanded, "unsqueeze": jnp.expand_dims, "squeeze": _squeezed, "slice": _sliced,
    "select": _selected, "split": _split, "split_with_sizes": _split, "index": _indexed,
    "cat": lambda parts, dim=0: jnp.concatenate(parts, dim), "stack": lambda parts, dim=0: jnp.stack(parts, dim),
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
