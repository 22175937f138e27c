"""A process whose address space is limited (``ulimit -v``): what is not Python ends it without a word.

Where a limit is set, the work is done in a child, and the parent puts into a sentence how it ended.
"""

from __future__ import annotations

import ctypes
import io
import os
import resource
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from jaxlin.errors import JaxlinError
from jaxlin.runtime.failure import out_of_memory
from jaxlin.runtime.sizes import spell_size
from jaxlin.runtime.stderr import tell

#: How C++ ends where there is no memory, and the C library's own way of it.
_ABORTED, _NO_THREAD_MEMORY = (signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL), 127
_PARENT_DIED = 1  # PR_SET_PDEATHSIG of Linux
_INTERRUPTED = 130
#: Seconds that an interrupted child has to end by itself.
_PATIENCE = 30
#: Address space of the libraries once they are loaded, and of the threads of each core; measured on two.
_TO_START, _EACH_CORE = 2_500_000_000, 64_000_000
#: The same for what computes nothing.
_TO_READ = 1_200_000_000


def is_limited() -> bool:
    """Whether this process may have less than the whole address space."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def supervised(work: Callable[[], int], refused: int, sentence: Callable[[], str] = out_of_memory) -> int:
    """Do work in a child and return its exit code; ``refused``, with a sentence, where a library ended it.

    To be called before there are threads.

    Args:
        work: gives its exit code.
        refused: that of what was ended.
        sentence: why that will have been.
    """
    child = os.fork()
    if child == 0:
        _work_as_child(work)

    impatient: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(child, number)
        signal.alarm(_PATIENCE)

    def end(number: int, frame: FrameType | None) -> None:
        impatient.append(number)
        os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, end)
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if -code in _ABORTED or code == _NO_THREAD_MEMORY:
        tell(sentence())
        return refused
    if code >= 0:
        return code
    return _INTERRUPTED if impatient else 128 - code


def check_room(*, computes: bool) -> None:
    """:class:`JaxlinError` where JAX would not even start, but wait for threads that never come."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    least = _TO_START + _EACH_CORE * (os.cpu_count() or 1) if computes else _TO_READ
    if limit != resource.RLIM_INFINITY and limit < least:
        raise JaxlinError(f"{out_of_memory()}: about {spell_size(least)} are taken before any work begins")


def _work_as_child(work: Callable[[], int]) -> NoReturn:
    """Python's own words go where they went; those of C++, be it of Gloo's or at its end, go nowhere."""
    code: Any = 1
    try:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            stream = getattr(sys, name)
            if stream is not None:
                raw = io.FileIO(os.dup(stream.fileno()), "w")
                words: Any = io.BufferedWriter(raw) if descriptor == 1 else raw
                settings: Any = {"errors": "backslashreplace", "encoding": stream.encoding}
                setattr(sys, name, io.TextIOWrapper(words, **settings, write_through=True))
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
        code = work()
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):  # there is none, or nobody can be told
                continue
        os._exit(code)
