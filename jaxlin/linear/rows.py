"""Rows Jᵀ·U of the map, kept on disk: what needs all of them never holds more than a few in memory."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float

from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian, solver_dtype
from jaxlin.runtime.sizes import spell_size

#: What one read brings into memory, at most (one position at least).
_READ_BYTES = 64 * 2**20


class RowFile:
    """A nameless scratch file of rows [r, T, e], written row by row and read position by position.

    ``operator``'s input is taken as T positions of e features. The file vanishes with the process,
    however that ends.
    """

    def __init__(self, operator: DetachedJacobian, most: int, folder: Path | None = None) -> None:
        """Make room for ``most`` rows in ``folder`` (the system's place for temporary files if None).

        Raises:
            JaxlinError: the file cannot be made, or the disk has not that much left.
        """
        self.positions = operator.input_shape[0]
        self._features = operator.shape[1] // self.positions
        self.dtype = np.dtype(solver_dtype(operator.dtype))
        self._written = 0
        place = Path(tempfile.gettempdir()) if folder is None else folder
        needed = most * operator.shape[1] * self.dtype.itemsize
        try:
            free = shutil.disk_usage(place).free
            self._file = tempfile.TemporaryFile(dir=place)  # noqa: SIM115 - closed by __exit__
        except OSError as error:
            raise _cannot(place, error) from error
        if needed > free:
            self._file.close()
            raise JaxlinError(
                f"the rows of this map take {spell_size(needed)} of scratch space and {place} has "
                f"{spell_size(free)} left: use method lanczos (or shared), or point TMPDIR elsewhere"
            )
        self._place = place

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._written

    def append(self, rows: Float[np.ndarray, "b ..."]) -> None:
        """Write rows [b, T, …] behind those that are there; :class:`JaxlinError` if the disk is full."""
        try:
            self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(rows, self.dtype).data)
            self._file.flush()
        except OSError as error:
            raise _cannot(self._place, error) from error
        self._written += len(rows)

    def by_position(
        self, read_bytes: int = _READ_BYTES
    ) -> Iterator[tuple[slice, Float[np.ndarray, "p r e"]]]:
        """All rows, some positions at a time: (which positions, their blocks [p, r, e])."""
        width = self._features * self.dtype.itemsize
        at_once = max(1, read_bytes // max(1, self._written * width))
        for start in range(0, self.positions, at_once):
            stop = min(start + at_once, self.positions)
            blocks = np.empty((self._written, stop - start, self._features), self.dtype)
            for row in range(self._written):
                self._file.seek((row * self.positions + start) * width)
                self._file.readinto(blocks[row].reshape(-1).view(np.uint8).data)
            yield slice(start, stop), blocks.transpose(1, 0, 2)


def _cannot(place: Path, error: OSError) -> JaxlinError:
    return JaxlinError(f"cannot write scratch rows to {place} ({error.strerror}): free some space there")
