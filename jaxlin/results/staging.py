"""Where results appear: whole or not at all, one run at a time, and never over anything but a result."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from jaxlin.errors import JaxlinError
from jaxlin.results.store import SUMMARY, TENSORS
from jaxlin.runtime.files import exchange, flush
from jaxlin.runtime.workshop import NEW, OLD, workshop


@dataclass(frozen=True)
class Claim:
    """A place that belongs to this run, as long as it is claimed.

    Attributes:
        out: where the result will be.
        overwrite: whether it may replace one that is there.
        shop: the hidden folder beside it, see :mod:`jaxlin.runtime.workshop`.
    """

    out: Path
    overwrite: bool
    shop: Path

    @contextmanager
    def filled(self) -> Iterator[Path]:
        """A folder to write into, which becomes ``out`` at the end and only if all went well.

        Raises:
            JaxlinError: ``out`` holds something by now, or cannot be written.
        """
        try:
            (self.shop / NEW).mkdir()
        except OSError as error:
            raise _unwritable(self.shop.parent, error) from error
        yield self.shop / NEW
        try:
            self._publish()
        except OSError as error:
            raise _unwritable(self.out, error) from error

    def _publish(self) -> None:
        new, old, out = self.shop / NEW, self.shop / OLD, self.out
        for file in filter(Path.is_file, new.iterdir()):  # safetensors writes for the owner alone
            file.chmod(new.stat().st_mode & 0o666)
        check_free(out, overwrite=self.overwrite)  # which may have changed since
        if out.exists() and os.listdir(out):
            if exchange(new, out):
                others = _others(new)
                if others:  # they came this very moment
                    exchange(new, out)
                    raise _holds_others(out, others)
            else:
                os.replace(out, old)
                os.replace(new, out)
        else:
            os.replace(new, out)
        with suppress(OSError):  # a file system that does not know how
            flush(out.parent)


@contextmanager
def staged(out: Path, *, overwrite: bool, sweep: bool = True) -> Iterator[Path]:
    """A folder beside ``out`` to write into, which becomes ``out`` at the end and only if all went well.

    Enter it before the work starts, so that a folder that cannot be written is refused at once.

    Raises:
        JaxlinError: see :func:`claimed`.
    """
    with claimed(out, overwrite=overwrite, sweep=sweep) as claim, claim.filled() as folder:
        yield folder


@contextmanager
def claimed(out: Path, *, overwrite: bool, sweep: bool = True) -> Iterator[Claim]:
    """``out`` for this run alone.

    Args:
        out: where a result will be.
        overwrite: whether it may replace a result that is there.
        sweep: whether to look for what killed runs have left of other results in the same place, too.

    Raises:
        JaxlinError: ``out`` holds something already, another run is writing it, or it cannot be written.
    """
    try:
        out_of_links = Path(os.path.realpath(out))  # where a link points to
        missing = [parent for parent in out_of_links.parents if not parent.exists()]
        if not missing:
            _check_here(out)
    except OSError as error:
        raise _unwritable(out, error) from error
    with ExitStack() as leaving:
        leaving.callback(_remove_empty, missing)
        try:
            out_of_links.parent.mkdir(parents=True, exist_ok=True)
            shop = leaving.enter_context(workshop(out_of_links, sweep=sweep))
            check_free(
                out, overwrite=overwrite
            )  # once nobody else can change it, and what a kill had moved is back
        except OSError as error:
            raise _unwritable(out_of_links.parent, error) from error
        yield Claim(out_of_links, overwrite, shop)


@contextmanager
def made(out: Path) -> Iterator[None]:
    """A folder to write into, made if need be; of what was made goes again what is empty at the end.

    Raises:
        JaxlinError: it cannot be made.
    """
    missing: list[Path] = []
    try:
        try:
            missing += [folder for folder in (out, *out.parents) if not folder.exists()]
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(out, error) from error
        yield
    finally:
        _remove_empty(missing)


@contextmanager
def all_or_none(out: Path) -> Iterator[Path]:
    """A folder whose files go into ``out`` at the end, in place of those of the same names, if all went well.

    Raises:
        JaxlinError: ``out`` cannot be written, or another run is writing files into it.
    """
    with ExitStack() as leaving:
        leaving.enter_context(made(out))
        try:
            folder = leaving.enter_context(workshop(out / NEW)) / NEW
            folder.mkdir()
            yield folder
            for path in sorted(folder.iterdir()):
                os.replace(path, out / path.name)
        except OSError as error:
            raise _unwritable(out, error) from error


def _check_here(out: Path) -> None:
    """Refuse what no run could write, before anything is touched."""
    if os.path.islink(os.path.realpath(out)):
        raise JaxlinError(f"{out} is a link to itself: choose another `out`")
    if out.exists() and not out.is_dir():
        raise JaxlinError(f"{out} is a file: choose another `out`")
    if out.exists() and (out.is_mount() or out.samefile(Path.cwd())):
        raise JaxlinError(f"{out} itself cannot be replaced: choose a folder inside it as `out`")


def check_free(out: Path, *, overwrite: bool) -> None:
    """:class:`JaxlinError` if a result cannot be here."""
    _check_here(out)
    if not out.exists() or not os.listdir(out):
        return
    others = _others(out)
    if others:
        raise _holds_others(out, others)
    if not overwrite:
        raise JaxlinError(f"{out} already holds a result: choose another `out`, or add `overwrite`")


def _others(folder: Path) -> list[str]:
    """What is no file of a result; a link is none, and points elsewhere once the folder has moved."""

    def is_ours(path: Path) -> bool:
        return path.name in (TENSORS, SUMMARY) and path.is_file() and not path.is_symlink()

    return [path.name for path in sorted(folder.iterdir()) if not is_ours(path)]


def _holds_others(out: Path, others: Sequence[str]) -> JaxlinError:
    return JaxlinError(f"{out} holds other files ({others[0]}): choose an empty or new folder as `out`")


def _unwritable(place: Path, error: OSError) -> JaxlinError:
    return JaxlinError(f"cannot write to {place} ({error.strerror}): choose another `out`")


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:  # innermost first
        with suppress(OSError):  # it was never made, or holds something
            folder.rmdir()
