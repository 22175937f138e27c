"""What a verb hands over: its summary as tables or JSON on stdout, and files beside results."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxlin.commands.options import Output
from jaxlin.errors import JaxlinError
from jaxlin.results.store import summary_text


def tell(config: Output, summary: Mapping[str, Any], show: Callable[[Any], None]) -> None:
    """What was found, on stdout: as JSON if that is asked for, and else as ``show`` shows it."""
    if config.json:
        print(summary_text(summary), end="")
    else:
        show(summary)


def beside(folder: Path, ending: str) -> Path:
    """A place beside a result, named after it."""
    if folder.name in ("", ".."):  # from inside it
        folder = Path(os.path.abspath(folder))
    return folder.with_name(folder.name + ending)


def say_written(told: Mapping[str, Any]) -> None:
    """Where the files lie that a verb wrote."""
    for path in told["wrote"]:
        print(f"wrote {path}")


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
