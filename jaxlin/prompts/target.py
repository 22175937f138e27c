"""Which part of the output a map is taken to, as text: ``logits:" Paris"-" Rome"``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from jaxlin.errors import JaxlinError

_TOKEN = r'"(?:[^"\\]|\\.)*"|#\d+'
_LOGITS = re.compile(rf"logits:\s*({_TOKEN})(?:\s*-\s*({_TOKEN}))?\s*")


@dataclass(frozen=True)
class LogitTarget:
    """The logit of one token, or its difference from that of another; tokens by text or by id."""

    plus: str | int
    minus: str | int | None = None


def parse_target(text: str) -> LogitTarget:
    """``logits:" Paris"``, ``logits:" Paris"-" Rome"``; a token is quoted text or ``#id``.

    Raises:
        JaxlinError: no such syntax.
    """
    match = _LOGITS.fullmatch(text)
    if match is None:
        raise JaxlinError(
            f'`target` takes logits:" Paris" or logits:" Paris"-" Rome" (in single quotes in a shell), '
            f"and {text!r} is neither"
        )
    plus, minus = (None if token is None else _token(token) for token in match.groups())
    assert plus is not None
    return LogitTarget(plus, minus)


def _token(text: str) -> str | int:
    return int(text[1:]) if text.startswith("#") else json.loads(text)
