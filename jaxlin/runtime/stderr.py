"""Words on stderr, which may be closed, full or read by nobody: then they are lost, and work goes on."""

from __future__ import annotations

import io
import sys
from contextlib import suppress

from jaxlin.errors import printable

#: Characters that are kept of its beginning, which says what is wrong, and of its end, which says what to do.
_FIRST, _LAST = 1200, 400


_NAME = "jaxlin: "
#: Under what name this process has notes to tell; None where another one tells them.
_notes: list[str | None] = [_NAME]


def leave_notes_to_others() -> None:
    """From now on, only what has a name of its own is told."""
    _notes[0] = None


def tell(message: str, name: str | None = None) -> None:
    """One line, behind the name of the program; what acts on a terminal is spelled out.

    Of a message that quotes something endless the middle is left out.
    """
    name = _notes[0] if name is None else name
    if name is None:
        return
    stderr, line = ForgivingStderr(), printable(message)
    if len(line) > _FIRST + _LAST:
        line = f"{line[:_FIRST]} … {line[-_LAST:]}"
    stderr.write(f"{name}{line}\n")
    stderr.flush()


class ForgivingStderr(io.TextIOBase):
    """The stream that is stderr now, without errors when it cannot be written."""

    def __init__(self) -> None:
        self._stream = sys.stderr  # None where it was closed before the start

    def write(self, text: str, /) -> int:
        """As if all of it had been written, whatever became of it."""
        if self._stream is not None:
            with suppress(OSError, ValueError):  # full, closed since, or nobody reads it
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Likewise."""
        if self._stream is not None:
            with suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        """Its descriptor.

        Raises:
            OSError: there is none.
        """
        if self._stream is None:
            raise OSError("there is no stderr")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How it is written."""
        return getattr(self._stream, "encoding", None) or "utf-8"
