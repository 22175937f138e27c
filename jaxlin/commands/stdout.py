"""Lines on stdout, which may be closed before all of them are written."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """A line on stdout."""
    with quiet_pipe():
        print(text)


@contextmanager
def quiet_pipe() -> Iterator[None]:
    """Go on where nobody reads stdout any more, as after ``jaxlin … | head``; nothing is lost on disk."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
