"""The header of one GGUF file: metadata, and where each tensor is; every length is checked first."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np

from jaxlin_models.errors import ModelError
from jaxlin_models.families.keys import shown
from jaxlin_models.gguf.storage import STORAGE, Storage, refuse_storage
from jaxlin_models.regular import require_regular

MAGIC = b"GGUF"
VERSIONS = (2, 3)
#: More than any file has: keys and tensors; entries of a list; bytes of a text.
_MOST_ENTRIES, _MOST_ITEMS, _MOST_TEXT = 2**16, 2**23, 2**24
#: struct's names of the numbers, by GGUF's; 8 is text and 9 a list.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
_ALIGNMENT, _MOST_ALIGNMENT = 32, 2**20
_MOST_DIMENSIONS = 4
#: Rows that are dequantised at once, which takes several times their own memory.
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Place:
    """Where a tensor is: ``shape`` has rows first, as elsewhere here, and GGUF last."""

    path: Path
    shape: tuple[int, ...]
    storage: Storage
    offset: int

    @property
    def row_bytes(self) -> int:
        """Of one row, which blocks do not cross."""
        return self.storage.bytes_of(self.shape[-1])

    @property
    def rows(self) -> int:
        """How many rows there are; a tensor of one axis is one row."""
        return math.prod(self.shape[:-1])

    def raw(self) -> np.ndarray:
        """The bytes [rows, bytes of a row], in the file.

        Raises:
            ModelError: the file was changed since its header was read.
        """
        try:
            return np.memmap(self.path, np.uint8, "r", self.offset, (self.rows, self.row_bytes))
        except (OSError, ValueError) as error:
            raise ModelError(f"{self.path} was changed while it was read; fetch it again") from error

    def read(self, rows: slice | np.ndarray, columns: slice = slice(None)) -> np.ndarray:
        """The numbers of some rows, by their slice or their numbers; of a tensor of one axis, some numbers.

        Of ``columns`` alone, if they are given; whole rows are read for them, some at a time.

        Raises:
            ModelError: as :meth:`raw`.
        """
        raw = self.raw()
        if len(self.shape) == 1:
            return self.storage.values(raw)[0, rows].copy()
        chosen = np.arange(self.rows)[rows]
        width = len(range(self.shape[-1])[columns])
        values = np.empty((len(chosen), width), self.storage.dtype)
        for start in range(0, len(chosen), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            values[part] = self.storage.values(raw[chosen[part]])[:, columns]
        return values


@dataclass(frozen=True)
class Header:
    """What a file says before its tensors' values."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Place]


def read_header(path: Path) -> Header:
    """The header of a file; no more memory is taken than the file is large, times a small factor.

    Raises:
        ModelError: no regular file, no GGUF, another version or byte order, one that is truncated or
            damaged, or tensors of a type that is not supported.
    """
    require_regular(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _read(_Cursor(path, file, size))
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read ({error.strerror}); check its rights, or fetch it again"
        ) from error


class _Cursor:
    """Reads forwards, and never past the end of the file."""

    def __init__(self, path: Path, file: BufferedReader, size: int) -> None:
        self.path, self.size, self.at = path, size, 0
        self._file = file

    def damaged(self, why: str) -> ModelError:
        return ModelError(f"{self.path} is truncated or damaged ({why}); fetch it again")

    def bytes(self, count: int) -> bytes:
        if count > self.size - self.at:
            raise self.damaged(f"it ends at byte {self.size}, and something in its header does not")
        data = self._file.read(count)
        if len(data) < count:
            raise self.damaged("it became shorter while it was read")
        self.at += count
        return data

    def numbers(self, kind: str, count: int) -> tuple[Any, ...]:
        form = f"<{count}{kind}"
        return struct.unpack(form, self.bytes(struct.calcsize(form)))

    def number(self, kind: str) -> Any:
        return self.numbers(kind, 1)[0]

    def count(self, kind: str, most: int, what: str) -> int:
        found = int(self.number(kind))
        if found > most:
            raise self.damaged(f"it states {found} {what}, and no file has more than {most}")
        return found

    def text(self) -> str:
        data = self.bytes(self.count("Q", _MOST_TEXT, "bytes of a text"))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damaged(f"a text before byte {self.at} is no UTF-8") from error


