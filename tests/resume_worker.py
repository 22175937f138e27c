"""Runs that can be killed: reads jobs from stdin, a JSON a line, and forks a process for each.

Everything is imported before the forks, and JAX begins its threads after them, so that a run that goes on
from a state starts in a fraction of a second. For each job two lines come back: the process's id as soon as
it exists, its exit status when it has ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg  # noqa: F401 - jax imports it later, and so would every fork

import jaxlin
from jaxlin.runtime.solver_state import SolverState, steps_in

M, N, K = 300, 2000, 6
#: Its singular values fall slowly.
MATRIX = np.random.default_rng(0).standard_normal((M, N)) * np.linspace(2, 1, M)[:, None] ** 4


def solve(folder: Path, steps: Path, answer: Path) -> None:
    """Lanczos on a matrix whose values fall slowly; s and U go to ``answer``, each step to ``steps``."""
    a = jnp.asarray(MATRIX, jnp.float32)
    operator = jaxlin.linearize(_apply, jnp.ones(N, jnp.float32), a, offset=jnp.zeros(M, jnp.float32))
    state = Recorded(SolverState(folder, {"seed": 0}, 1, resume=steps_in(folder) is not None), steps)
    result = jaxlin.svd(operator, K, method="lanczos", block=1, store=state)
    assert result.certificate.holds
    np.savez(answer, s=result.s, U=result.U)


def _apply(x: jax.Array, a: jax.Array) -> jax.Array:
    return a @ x


class Recorded:
    """Writes every step down as soon as it is computed, which is before it is saved."""

    def __init__(self, state: SolverState, steps: Path) -> None:
        self._state, self._file = state, os.open(steps, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.restore = state.restore

    def save(self, step: int, arrays: Mapping[str, Any]) -> None:
        os.write(self._file, f"{step}\n".encode())
        self._state.save(step, arrays)


def save_and_die(folder: Path, saved: Path, operation: int) -> None:
    """Go on from what is there, save three more steps, and die before the given change of the file system.

    The later half of what is written to a file is a change of its own.
    """
    state = SolverState(folder, {"seed": 0}, 1, resume=True)
    first = state.steps
    assert first is not None
    left = operation

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def listen(event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
        if changes or (event == "open" and arguments[1] is not None and set(arguments[1]) & set("wax+")):
            count()

    whole = Path.open
    Path.open = lambda *arguments: InHalves(whole(*arguments), count)  # type: ignore[assignment]
    sys.addaudithook(listen)
    for step in range(first + 1, first + 4):
        state.save(step, arrays_of(step))
        descriptor = os.open(saved, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.write(descriptor, str(step).encode())
        os.close(descriptor)
    state.discard()


class InHalves:
    """A file that calls somebody when half of what it is given is written."""

    def __init__(self, file: Any, amid: Callable[[], None]) -> None:
        self._file, self._amid = file, amid
        self.flush, self.fileno = file.flush, file.fileno

    def __enter__(self) -> InHalves:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, content: bytes) -> None:
        self._file.write(content[: len(content) // 2])
        self._file.flush()
        self._amid()
        self._file.write(content[len(content) // 2 :])


def arrays_of(step: int) -> dict[str, np.ndarray]:
    """A state that shows which step it is of."""
    return {"basis": np.full((50, 40), step, np.float32), "steps": np.asarray(step, np.int32)}


def serve() -> None:
    jobs = {"solve": solve, "save_and_die": save_and_die}
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            jobs[name](*(Path(value) if isinstance(value, str) else value for value in arguments))
            os._exit(0)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    serve()
