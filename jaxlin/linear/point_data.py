"""The points that maps are asked at: checked, named, and read some at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxlin.errors import JaxlinError

#: Numbers that are looked at together when all are checked.
_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class Points:
    """Points [N, *shape] of real numbers, each finite.

    Attributes:
        data: an array, a memory-mapped one, or a sparse matrix.
        names: of the points.
        features: of the numbers of one point, in the order of a flat one.
        dtype: what JAX computes with.
    """

    data: Any
    names: tuple[str, ...]
    features: tuple[str, ...]
    dtype: Any

    def __len__(self) -> int:
        return int(self.data.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one point."""
        return tuple(self.data.shape[1:])

    @property
    def like(self) -> jax.ShapeDtypeStruct:
        """Shape and dtype of one point."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype)

    def part(self, start: int, stop: int) -> np.ndarray:
        """Some of them as an array of their own."""
        part = self.data[start:stop]
        with np.errstate(over="ignore"):  # what is too large is infinite, and refused
            return np.asarray(part.toarray() if hasattr(part, "toarray") else part, self.dtype)

    def parts(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """All of them: where each part starts, and the part."""
        for start in range(0, len(self), size):
            yield start, self.part(start, min(start + size, len(self)))


def points_from(X: Any, features: Sequence[str] | None = None, names: Sequence[str] | None = None) -> Points:
    """Points from an array [N, …], a sparse matrix, or a data frame with a column for every feature.

    Raises:
        JaxlinError: no points, numbers that are not real and floating, not finite, or names that are not as
            many as what they name.
    """
    frame = hasattr(X, "columns") and hasattr(X, "to_numpy")
    data = X.to_numpy() if frame else X.tocsr() if hasattr(X, "tocsr") else np.asanyarray(X)
    if features is None and frame:
        features = tuple(map(str, X.columns))
    if names is None and frame:
        index = getattr(X, "index", None)  # which frames of polars do not have
        names = None if index is None else tuple(map(str, index))
    if len(data.shape) < 1 or 0 in data.shape:
        raise JaxlinError(f"X has the shape {list(data.shape)}: give points [N, features…], one or more")
    if np.dtype(data.dtype).kind != "f" and "float" not in data.dtype.name:
        raise JaxlinError(
            f"X holds {data.dtype.name} and a map needs numbers that can change a little: give "
            "floating-point ones (X.astype(float)), and for indices into a table the rows that they choose"
        )
    dtype = jax.dtypes.canonicalize_dtype(data.dtype)
    count = int(np.prod(data.shape[1:], dtype=np.int64))
    points = Points(
        data,
        _named("points", names, int(data.shape[0])),
        _named("features", features, count, data.shape[1:]),
        dtype,
    )
    for start, part in points.parts(max(1, _AT_ONCE // max(1, count))):
        wrong = np.argwhere(~np.isfinite(part.reshape(len(part), -1).astype(np.float64)))
        if len(wrong):
            point, feature = wrong[0]
            raise JaxlinError(
                f"X is not finite at point {points.names[start + point]}, feature "
                f"{points.features[feature]}: leave that point out, or fill it in"
            )
    return points


def names_for(what: str, given: Sequence[str] | None, shape: Sequence[int]) -> tuple[str, ...]:
    """The names of numbers of this shape: those given, or where each of them is."""
    return _named(what, given, int(np.prod(shape, dtype=np.int64)), shape)


def _named(
    what: str, given: Sequence[str] | None, count: int, shape: Sequence[int] | None = None
) -> tuple[str, ...]:
    if given is None:
        places = np.ndindex(*shape) if shape is not None and len(shape) > 1 else range(count)
        return tuple(",".join(map(str, p)) if isinstance(p, tuple) else str(p) for p in places)
    names = tuple(map(str, given))
    if len(names) != count:
        raise JaxlinError(f"there are {len(names)} names for {count} {what}: give one for each")
    if what != "points" and len(set(names)) != count:
        twice = next(name for name in names if names.count(name) > 1)
        raise JaxlinError(f"two {what} are called {twice!r}: give each a name of its own")
    return names
