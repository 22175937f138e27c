"""The ``jaxlin`` command, also as ``python -m jaxlin``.

Nothing is imported before Ctrl-C and SIGTERM are taken care of: amid imports they would end in a traceback,
or be lost.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import NoReturn


def console() -> NoReturn:
    """The command; until its work begins, an interruption ends the process at once."""
    signal.signal(signal.SIGTERM, _leave)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as it is in the background of a script
        signal.signal(signal.SIGINT, _leave)
    from jaxlin.commands.main import console

    console()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    try:
        os.write(2, b"interrupted; nothing was written\n")
    finally:
        os._exit(130)


if __name__ == "__main__":
    console()
