"""``contributions``: a network of any kind at the points of a file."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from jaxlin.analyses.contributions import contributions as of_points
from jaxlin.errors import JaxlinError
from jaxlin.results.parquet import ContributionsFile
from jaxlin.results.points import PointContributions
from jaxlin.runtime.progress import Progress, silent
from jaxlin.verbs.keeping import kept
from jaxlin.verbs.point_files import find_function, read_points
from jaxlin.verbs.points import Contributions


def contributions(
    options: Contributions, progress: Progress = silent
) -> PointContributions | ContributionsFile:
    """What every feature of every point of a file contributes to every output of a function.

    Raises:
        JaxlinError: a request that cannot be met.
    """
    if options.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    outputs = None if options.outputs is None else options.outputs.split(",")
    asked: dict[str, Any] = {"batched": options.batched, "outputs": outputs, "chunk": options.chunk}
    if options.to is not None:
        if options.out is not None:
            raise JaxlinError("`to` and `out` are two places for one result: give one of them")
        f, (points, names) = find_function(options.function), _points(options)
        return of_points(
            f, points, **asked, **names, to=options.to, overwrite=options.overwrite, progress=progress
        )
    with kept(options) as folder:
        f, (points, names) = find_function(options.function), _points(options)
        made = of_points(f, points, **asked, **names, progress=progress)
        assert isinstance(made, PointContributions)  # there is no file to write
        result = made.with_notes(function=options.function, data=str(options.data), batched=options.batched)
        if folder is not None:
            result.write(folder)
    return result


def _points(options: Contributions) -> tuple[Any, dict[str, Any]]:
    """The points in the dtype that was asked for, and their names; whole numbers are refused later."""
    points, names = read_points(options.data)
    kind = np.dtype(options.dtype)
    frame = hasattr(points, "to_numpy")
    floating = frame or points.dtype.kind == "f"
    return (points.astype(kind) if floating and (frame or points.dtype != kind) else points), names
