"""How long work tells what it is doing: one callable, so that the engine knows nothing of terminals."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Called as work goes on; may be called often and must return fast."""

    def __call__(self, stage: str, done: int, total: int, note: str = "", left: float | None = None) -> None:
        """``stage`` in words, ``done`` of ``total`` units, and a ``note`` (units, convergence).

        ``left`` are the seconds it will still take, from those who know better than by done / total.
        """


def silent(stage: str, done: int, total: int, note: str = "", left: float | None = None) -> None:
    """Tell nobody."""
