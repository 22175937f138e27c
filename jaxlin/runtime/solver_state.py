"""The state of an iterative solver on disk, so that a run that was killed can go on.

    FOLDER/state.safetensors    the arrays by their names; in its metadata the step, what the state is of
                                (model, prompt, policy, seed, …), and a checksum over all of it

A new state is written under another name and then renamed over the old one, so that the file is whole
whenever the process was killed. What was changed afterwards is refused.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Shaped

from jaxlin.errors import JaxlinError
from jaxlin.runtime.interrupt import interruptions_wait
from jaxlin.runtime.state_file import FILE, Shapes, identity_in, packed, read, step_in

_UNFINISHED = "unfinished-state.safetensors"
#: Values longer than this are not spelled out when they differ.
_SPELLED = 40


class SolverState:
    """Where a solver's state lies; a :class:`jaxlin.solvers.result.StateStore`.

    Attributes:
        steps: after how many steps the state on disk was taken, or None.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, Any], every: int, *, resume: bool = False
    ) -> None:
        """Open a new folder, or with ``resume`` the one of a run that was cut off.

        Args:
            folder: is created with its parents; see :meth:`discard`.
            identity: what the state belongs to, in values that JSON can hold. The names appear in messages,
                in which the first difference is named.
            every: steps between two saves; with 0 nothing is saved.
            resume: whether to go on from what is there.

        Raises:
            JaxlinError: see :func:`check`; or what is there is damaged or belongs to something else; or
                the folder cannot be written.
        """
        check(folder, resume=resume)
        self._folder, self._every = folder, every
        self._identity = json.loads(json.dumps(identity))
        self._unsaved: tuple[int, Mapping[str, Array | np.ndarray]] | None = None
        if resume:
            _compare(folder, identity_in(folder), self._identity)
        self.steps = steps_in(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _UNFINISHED).unlink(missing_ok=True)  # what a kill left behind
        except OSError as error:
            raise _unwritable(folder, error, self.steps) from error

    def restore(
        self, check: Callable[[Shapes], None] | None = None
    ) -> dict[str, Shaped[np.ndarray, ...]] | None:
        """The arrays of the last save by their names, or None if there was none.

        Args:
            check: is given their shapes before any memory is taken for them; what it raises ends it.

        Raises:
            JaxlinError: they are damaged, or larger than the memory that is free.
        """
        return None if self.steps is None else read(self._folder, check)

    def save(self, step: int, arrays: Mapping[str, Array | np.ndarray]) -> None:
        """Keep the arrays of this step if it is the turn of this step.

        Raises:
            JaxlinError: they cannot be written; the last save stays.
        """
        if not self._every:
            return
        self._unsaved = (step, arrays)
        if step % self._every == 0:
            self.flush()

    def flush(self) -> None:
        """Keep the last arrays of all, whether it is their turn or not; Ctrl-C waits for it."""
        if self._unsaved is None:
            return
        with interruptions_wait():
            self._write(*self._unsaved)
            self._unsaved = None

    def discard(self) -> None:
        """Remove the folder. What cannot be removed stays, and the next run will say so."""
        for name in (_UNFINISHED, FILE):
            with suppress(OSError):
                (self._folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            self._folder.rmdir()

    def _write(self, step: int, arrays: Mapping[str, Array | np.ndarray]) -> None:
        if step == self.steps:
            return
        content = packed(step, self._identity, {name: np.asarray(a) for name, a in arrays.items()})
        unfinished = self._folder / _UNFINISHED
        try:
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self._folder / FILE)
        except OSError as error:
            self._unsaved = None  # or the next flush would fail once more
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            if self.steps is None:
                self.discard()
            raise _unwritable(self._folder, error, self.steps) from error
        self.steps = step


def check(folder: Path, *, resume: bool) -> None:
    """Refuse early what will be refused anyway.

    Raises:
        JaxlinError: to resume from nothing, to begin where an earlier run's state lies, or other files.
    """
    names = _names(folder)
    steps = steps_in(folder)
    if resume and steps is None:
        raise JaxlinError(f"there is nothing to resume in {folder}: run without `resume`")
    if not resume and steps is not None:
        raise JaxlinError(
            f"{folder} holds the state of an earlier run after {counted(steps)}: "
            f"add `resume` to go on, or remove it to start afresh"
        )
    others = [name for name in names if name not in (FILE, _UNFINISHED)]
    if others:
        raise JaxlinError(f"{folder} holds other files ({others[0]}): remove them, or choose another `out`")


def steps_in(folder: Path) -> int | None:
    """After how many steps the last state was saved, or None if there is none; reads no array.

    Raises:
        JaxlinError: its file is damaged.
    """
    if FILE not in _names(folder):
        return None
    return step_in(folder)


def counted(steps: int) -> str:
    """``1 step``, ``2 steps``."""
    return "1 step" if steps == 1 else f"{steps} steps"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        if os.path.isfile(folder):  # which does not raise at a name that is too long
            raise JaxlinError(f"{folder} is a file: remove it, or choose another `out`") from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):  # nothing is there, or can be
            return []
        raise JaxlinError(f"cannot read {folder} ({error.strerror}): choose another `out`") from error


def _compare(folder: Path, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """:class:`JaxlinError` that names the first difference between what was saved and ``mine``."""
    for name in {**mine, **theirs}:
        if mine.get(name) != theirs.get(name):
            raise JaxlinError(
                f"the state in {folder} {_difference(name, theirs.get(name), mine.get(name))}: "
                f"give the options of the earlier run again, or remove it to start afresh"
            )


def _difference(name: str, theirs: Any, mine: Any) -> str:
    name = name.replace("_", " ")
    if not (_short(theirs) and _short(mine)):
        return f"is of another {name}"
    if theirs is None:
        return f"was made without {name}, not with {mine}"
    return f"was made with {name} {theirs}, not {'without' if mine is None else mine}"


def _short(value: Any) -> bool:
    return not isinstance(value, (list, dict)) and len(str(value)) <= _SPELLED


def _unwritable(folder: Path, error: OSError, steps: int | None) -> JaxlinError:
    way_out = "free some space, choose another `out`, or set `save_every` to 0"
    if steps is not None:
        way_out = f"free some space, and the same run with `resume` goes on after {counted(steps)}"
    return JaxlinError(f"the solver's state cannot be written to {folder} ({error.strerror}): {way_out}")
