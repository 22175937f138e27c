"""What went wrong outside of this program, in one sentence: memory, and what the system refuses."""

from __future__ import annotations

import resource

from jaxlin.runtime.sizes import spell_size

_LESS = "ask for less (a shorter prompt, a smaller k), or free some"


def in_words(error: MemoryError | OSError | RuntimeError) -> str:
    """The sentence for an error that no part of this program foresaw.

    Raises:
        RuntimeError: this one, where it is neither about memory nor the system's.
    """
    if is_out_of_memory(error):
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return f"out of memory: {_LESS}"
        return f"out of memory: this process may have {spell_size(limit)} (ulimit -v); raise it, or {_LESS}"
    if isinstance(error, OSError):
        where = "" if error.filename is None else f" at {error.filename}"
        return f"the system refused{where} ({error.strerror or error}): mend that, and start again"
    raise error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, or that of JAX, in whichever words it has."""
    text = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in text for words in ("RESOURCE_EXHAUSTED", "Out of memory", "can't start new thread"))
    )
