"""What a command hands over: its result as a table or as JSON on stdout, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import Console, RenderableType

from jaxlin.commands.stdout import quiet_pipe, say
from jaxlin.results.store import summary_text
from jaxlin.verbs.shared import Screen

#: Columns where there is no terminal to be narrower.
_WIDTH = 128


@runtime_checkable
class Shown(Protocol):
    """What can be shown: every result."""

    def table(self) -> RenderableType: ...

    def summary(self) -> Mapping[str, Any]: ...


def show(result: Shown, screen: Screen, wrote: Path | None = None) -> None:
    """The result on stdout, and where it was written."""
    if screen.json:
        say(summary_text(result.summary()).rstrip("\n"))
        return
    with quiet_pipe():
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
        console.print(result.table())
    if wrote is not None:
        say(f"wrote {wrote}")
