"""Several processes that compute one thing together, on one host or on many; JAX's own runtime connects them.

All of them run the same program, in the same order. What could differ between them is agreed on: the memory
that is free, the state that a run goes on from, whether the result may be written. Process 0 alone writes and
prints.

A process that is lost takes the others with it: products over all devices cannot go on without it. JAX's
coordination service finds out, at the latest after :data:`HEARTBEAT_SECONDS`, and ends them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

from jaxlin.errors import JaxlinError, shortened

#: The name of SLURM in the place of an address: the rest is in its variables.
SLURM = "slurm"
#: A process that says nothing for so long is lost.
HEARTBEAT_SECONDS = 30
#: So long processes wait for each other at the start.
_START_SECONDS = 300
#: What the collectives say when another end is gone.
_LOST = (
    "Gloo",
    "gloo",
    "onnection",
    "NCCL",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
    "eartbeat",
    "coordination service",
)

_Value = TypeVar("_Value")


def check_hosts(coordinator: str | None, process_id: int | None, num_processes: int | None) -> None:
    """Refuse what says no group of processes.

    Raises:
        JaxlinError: some of the three without the others, or numbers that do not go together.
    """
    numbers = {"process_id": process_id, "num_processes": num_processes}
    given = [name for name, value in numbers.items() if value is not None]
    if coordinator is None or coordinator == SLURM:
        if given:
            way = "which says both" if coordinator else "which is HOST:PORT of process 0, or slurm"
            hint = f"leave `{given[0]}` out" if coordinator else "give it"
            raise JaxlinError(f"`{given[0]}` goes with `coordinator`, {way}: {hint}")
        return
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise JaxlinError(
            f"{shortened(coordinator)!r} is no `coordinator`: give HOST:PORT of process 0, or slurm"
        )
    if process_id is None or num_processes is None:
        missing = next(name for name, value in numbers.items() if value is None)
        raise JaxlinError(f"`coordinator` needs `process_id` and `num_processes`: give `{missing}`")
    if process_id >= num_processes:
        raise JaxlinError(
            f"`process_id` is {process_id} of {num_processes} processes: they are numbered from 0 to "
            f"{num_processes - 1}"
        )


def join(coordinator: str, process_id: int | None, num_processes: int | None) -> None:
    """Connect this process with the others; before anything else is done with JAX.

    Raises:
        JaxlinError: see :func:`check_hosts`; there is no SLURM job, or the others cannot be reached.
    """
    check_hosts(coordinator, process_id, num_processes)
    if coordinator == SLURM and "SLURM_JOB_ID" not in os.environ:
        raise JaxlinError("there is no SLURM job here (SLURM_JOB_ID): start with srun, or give HOST:PORT")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            None if coordinator == SLURM else coordinator,
            num_processes,
            process_id,
            cluster_detection_method=SLURM if coordinator == SLURM else "deactivate",
            initialization_timeout=_START_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0][:200]
        raise JaxlinError(f"the processes cannot be connected ({reason}): check `coordinator`") from error


def leave() -> None:
    """Wait for the others at the end of a run that went well."""
    if together():
        jax.distributed.shutdown()


def together() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def leads() -> bool:
    """Whether this process is the one that writes and prints."""
    return not together() or jax.process_index() == 0


def number() -> int | None:
    """The number of this process; None where there are no others."""
    return jax.process_index() if together() else None


def least(value: int) -> int:
    """The least of what all processes have of something. All of them must ask."""
    if not together():
        return value
    from jax.experimental.multihost_utils import process_allgather

    halves = np.asarray(divmod(value, 2**30), np.int32)  # which JAX does not narrow
    found = np.asarray(process_allgather(halves)).reshape(-1, 2).astype(np.int64)
    return int((found[:, 0] * 2**30 + found[:, 1]).min())


def from_first(value: Callable[[], bytes]) -> bytes:
    """What process 0 makes, in all of them; the others do not make it. All of them must ask."""
    if not together():
        return value()
    from jax.experimental.multihost_utils import broadcast_one_to_all

    mine = np.frombuffer(value() if leads() else b"", np.uint8)
    length = int(broadcast_one_to_all(np.asarray(len(mine), np.int32)))
    padded = np.zeros(length, np.uint8)
    padded[: len(mine)] = mine
    return np.asarray(broadcast_one_to_all(padded)).astype(np.uint8).tobytes()


def agreed(work: Callable[[], _Value]) -> _Value | None:
    """What only process 0 does; None in the others, which fail where it fails, with its own sentence.

    Raises:
        JaxlinError: that of the work.
    """
    done: list[_Value] = []
    failed: list[JaxlinError] = []

    def attempt() -> bytes:
        try:
            done.append(work())
        except JaxlinError as error:
            failed.append(error)
            return str(error).encode()
        return b""

    sentence = from_first(attempt).decode()
    if failed:
        raise failed[0]
    if sentence:
        raise JaxlinError(sentence)
    return done[0] if done else None


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process is gone."""
    return together() and any(words in str(error) for words in _LOST)
