"""What a command hands over: its result as a table or as JSON on stdout, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import Console, RenderableType

from jaxlin.commands.stdout import say
from jaxlin.errors import JaxlinError, printable
from jaxlin.results.store import summary_text
from jaxlin.results.tables import Spelled
from jaxlin.verbs.shared import Screen

#: Columns where there is no terminal to be narrower.
_WIDTH = 128


@runtime_checkable
class Shown(Protocol):
    """What can be shown: every result."""

    def table(self) -> RenderableType: ...

    def summary(self) -> Mapping[str, Any]: ...


def show(result: Shown, screen: Screen, wrote: Path | None = None) -> None:
    """The result on stdout, and where it was written.

    Raises:
        JaxlinError: stdout cannot be written.
    """
    if screen.json:
        text = summary_text(result.summary()).rstrip("\n")
    else:
        text = _rendered(result.table())
        text += "" if wrote is None else f"\nwrote {printable(str(wrote))}"
    try:
        say(text)
    except JaxlinError as error:
        if wrote is None:
            raise
        raise JaxlinError(f"{error}; the result itself is whole, in {wrote}") from error


def _rendered(table: RenderableType) -> str:
    """As a terminal shows it, in colour if stdout is one; written by nobody yet."""
    as_it_is: Any = {"markup": False, "emoji": False}
    console = Console(**as_it_is)
    if not console.is_terminal:
        console = Console(width=_WIDTH, **as_it_is)
    with console.capture() as capture:
        console.print(Spelled(table))
    return capture.get().rstrip("\n")
