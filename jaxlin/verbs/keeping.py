"""Where a verb keeps its result: a folder that is written whole or not at all, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxlin.errors import JaxlinError
from jaxlin.results.store import staged
from jaxlin.verbs.shared import Kept


@contextmanager
def kept(options: Kept) -> Iterator[Path | None]:
    """A folder to write the result into, which becomes ``out`` at the end; None without ``out``.

    Enter it before the work starts, so that a folder that cannot be written is refused at once.

    Raises:
        JaxlinError: ``out`` cannot be written or holds something, or ``overwrite`` without ``out``.
    """
    if options.out is None:
        if options.overwrite:
            raise JaxlinError("`overwrite` is about the folder `out`: give `out`, or leave `overwrite` out")
        yield None
        return
    with staged(options.out, overwrite=options.overwrite) as folder:
        yield folder
