"""A command that several processes run together: connected before JAX begins, and one of them speaks."""

from __future__ import annotations

import os
import sys

from jaxlin.commands.parser import Parsed
from jaxlin.errors import JaxlinError
from jaxlin.runtime.stderr import leave_notes_to_others

_HOSTS = ("coordinator", "process_id", "num_processes")


def connect(parsed: Parsed) -> bool:
    """Join the other processes, if any are asked for; whether there are.

    To be called before anything else is done with JAX.

    Raises:
        JaxlinError: what does not go together, or processes that cannot be reached.
    """
    mesh, device = parsed.get("mesh"), parsed.get("device")
    if mesh is not None and device is not None and ":" in device:
        raise JaxlinError("a `mesh` takes all devices in their order: leave the number of `device` out")
    given = [name for name in _HOSTS if parsed.get(name) is not None]
    if not given:
        return False
    if mesh is None:
        raise JaxlinError(f"`{given[0]}` is about the devices of a `mesh`: give `mesh`, or leave it out")
    if parsed.get("prompts") is not None:
        raise JaxlinError(
            "`prompts` are divided by `shard`, each process for itself: leave `coordinator` out, or give one "
            "`prompt`"
        )
    from jaxlin.runtime.hosts import check_hosts, join

    asked = [parsed.get(name) for name in _HOSTS]
    check_hosts(*asked)
    join(*asked)
    return True


def quiet_unless_first(parsed: Parsed) -> Parsed:
    """The same command, which in all processes but the first shows neither its result nor its progress."""
    from jaxlin.runtime.hosts import leads

    if leads():
        return parsed
    leave_notes_to_others()
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process
    return parsed.without_progress()


def speaker() -> str | None:
    """The name under which this process tells of an error; None for the usual one."""
    if "jaxlin.runtime.hosts" not in sys.modules:
        return None
    from jaxlin.runtime.hosts import number

    mine = number()
    return None if mine is None else f"jaxlin, process {mine}: "


def leave() -> None:
    """Wait for the others, at the end of a run that went well."""
    from jaxlin.runtime import hosts

    hosts.leave()
