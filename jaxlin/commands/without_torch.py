"""transformers without torch, which it would import wherever it is installed.

That takes two seconds, and nothing that is used of it here needs torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_torch() -> Iterator[None]:
    """What is imported inside finds no torch, unless it has been imported before.

    transformers remembers that for as long as the process lives: for a process of one's own.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # as Python says that a module cannot be found
    try:
        yield
    finally:
        del sys.modules["torch"]
