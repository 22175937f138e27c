"""The shapes of a job on several devices, each with how it lies there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jaxlin_models as models
from jaxlin_models.decoder import LOGICAL_AXES, Weights
from jaxlin_models.divided import shardings
from jaxlin_models.sharding import Layout, coefficient_sharding
from jaxlin_models.stacks import Apart, is_in_codes

from jaxlin.linear.operator import DetachedJacobian

_Shape = jax.ShapeDtypeStruct


def spread_weights(layout: Layout, weights: Weights, *, offload: bool) -> Weights:
    """The shapes of a decoder's weights as :func:`jaxlin_models.slices.spread` puts them."""

    def place(path: Any, value: Any) -> Any:
        axes = LOGICAL_AXES[".".join(str(key.key) for key in path if hasattr(key, "key"))]
        stacked = axes[0] == "layer"
        if stacked and models.keeps_apart() and not offload:
            return Apart(laid(axes[1:], layer, None) for layer in models.apart(value).layers)
        return laid(axes, value, "pinned_host" if offload and stacked else None)

    def laid(axes: Sequence[str], value: Any, kind: str | None) -> Any:
        places = shardings(layout, axes, value, memory_kind=kind)
        return jax.tree.map(lambda a, at: _Shape(a.shape, a.dtype, sharding=at), value, places)

    placed: Weights = jax.tree_util.tree_map_with_path(place, weights, is_leaf=is_in_codes)
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
