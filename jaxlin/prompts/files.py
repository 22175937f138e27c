"""Prompts from files: their text byte for byte, and JSON lines as they are cut at line feeds alone."""

from __future__ import annotations

import codecs
import errno
import json
import os
import stat
import time
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path
from select import select
from typing import Any

from jaxlin.errors import JaxlinError
from jaxlin.runtime.sizes import spell_size

#: The most that is read of a file with one prompt, and of one with many, or of a pipe that may have no end.
PROMPT_BYTES, PROMPTS_BYTES = 16_000_000, 256_000_000
_AT_ONCE = 1 << 20
#: Seconds in which somebody must have opened the other end of a pipe.
_PATIENCE = 5.0
#: The marks that other encodings begin with; those of UTF-32 first, since one begins with one of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path: Path, argument: str, most: int = PROMPT_BYTES) -> str:
    """The text of a file, byte for byte but for the mark that UTF-8 may begin with.

    Args:
        path: a file, or a pipe, which is read to its end.
        argument: under which name it was given.
        most: bytes that it may have.

    Raises:
        JaxlinError: it cannot be read, is too large, or is no UTF-8: by its line, or the encoding's name.
    """
    data = _read_bytes(path, argument, most).removeprefix(codecs.BOM_UTF8)
    other = _other_encoding(data)
    if other is not None:
        raise JaxlinError(
            f"cannot read {path} as UTF-8 text (it is in {other}): save it as UTF-8, or check `{argument}`"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise JaxlinError(
            f"cannot read {path} as UTF-8 text (line {line} has the byte 0x{data[error.start]:02x}, which is "
            f"none): save it as UTF-8, or check `{argument}`"
        ) from error


def read_json_lines(path: Path, argument: str) -> Iterator[tuple[int, dict[str, Any] | JaxlinError]]:
    """The objects of a file with one a line, each with the number of its line from 1; empty lines are none.

    Lines end at line feeds, and nowhere else: U+2028 and its like are text inside of JSON. In the place of a
    line that is no JSON object, or has a name twice, is the error that says so.

    Raises:
        JaxlinError: as :func:`read_text`.
    """
    for number, line in enumerate(read_text(path, argument, PROMPTS_BYTES).split("\n"), 1):
        line = line.removeprefix("\ufeff")  # of files that were put together
        if line.strip(" \t\r"):
            yield number, _json_object(line)


def _json_object(line: str) -> dict[str, Any] | JaxlinError:
    try:
        entry = json.loads(line, object_pairs_hook=_without_repetition)
    except RecursionError:
        return JaxlinError("this is nested too deep: write one flat object a line")
    except ValueError as error:
        return JaxlinError(f"this is no JSON ({error}): write one object a line")
    if not isinstance(entry, dict):
        return JaxlinError(f"this is no JSON object: write one a line, like {_EXAMPLE}")
    return entry


_EXAMPLE = '{"prompt": "Hello"}'


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError("a name stands in it twice")
    return entry


def _read_bytes(path: Path, argument: str, most: int) -> bytes:
    """All bytes; no more memory is taken than ``most``, whatever the file is."""
    data = bytearray()
    try:
        # Without waiting, or a named pipe that nobody writes to would be waited for without end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            status = os.fstat(file.fileno())
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            while size <= most and len(data) <= most and (part := _next_part(file)):
                data += part
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise JaxlinError(f"cannot read {path} as UTF-8 text ({reason}): check `{argument}`") from error
    if max(size, len(data)) > most:
        raise JaxlinError(
            f"cannot read {path} as UTF-8 text (it is larger than {spell_size(most)}): check `{argument}`"
        )
    return bytes(data)


def _next_part(file: RawIOBase) -> bytes:
    """More of a file, waited for where somebody writes to it; empty at its end.

    Raises:
        OSError: a pipe whose other end nobody has opened in :data:`_PATIENCE` seconds.
    """
    gives_up = time.monotonic() + _PATIENCE
    while not (part := file.read(_AT_ONCE)):
        if part is None:  # somebody has the other end, and has not written yet
            select([file], [], [])
        elif select([file], [], [], 0)[0]:  # the end; nobody was there before where it does not say so
            break
        elif time.monotonic() > gives_up:
            raise OSError(errno.EPIPE, "it is a pipe that nobody writes to")
        else:
            time.sleep(0.05)
    return part or b""


def _other_encoding(data: bytes) -> str | None:
    """The name of an encoding that is not UTF-8: by its mark, or by the zeros between ASCII letters."""
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return f"{name}, by its byte order mark"
    zeros = [data[start::4].count(0) for start in range(4)]
    quarter = len(data) / 4
    full = [count > 0.6 * quarter for count in zeros]
    if quarter >= 1 and not all(full):
        if full in ([False, True, True, True], [True, True, True, False]):
            return "UTF-32, by its zero bytes"
        if full in ([False, True, False, True], [True, False, True, False]):
            return "UTF-16, by its zero bytes"
    return None
