"""``jaxlin.contributions``: what every feature of every point contributes, exactly, in chunks that fit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import psutil

from jaxlin.errors import JaxlinError
from jaxlin.linear.point_data import Points, names_for, points_from
from jaxlin.linear.points import Maps, PointMaps
from jaxlin.networks.freeze import Frozen, freeze
from jaxlin.results.parquet import COLUMNS, ContributionsFile, ParquetRows, parquet_file
from jaxlin.results.points import PointContributions, holding, worst
from jaxlin.runtime.device import device
from jaxlin.runtime.progress import Progress, silent
from jaxlin.runtime.sizes import spell_size

#: Units of roundoff that may accumulate on the way through a network.
_ROUNDINGS = 200.0
#: What the points of one chunk may need: on a CPU they are computed faster while they stay in a cache.
_CHUNK_BYTES, _CHUNK_BYTES_ELSEWHERE = 4 * 2**20, 2**30


def contributions(
    f: Callable[..., Any],
    X: Any,
    *parameters: Any,
    batched: bool = False,
    features: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    points: Sequence[str] | None = None,
    chunk: int | None = None,
    to: str | Path | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> PointContributions | ContributionsFile:
    """What every feature of every point contributes to every output of ``f``, exactly.

    With all nonlinear coefficients frozen at a point x_n, f(x_n) = J_n·x_n + c_n. What the features
    contribute, J_n ⊙ x_n, sums to f(x_n) − c_n.

    Args:
        f: one point, and parameters, to one output of any shape: a plain function, a module of Flax NNX,
            Equinox or PyTorch, or what :func:`jaxlin.freeze` returns.
        X: the points [N, *input_shape] in a floating dtype: an array, a sparse matrix, or a data frame,
            whose names of columns and rows are kept. Computed in the precision of JAX (float32, unless
            ``jax_enable_x64`` is set), and in that of the weights where it is wider.
        *parameters: pytrees of weights. Arrays that ``f`` closes over are passed to the compiled program
            as well, and not copied into it.
        batched: ``f`` takes many points at once, [N, *input_shape] -> [N, *output_shape], and treats each
            alone.
        features: names of the features, in the order of a flat point; their places if not given.
        outputs: names of the outputs, likewise.
        points: names of the points; their numbers if not given.
        chunk: how many points to compute at once; as many as are fast on this device if not given.
        to: a Parquet file, to which rows are written as they are computed, see
            :mod:`jaxlin.results.parquet`. For what does not fit into memory.
        overwrite: whether ``to`` may replace a file.
        progress: told how far it is.

    Returns:
        All maps and contributions with a certificate for every point; with ``to`` where they are, and how
        the certificates are.

    Raises:
        JaxlinError: a part of ``f`` has no rule (it is named), X is not what it has to be, points of a batch
            influence each other, or the result does not fit into memory.
    """
    started = time.perf_counter()
    given = points_from(X, features, points)
    frozen = freeze(f)
    maps = _point_maps(frozen, given, parameters, batched=batched)
    if jnp.promote_types(given.dtype, maps.dtype) != given.dtype:  # its weights are wider than the points
        given = replace(given, dtype=maps.dtype)
        maps = _point_maps(frozen, given, parameters, batched=batched)
    named = names_for("outputs", outputs, maps.output_shape)
    size = _chunk_size(maps, chunk)
    limit = _ROUNDINGS * float(jnp.finfo(maps.dtype).eps) / 2
    _check_function(frozen, given, parameters, maps, limit, batched=batched)
    if to is not None:
        return _streamed(maps, given, named, size, limit, started, Path(to), progress, overwrite=overwrite)
    _check_room(maps, len(given))
    x, whole = _gathered(maps, given, size, progress)
    return PointContributions(
        x=x, y=whole.y, offset=whole.offset, J=whole.jacobian, reconstruction=whole.reconstruction,
        adjoint=whole.adjoint, limit=limit, features=given.features, outputs=named, points=given.names,
        method=maps.method, seconds=time.perf_counter() - started,
    )  # fmt: skip


def _point_maps(frozen: Frozen, points: Points, parameters: tuple[Any, ...], *, batched: bool) -> PointMaps:
    one = frozen.of_one() if batched else frozen
    try:
        return PointMaps(one, points.like, *parameters)
    except JaxlinError:
        raise
    except jax.errors.ConcretizationTypeError as error:
        raise JaxlinError(
            "the function decides in Python by the values of its input, where JAX sees none: choose with "
            "jnp.where or jax.lax.cond"
        ) from error
    except (MemoryError, OSError):
        raise
    except Exception as error:  # it is somebody's own function, which may raise anything
        other = (
            "without `batched`, if it takes one" if batched else "with `batched`, if it takes many at once"
        )
        raise JaxlinError(
            f"the function fails at a point of shape {list(points.shape)} "
            f"({type(error).__name__}: {str(error).partition(chr(10))[0]}): give points of the shape that it "
            f"takes, {other}"
        ) from error


def _chunk_size(maps: PointMaps, chunk: int | None) -> int:
    if chunk is not None and chunk < 1:
        raise JaxlinError(f"`chunk` is {chunk}: give 1 or more")
    most = _CHUNK_BYTES if device().platform == "cpu" else _CHUNK_BYTES_ELSEWHERE
    return chunk or max(1, most // maps.bytes_per_point)


def _check_function(
    frozen: Frozen,
    points: Points,
    parameters: tuple[Any, ...],
    maps: PointMaps,
    limit: float,
    *,
    batched: bool,
) -> None:
    """Compare some outputs with those of a whole batch, and those of PyTorch with its own.

    Raises:
        JaxlinError: one point changes the output of another, or the translation of a module is wrong.
    """
    itself = getattr(frozen.f, "itself", None)
    if not batched and itself is None:
        return
    few = points.part(0, min(8, len(points)))
    alone = np.asarray(maps.at(jnp.asarray(few)).y, np.float64)
    if batched and not _near(np.asarray(frozen.f(jnp.asarray(few), *parameters)), alone, limit):
        raise JaxlinError(
            "the points of a batch change each other's outputs (as statistics of a batch do): give a "
            "function that treats each point alone"
        )
    if itself is not None:
        expected = itself(few) if batched else np.stack([itself(point) for point in few])
        if not _near(expected, alone, limit):
            raise JaxlinError(
                "the module computes something else in PyTorch than its translation to JAX does: write the "
                "network in JAX"
            )


def _near(expected: np.ndarray, found: np.ndarray, limit: float) -> bool:
    size = np.linalg.norm(found) or 1.0
    return expected.shape == found.shape and bool(np.linalg.norm(expected - found) <= limit * size)


def _check_room(maps: PointMaps, count: int) -> None:
    needed = count * math.prod(maps.output_shape) * math.prod(maps.input_shape) * maps.dtype.itemsize
    free = psutil.virtual_memory().available
    if needed > 0.8 * free:
        raise JaxlinError(
            f"the maps of {count} points take {spell_size(needed)} and {spell_size(free)} are free: write "
            "them to a file with `to`"
        )


def _computed(
    maps: PointMaps, points: Points, size: int, progress: Progress
) -> Iterator[tuple[int, np.ndarray, Maps]]:
    """Every chunk: where it starts, its points, its maps. The next one is computed while one is used."""
    count = len(points)
    even = -(-count // -(-count // size))  # all chunks of one size: one program serves all
    waiting: tuple[int, np.ndarray, Maps] | None = None
    for start, part in points.parts(even):
        progress("computing contributions", start, count, "points")
        filled = np.concatenate([part, np.repeat(part[-1:], even - len(part), axis=0)])
        running = start, part, maps.at(jnp.asarray(filled))
        if waiting is not None:
            yield _on_host(waiting)
        waiting = running
    if waiting is not None:
        yield _on_host(waiting)
    progress("computing contributions", count, count, "points")


def _on_host(chunk: tuple[int, np.ndarray, Maps]) -> tuple[int, np.ndarray, Maps]:
    start, part, computed = chunk
    return start, part, jax.tree.map(lambda array: np.asarray(array)[: len(part)], computed)


def _gathered(maps: PointMaps, points: Points, size: int, progress: Progress) -> tuple[np.ndarray, Maps]:
    """All points, and all maps, in arrays of their final size."""
    x = np.empty((len(points), *points.shape), points.dtype)
    whole: Maps | None = None
    for start, part, computed in _computed(maps, points, size, progress):
        if whole is None:
            whole = jax.tree.map(lambda a: np.empty((len(points), *a.shape[1:]), a.dtype), computed)
        here = slice(start, start + len(part))
        x[here] = part
        for field in fields(Maps):
            getattr(whole, field.name)[here] = getattr(computed, field.name)
    assert whole is not None  # there are points
    return x, whole


def _streamed(
    maps: PointMaps,
    points: Points,
    outputs: tuple[str, ...],
    size: int,
    limit: float,
    started: float,
    path: Path,
    progress: Progress,
    *,
    overwrite: bool,
) -> ContributionsFile:
    twice = sorted(set(points.features) & set(COLUMNS))
    if twice:
        raise JaxlinError(f"a feature is called {twice[0]!r}, as a column of the file is: call it otherwise")
    errors: list[Maps] = []
    failing: list[str] = []
    with parquet_file(path, overwrite=overwrite) as file:
        rows = ParquetRows(file, points.features, outputs, maps.dtype)
        for start, part, computed in _computed(maps, points, size, progress):
            names = points.names[start : start + len(part)]
            holds = holding(computed.reconstruction, computed.adjoint, limit)
            rows.write(names, part, computed, holds)
            failing += [name for name, each in zip(names, holds, strict=True) if not each]
            errors.append(Maps(None, None, None, computed.reconstruction, computed.adjoint))
        rows.close()
    checks = worst(
        np.concatenate([each.reconstruction for each in errors]),
        np.concatenate([each.adjoint for each in errors]),
        limit,
    )
    return ContributionsFile(
        path, len(points), checks, tuple(failing), maps.method, time.perf_counter() - started
    )
