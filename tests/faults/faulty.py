"""Runs of the command line that die, or find the disk full, before a chosen change of the file system.

One process imports everything and forks for each run; JAX begins its threads after the fork. Changes are
counted by an audit hook: files that are opened to be written, renames (also the exchange of two names), new
folders, removals. Only those under the given folder count, so that caches of JAX do not. An exception of the
hook is what the change itself would have raised.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax  # noqa: F401 - before the forks
import scipy.linalg  # noqa: F401 - jax imports it later, and so would every fork

import jaxlin.commands.ask
import jaxlin.verbs.layers
import jaxlin.verbs.many
import jaxlin.verbs.svd
import jaxlin.verbs.tokens  # noqa: F401
from jaxlin.commands.main import main

_CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.truncate")
#: A full disk does not stop these.
_GIVING_ROOM = ("os.remove", "os.rmdir", "os.chmod", "os.truncate")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Fault:
    """What happens before a change under the place of a run, and before every later one.

    Attributes:
        before: the number of the change, counted from 0.
        error: the number of the error that the change ends with; None is SIGKILL.
    """

    before: int
    error: int | None = None


def run(arguments: Sequence[str], place: Path, fault: Fault | None = None) -> int:
    """The exit code of ``jaxlin ARGUMENTS``; -9 where it was killed."""
    return ended(
        begun(arguments, place, lambda: None if fault is None else sys.addaudithook(_hook(place, fault)))
    )


def run_and_kill(arguments: Sequence[str], place: Path, seconds: float) -> int:
    """The exit code of a run that is killed after some time, if it takes so long."""
    child = begun(arguments, place)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        ended_child, status = os.waitpid(child, os.WNOHANG)
        if ended_child:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    return ended(child)


def run_with_small_files(arguments: Sequence[str], place: Path, size: int) -> int:
    """The exit code of a run in which no file grows beyond this many bytes; a write fails."""
    return ended(begun(arguments, place, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))))


def begun(arguments: Sequence[str], place: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """The process of a run that has begun; what it says goes to a file beside its place."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _quiet(place)
            prepare()
            code = main(arguments)
        except BaseException:  # noqa: BLE001 - the exit code tells, and the fork must not go on
            traceback.print_exc()
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    """The exit code of a process, once it has ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _quiet(place: Path) -> None:
    log = os.open(place.parent / f"{place.name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)


def _hook(place: Path, fault: Fault) -> Callable[[str, tuple[Any, ...]], None]:
    left, start = fault.before, os.fsencode(place)

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
        if left >= 0:
            return
        if fault.error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault.error != errno.ENOSPC or event not in _GIVING_ROOM:
            raise OSError(fault.error, os.strerror(fault.error), os.fsdecode(path))

    return listen
