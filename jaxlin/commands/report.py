"""``jaxlin report``: results as one HTML file that opens from disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from jaxlin.commands.job import beside, say_written, tell
from jaxlin.errors import JaxlinError
from jaxlin.options import Report


def run(config: Report) -> int:
    """Do what the command line asked for; returns the exit code."""
    from jaxlin.report import report

    if not config.results:
        raise JaxlinError("no result is given: name one folder or more that a verb wrote")
    out = beside(config.results[0], ".html") if config.out is None else config.out
    if out.exists() and not config.overwrite:
        raise JaxlinError(f"{out} is there already: choose another --out, or add --overwrite")
    write_whole(out, report(config.results))
    tell(config, {"wrote": [str(out)]}, say_written)
    return 0


def write_whole(path: Path, text: str) -> None:
    """A file that exists whole or not at all; :class:`JaxlinError` if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".jaxlin-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(part, 0o644)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
    except OSError as error:
        raise JaxlinError(f"cannot write {path} ({error.strerror}): choose another --out") from error