def _read(cursor: _Cursor) -> Header:
    _check_beginning(cursor)
    tensors = cursor.count("Q", _MOST_ENTRIES, "tensors")
    keys = cursor.count("Q", _MOST_ENTRIES, "keys")
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = cursor.text()
        if key in metadata:
            raise cursor.damaged(f"the key {shown(key)} stands in it twice")
        metadata[key] = _value(cursor, key)
    stated = [_tensor(cursor) for _ in range(tensors)]
    alignment = metadata.get("general.alignment", _ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= _MOST_ALIGNMENT or alignment & (alignment - 1):
        raise cursor.damaged(f"its alignment is {shown(alignment)}, which is no power of two")
    start = -(-cursor.at // alignment) * alignment
    return Header(cursor.path, metadata, _places(cursor, stated, start, alignment))


def _check_beginning(cursor: _Cursor) -> None:
    if cursor.size < 24 or cursor.bytes(4) != MAGIC:
        raise ModelError(
            f"{cursor.path} is no GGUF file ({cursor.size} bytes that begin otherwise); fetch it again"
        )
    version = cursor.number("I")
    if not version & 0xFFFF:
        raise ModelError(
            f"{cursor.path} is a big-endian GGUF file; convert the model again, as little-endian"
        )
    if version not in VERSIONS:
        raise ModelError(
            f"{cursor.path} is a GGUF file of version {version}, and supported are {VERSIONS[0]} and "
            f"{VERSIONS[1]}; convert the model again"
        )


def _value(cursor: _Cursor, key: str) -> Any:
    kind = cursor.number("I")
    if kind in _NUMBERS:
        return cursor.number(_NUMBERS[kind])
    if kind == _TEXT:
        return cursor.text()
    if kind != _LIST:
        raise cursor.damaged(f"the key {shown(key)} is of the unknown type {kind}")
    inner = cursor.number("I")
    items = cursor.count("Q", _MOST_ITEMS, "entries of a list")
    if inner in _NUMBERS:
        return list(cursor.numbers(_NUMBERS[inner], items))
    if inner == _TEXT:
        if items * 8 > cursor.size - cursor.at:  # before so many are made
            raise cursor.damaged(f"the list {shown(key)} goes on after its end")
        return [cursor.text() for _ in range(items)]
    raise cursor.damaged(f"the list {shown(key)} is of the unsupported type {inner}")


def _tensor(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.text()
    dimensions = cursor.count("I", _MOST_DIMENSIONS, "axes of a tensor")
    shape = tuple(reversed(cursor.numbers("Q", dimensions)))
    kind, offset = cursor.number("I"), cursor.number("Q")
    return name, shape, kind, offset


def _places(
    cursor: _Cursor, stated: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int
) -> dict[str, Place]:
    """Where tensors are, all of them inside the file and none inside another."""
    places: dict[str, Place] = {}
    end, before = start, ""
    for name, shape, kind, offset in sorted(stated, key=lambda tensor: tensor[3]):
        called = f"tensor {shown(name)}"
        if name in places:
            raise cursor.damaged(f"{called} stands in it twice")
        if kind not in STORAGE:
            refuse_storage(cursor.path, name, kind)
        storage = STORAGE[kind]
        if not shape or not all(shape):
            raise cursor.damaged(f"{called} is empty")
        if shape[-1] % storage.block:
            raise cursor.damaged(
                f"{called} has rows of {shape[-1]}, no multiple of {storage.block} ({storage.name})"
            )
        at = start + offset
        if offset % alignment or at < end:
            raise cursor.damaged(f"{called} begins inside of {before or 'the header'} or between two places")
        place = Place(cursor.path, shape, storage, at)
        end, before = at + place.rows * place.row_bytes, name
        if end > cursor.size:
            raise cursor.damaged(f"{called} ends at byte {end} and the file at {cursor.size}")
        places[name] = place
    return {name: places[name] for name, *_ in stated}
