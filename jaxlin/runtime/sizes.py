"""Bytes as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from jaxlin.errors import JaxlinError

_UNITS: Mapping[str, int] = {"": 1, "B": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for suffix, base in (("", 1000), ("B", 1000), ("IB", 1024))
}
_SIZE = re.compile(r"\s*(?P<count>\d+(\.\d+)?)\s*(?P<unit>[A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes of a size like ``40GB`` (10⁹), ``40GiB`` (2³⁰) or ``40960MB``.

    Raises:
        JaxlinError: no size, or none above zero.
    """
    match = _SIZE.fullmatch(text)
    if match is None or match["unit"].upper() not in _UNITS:
        raise JaxlinError(f"{text!r} is no size in bytes: write it like 40GB, 40GiB or 40960MB")
    count = math.floor(float(match["count"]) * _UNITS[match["unit"].upper()])
    if count < 1:
        raise JaxlinError(f"{text!r} is no memory at all: write a size like 40GB")
    return count


def spell_size(count: int | float) -> str:
    """A size in decimal units: 1.5 GB, 20 MB."""
    for unit, size, digits in (("GB", 1e9, 1), ("MB", 1e6, 0)):
        if count >= size:
            return f"{count / size:.{digits}f} {unit}"
    return f"{math.ceil(count / 1e3)} KB"
