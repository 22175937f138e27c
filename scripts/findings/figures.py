"""Figures of a row as they are kept: no more digits than they are worth."""

from __future__ import annotations

from typing import Any

_DIGITS = 4


def rounded(value: Any) -> Any:
    """The same rows, dictionaries and lists with every float to four digits."""
    if isinstance(value, dict):
        return {name: rounded(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
