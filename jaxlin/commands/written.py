"""The answer of a command that only writes files: which ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.text import Text


@dataclass(frozen=True)
class Written:
    """Files that were written."""

    files: tuple[Path, ...]

    def table(self) -> Text:
        """A line for each."""
        return Text("\n".join(f"wrote {file}" for file in self.files), overflow="fold", no_wrap=True)

    def summary(self) -> dict[str, list[str]]:
        """Their names."""
        return {"wrote": [str(file) for file in self.files]}
