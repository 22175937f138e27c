"""Bounds on one case, and what it printed: memory, time, warnings, the two streams by their descriptors."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Seconds after which a case is stopped, on a machine that has other things to do as well.
SECONDS = 30.0
#: Bytes of memory that a case may really use, and of addresses that it may ask for.
MEMORY, ADDRESSES = 1 << 30, 3 << 30
#: Warnings that Python does not show to users of a program.
_UNSEEN = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)
#: Loggers of libraries, whose handlers hold on to the stream that was stderr when they were made.
_LIBRARIES = ("transformers", "jax", "matplotlib", "huggingface_hub")


class TookTooLong(BaseException):
    """The bound on time; no ``except Exception`` holds it back."""


@dataclass
class Printed:
    """What came out of a case."""

    stdout: bytes = b""
    stderr: bytes = b""
    warned: list[str] = field(default_factory=list)
    #: Bytes of memory beyond what was there before, at most.
    memory: int = 0


@contextmanager
def bounded(seconds: float = SECONDS) -> Iterator[Printed]:
    """Run something within the bounds; what it printed is there afterwards."""
    printed = Printed()
    before = _reset_peak()
    with warnings.catch_warnings(record=True) as caught, _captured(printed), _addresses(), _alarm(seconds):
        warnings.simplefilter("always")
        yield printed
    printed.memory = max(0, _peak() - before)
    printed.warned = [
        f"{type(w.message).__name__}: {w.message}" for w in caught if not issubclass(w.category, _UNSEEN)
    ]


@contextmanager
def _captured(printed: Printed) -> Iterator[None]:
    """stdout and stderr to files, whoever writes to them: Python, or a library that is not written in it."""
    streams, descriptors = (sys.stdout, sys.stderr), (1, 2)
    for stream in streams:
        stream.flush()
    saved = [os.dup(number) for number in descriptors]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        for file, number in zip((out, err), descriptors, strict=True):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", encoding="utf-8") for number in descriptors)
        handlers = [(handler, handler.stream) for name in _LIBRARIES
                    for handler in logging.getLogger(name).handlers
                    if isinstance(handler, logging.StreamHandler)]  # fmt: skip
        for handler, _ in handlers:
            handler.setStream(sys.stderr)
        try:
            yield
        finally:
            for handler, stream in handlers:
                handler.setStream(stream)
            for stream in (sys.stdout, sys.stderr):
                with suppress(ValueError, OSError):
                    stream.close()
            sys.stdout, sys.stderr = streams
            for copy, number in zip(saved, descriptors, strict=True):
                os.dup2(copy, number)
                os.close(copy)
            for file, name in ((out, "stdout"), (err, "stderr")):
                file.seek(0)
                setattr(printed, name, file.read(1 << 22))


@contextmanager
def _addresses() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ADDRESSES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TookTooLong(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    # Again and again: a library may take the first one for an error of its own.
    signal.setitimer(signal.ITIMER_REAL, seconds, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _reset_peak() -> int:
    with suppress(OSError):  # not everywhere may a process do this; then the peak is that of its whole life
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1]) * 1024
