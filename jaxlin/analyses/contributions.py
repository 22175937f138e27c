"""``jaxlin.contributions``: what every feature of every point contributes, exactly, in chunks that fit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxlin.errors import JaxlinError
from jaxlin.linear.points import Maps, PointMaps
from jaxlin.networks.freeze import freeze
from jaxlin.results.points import PointContributions
from jaxlin.runtime.progress import Progress, silent

#: Units of roundoff that may accumulate on the way through a network.
_ROUNDINGS = 200.0
#: What the points of one chunk may need: they are computed faster while they stay in a cache.
_CHUNK_BYTES = 64 * 2**20


def contributions(
    f: Callable[..., Any],
    X: Any,
    *parameters: Any,
    batched: bool = False,
    features: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    chunk: int | None = None,
    progress: Progress = silent,
) -> PointContributions:
    """What every feature of every point contributes to every output of ``f``, exactly.

    Args:
        f: one point, and parameters, to one output: a plain function, a module of Flax NNX or Equinox, or
            what :func:`jaxlin.freeze` returns.
        X: the points [N, *input_shape], in a floating dtype, or a data frame.
        *parameters: pytrees of weights.
        batched: ``f`` takes many points at once [N, *input_shape] and not one.
        features: names of the features; those of a data frame, or their numbers, if not given.
        outputs: names of the outputs; their numbers if not given.
        chunk: how many points to compute at once; as many as fit if not given.
        progress: told how far it is.

    Raises:
        JaxlinError: a part of ``f`` has no rule, or X is not what it has to be.
    """
    started = time.perf_counter()
    points = np.asarray(X)
    names = features if features is not None else getattr(X, "columns", None)
    maps = PointMaps(freeze(f), jax.ShapeDtypeStruct(points.shape[1:], jnp.asarray(points[:1]).dtype), *parameters)
    size = chunk or max(1, _CHUNK_BYTES // maps.bytes_per_point)
    parts: list[Maps] = []
    for start in range(0, len(points), size):
        progress("computing contributions", start, len(points), "points")
        parts.append(jax.tree.map(np.asarray, maps.at(jnp.asarray(points[start : start + size]))))
    whole = jax.tree.map(lambda *each: np.concatenate(each), *parts)
    limit = _ROUNDINGS * float(jnp.finfo(maps.dtype).eps) / 2
    if batched:
        raise JaxlinError("batched is not there yet")
    return PointContributions(
        x=np.asarray(points, whole.jacobian.dtype), y=whole.y, offset=whole.offset, J=whole.jacobian,
        reconstruction=whole.reconstruction, adjoint=whole.adjoint, limit=limit,
        features=_names(names, math.prod(maps.input_shape)),
        outputs=_names(outputs, math.prod(maps.output_shape)),
        method=maps.method, seconds=time.perf_counter() - started,
    )  # fmt: skip


def _names(given: Any, count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count) if given is None else given))
