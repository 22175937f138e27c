"""What went wrong outside of this program, in one sentence: memory, and what the system refuses."""

from __future__ import annotations

import errno
import resource
import sys

from jaxlin.runtime.sizes import spell_size

_LESS = "ask for less (a shorter prompt, a smaller k), or free some"
#: How those say it that have no error of their own for it: XLA, the loader of libraries, Python's threads.
_WORDS = (
    "RESOURCE_EXHAUSTED",
    "Out of memory",
    "out of memory",
    "failed to map segment",
    "annot allocate memory",
    "bad_alloc",
)


def in_words(error: MemoryError | OSError | RuntimeError | ImportError) -> str:
    """The sentence for an error that no part of this program foresaw.

    Raises:
        RuntimeError, ImportError: this one, where it is neither about memory, nor another process, nor the
            system's.
    """
    if is_out_of_memory(error):
        return out_of_memory()
    if "jaxlin.runtime.hosts" in sys.modules:  # which takes JAX
        from jaxlin.runtime.hosts import is_lost

        if is_lost(error):
            return lost_process()
    if isinstance(error, OSError):
        where = "" if error.filename is None else f" at {error.filename}"
        return f"the system refused{where} ({error.strerror or error}): mend that, and start again"
    raise error


def lost_process() -> str:
    """The sentence for a run of several processes that cannot go on."""
    return (
        "another process of this run ended, or cannot be reached: start all of them again; with `resume` "
        "they go on from the state beside `out`, if a solver has left one"
    )


def out_of_memory() -> str:
    """The sentence, with the limit of this process if there is one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return f"out of memory: {_LESS}"
    return f"out of memory: this process may have {spell_size(limit)} (ulimit -v); raise that, or {_LESS}"


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, says that memory ran out, in whichever words it has."""
    if error is None:
        return False
    if isinstance(error, OSError):
        said = error.errno == errno.ENOMEM
    else:
        said = isinstance(error, RuntimeError | ImportError) and any(words in str(error) for words in _WORDS)
    return said or isinstance(error, MemoryError) or is_out_of_memory(error.__cause__ or error.__context__)
