"""Which part of the output a map is taken to, as text: ``logits:" Paris"-" Rome"``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from jaxlin.errors import JaxlinError, shortened
from jaxlin.runtime.sizes import parse_whole

_TOKEN = r'"(?:[^"\\]|\\.)*"|#[0-9]+'
_LOGITS = re.compile(rf"logits:\s*({_TOKEN})(?:\s*-\s*({_TOKEN}))?\s*")


@dataclass(frozen=True)
class LogitTarget:
    """The logit of one token, or its difference from that of another; tokens by text or by id."""

    plus: str | int
    minus: str | int | None = None


def parse_target(text: str) -> LogitTarget:
    r"""``logits:" Paris"``, ``logits:" Paris"-" Rome"``; a token is quoted text or ``#id``.

    Text is quoted as JSON has it (``\"``, ``\n``, ``\u00e9``), but may hold tabs and line breaks as they are.

    Raises:
        JaxlinError: no such syntax.
    """
    match = _LOGITS.fullmatch(text)
    if match is None:
        raise JaxlinError(
            f'`target` takes logits:" Paris" or logits:" Paris"-" Rome" (in single quotes in a shell), '
            f"and {shortened(text)!r} is neither"
        )
    plus, minus = (None if token is None else _token(token) for token in match.groups())
    assert plus is not None
    return LogitTarget(plus, minus)


def _token(text: str) -> str | int:
    if text.startswith("#"):
        return parse_token_id(text)
    try:
        return str(json.loads(text, strict=False))
    except ValueError as error:
        raise JaxlinError(
            f"{shortened(text)} has a backslash that JSON does not know: write \\n, \\t, \\u00e9 or the "
            f"letter itself, and two for a backslash"
        ) from error


def parse_token_id(text: str) -> int:
    """The number of ``#42``.

    Raises:
        JaxlinError: it has more digits than any.
    """
    try:
        return parse_whole(text[1:])
    except ValueError as error:
        raise JaxlinError(f"{shortened(text)} is the id of no token: there are not that many") from error
