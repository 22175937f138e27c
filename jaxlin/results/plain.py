"""Nested frozen dataclasses as plain JSON, and back by their type hints."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np


def as_plain(value: Any) -> Any:
    """Numbers, text, lists and dictionaries for JSON.

    A dataclass becomes a dictionary of its fields; where it has a property ``holds``, that is noted as well.
    """
    if is_dataclass(value) and not isinstance(value, type):
        plain = {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
        return plain | ({"holds": bool(value.holds)} if hasattr(value, "holds") else {})
    if isinstance(value, Mapping):
        return {str(name): as_plain(entry) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def restored(kind: Any, plain: Any) -> Any:
    """A value of type ``kind`` from what :func:`as_plain` made of it.

    Knows dataclasses, tuples, optional values and what JSON has itself; entries without a field are left out.

    Raises:
        TypeError: a field without a default is missing.
    """
    arguments = get_args(kind)
    if get_origin(kind) in (Union, types.UnionType):
        if plain is None:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return restored(kind, plain)
    if get_origin(kind) is tuple:
        each = [arguments[0]] * len(plain) if arguments[1:] == (...,) else arguments
        return tuple(restored(*pair) for pair in zip(each, plain, strict=True))
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(
            **{name: restored(hint, plain[name]) for name, hint in _hints(kind).items() if name in plain}
        )
    return float(plain) if kind is float else plain


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
