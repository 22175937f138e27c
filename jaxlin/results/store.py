"""Results on disk: tensors any framework reads, a JSON anyone reads, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from jaxlin.errors import JaxlinError, spell_acting
from jaxlin.linear.operator import solver_dtype

TENSORS, SUMMARY = "result.safetensors", "result.json"
#: The format's names of what a result is made of.
_DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}


@contextmanager
def staged(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder beside ``out`` to write into, which becomes ``out`` at the end and only if all went well.

    Enter it before the work starts, so that a folder that cannot be written is refused at once.

    Raises:
        JaxlinError: ``out`` holds something already, or cannot be written.
    """
    try:
        _check_free(out, overwrite)
        out = out.resolve()  # where a link points to
        made = [parent for parent in out.parents if not parent.exists()]
    except OSError as error:
        raise _unwritable(out, error) from error
    with ExitStack() as leaving:
        leaving.callback(_remove_empty, made)
        workshop = _workshop(out.parent)
        leaving.callback(shutil.rmtree, workshop, ignore_errors=True)
        leaving.callback(_put_back, workshop / "old", out)
        (workshop / "new").mkdir()
        yield workshop / "new"
        _publish(workshop, out, overwrite)


def write(folder: Path, arrays: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Put a result's two files into ``folder``; :class:`JaxlinError` if there is no room."""
    tensors = {name: np.ascontiguousarray(a, _readable(a.dtype)) for name, a in arrays.items()}
    try:
        write_tensors(tensors, folder / TENSORS)
        (folder / SUMMARY).write_text(summary_text(summary), encoding="utf-8")
    except OSError as error:
        raise JaxlinError(f"the result cannot be written ({error}): free some space") from error


def summary_text(summary: Mapping[str, Any]) -> str:
    """A summary as JSON, in UTF-8 but for what would act on a terminal, which JSON can spell."""
    return spelled_json(summary, indent=2) + "\n"


def spelled_json(value: Any, **settings: Any) -> str:
    """JSON in which no character acts (controls, halves of surrogate pairs, reversals of direction …)."""
    text = json.dumps(value, ensure_ascii=False, **settings)
    # What is left of control characters between values are the line breaks of ``indent``.
    return spell_acting(text, lambda character: json.dumps(character)[1:-1], keep="\n")


def beside(folder: Path, ending: str) -> Path:
    """A place next to a result, named after it."""
    if folder.name in ("", ".."):  # from inside it
        folder = Path(os.path.abspath(folder))
    return folder.with_name(folder.name + ending)


def write_whole(path: Path, text: str) -> None:
    """A file of text that exists whole or not at all; :class:`JaxlinError` if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=".jaxlin-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(part, 0o644)
            os.replace(part, path)
        except BaseException:
            os.unlink(part)
            raise
    except OSError as error:
        raise JaxlinError(f"cannot write {path} ({error.strerror}): choose another `out`") from error


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A result's tensors and summary.

    Raises:
        JaxlinError: there is no result, or it cannot be read.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return load_file(folder / TENSORS), summary
    except FileNotFoundError as error:
        raise JaxlinError(
            f"{folder} holds no result: give a folder that a verb or a result's `save` has written"
        ) from error
    except (OSError, ValueError, SafetensorError) as error:
        raise JaxlinError(f"the result in {folder} cannot be read ({error}): make it again") from error


def _readable(dtype: np.dtype) -> np.dtype:
    """numpy cannot read bfloat16 back; in float32 it is the same numbers."""
    return solver_dtype(dtype) if jnp.issubdtype(dtype, jnp.floating) else dtype


def write_tensors(tensors: Mapping[str, np.ndarray], path: Path) -> None:
    """Write safetensors array by array: the library would first make one more copy of all of them."""
    header, end = {}, 0
    ordered = sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize)  # so that each is aligned
    for name, a in ordered:
        start, end = end, end + a.nbytes
        header[name] = {"dtype": _DTYPES[a.dtype.name], "shape": list(a.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, a in ordered:
            file.write(np.ascontiguousarray(a, a.dtype.newbyteorder("<")).data)


def _check_free(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise JaxlinError(f"{out} is a file: choose another `out`")
    if out.is_mount() or out.samefile(Path.cwd()):
        raise JaxlinError(f"{out} itself cannot be replaced: choose a folder inside it as `out`")
    held = sorted(out.iterdir())
    if not held:
        return
    others = [path.name for path in held if path.name not in (TENSORS, SUMMARY) or not path.is_file()]
    if others:
        raise JaxlinError(f"{out} holds other files ({others[0]}): choose an empty or new folder as `out`")
    if not overwrite:
        raise JaxlinError(f"{out} already holds a result: choose another `out`, or add `overwrite`")


def _workshop(place: Path) -> Path:
    """A new hidden folder in ``place``, where the new result grows and the old one waits."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".jaxlin-", dir=place))
    except OSError as error:
        raise _unwritable(place, error) from error


def _unwritable(place: Path, error: OSError) -> JaxlinError:
    return JaxlinError(f"cannot write to {place} ({error.strerror}): choose another `out`")


def _publish(workshop: Path, out: Path, overwrite: bool) -> None:
    new, old = workshop / "new", workshop / "old"
    for file in new.iterdir():  # safetensors writes for the owner alone
        file.chmod(new.stat().st_mode & 0o666)
    try:
        if overwrite and out.exists():
            os.replace(out, old)
        os.replace(new, out)
    except OSError as error:
        raise _unwritable(out, error) from error


def _put_back(old: Path, out: Path) -> None:
    if old.exists() and not out.exists():
        os.replace(old, out)


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:  # innermost first
        with suppress(OSError):  # it was never made, or holds something
            folder.rmdir()
