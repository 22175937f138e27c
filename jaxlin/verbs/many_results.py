"""What a run through many prompts hands over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

#: Prompts that failed and are named on the screen; all of them are in the index.
_NAMED = 5


@dataclass(frozen=True)
class ManyResults:
    """Where the results of many prompts are.

    Attributes:
        index: the file that lists them, for ``pandas.read_json(index, lines=True)``.
        rows: its lines, of the prompts of this run.
        wanted: how many prompts that were to be.
        left: how many of them another run was at.
    """

    index: Path
    rows: tuple[dict[str, Any], ...]
    wanted: int
    left: int = 0

    @property
    def held(self) -> int:
        """How many certificates hold."""
        return sum(bool(row["holds"]) for row in self.rows)

    @property
    def failed(self) -> dict[str, str]:
        """Why prompts have no result, by their ids."""
        return {row["id"]: row["failed"] for row in self.rows if "failed" in row}

    @property
    def holds(self) -> bool:
        """Whether every prompt has a result whose certificate holds."""
        return self.held == self.wanted

    def __repr__(self) -> str:
        return f"ManyResults({self._counts()}, {self.index})"

    def table(self) -> Text:
        """How many hold, which failed and why, and where the index is."""
        failed = self.failed
        lines = [f"{name} failed: {failed[name]}" for name in list(failed)[:_NAMED]]
        if len(failed) > _NAMED:
            lines.append(f"{len(failed) - _NAMED} more failed, see the index")
        if failed:
            lines.append("the same command with --retry-failed tries those again that failed")
        return Text("\n".join([*lines, f"{self._counts()}; wrote {self.index}"]), overflow="fold")

    def summary(self) -> dict[str, Any]:
        """In plain numbers and words."""
        return {
            "index": str(self.index),
            "prompts": list(self.rows),
            "held": self.held,
            "failed": len(self.failed),
            "left_to_another_run": self.left,
        }

    def _counts(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        left = f", another run is at {self.left}" if self.left else ""
        return f"{self.held} of {self.wanted} certificates hold{failed}{left}"
