"""The list of the results of many prompts: a file of JSON lines that every run adds to.

A prompt that is done takes one line at the end of the file, however long that is. Several processes may add
to it at once, each line while it holds the file. At its end a run puts the lines in the order of the prompts,
the last one of every prompt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from io import BufferedRandom
from pathlib import Path
from typing import Any

from jaxlin.errors import JaxlinError
from jaxlin.results.store import spelled_json, write_whole
from jaxlin.runtime.files import check_regular, held

Rows = dict[str, dict[str, Any]]


class Index:
    """The file, and what it says of every prompt."""

    def __init__(self, path: Path, shop: Path) -> None:
        """Read what is there.

        Args:
            path: the file; a link is replaced, not followed.
            shop: a hidden folder of this run beside it, where it may grow.

        Raises:
            JaxlinError: it cannot be read, or is no file.
        """
        self.path, self._shop = path, shop
        try:
            if path.is_symlink():
                path.unlink()
            if path.exists():
                check_regular(path)
            self.rows = _rows_in(path.read_bytes()) if path.exists() else {}
        except OSError as error:
            raise self._unusable(error) from error

    def add(self, row: Mapping[str, Any]) -> None:
        """One more prompt is done, or failed.

        Raises:
            JaxlinError: the line cannot be written.
        """
        self.rows[row["id"]] = dict(row)
        try:
            with held(self.path) as file:
                _cut_torn_line(file)
                file.write(spelled_json(row).encode() + b"\n")
                file.flush()
        except OSError as error:
            raise self._unusable(error) from error

    def put_in_order(self, names: Sequence[str]) -> Rows:
        """All rows as they are on disk now, by name: those of these prompts in their order, then others.

        Of other prompts those stay whose results are there.

        Raises:
            JaxlinError: it cannot be written.
        """
        try:
            with held(self.path) as file:
                old = file.read()
                found = {**_rows_in(old)}
                rows = {name: found[name] for name in names if name in found}
                rows |= {
                    name: row
                    for name, row in found.items()
                    if name not in rows and os.path.isdir(self.path.parent / name)
                }
                text = "".join(spelled_json(row) + "\n" for row in rows.values())
                if text.encode() != old:
                    write_whole(self.path, text, within=self._shop)
        except OSError as error:
            raise self._unusable(error) from error
        self.rows = rows
        return rows

    def _unusable(self, error: OSError) -> JaxlinError:
        return JaxlinError(f"cannot write {self.path} ({error.strerror}): choose another `out`")


def _rows_in(text: bytes) -> Rows:
    """The last row of every prompt. A line that is none is left out: its result will be looked at."""
    rows: Rows = {}
    for line in text.split(b"\n"):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # the latter where it is nested too deeply
            continue
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            rows[row["id"]] = row
    return rows


def _cut_torn_line(file: BufferedRandom) -> None:
    """Go to the end of the last whole line: a run that was killed may have left a part of one behind it."""
    end = file.seek(0, os.SEEK_END)
    step = 1 << 16
    at = end
    while at:
        start = max(0, at - step)
        file.seek(start)
        found = file.read(at - start).rfind(b"\n")
        if found >= 0:
            at = start + found + 1
            break
        at = start
    if at < end:
        file.truncate(at)
    file.seek(at)
