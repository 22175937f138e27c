"""Libraries that print: what is wrong with a checkpoint is said once, in a sentence of ours."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_STDERR = 2


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what is written to stderr in here, by Python or by a library in another language."""
    with suppress(OSError, ValueError, AttributeError):  # closed, or none at all
        sys.stderr.flush()
    try:
        kept = os.dup(_STDERR)
    except OSError:  # closed, and so it is quiet
        kept = None
    if kept is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDERR)
        os.close(nowhere)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        if kept is not None:
            os.dup2(kept, _STDERR)
            os.close(kept)
