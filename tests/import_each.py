"""Imports each of many modules first, in a process that has seen none of ours; reads their names from stdin.

What is not ours is imported once, and a process is forked for each module, so that a hundred of them take
seconds. JAX has begun no threads by then. A line comes back for each module that cannot be imported.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pkgutil import resolve_name

#: Processes at a time.
_AT_ONCE = os.cpu_count() or 1


def import_each(outside: Sequence[str], modules: Sequence[str]) -> None:
    """Import ``outside`` here, a module or a name in one, and each of ``modules`` in a fork of its own."""
    for name in outside:
        resolve_name(name)
    gc.disable()  # a collection in a fork would copy the whole memory of this process
    for index, name in enumerate(modules):
        if index >= _AT_ONCE:
            os.wait()
        if os.fork() == 0:
            _import(name)
    for _ in modules[:_AT_ONCE]:
        os.wait()


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told, and the process ends
        os.write(sys.stdout.fileno(), f"{name}: {type(error).__name__}: {error}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    import_each(*json.load(sys.stdin))
