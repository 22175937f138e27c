"""Text from prompts, files and checkpoints as it may stand on a terminal, in a log or in an error."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

#: What stays although Unicode calls it a format character: the joiners of scripts and of emoji.
_JOINERS = frozenset("\u200c\u200d")
#: Categories that act instead of being seen: control, format, surrogate, separators of lines and paragraphs.
_ACTING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))


def printable(text: str, *, keep: str = "") -> str:
    r"""Text with everything that acts spelled as Python spells it: ``\n``, ``\x1b``, ``\u202e``, ``\udce9``.

    So no escape sequence, line break, reversal of direction or half of a surrogate pair is left. Backslashes
    stay as they are: this is for reading, and not for getting the text back.

    Args:
        text: any text.
        keep: characters that stay even so, like a line break where there is room for one.
    """
    return spell_acting(text, lambda character: repr(character)[1:-1], keep=keep)


def spell_acting(text: str, spelling: Callable[[str], str], *, keep: str = "") -> str:
    """Text in which every character that a terminal would obey and not show has this spelling."""
    if text.isprintable():
        return text
    acting = {c for c in set(text) if unicodedata.category(c) in _ACTING} - _JOINERS - set(keep)
    return text.translate({ord(c): spelling(c) for c in acting}) if acting else text


def shortened(text: str, most: int = 60) -> str:
    """Text as a message quotes it, be it as long as it may."""
    return text if len(text) <= most else f"{text[:most]}…"
