"""Nested frozen dataclasses as plain JSON, and back by their type hints."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

#: Numbers that JSON has no word for, as text; so does the JSON of protocol buffers.
_WORDS = ("NaN", "Infinity", "-Infinity")
#: What a whole number fits into.
_BITS = 63


def as_plain(value: Any) -> Any:
    """Numbers, text, lists and dictionaries for JSON.

    A dataclass becomes a dictionary of its fields; where it has a property ``holds``, that is noted as well.
    NaN and infinity become text, because JSON has no number for them.
    """
    if is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
        return plain | ({"holds": bool(value.holds)} if hasattr(value, "holds") else {})
    if isinstance(value, Mapping):
        return {str(name): as_plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return as_plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def restored(kind: Any, plain: Any, where: str = "it") -> Any:
    """A value of type ``kind`` from what :func:`as_plain` made of it.

    Knows dataclasses, tuples, dictionaries by text, optional values and what JSON has itself; entries without
    a field are left out.

    Args:
        kind: the type.
        plain: what JSON holds.
        where: its name, for the error.

    Raises:
        ValueError: it is of another type, or a field without a default is missing.
    """
    if kind is Any:
        return plain
    if get_origin(kind) in (types.UnionType, Union):
        return _one_of(get_args(kind), plain, where)
    if get_origin(kind) is tuple:
        return _row(get_args(kind), plain, where)
    if get_origin(kind) is dict:
        (_, each), entries = get_args(kind), _of(dict, plain, where)
        return {name: restored(each, entry, f"{where}.{name}") for name, entry in entries.items()}
    if isinstance(kind, type) and is_dataclass(kind):
        entries, given = _of(dict, plain, where), {}
        for name, (hint, needed) in _hints(kind).items():
            if name in entries:
                given[name] = restored(hint, entries[name], f"{where}.{name}")
            elif needed:
                raise ValueError(f"{where} has no {name}")
        return kind(**given)
    if kind is float:
        return _number(plain, where)
    value = _of(kind, plain, where)
    if kind is int and abs(value) >> _BITS:
        raise ValueError(f"{where} is no number that fits into 64 bits")
    return value


def _one_of(kinds: tuple[Any, ...], plain: Any, where: str) -> Any:
    """The first of some types that fits; None only for None."""
    if plain is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    for kind in others[:-1]:
        try:
            return restored(kind, plain, where)
        except ValueError:
            continue
    return restored(others[-1], plain, where)


def _row(kinds: tuple[Any, ...], plain: Any, where: str) -> tuple[Any, ...]:
    values = _of(list, plain, where)
    each = [kinds[0]] * len(values) if kinds[1:] == (...,) else kinds
    if len(each) != len(values):
        raise ValueError(f"{where} has {len(values)} entries and not {len(each)}")
    pairs = zip(each, values, strict=True)
    return tuple(restored(kind, value, f"{where}[{i}]") for i, (kind, value) in enumerate(pairs))


def _number(plain: Any, where: str) -> float:
    """A float; one of those that JSON has no number for is text."""
    if isinstance(plain, str) and plain in _WORDS:
        return float(plain)
    if isinstance(plain, int | float) and not isinstance(plain, bool):
        try:
            return float(plain)
        except OverflowError as error:
            raise ValueError(f"{where} is larger than any number") from error
    raise ValueError(f"{where} is {_named(plain)} and not a number")


def _of(kind: Any, plain: Any, where: str) -> Any:
    if type(plain) is not kind:
        raise ValueError(f"{where} is {_named(plain)} and not {_NAMES[kind]}")
    return plain


_NAMES: Mapping[Any, str] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def _named(plain: Any) -> str:
    return _NAMES.get(type(plain), type(plain).__name__)


@cache
def _hints(kind: Any) -> dict[str, tuple[Any, bool]]:
    """The type of every field, and whether it has to be given."""
    hints = get_type_hints(kind)
    return {
        field.name: (hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(kind)
    }
