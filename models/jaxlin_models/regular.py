"""Files that may be opened: a pipe waits for ever, ``/dev/zero`` has no end, a folder has no contents."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from jaxlin_models.errors import ModelError

#: What :func:`kind_of` calls a file that may be opened.
REGULAR = "regular file"
_KINDS = (
    (stat.S_ISREG, REGULAR),
    (stat.S_ISDIR, "folder"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISSOCK, "socket"),
)
#: Bytes of a JSON file. The largest tokenizer.json in use has 40 MB, the largest index 10 MB.
_LARGEST_JSON = 256 * 2**20


def kind_of(path: Path) -> str | None:
    """What a path leads to, links followed; None if it leads nowhere."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # no file can have this name, or a link that leads in a circle
        return None
    return next((name for test, name in _KINDS if test(mode)), "device")


def require_regular(path: Path) -> None:
    """Refuse what cannot be read to its end, before it is opened.

    Raises:
        ModelError: there is nothing of this name, or a folder, a pipe, a socket or a device.
    """
    kind = kind_of(path)
    if kind is None:
        raise ModelError(f"there is no file {path}; fetch the checkpoint again")
    if kind != REGULAR:
        raise ModelError(f"{path} is a {kind} and no file; put the checkpoint's own file there")


def require_small(path: Path) -> None:
    """Refuse a file that would be read whole and is larger than any of its sort.

    Raises:
        ModelError: it is, or it is no regular file.
    """
    require_regular(path)
    if (size := path.stat().st_size) > _LARGEST_JSON:
        raise ModelError(
            f"{path} has {size} bytes, more than any such file ({_LARGEST_JSON}); fetch it again"
        )


def read_json(path: Path, what: str) -> Any:
    """The contents of a small JSON file; ``what`` it is said not to be where it is none.

    Raises:
        ModelError: no such file, no regular one, too large, or no JSON.
    """
    require_small(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not {what}; fetch it anew") from error
