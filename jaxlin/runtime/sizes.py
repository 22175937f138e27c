"""Bytes as people write them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from jaxlin.errors import JaxlinError, shortened

_UNITS: Mapping[str, int] = {"": 1, "B": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("KMGT", start=1)
    for suffix, base in (("", 1000), ("B", 1000), ("IB", 1024))
}
#: Letters of a size or a count: more than any takes.
_LONGEST = 40
_SIZE = re.compile(r"\s*(?P<count>\d+(\.\d+)?)\s*(?P<unit>[A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes of a size like ``40GB`` (10⁹), ``40GiB`` (2³⁰) or ``40960MB``.

    Raises:
        JaxlinError: no size, or none above zero.
    """
    match = _SIZE.fullmatch(text) if len(text) <= _LONGEST else None
    if match is None or match["unit"].upper() not in _UNITS:
        raise JaxlinError(f"{shortened(text)!r} is no size in bytes: write it like 40GB, 40GiB or 40960MB")
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


def spell_number(value: int | float) -> str:
    """A number as a message quotes it: one of very many digits by how many they are."""
    if isinstance(value, float) or abs(value) < 10**_LONGEST:
        return str(value)
    digits = int(abs(value).bit_length() * math.log10(2)) + 1
    return f"a{' negative' if value < 0 else ''} number of about {digits} digits"


def parse_whole(text: str) -> int:
    """A whole number from text, as ``int`` reads it.

    Raises:
        ValueError: no number, or one of more digits than any count here has.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"{len(text)} digits")
    return int(text)
