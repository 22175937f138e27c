"""Where a verb keeps its result: a folder that is written whole or not at all, or nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jaxlin.errors import JaxlinError
from jaxlin.results.staging import Claim, claimed
from jaxlin.runtime.hosts import agreed
from jaxlin.verbs.shared import Kept


@contextmanager
def reserved(options: Kept) -> Iterator[Claim | None]:
    """``out`` for this run alone; None without ``out``, and in processes that do not write.

    Enter it before the work starts, so that a folder that cannot be written is refused at once.

    Raises:
        JaxlinError: ``out`` cannot be written, holds something or is another run's, or ``overwrite`` without
            ``out``.
    """
    if options.out is None:
        if options.overwrite:
            raise JaxlinError("`overwrite` is about the folder `out`: give `out`, or leave `overwrite` out")
        yield None
        return
    out, overwrite = options.out, options.overwrite
    with ExitStack() as leaving:
        yield agreed(lambda: leaving.enter_context(claimed(out, overwrite=overwrite)))


@contextmanager
def filled(claim: Claim | None) -> Iterator[Path | None]:
    """A folder to write the result into, which becomes ``out`` at the end; None where nothing is kept.

    Raises:
        JaxlinError: ``out`` cannot be written, or holds something by now.
    """
    if claim is None:
        yield None
        return
    with claim.filled() as folder:
        yield folder


@contextmanager
def kept(options: Kept) -> Iterator[Path | None]:
    """Both in one: enter it before the work starts.

    Raises:
        JaxlinError: see :func:`reserved`.
    """
    with reserved(options) as claim, filled(claim) as folder:
        yield folder
