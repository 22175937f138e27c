"""Which input positions a map is taken of, as people write it: ``16:``, ``0,3,8:12``, ``-64:``."""

from __future__ import annotations

import re

import numpy as np
from jaxtyping import Int

from jaxlin.errors import JaxlinError
from jaxlin.selection import positions_in

_RANGE = re.compile(r"(-?\d*):(-?\d*)")


def parse_span(text: str, length: int) -> Int[np.ndarray, " s"]:
    """Positions of a span, rising: numbers and Python-like ranges start:stop, with commas between.

    Negative numbers count from the end.

    Raises:
        JaxlinError: no such syntax, an empty or reversed range, or positions outside the ``length`` tokens.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        chosen |= _positions(part.strip(), text, length)
    return positions_in(sorted(chosen), length)


def _positions(part: str, text: str, length: int) -> set[int]:
    if (bounds := _RANGE.fullmatch(part)) is not None:
        start, stop = (
            _from_start(int(bound), length) if bound else default
            for bound, default in zip(bounds.groups(), (0, length), strict=True)
        )
        if start >= stop:
            raise JaxlinError(
                f"the span {part} is empty or reversed at {length} tokens: write start:stop with start < stop"
            )
        return set(range(start, stop))
    try:
        return {_from_start(int(part), length)}
    except ValueError as error:
        raise JaxlinError(
            f"--span takes positions and ranges like 16: or 0,3,8:12, and {text!r} is neither"
        ) from error


def _from_start(position: int, length: int) -> int:
    return position + length if position < 0 else position
