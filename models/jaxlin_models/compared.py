"""Two tensors compared some rows at a time, so that no second copy of a large table is made."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_ROWS_AT_ONCE = 4096


def equal_rows(read: Callable[[str, slice], np.ndarray], one: str, other: str, count: int) -> bool:
    """Whether two tensors of so many rows have the same values.

    Args:
        read: some rows of one of them, by its name.
        one, other: their names.
        count: of their rows.
    """
    parts = (slice(start, min(start + _ROWS_AT_ONCE, count)) for start in range(0, count, _ROWS_AT_ONCE))
    return all(bool(np.all(read(one, rows) == read(other, rows))) for rows in parts)
