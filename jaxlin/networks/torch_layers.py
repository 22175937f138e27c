"""The larger operations of PyTorch in JAX: norms, convolutions, pooling; with the arguments of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from jaxlin.errors import JaxlinError


def layer_norm(x: Any, shape: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    axes = tuple(range(-len(shape), 0))
    centred = x - jnp.mean(x, axes, keepdims=True)
    rstd = lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + eps)
    return _affine(centred * rstd, weight, bias), None, rstd


def _affine(x: Any, weight: Any, bias: Any) -> Any:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias


def group_norm(
    x: Any, weight: Any, bias: Any, count: int, channels: int, size: int, groups: int, eps: float
) -> Any:
    grouped = x.reshape(count, groups, -1)
    normed = layer_norm(grouped, grouped.shape[-1:], None, None, eps)[0].reshape(x.shape)
    return _affine(normed, *(_over_channels(each, x.ndim) for each in (weight, bias))), None, None


def _over_channels(weight: Any, ndim: int) -> Any:
    """A number for each channel, which is the second axis."""
    return None if weight is None else weight.reshape(-1, *(1,) * (ndim - 2))


def batch_norm(x: Any, weight: Any, bias: Any, mean: Any, variance: Any, momentum: float, eps: float) -> Any:
    mean, weight, bias = (_over_channels(each, x.ndim) for each in (mean, weight, bias))
    scale = lax.rsqrt(_over_channels(variance, x.ndim) + eps)
    return _affine((x - mean) * scale, weight, bias), None, None


def statistics_norm(x: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float) -> Any:
    """By the statistics of the input itself, as instance norm does."""
    axes = (0, *range(2, x.ndim))
    centred = x - jnp.mean(x, axes, keepdims=True)
    scale = lax.rsqrt(jnp.mean(jnp.square(centred), axes, keepdims=True) + eps)
    weight, bias = (_over_channels(each, x.ndim) for each in (weight, bias))
    return _affine(centred * scale, weight, bias), None, None


def convolution(
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


def max_pool(
    x: Any, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Any:
    sizes, steps, pads, dilations = _windows(x, kernel, stride, padding, dilation)
    if ceil_mode:
        pads = _ceiled(x, sizes, steps, pads, dilations)
    pooled = lax.reduce_window(x, -jnp.inf, lax.max, sizes, steps, pads, window_dilation=dilations)
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


def avg_pool(
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


def nearest(x: Any, size: Any, factors: Any = None) -> Any:
    for axis, i in enumerate(range(2, x.ndim)):
        length = x.shape[i]
        wanted = size[axis] if size is not None else int(length * factors[axis])
        x = jnp.take(x, (jnp.arange(wanted) * length) // wanted, axis=i)
    return x
