"""A hidden folder beside what is made, where it grows until it is whole.

    PLACE/.jaxlin-HASH/    HASH is of the name of what is made
        lock               held by the run that makes it; says the name
        new                what grows
        old                what was there before, between two renames where names cannot be exchanged

The lock goes with the process, however that ends. So two runs never make the same thing at once, and what a
killed run has left is known to be dead: the next run in the same place puts ``old`` back if nothing has taken
its place, and removes the rest.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from jaxlin.errors import JaxlinError
from jaxlin.runtime.files import NO_LOCKS, is_still
from jaxlin.runtime.interrupt import interruptions_wait

NEW, OLD = "new", "old"
_PREFIX, _LOCK = ".jaxlin-", "lock"


@contextmanager
def workshop(target: Path, *, sweep: bool = True) -> Iterator[Path]:
    """A folder beside ``target`` that belongs to this run alone, and is gone at the end.

    Args:
        target: what will be made; its folder must be there.
        sweep: whether to look for what killed runs have left of other things in the same place, too.

    Raises:
        JaxlinError: another run is making the same thing.
        OSError: the place cannot be written to.
    """
    if sweep:
        clear(target.parent)
    with ExitStack() as leaving:
        with interruptions_wait():  # or a lock that is held would have nobody to give it back
            folder = target.parent / _name_for(target.name)
            handle = _claimed(folder)
            if handle is None:
                folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=target.parent))
            leaving.callback(_leave, folder, target, handle)
            if handle is not None:
                _tidy(folder)
                os.ftruncate(handle, 0)
                os.pwrite(handle, os.fsencode(target.name), 0)
        yield folder


def clear(place: Path) -> None:
    """Remove what killed runs have left in a folder, and put back what they had moved away."""
    with suppress(OSError):  # nobody may look, or there is nothing
        names = [name for name in os.listdir(place) if name.startswith(_PREFIX)]
        for folder in (place / name for name in names):
            with suppress(OSError, JaxlinError):  # it is another's, or in use
                if not (folder / _LOCK).exists():
                    folder.rmdir()  # of a run that came no further, or it holds something
                elif (handle := _claimed(folder, make=False)) is not None:
                    try:
                        _tidy(folder)
                        _remove(folder)
                    finally:
                        os.close(handle)


def _name_for(name: str) -> str:
    """A name that is short enough whatever ``name`` is."""
    return _PREFIX + hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def _claimed(folder: Path, *, make: bool = True) -> int | None:
    """The descriptor of its lock; None where the file system has no locks.

    Raises:
        JaxlinError: another run holds it, or it is not what we make.
        OSError: it cannot be made or opened.
    """
    while True:
        if make:
            with suppress(FileExistsError):
                folder.mkdir(0o700)
        if folder.is_symlink() or not folder.is_dir():
            if not folder.exists() and make:
                continue
            raise JaxlinError(f"{folder} is no folder of jaxlin: remove it")
        try:
            handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # the run that had it has just left
            if make:
                continue
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_still(folder / _LOCK, handle):
                return handle
        except BlockingIOError as error:
            os.close(handle)
            raise JaxlinError(
                f"another run is writing here at this moment ({folder.name} in {folder.parent} is in use): "
                f"wait until it ends, or choose another `out`"
            ) from error
        except OSError as error:
            os.close(handle)
            if error.errno not in NO_LOCKS:
                raise
            _remove(folder)
            return None
        os.close(handle)


def _tidy(folder: Path) -> None:
    """Put ``old`` back where nothing has taken its place; remove everything but the lock."""
    name = os.fsdecode((folder / _LOCK).read_bytes())
    if os.path.lexists(folder / OLD):
        if "/" in name or _name_for(name) != folder.name:
            raise JaxlinError(f"{folder} holds the only copy of something: move it away")
        _put_back(folder / OLD, folder.parent / name)
    for path in folder.iterdir():
        if path.name != _LOCK:
            _delete(path)


def _leave(folder: Path, target: Path, handle: int | None) -> None:
    """The end of a run: as after a kill, and no trace of the folder."""
    with interruptions_wait():
        with suppress(OSError):  # the place is gone, or closed by now: the next run there tidies up
            _put_back(folder / OLD, target)
            for path in folder.iterdir():
                if path.name != _LOCK:
                    _delete(path)
            _remove(folder)
        if handle is not None:
            os.close(handle)


def _put_back(old: Path, target: Path) -> None:
    if os.path.lexists(old) and not os.path.lexists(target):
        os.rename(old, target)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _remove(folder: Path) -> None:
    """The lock last, and the folder only if nobody has come in since."""
    (folder / _LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
