"""Which positions, or layers, are meant, as text: ``16:``, ``0,3,8:12``, ``-64:``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from jaxlin.errors import JaxlinError, shortened
from jaxlin.linear.selection import positions_in
from jaxlin.runtime.sizes import parse_whole

_RANGE = re.compile(r"(-?\d*):(-?\d*)")


def parse_span(text: str, length: int) -> Int[np.ndarray, " s"]:
    """Positions of a span, rising: numbers and Python-like ranges start:stop, with commas between.

    Negative numbers count from the end.

    Raises:
        JaxlinError: no such syntax, an empty or reversed range, or positions outside the ``length`` tokens.
    """
    return positions_in(_chosen(text, length, _POSITIONS), length)


def parse_layers(text: str, count: int) -> list[int]:
    """Numbers of layers, rising, written like a span.

    Raises:
        JaxlinError: no such syntax, an empty or reversed range, or layers outside the ``count`` there are.
    """
    return _chosen(text, count, _LAYERS)


@dataclass(frozen=True)
class _Places:
    """What is counted, in the words of messages."""

    argument: str
    unit: str
    missing: Callable[[str], str]


_POSITIONS = _Places("`span`", "tokens", lambda number: f"position {number} is outside the input")
_LAYERS = _Places("`layers`", "layers", lambda number: f"there is no layer {number}")


def _chosen(text: str, length: int, places: _Places) -> list[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        chosen |= set(_numbers(part.strip(), text, length, places))
    return sorted(chosen)


def _numbers(part: str, text: str, length: int, places: _Places) -> range:
    """The numbers of one part, each of them known to be there before any memory is taken for them."""
    try:
        if (bounds := _RANGE.fullmatch(part)) is not None:
            start, stop = (
                _from_start(parse_whole(bound), length) if bound else default
                for bound, default in zip(bounds.groups(), (0, length), strict=True)
            )
        else:
            start = _from_start(parse_whole(part), length)
            stop = start + 1
    except ValueError as error:
        raise JaxlinError(
            f"{places.argument} takes numbers and ranges like 16: or 0,3,8:12, and {shortened(text)!r} is "
            f"neither"
        ) from error
    if start >= stop:
        raise JaxlinError(
            f"the span {part} is empty or reversed at {length} {places.unit}: write start:stop with start < "
            f"stop"
        )
    if start < 0 or stop > length:
        outside = places.missing(str(start if start < 0 else stop - 1))
        raise JaxlinError(f"{outside}: choose from 0 to {length - 1}")
    return range(start, stop)


def _from_start(position: int, length: int) -> int:
    return position + length if position < 0 else position
