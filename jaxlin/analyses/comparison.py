"""Several maps compared: how well each reproduces the output, how their spectra and directions differ."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.results.compare import Comparison, Side
from jaxlin.results.labels import metric_of
from jaxlin.results.svd import SVDResult
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.spectrum import dimensions, principal_angles
from jaxlin.solvers.svd import svd


def compare(
    operators: Iterable[tuple[str, DetachedJacobian]],
    k: int = 8,
    *,
    tolerance: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """The top k of several maps between the same spaces, and the angles of each to the first.

    Args:
        operators: name -> map, one after the other; all of one shape. May be made while they are asked for,
            so that one is held at a time.
        k: how many triplets of each.
        tolerance, seed, progress: as in :func:`jaxlin.solvers`.

    Raises:
        JaxlinError: no maps, maps in two metrics, and as :func:`jaxlin.solvers`.
    """
    sides: dict[str, Side] = {}
    first: SVDResult | None = None
    measured: str | None = None
    for name, operator in operators:
        metric = metric_of(operator.labels)
        if measured not in (None, metric):
            raise JaxlinError(
                f"a map in the metric {measured} cannot be compared with one in the metric {metric}: "
                f"give maps of one metric"
            )
        measured = metric
        result = svd(operator, k, tolerance=tolerance, seed=seed, progress=progress)
        first = result if first is None else first
        rebuilt = reconstructed(operator)
        output = np.asarray(operator.y, rebuilt.dtype).ravel()
        sides[name] = Side(
            result,
            dimensions(result),
            _relative(float(np.linalg.norm(rebuilt - output)), float(np.linalg.norm(output))),
            rebuilt,
            principal_angles(result.U, first.U),
            principal_angles(result.V, first.V),
        )
    if first is None:
        raise JaxlinError("no map is given: give two or more, by name")
    return Comparison(sides, x=first.x, y=first.y, offset=first.offset, seed=seed, labels=first.labels)


def _relative(error: float, scale: float) -> float:
    """error / scale; 0 / 0, which a model gives that says nothing, is no error."""
    if scale == 0:
        return 0.0 if error == 0 else math.inf
    return error / scale


def reconstructed(operator: DetachedJacobian) -> Float[np.ndarray, " m"]:
    """J·x + c, flat, where a c that was found from y counts as none."""
    output = operator.matvec(operator.x)
    if operator.offset_independent:
        output = output + operator.offset
    return np.asarray(output, solver_dtype(operator.dtype)).ravel()
