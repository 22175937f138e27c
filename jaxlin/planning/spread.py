"""The shapes of a job on several devices, each with how it lies there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jaxlin_models as models
from jaxlin_models.decoder import LOGICAL_AXES, Weights
from jaxlin_models.sharding import Layout, coefficient_sharding
from jaxlin_models.stacks import Apart

from jaxlin.linear.operator import DetachedJacobian

_Shape = jax.ShapeDtypeStruct


def spread_weights(layout: Layout, weights: Weights, *, offload: bool) -> Weights:
    """The shapes of a decoder's weights as :func:`jaxlin_models.slices.spread` puts them."""

    def place(path: Any, shape: Any) -> Any:
        axes = LOGICAL_AXES[".".join(str(key.key) for key in path if hasattr(key, "key"))]
        stacked = axes[0] == "layer"
        if stacked and models.keeps_apart() and not offload:
            sharding = layout.sharding(axes[1:])
            return Apart(_Shape(each.shape, each.dtype, sharding=sharding) for each in models.apart(shape))
        kind = "pinned_host" if offload and stacked else None
        return _Shape(shape.shape, shape.dtype, sharding=layout.sharding(axes, memory_kind=kind))

    placed: Weights = jax.tree_util.tree_map_with_path(place, weights)
    return placed


def spread_operator(layout: Layout | None, operator: DetachedJacobian) -> DetachedJacobian:
    """The shapes of an operator with spread weights: its coefficients by their names, the rest whole."""
    if layout is None:
        return operator
    x, y, offset = (
        _Shape(a.shape, a.dtype, sharding=layout.whole) for a in (operator.x, operator.y, operator.offset)
    )
    operator = replace(operator, x=x, y=y, offset=offset)
    if not hasattr(operator.state, "recorded"):
        return operator

    def laid(path: Any, a: Any) -> Any:
        sharding = coefficient_sharding(layout, path, a)
        kind = None if a.sharding is None else a.sharding.memory_kind
        return _Shape(a.shape, a.dtype, sharding=sharding.with_memory_kind(kind) if kind else sharding)

    recorded = jax.tree_util.tree_map_with_path(laid, operator.state.recorded)
    return replace(operator, state=operator.state._replace(recorded=recorded))
