"""Results on disk: tensors any framework reads, a JSON anyone reads, whole or not at all."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import psutil
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file

from jaxlin.errors import JaxlinError, spell_acting
from jaxlin.linear.operator import solver_dtype
from jaxlin.runtime.files import check_regular, flush
from jaxlin.runtime.sizes import spell_size
from jaxlin.runtime.workshop import clear, workshop

TENSORS, SUMMARY = "result.safetensors", "result.json"
#: The format's names of what a result is made of.
_DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64", "bfloat16": "BF16"}
#: A summary of more bytes than this is none that a verb has written.
_LONGEST_SUMMARY = 2**29
#: Characters of what a library says of a damaged file.
_LONGEST_REASON = 200


def write(
    folder: Path, arrays: Mapping[str, Any], summary: Mapping[str, Any], narrow: Sequence[str] = ()
) -> None:
    """Put a result's two files into ``folder``; :class:`JaxlinError` if there is no room.

    Args:
        folder: where they go.
        arrays: the tensors, which are stored in float32 or better.
        summary: everything else.
        narrow: those of the arrays that are rounded to bfloat16.
    """
    tensors = {
        name: np.ascontiguousarray(a, jnp.bfloat16 if name in narrow else _readable(a.dtype))
        for name, a in arrays.items()
    }
    try:
        write_tensors(tensors, folder / TENSORS)
        (folder / SUMMARY).write_text(summary_text(summary), encoding="utf-8")
        for name in (TENSORS, SUMMARY):
            flush(folder / name)
    except OSError as error:
        reason = error.strerror or error
        raise JaxlinError(f"the result cannot be written ({reason}): free some space") from error


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


def write_whole(path: Path, text: str, *, within: Path | None = None) -> None:
    """A file of text that exists whole or not at all; a link of its name is replaced, not followed.

    Args:
        path: the file; its folders are made.
        text: its content; what is no UTF-8 in it, as in names of files, is escaped.
        within: a folder of this run in the same place, where it may grow; one is made if not given.

    Raises:
        JaxlinError: it cannot be written, or another run is writing it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with workshop(path) if within is None else nullcontext(within) as folder:
            part = folder / "part"
            with part.open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
    except OSError as error:
        raise JaxlinError(f"cannot write {path} ({error.strerror}): choose another `out`") from error


@dataclass(frozen=True)
class Stored:
    """A tensor in a file that was not read yet: numpy's name of its type, and its shape."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def kind(self) -> str:
        """numpy's letter of the type; ``f`` for bfloat16 too, which it has none for."""
        dtype = jnp.dtype(self.dtype)
        return "f" if jnp.issubdtype(dtype, jnp.floating) else dtype.kind

    def __str__(self) -> str:
        return f"{self.dtype} {list(self.shape)}"


@dataclass(frozen=True)
class Saved:
    """A result on disk: everything that is not a tensor, and what the tensors are.

    Attributes:
        folder: where it is.
        summary: ``result.json``.
        layout: the tensors of ``result.safetensors`` by name; what the file says of them fits its length.
    """

    folder: Path
    summary: Mapping[str, Any]
    layout: Mapping[str, Stored]

    def arrays(self) -> dict[str, np.ndarray]:
        """The tensors.

        Raises:
            JaxlinError: they cannot be read, or there is no memory for them.
        """
        sizes = {name: jnp.dtype(each.dtype) for name, each in self.layout.items()}
        needed = sum(
            math.prod(each.shape) * _readable(sizes[name]).itemsize for name, each in self.layout.items()
        )
        free = psutil.virtual_memory().available
        if needed > free:
            raise JaxlinError(
                f"the tensors of the result in {self.folder} take {spell_size(needed)} of memory and "
                f"{spell_size(free)} are free: read it where there is more"
            )
        with _readable_or_else(self.folder):
            arrays = load_file(self.folder / TENSORS)
        return {name: a.astype(_readable(a.dtype), copy=False) for name, a in arrays.items()}


def look(folder: Path) -> Saved:
    """What is saved in a folder, without its tensors.

    Raises:
        JaxlinError: there is no result, or it cannot be read.
    """
    summary = read_summary(folder)
    with _readable_or_else(folder):
        return Saved(folder, summary, _layout_in(folder / TENSORS))


def read_summary(folder: Path) -> dict[str, Any]:
    """``result.json`` alone, whatever it says.

    Raises:
        JaxlinError: there is none, or it cannot be read.
    """
    with _readable_or_else(folder):
        if not os.path.exists(folder):
            clear(folder.parent)  # a run that was killed between two renames may have moved it away
        return _summary_in(folder / SUMMARY)


def read(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A result's tensors and summary, whatever they are.

    Raises:
        JaxlinError: there is no result, or it cannot be read.
    """
    saved = look(folder)
    return saved.arrays(), dict(saved.summary)


def damaged(folder: Path, what: str) -> JaxlinError:
    """The sentence about a result that is not what was written."""
    what = what if len(what) <= _LONGEST_REASON else f"{what[:_LONGEST_REASON]}…"
    return JaxlinError(f"the result in {folder} cannot be read ({what}): make it again")


@contextmanager
def _readable_or_else(folder: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise JaxlinError(
            f"{folder} holds no result: give a folder that a verb or a result's `save` has written"
        ) from error
    except OSError as error:
        raise damaged(folder, error.strerror or str(error)) from error
    except (ValueError, SafetensorError, RecursionError, MemoryError) as error:
        raise damaged(folder, str(error)) from error


def _summary_in(path: Path) -> dict[str, Any]:
    check_regular(path)
    if path.stat().st_size > _LONGEST_SUMMARY:
        raise ValueError(f"{SUMMARY} has more than {spell_size(_LONGEST_SUMMARY)}")
    summary = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_json)
    if not isinstance(summary, dict):
        raise ValueError(f"{SUMMARY} holds no object")
    return summary


def _no_json(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _layout_in(path: Path) -> dict[str, Stored]:
    check_regular(path)
    with safe_open(path, framework="numpy") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        found = {name: (each.get_dtype(), tuple(each.get_shape())) for name, each in slices.items()}
    strange = [name for name, (dtype, _) in found.items() if dtype not in _DTYPES.values()]
    if strange:
        raise ValueError(f"its tensor {strange[0]} is of type {found[strange[0]][0]}")
    names = {short: name for name, short in _DTYPES.items()}
    return {name: Stored(names[dtype], shape) for name, (dtype, shape) in found.items()}


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
            little = np.ascontiguousarray(a, a.dtype.newbyteorder("<"))
            file.write(little.reshape(-1).view(np.uint8).data)
