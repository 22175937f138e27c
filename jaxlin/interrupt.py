"""Ctrl-C that cannot get lost.

Python drops what is raised inside a callback of its garbage collector, and JAX has one there that runs often:
one Ctrl-C in sixteen fell into it. So an interruption is raised where it arrives and, should that be in
vain, once more at the next sign of progress.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

_SEEN = threading.Event()


def watch_for_interrupts() -> None:
    """Let Ctrl-C, and the polite kill of a batch system, end the work from now on.

    A process that was told to ignore Ctrl-C, as one in the background of a script is, goes on ignoring it.
    """
    _SEEN.clear()
    if threading.current_thread() is not threading.main_thread():
        return
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)


def raise_if_interrupted() -> None:
    """:class:`KeyboardInterrupt` if one was raised since the watch began."""
    if _SEEN.is_set():
        raise KeyboardInterrupt


def without_words(dropped: sys.UnraisableHookArgs) -> None:
    """A ``sys.unraisablehook`` that says nothing of an interruption that Python drops: it comes again."""
    if not issubclass(dropped.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(dropped)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _SEEN.set()
    raise KeyboardInterrupt
