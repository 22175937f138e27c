"""Changes of the file system that are made whole or not at all, and files that are no surprise to read."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

#: Of renameat2(2): paths are taken as they are; the two names swap.
_HERE, _EXCHANGE = -100, 2
#: What it says where the kernel or this file system cannot.
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EXDEV)
#: What flock says on file systems that have no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


def exchange(first: Path, second: Path) -> bool:
    """Let two files or folders swap their names in one step, so that neither is ever missing.

    Returns:
        Whether they did: False where the system or the file system cannot, which has changed nothing.

    Raises:
        OSError: one of them is not there, or may not be renamed.
    """
    sys.audit("os.rename", first, second, -1, -1)  # as Python does for renames of its own
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # no Linux, or an old one
        return False
    if rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))


def check_regular(path: Path) -> None:
    """Refuse what may be read without end, or never: a pipe, a device, a folder.

    Raises:
        OSError: it is no regular file, or there is nothing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk; :class:`OSError` if they cannot be."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def held(path: Path) -> Iterator[BufferedRandom]:
    """A file to be read and written, made if it is not there, that nobody else holds meanwhile.

    Whoever replaces the file while holding it leaves those who wait with the new one. Where the file system
    has no locks, nobody waits.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+b")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            if is_still(path, file.fileno()):
                yield file
                return


def is_still(path: Path, handle: int) -> bool:
    """Whether a name is still that of the file that was opened: who held it before may have replaced it."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False
