"""Which positions, or layers, are meant, as text: ``16:``, ``0,3,8:12``, ``-64:``."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Int

from jaxlin.errors import JaxlinError
from jaxlin.linear.selection import positions_in

_RANGE = re.compile(r"(-?\d*):(-?\d*)")


def parse_span(text: str, length: int) -> Int[np.ndarray, " s"]:
    """Positions of a span, rising: numbers and Python-like ranges start:stop, with commas between.

    Negative numbers count from the end.

    Raises:
        JaxlinError: no such syntax, an empty or reversed range, or positions outside the ``length`` tokens.
    """
    return positions_in(_chosen(text, length, "`span`", "tokens"), length)


def parse_layers(text: str, count: int) -> list[int]:
    """Numbers of layers, rising, written like a span.

    Raises:
        JaxlinError: no such syntax, an empty or reversed range, or layers outside the ``count`` there are.
    """
    chosen = _chosen(text, count, "`layers`", "layers")
    if chosen[0] < 0 or chosen[-1] >= count:
        wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
        raise JaxlinError(f"there is no layer {wrong}: choose from 0 to {count - 1}")
    return chosen


def _chosen(text: str, length: int, argument: str, unit: str) -> list[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        chosen |= _positions(part.strip(), text, length, argument, unit)
    return sorted(chosen)


def _positions(part: str, text: str, length: int, argument: str, unit: str) -> set[int]:
    if (bounds := _RANGE.fullmatch(part)) is not None:
        start, stop = (
            _from_start(int(bound), length) if bound else default
            for bound, default in zip(bounds.groups(), (0, length), strict=True)
        )
        if start >= stop:
            raise JaxlinError(
                f"the span {part} is empty or reversed at {length} {unit}: write start:stop with start < stop"
            )
        return set(range(start, stop))
    try:
        return {_from_start(int(part), length)}
    except ValueError as error:
        raise JaxlinError(
            f"{argument} takes numbers and ranges like 16: or 0,3,8:12, and {text!r} is neither"
        ) from error


def _from_start(position: int, length: int) -> int:
    return position + length if position < 0 else position
