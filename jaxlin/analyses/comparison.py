"""Maps side by side: how well each gives back the output, how their spectra and directions differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.spectrum import Dimensions, dimensions, principal_angles
from jaxlin.solvers.svd import SVDResult, svd


@dataclass(frozen=True, eq=False)
class Side:
    """One of the maps.

    Attributes:
        result: its top k.
        dimensions: its stable rank and the like.
        reconstruction: ‖J·x + c − y‖ / ‖y‖, with the c that biases make and none fitted to y: how much of the
            output is this map's.
        reconstructed: J·x + c itself, flat [m].
        left_angles: principal angles of its left vectors' span to that of the first map [k], in radians.
        right_angles: those of its right vectors.
    """

    result: SVDResult
    dimensions: Dimensions
    reconstruction: float
    reconstructed: Float[np.ndarray, " m"]
    left_angles: Float[np.ndarray, " k"]
    right_angles: Float[np.ndarray, " k"]


def compare(
    operators: Iterable[tuple[str, DetachedJacobian]],
    k: int = 8,
    *,
    tolerance: float | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Mapping[str, Side]:
    """The top k of several maps between the same spaces, and the angles of each to the first.

    Args:
        operators: name -> map, one after the other; all of one shape. May be made while they are asked for,
            so that one is held at a time.
        k: how many triplets of each.
        tolerance, seed, progress: as in :func:`jaxlin.solvers`.

    Raises:
        JaxlinError: as :func:`jaxlin.solvers`.
    """
    sides: dict[str, Side] = {}
    first: SVDResult | None = None
    for name, operator in operators:
        result = svd(operator, k, tolerance=tolerance, seed=seed, progress=progress)
        first = result if first is None else first
        rebuilt = reconstructed(operator)
        output = np.asarray(operator.y, rebuilt.dtype).ravel()
        sides[name] = Side(
            result,
            dimensions(result),
            float(np.linalg.norm(rebuilt - output) / np.linalg.norm(output)),
            rebuilt,
            principal_angles(result.U, first.U),
            principal_angles(result.V, first.V),
        )
    return sides


def reconstructed(operator: DetachedJacobian) -> Float[np.ndarray, " m"]:
    """J·x + c, flat, where a c that was found from y counts as none."""
    found = operator.matvec(operator.x)
    if operator.offset_independent:
        found = found + operator.offset
    return np.asarray(found, solver_dtype(operator.dtype)).ravel()
