"""What else is to be said about a result: entries of its summary that none of its fields holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, eq=False)
class About:
    """Entries of a summary by name, each of what JSON can hold.

    A static field of a result: compared by identity, because what it holds cannot be hashed.
    """

    entries: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None) -> Any:
        """The entry of this name, or ``default``."""
        return self.entries.get(name, default)

    def with_entries(self, **entries: Any) -> About:
        """These and those; new ones replace old ones of their name."""
        return About({**self.entries, **entries})
