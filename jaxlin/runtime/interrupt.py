"""Ctrl-C that does not get lost while there is work to do.

Python drops what is raised inside a callback of its garbage collector, and JAX has one there that runs often.
So an interruption is raised where it arrives and, should that be in vain, once more at the next sign of
progress.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SEEN = threading.Event()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C, and the polite kill of a batch system, end the work in here.

    A process that was told to ignore Ctrl-C, as one in the background of a script is, goes on ignoring it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        numbers.append(signal.SIGINT)
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _SEEN.clear()


@contextmanager
def interruptions_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect at the end of the block, so that none leaves half of it done."""
    if threading.current_thread() is not threading.main_thread():  # where signals never arrive
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came:
        signal.raise_signal(came[0])


def raise_if_interrupted() -> None:
    """:class:`KeyboardInterrupt` if one was raised before, in vain."""
    if _SEEN.is_set():
        raise KeyboardInterrupt


def without_words(dropped: sys.UnraisableHookArgs) -> None:
    """A ``sys.unraisablehook`` that says nothing of an interruption that Python drops: it comes again."""
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _SEEN.set()
    raise KeyboardInterrupt
