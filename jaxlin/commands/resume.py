"""Keeps the solver's state beside ``--out`` while a command runs, and says how to go on if it is cut off."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from jaxlin.commands.options import Svd
from jaxlin.errors import JaxlinError
from jaxlin.runtime.solver_state import SolverState, check, counted, steps_in
from jaxlin.solvers.choose import MethodChoice

if TYPE_CHECKING:
    from jaxlin.prompts.model import Model

#: Methods that keep a state.
_ITERATIVE = ("lanczos",)
#: Options that do not change what a step of the solver computes, or that the identity holds as what they came
#: to. Every other option must be the same to go on, those included that are added without a thought for this.
_MAY_DIFFER = frozenset(
    {"model", "prompt", "prompt_file", "token_ids", "method", "block"}
    | {"out", "overwrite", "save_jacobian", "norms", "resume", "save_every"}
    | {"k", "tol", "max_passes", "verify_seed", "memory", "attention", "gate"}
    | {"device", "offload", "progress", "json"}
)


#: What takes less memory for the same map, and so may differ from one try to the next.
_LEANER = "--attention queries_keys takes less of it, and --gate recomputed less again"


class Resumable:
    """The state of one run of a command; opened when it is known what the run is about."""

    def __init__(self, config: Svd) -> None:
        self._config = config
        self.folder = Path(os.path.abspath(config.out) + ".state")
        self._opened: SolverState | None = None
        #: Whether the method gave up before its tolerance was met, so that more passes may do.
        self.gave_up = False
        check(self.folder, resume=config.resume)

    def store(self, model: Model, token_ids: Sequence[int], plan: MethodChoice) -> SolverState | None:
        """Where the method keeps its state; None if it has none, or is not to keep it.

        Raises:
            JaxlinError: there is nothing to resume, or what there is does not belong to this run.
        """
        config = self._config
        if plan.method not in _ITERATIVE:
            if config.resume:
                raise JaxlinError(
                    f"method {plan.method} keeps no state, so there is nothing to resume: "
                    f"run without --resume, or with --method {_ITERATIVE[0]}"
                )
            return None
        if config.save_every or config.resume:
            identity = _identity(config, model, token_ids, plan)
            self._opened = SolverState(self.folder, identity, config.save_every, resume=config.resume)
        return self._opened

    def keep(self) -> int | None:
        """Leave what is needed to go on, and nothing else; returns after how many steps it was."""
        if self._opened is not None:
            self._opened.flush()
            if self._opened.steps is None:
                self._opened.discard()
        return steps_in(self.folder)

    def discard(self) -> None:
        """The run is done."""
        if self._opened is not None:
            self._opened.discard()


@contextmanager
def resumable(config: Svd) -> Iterator[Resumable]:
    """The state of this run, removed at the end if there is nothing left to do, and kept if there is.

    Raises:
        JaxlinError: nothing to resume, or something to resume and no --resume; out of memory amid steps.
        KeyboardInterrupt: with a message that says how to go on, if there is anything to go on from.
    """
    state = Resumable(config)
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
        print(
            f"jaxlin: gave up after {counted(steps)}; the same command with --resume --overwrite and more "
            f"--max-passes goes on from there",
            file=sys.stderr,
        )


def _go_on(steps: int) -> str:
    return f"after {counted(steps)}; the same command with --resume goes on from there"


def _identity(config: Svd, model: Model, token_ids: Sequence[int], plan: MethodChoice) -> dict[str, Any]:
    """What a step of the solver depends on, by the names that messages use."""
    architecture = hashlib.sha256(repr(model.decoder.config).encode()).hexdigest()
    options = {name: value for name, value in asdict(config).items() if name not in _MAY_DIFFER}
    return {
        "version": version("jaxlin"),
        "model": [model.weights_sha256, architecture],
        "prompt": list(token_ids),
        "method": plan.method,
        "block": plan.block,
        **{name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
    }
