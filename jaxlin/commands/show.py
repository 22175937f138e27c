"""What a command hands over: its result as a table or as JSON on stdout, and its exit code."""

from __future__ import annotations

import io
import sys
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


class _Memory(io.StringIO):
    """What will be written on stdout, in its encoding: tables have ASCII lines where it has no others."""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(sys.stdout, "encoding", None) or "utf-8"


def _rendered(table: RenderableType) -> str:
    """As a terminal shows it, in colour if stdout is one; written by nobody yet."""
    stdout, written = Console(), _Memory()
    width = stdout.width if stdout.is_terminal else _WIDTH
    screen = Console(file=written, width=width, force_terminal=stdout.is_terminal, markup=False, emoji=False)
    screen.print(Spelled(table))
    return written.getvalue().rstrip("\n")
