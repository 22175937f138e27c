"""A part of many prompts, so that several processes or hosts do them together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxlin.errors import JaxlinError, shortened

_PARTS = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")


@dataclass(frozen=True)
class Shard:
    """The ``number``-th of ``count`` parts, counted from 1: every ``count``-th prompt of the file."""

    number: int = 1
    count: int = 1

    @classmethod
    def of(cls, text: str | None) -> Shard:
        """From text like ``2/4``; all prompts where nothing is given.

        Raises:
            JaxlinError: text that is no such part.
        """
        if text is None:
            return cls()
        found = _PARTS.fullmatch(text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise JaxlinError(
                f"`shard` is {shortened(text)!r}: give a part like 2/4, the second of four, from 1/4 to 4/4"
            )
        return cls(int(found[1]), int(found[2]))

    def has(self, place: int) -> bool:
        """Whether the prompt at this place of the file, from 0, belongs to this part."""
        return place % self.count == self.number - 1
