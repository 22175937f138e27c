"""Runs of the command line that die before a chosen change of the file system.

One process imports everything and forks for each run; JAX begins its threads after the fork. Changes are
counted by an audit hook: files that are opened to be written, renames (also the exchange of two names), new
folders, removals. Only those under the given folder count, so that caches of JAX do not.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax  # noqa: F401 - before the forks
import scipy.linalg  # noqa: F401 - jax imports it later, and so would every fork

import jaxlin.commands.svd
import jaxlin.verbs.layers
import jaxlin.verbs.svd
import jaxlin.verbs.tokens  # noqa: F401
from jaxlin.commands.main import main

_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def run(arguments: Sequence[str], place: Path, *, dies_before: int | None = None) -> int:
    """The exit code of ``jaxlin ARGUMENTS``; -9 where it died before this change under ``place``.

    Changes are counted from 0; without a number nobody dies.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _quiet(place)
            if dies_before is not None:
                sys.addaudithook(_killer(place, dies_before))
            code = main(arguments)
        except BaseException:  # noqa: BLE001 - the exit code tells, and the fork must not go on
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_and_kill(arguments: Sequence[str], place: Path, seconds: float) -> int:
    """The exit code of a run that is killed after some time, if it takes so long."""
    child = os.fork()
    if child == 0:
        _quiet(place)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        killer = os.fork()
        if killer == 0:
            import time

            time.sleep(seconds)
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(0)
        code = main(arguments)
        os.kill(killer, signal.SIGKILL)
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _quiet(place: Path) -> None:
    log = os.open(place.parent / f"{place.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)


def _killer(place: Path, number: int) -> Callable[[str, tuple[Any, ...]], None]:
    left, start = number, os.fsencode(place)

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event == "open":
            path, mode, flags = arguments
            if not (set(mode or "") & set("wax+") or (isinstance(flags, int) and flags & _WRITING)):
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, int) or not os.path.abspath(os.fsencode(path)).startswith(start):
            return
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return listen
