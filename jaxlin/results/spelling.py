"""Tokens and figures in letters, the same wherever they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable


def visible(text: str) -> str:
    """A token as one word: its spaces as ▁, as tokenizers write them, line breaks and the like escaped."""
    return repr(text)[1:-1].replace(" ", "▁")


def ending(text: str, letters: int) -> str:
    """The end of a text in so many letters, on one line, with … before it where something is left out.

    It begins with a whole word where one begins early in it.
    """
    line = " ".join(text.split())
    if len(line) <= letters:
        return line
    end = line[1 - letters :]
    first = end.find(" ")
    return f"…{end[first + 1 :] if 0 <= first < letters // 3 else end}"


def percent(part: float) -> str:
    """A part of a whole in two digits, or in three where they are nines."""
    return f"{100 * part:.2g} %" if abs(part) < 0.995 else f"{100 * part:.3g} %"


def file_name(model: str, depth: int = 1) -> str:
    """A model's name without the folders it lies in, which say more of a machine than of the model.

    Names of the hub, ``org/name``, stay whole. Of a path ``depth`` parts are left.
    """
    parts = [part for part in re.split(r"[\\/]", model) if part]
    local = re.match(r"[\\/.~]|[A-Za-z]:[\\/]", model) or len(parts) > 2 or model.lower().endswith(".gguf")
    return "/".join(parts[-depth:]) if local and parts else model


def file_names(models: Iterable[str]) -> dict[str, str]:
    """The same of several models, with as many of their folders as tell them apart."""
    every = list(dict.fromkeys(models))
    for depth in range(1, 1 + max(map(len, every), default=0)):
        names = {model: file_name(model, depth) for model in every}
        if len(set(names.values())) == len(every):
            return names
    return {model: model for model in every}
