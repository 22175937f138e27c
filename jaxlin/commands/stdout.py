"""Lines on stdout, which may be closed before all of them are written, or full."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import TextIO

from jaxlin.errors import JaxlinError


def say(text: str) -> None:
    """A line on stdout, or several; nobody need read them to their end, as after ``jaxlin … | head``.

    Raises:
        JaxlinError: stdout was closed before the start, or what it leads to is full.
    """
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, "it is closed")
        print(text, flush=True)
    except BrokenPipeError:
        silence(sys.stdout)
    except (OSError, ValueError) as error:
        silence(sys.stdout)
        reason = getattr(error, "strerror", None) or error
        raise JaxlinError(f"stdout cannot be written ({reason}): send it to another place") from error


def silence(stream: TextIO | None) -> None:
    """Let go what is still to be written, so that the end of the process does not stumble over it."""
    with suppress(AttributeError, OSError, ValueError):  # it is closed, or no file at all
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())  # type: ignore[union-attr]
        os.close(null)
