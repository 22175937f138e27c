"""Keeps the solver's state next to ``out`` while a verb runs, and says how to go on if it is interrupted."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

from jaxlin.errors import JaxlinError
from jaxlin.prompts.model import Model
from jaxlin.runtime.hosts import agreed, leads, together
from jaxlin.runtime.shared_state import SharedState
from jaxlin.runtime.solver_state import SolverState, check, counted, steps_in
from jaxlin.runtime.stderr import tell
from jaxlin.solvers.choose import MethodChoice
from jaxlin.solvers.methods import USED_BY, uses
from jaxlin.verbs.declare import STEP
from jaxlin.verbs.options import Svd

#: What takes less memory for the same map, and so may differ from one try to the next.
_LEANER = "`attention` queries_keys takes less of it, and `gate` recomputed less again"


class Resumable:
    """The state of one run of a verb; opened when it is known what the run is about."""

    def __init__(self, options: Svd) -> None:
        self._options = options
        self._opened: SolverState | None = None
        #: Whether the method gave up before its tolerance was met, so that more passes may do.
        self.gave_up = False
        folder = None if options.out is None else Path(os.path.abspath(options.out) + ".state")
        #: Where it is; None in processes that keep none.
        self.folder = folder if leads() else None
        if folder is None:
            given = next((name for name in ("resume", "save_every") if getattr(options, name)), None)
            if given is not None:
                raise JaxlinError(
                    f"the solver's state is kept next to `out`: give `out`, or leave `{given}` out"
                )
        else:
            agreed(lambda: check(folder, resume=options.resume))
        _check_method(options)

    @property
    def steps(self) -> int | None:
        """After how many steps of an earlier run this one goes on, if it does."""
        return self._opened.steps if self._opened is not None and self._options.resume else None

    def store(
        self, model: Model, token_ids: Sequence[int], choice: MethodChoice
    ) -> SolverState | SharedState | None:
        """Where the method keeps its state; None if it has none, or is not to keep it.

        Raises:
            JaxlinError: there is nothing to resume, or what there is does not belong to this run.
        """
        options = self._options
        if not uses(choice.method, "store"):
            return None
        every = 1 if options.save_every is None else options.save_every
        if options.out is None or not (every or options.resume):
            return None
        identity, folder = _identity(options, model, token_ids, choice), self.folder
        self._opened = agreed(
            lambda: None if folder is None else SolverState(folder, identity, every, resume=options.resume)
        )
        return SharedState(self._opened) if together() else self._opened

    def keep(self) -> int | None:
        """Leave what is needed to go on, and nothing else; returns after how many steps it was."""
        if self._opened is not None:
            self._opened.flush()
            if self._opened.steps is None:
                self._opened.discard()
        return None if self.folder is None else steps_in(self.folder)

    def discard(self) -> None:
        """The run is done."""
        if self._opened is not None:
            self._opened.discard()


def _check_method(options: Svd) -> None:
    """Refuse to keep the state of a method that has none."""
    given = next((name for name in ("resume", "save_every") if getattr(options, name)), None)
    if given is not None and not uses(options.method, "store"):
        raise JaxlinError(
            f"method {options.method} keeps no state: leave out `{given}`, or choose `method` "
            f"{' or '.join(USED_BY['store'])}"
        )


@contextmanager
def resumable(options: Svd) -> Iterator[Resumable]:
    """The state of this run, removed at the end if there is nothing left to do, and kept if there is.

    Raises:
        JaxlinError: nothing to resume, or something to resume and no ``resume``; out of memory between steps.
        KeyboardInterrupt: with a message that says how to go on, if there is anything to go on from.
    """
    state = Resumable(options)
    try:
        yield state
    except KeyboardInterrupt as interrupt:
        steps = state.keep()
        if steps is None:
            raise
        raise KeyboardInterrupt(f"interrupted {_go_on(steps)}") from interrupt
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        steps = state.keep()
        if not (isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)):
            raise
        how = "before the first step" if steps is None else _go_on(steps)
        raise JaxlinError(f"out of memory {how}; {_LEANER}") from error
    except BaseException:
        state.keep()
        raise
    steps = state.keep() if state.gave_up else None
    if steps is None:
        state.discard()
    else:
        tell(
            f"gave up after {counted(steps)}; the same command with --resume --overwrite and more "
            f"--max-passes goes on from there"
        )


def _go_on(steps: int) -> str:
    return f"after {counted(steps)}; the same command with --resume goes on from there"


def _identity(options: Svd, model: Model, token_ids: Sequence[int], choice: MethodChoice) -> dict[str, Any]:
    """What a step of the solver depends on, by the names that messages use."""
    architecture = hashlib.sha256(repr(model.config).encode()).hexdigest()
    return {
        "version": version("jaxlin"),
        "model": [model.weights_sha256, architecture],
        "prompt": list(token_ids),
        "method": choice.method,
        "block": choice.block,
        "dtype": model.dtype_name,
        "precision": model.precision,
        **options.deciding(STEP),
    }
