"""The rows of a file with many prompts, JSON lines or Parquet: a broken one does not hide the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxlin.errors import JaxlinError
from jaxlin.prompts.files import read_json_lines

#: A row that can be read, or why it cannot be.
Row = dict[str, Any] | JaxlinError
_PARQUET = (".parquet", ".pq")


def read_rows(path: Path, argument: str) -> Iterator[tuple[int, Row]]:
    """The rows of a file, each with its number from 1; empty lines are none.

    Args:
        path: a Parquet file by its ending, as ``datasets`` writes with ``to_parquet``; else JSON lines.
        argument: under which name it was given.

    Raises:
        JaxlinError: a file that cannot be read, or Parquet without pyarrow.
    """
    yield from _parquet(path, argument) if path.suffix in _PARQUET else read_json_lines(path, argument)


def _parquet(path: Path, argument: str) -> Iterator[tuple[int, Row]]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise JaxlinError(
            'Parquet files need pyarrow, which is not installed: pip install "jaxlin[parquet]"'
        ) from error
    try:
        number = 0
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, {name: value for name, value in row.items() if value is not None}
    except (ArrowException, OSError) as error:
        raise JaxlinError(f"cannot read {path} as Parquet ({error}): check `{argument}`") from error
