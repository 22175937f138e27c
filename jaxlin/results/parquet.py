"""Contributions as a Parquet file, written as they are computed: nothing holds all of them.

A row for every point and output. Its columns: ``point`` and ``output`` (names), ``y``, ``offset``,
``reconstruction``, ``adjoint`` and ``holds`` (the certificate of the point), ``jacobian`` (the row of J, a
list), and one column for what each feature contributes, under the feature's name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType

from jaxlin.errors import JaxlinError
from jaxlin.linear.certificate import Check
from jaxlin.results.points import failed_in
from jaxlin.results.tables import check_line, panel, verdict_of
from jaxlin.runtime.workshop import workshop

#: The columns before those of the features.
COLUMNS = ("point", "output", "y", "offset", "reconstruction", "adjoint", "holds", "jacobian")


@dataclass(frozen=True, eq=False)
class ContributionsFile:
    """What was written: where, and how the certificates of the points are.

    Attributes:
        path: the file.
        points: how many there are.
        checks: the worst point of each check.
        failing: names of the points whose certificate does not hold.
        method: how the maps were computed, in words.
        seconds: for all points.
    """

    path: Path
    points: int
    checks: tuple[Check, ...]
    failing: tuple[str, ...]
    method: str
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the certificate of every point holds."""
        return not self.failing

    def __len__(self) -> int:
        return self.points

    def table(self) -> RenderableType:
        """The certificate."""
        note = f"{self.points} points in {self.path} · {self.method} · {self.seconds:.1f} s"
        return panel([check_line(check) for check in self.checks], verdict_of(failed_in(self)), note)

    def summary(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "wrote": str(self.path), "points": self.points, "holds": self.holds,
            "failing": list(self.failing), "method": self.method, "seconds": self.seconds,
            "checks": {check.name: [check.value, check.limit] for check in self.checks},
        }  # fmt: skip


class ParquetRows:
    """Takes the points chunk by chunk."""

    def __init__(self, file: Path, features: tuple[str, ...], outputs: tuple[str, ...], dtype: Any) -> None:
        """Open ``file`` for these columns."""
        arrow, parquet = _pyarrow()
        self._arrow, self._features, self._outputs = arrow, features, outputs
        # bfloat16 has no place in Parquet.
        self._dtype = np.dtype(dtype if np.dtype(dtype).kind == "f" else np.float32)
        self._number = arrow.from_numpy_dtype(self._dtype)
        self._row = arrow.list_(self._number, len(features))
        kinds = [arrow.string(), arrow.string(), *[self._number] * 4, arrow.bool_(), self._row]
        fields = [*zip(COLUMNS, kinds, strict=True), *((name, self._number) for name in features)]
        about = {"features": json.dumps(features), "outputs": json.dumps(outputs)}
        self._schema = arrow.schema(fields, metadata=about)
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, points: tuple[str, ...], x: np.ndarray, part: Any, holds: np.ndarray) -> None:
        """Append some points: names, inputs [b, n], maps of :class:`jaxlin.linear.points.Maps`."""
        count, m, n = len(points), len(self._outputs), len(self._features)

        def each(values: Any) -> np.ndarray:
            """One value a point, for each of its outputs."""
            return np.repeat(np.asarray(values), m)

        def number(values: Any) -> np.ndarray:
            return np.asarray(values, self._dtype).ravel()

        rows = np.ascontiguousarray(part.jacobian, self._dtype).reshape(count * m, n)
        contributed = rows * np.repeat(number(x).reshape(count, n), m, axis=0)

        jacobian = self._arrow.FixedSizeListArray.from_arrays(self._arrow.array(rows.ravel()), n)
        columns: Mapping[str, Any] = {
            "point": each(points), "output": np.tile(np.asarray(self._outputs, object), count),
            "y": number(part.y), "offset": number(part.offset),
            "reconstruction": each(number(part.reconstruction)), "adjoint": each(number(part.adjoint)),
            "holds": each(holds), "jacobian": jacobian,
        }  # fmt: skip
        values = [*columns.values(), *np.ascontiguousarray(contributed.T)]
        arrays = [
            self._arrow.array(value, field.type) for value, field in zip(values, self._schema, strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write what belongs at the end."""
        self._writer.close()


@contextmanager
def parquet_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A file to write into, which becomes ``path`` at the end and only if all went well.

    Raises:
        JaxlinError: pyarrow is missing, ``path`` is there already, or it cannot be written.
    """
    _pyarrow()
    if path.exists() and not overwrite:
        raise JaxlinError(f"{path} is there already: choose another file, or add `overwrite`")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with workshop(path) as folder:
            yield folder / "part"
            os.replace(folder / "part", path)
    except OSError as error:
        raise JaxlinError(f"cannot write {path} ({error.strerror}): choose another file") from error


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise JaxlinError(
            'Parquet files need pyarrow, which is not installed: pip install "jaxlin[parquet]"'
        ) from error
    return pyarrow, parquet
