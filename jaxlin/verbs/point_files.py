"""Points in files, and functions in files of Python."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from jaxlin.errors import JaxlinError, shortened
from jaxlin.results.frames import pandas_module
from jaxlin.runtime.files import check_regular

#: What an .npz of several arrays calls its points, and their names.
_POINTS, _FEATURES, _NAMES = "X", "features", "points"


def read_points(path: Path) -> tuple[Any, dict[str, Any]]:
    """The points in a file, and the names in it: what :func:`jaxlin.contributions` takes.

    Raises:
        JaxlinError: no such file, one of another kind, or one that cannot be read.
    """
    readers = {".npy": _npy, ".npz": _npz, ".csv": _frame, ".parquet": _frame}
    if path.suffix not in readers:
        raise JaxlinError(f"{path} is no file of points: give one that ends in {', '.join(readers)}")
    try:
        check_regular(path)
        return readers[path.suffix](path)
    except FileNotFoundError as error:
        raise JaxlinError(f"there is no file {path}: give `data` another") from error
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, JaxlinError):
            raise
        reason = str(error).partition("\n")[0]
        raise JaxlinError(f"{path} cannot be read ({reason}): give `data` another") from error


def _npy(path: Path) -> tuple[Any, dict[str, Any]]:
    return np.load(path, mmap_mode="r", allow_pickle=False), {}


def _npz(path: Path) -> tuple[Any, dict[str, Any]]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    if len(arrays) == 1:
        return next(iter(arrays.values())), {}
    unknown = sorted(set(arrays) - {_POINTS, _FEATURES, _NAMES})
    if _POINTS not in arrays or unknown:
        raise JaxlinError(
            f"{path} holds {', '.join(sorted(arrays))}: give one array, or {_POINTS} with {_FEATURES} and "
            f"{_NAMES}"
        )
    named = {name: tuple(map(str, arrays[name])) for name in (_FEATURES, _NAMES) if name in arrays}
    return arrays[_POINTS], named


def _frame(path: Path) -> tuple[Any, dict[str, Any]]:
    pandas = pandas_module()
    try:
        frame = pandas.read_csv(path) if path.suffix == ".csv" else pandas.read_parquet(path)
    except ImportError as error:
        raise JaxlinError(
            'Parquet files need pyarrow, which is not installed: pip install "jaxlin[parquet]"'
        ) from error
    first = frame.columns[0] if len(frame.columns) else None
    if first is not None and not pandas.api.types.is_numeric_dtype(frame[first]):
        frame = frame.set_index(first)
    words = [name for name in frame.columns if not pandas.api.types.is_numeric_dtype(frame[name])]
    if words:
        raise JaxlinError(
            f"the column {shortened(str(words[0]))!r} of {path} holds text: leave it out, or give numbers"
        )
    return frame.astype(float), {}


def find_function(name: str) -> Any:
    """The function or module behind ``FILE.py:NAME`` or ``MODULE:NAME``.

    Raises:
        JaxlinError: no such file, module or name, or a file that fails when it is run.
    """
    place, colon, attribute = name.rpartition(":")
    if not (colon and place and attribute):
        raise JaxlinError(
            f"`function` is {shortened(name)!r}: write it like net.py:predict or package.module:predict"
        )
    module = _module(place)
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise JaxlinError(
                f"{place} has no {shortened(attribute)!r}: give `function` a name that is in it"
            )
        found = getattr(found, part)
    return found


def _module(place: str) -> Any:
    try:
        with _importing_from(Path.cwd(), Path(place).resolve().parent):
            return _of_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except JaxlinError:
        raise
    except Exception as error:  # it is somebody's own code, which may raise anything
        reason = str(error).partition("\n")[0]
        raise JaxlinError(
            f"{shortened(place)} fails when it is imported ({type(error).__name__}: {reason}): mend it first"
        ) from error


def _of_file(path: Path) -> Any:
    """A file as a module whose name is no other's."""
    if not path.is_file():
        raise JaxlinError(f"there is no file {path}: give `function` another")
    name = f"jaxlin_function_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _importing_from(*places: Path) -> Iterator[None]:
    """Where modules are looked for first, as ``python -m`` and ``python FILE`` have it."""
    before = list(sys.path)
    sys.path[:0] = map(str, places)
    try:
        yield
    finally:
        sys.path[:] = before
