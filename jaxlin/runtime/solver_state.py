"""The state of an iterative solver on disk, so that a run that was killed can go on.

    FOLDER/identity.json    what the state is of: model, prompt, policy, seed, …
    FOLDER/23/              an Orbax checkpoint after step 23

A checkpoint is written under another name and renamed when it is whole; the one before is removed after that.
So a folder with a number for its name is whole whenever the process was killed, and all else is swept away at
the next opening. Contents are under a checksum: what was changed afterwards is refused.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxlin.errors import JaxlinError
from jaxlin.runtime import packed

_IDENTITY = "identity.json"
#: Everything whose name begins so is in the making, or on its way out.
_UNFINISHED = "unfinished-"
#: Values longer than this are not spelled out when they differ.
_SPELLED = 40


class SolverState:
    """Where a solver's state lies; a :class:`jaxlin.solvers.result.StateStore`.

    Attributes:
        steps: of the checkpoint on disk, or None.
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
        mine = json.loads(json.dumps(identity))
        self._seal = _fingerprint(mine)
        self._unsaved: tuple[int, Any, dict[str, Any]] | None = None
        if resume:
            _compare(folder, mine)
        self.steps = steps_in(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            if not resume:
                _write_identity(folder, mine)
        except OSError as error:
            if not resume:
                self.discard()
            raise _unwritable(folder, error, self.steps) from error

    def restore(self, shapes_for: Callable[[dict[str, Any]], Any]) -> Any | None:
        """The arrays of the last checkpoint, or None if there is none.

        Args:
            shapes_for: the note saved beside it -> pytree of shapes and dtypes.

        Raises:
            JaxlinError: it is damaged.
        """
        if self.steps is None:
            return None
        try:
            arrays = packed.load(self._folder / str(self.steps), shapes_for, self._seal)
        except MemoryError:
            raise
        except Exception as error:  # a file that was tampered with can make Orbax raise anything
            raise _damaged(self._folder) from error
        return jax.tree.map(jnp.asarray, arrays)

    def save(self, step: int, state: Any, note: dict[str, Any]) -> None:
        """Keep ``state`` of this step if it is the turn of this step.

        Raises:
            JaxlinError: it cannot be written; the last checkpoint stays.
        """
        if not self._every:
            return
        self._unsaved = (step, state, note)
        if step % self._every == 0:
            self.flush()

    def flush(self) -> None:
        """Keep the last state of all, whether it is its turn or not; Ctrl-C waits for it."""
        if self._unsaved is None:
            return
        with _signals_wait():
            self._write(*self._unsaved)
            self._unsaved = None

    def discard(self) -> None:
        """Remove the folder. What cannot be removed stays, and the next run will say so."""
        if self.steps is not None:  # half a checkpoint must not look like one
            self._remove(self.steps)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, step: int, state: Any, note: dict[str, Any]) -> None:
        before, new = self.steps, self._folder / f"{_UNFINISHED}{step}"
        if step == before:
            return
        try:
            packed.save(new, state, note, self._seal)
            os.replace(new, self._folder / str(step))
        except MemoryError:
            raise
        except Exception as error:  # Orbax hands on what its storage raises: OSError, ValueError, …
            self._sweep()
            if before is None:
                self.discard()
            raise _unwritable(self._folder, error, before) from error
        self.steps = step
        if before is not None:
            self._remove(before)

    def _remove(self, step: int) -> None:
        leaving = self._folder / f"{_UNFINISHED}removal"
        try:
            os.replace(self._folder / str(step), leaving)
        except OSError:
            return
        shutil.rmtree(leaving, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a kill left behind: what is unfinished, and checkpoints before the last one."""
        for path in self._folder.iterdir():
            if path.name.startswith(_UNFINISHED):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            elif path.name.isdecimal() and path.name != str(self.steps):
                self._remove(int(path.name))


def check(folder: Path, *, resume: bool) -> None:
    """Refuse early what will be refused anyway.

    Raises:
        JaxlinError: to resume from nothing, to begin where an earlier run's state lies, or other files.
    """
    steps = steps_in(folder)
    if resume and steps is None:
        raise JaxlinError(f"there is nothing to resume in {folder}: run without --resume")
    if not resume and steps is not None:
        raise JaxlinError(
            f"{folder} holds the state of an earlier run after {counted(steps)}: "
            f"add --resume to go on, or remove it to start afresh"
        )
    others = [name for name in _names(folder) if not _ours(name)]
    if others:
        raise JaxlinError(f"{folder} holds other files ({others[0]}): remove them, or choose another --out")


def steps_in(folder: Path) -> int | None:
    """After how many steps the last whole checkpoint was taken, or None if there is none."""
    return max((int(name) for name in _names(folder) if name.isdecimal()), default=None)


def counted(steps: int) -> str:
    """``1 step``, ``2 steps``."""
    return "1 step" if steps == 1 else f"{steps} steps"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        if os.path.isfile(folder):  # which does not raise at a name that is too long
            raise JaxlinError(f"{folder} is a file: remove it, or choose another --out") from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):  # nothing is there, or can be
            return []
        raise JaxlinError(f"cannot read {folder} ({error.strerror}): choose another --out") from error


def _ours(name: str) -> bool:
    return name == _IDENTITY or name.isdecimal() or name.startswith(_UNFINISHED)


def _write_identity(folder: Path, identity: dict[str, Any]) -> None:
    text = json.dumps({"identity": identity, "sha256": _fingerprint(identity)})
    new = folder / f"{_UNFINISHED}{_IDENTITY}"
    with new.open("w", encoding="utf-8") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, folder / _IDENTITY)


def _compare(folder: Path, mine: dict[str, Any]) -> None:
    """:class:`JaxlinError` that names the first difference between what was saved and ``mine``."""
    try:
        document = json.loads((folder / _IDENTITY).read_text(encoding="utf-8"))
        theirs = document["identity"]
        whole = document["sha256"] == _fingerprint(theirs) and isinstance(theirs, dict)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(folder) from error
    if not whole:
        raise _damaged(folder)
    for name in mine | theirs:
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


def _fingerprint(identity: Any) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _damaged(folder: Path) -> JaxlinError:
    return JaxlinError(
        f"the state in {folder} is damaged or cannot be read: remove it and run without --resume"
    )


def _unwritable(folder: Path, error: Exception, steps: int | None) -> JaxlinError:
    way_out = "free some space, choose another --out, or add --save-every 0"
    if steps is not None:
        way_out = f"free some space, and the same command with --resume goes on after {counted(steps)}"
    return JaxlinError(f"the solver's state cannot be written to {folder} ({_reason(error)}): {way_out}")


def _reason(error: Exception) -> str:
    """What the system said; Orbax's storage wraps it into a paragraph."""
    found = re.search(r"os_error_code='(\d+)'", str(error))
    number = int(found[1]) if found else getattr(error, "errno", None)
    return os.strerror(number) if number else " ".join(str(error).split())[:_SPELLED]


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect at the end of the block, so that none leaves half a save running."""
    if threading.current_thread() is not threading.main_thread():  # where signals never arrive
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if came:
        signal.raise_signal(came[0])
