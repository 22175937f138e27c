"""Tokens and figures in letters, the same wherever they stand."""

from __future__ import annotations


def visible(text: str) -> str:
    """A token as one word: its spaces as ▁, as tokenizers write them, line breaks and the like escaped."""
    return repr(text)[1:-1].replace(" ", "▁")


def ending(text: str, letters: int) -> str:
    """The end of a text in so many letters, on one line, with … before it where something is left out."""
    line = " ".join(text.split())
    return line if len(line) <= letters else f"…{line[1 - letters :]}"


def percent(part: float) -> str:
    """A part of a whole in two digits, or in three where they are nines."""
    return f"{100 * part:.2g} %" if abs(part) < 0.995 else f"{100 * part:.3g} %"
