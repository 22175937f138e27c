"""The file of a solver's state: packed, and unpacked only if it is as it was written.

Its metadata hold the step, what the state is of, and a checksum over all of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import safetensors.numpy

from jaxlin.errors import JaxlinError
from jaxlin.runtime.files import check_regular
from jaxlin.runtime.sizes import spell_size

FILE = "state.safetensors"
#: Bytes of a file that are looked at at once.
_PART = 2**20
#: The file's names of types, and numpy's.
_DTYPES = {
    "BOOL": "bool", "I32": "int32", "I64": "int64", "U8": "uint8", "U32": "uint32",
    "BF16": "bfloat16", "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip
#: Shapes of arrays by name.
Shapes = Mapping[str, tuple[int, ...]]
#: What reading a file can raise that somebody has changed.
_UNREADABLE = (OSError, ValueError, TypeError, KeyError, RecursionError, safetensors.SafetensorError)


def packed(step: int, identity: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The content of a file."""
    metadata = {"step": str(step), "identity": json.dumps(identity)}
    metadata["sha256"] = _checksum(metadata, arrays)
    whole = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    return safetensors.numpy.save(whole, metadata)


def step_in(folder: Path) -> int | None:
    """After how many steps it was saved, or None if there is none; reads no array.

    Raises:
        JaxlinError: it is damaged.
    """
    try:
        check_regular(folder / FILE)
        with safetensors.safe_open(folder / FILE, framework="numpy") as file:
            return int(file.metadata()["step"])
    except FileNotFoundError:
        return None
    except _UNREADABLE as error:
        raise _damaged(folder) from error


def identity_in(folder: Path) -> dict[str, Any]:
    """What a state says it is of; :class:`JaxlinError` unless all of it is as it was written.

    The whole file is looked at for that, but a part at a time, so that it takes no memory.
    """
    with _opened(folder) as file:
        metadata = dict(file.metadata())
        checksum, identity = metadata.pop("sha256"), json.loads(metadata["identity"])
        if checksum != _checksum_of_file(metadata, folder / FILE) or not isinstance(identity, dict):
            raise ValueError("the checksum is another")
        return identity


def read(folder: Path, check: Callable[[Shapes], None] | None) -> dict[str, np.ndarray]:
    """The arrays of a state; :class:`JaxlinError` unless all is as it was written."""
    with _opened(folder) as file:
        names = list(file.keys())
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    if check is not None:
        check(shapes)
    with _opened(folder) as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in names}
        if metadata.pop("sha256") != _checksum(metadata, arrays):
            raise ValueError("the checksum is another")
        return arrays


@contextmanager
def _opened(folder: Path) -> Iterator[Any]:
    """The file of a state, which the library has compared with its own header; errors in one sentence."""
    try:
        check_regular(folder / FILE)
        needed, free = (folder / FILE).stat().st_size, psutil.virtual_memory().available
        if needed > free:
            raise JaxlinError(
                f"the state in {folder} takes {spell_size(needed)} of memory and {spell_size(free)} are "
                f"free: resume where there is more"
            )
        with safetensors.safe_open(folder / FILE, framework="numpy") as file:
            yield file
    except JaxlinError:
        raise
    except _UNREADABLE as error:
        raise _damaged(folder) from error


def _checksum(metadata: Mapping[str, str], arrays: Mapping[str, np.ndarray]) -> str:
    described = {name: [str(a.dtype), a.shape] for name, a in arrays.items()}
    total = _begun(metadata, described)
    for name in sorted(arrays):
        total.update(np.ascontiguousarray(arrays[name]).data)
    return total.hexdigest()


def _checksum_of_file(metadata: Mapping[str, str], path: Path) -> str:
    """The same of what lies in a file, a part at a time."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__")
        total = _begun(
            metadata, {name: [_DTYPES[entry["dtype"]], entry["shape"]] for name, entry in header.items()}
        )
        for name in sorted(header):
            start, end = header[name]["data_offsets"]
            file.seek(8 + length + start)
            for at in range(start, end, _PART):
                total.update(file.read(min(_PART, end - at)))
    return total.hexdigest()


def _begun(metadata: Mapping[str, str], described: Mapping[str, Any]) -> hashlib._Hash:
    return hashlib.sha256(json.dumps([metadata, described], sort_keys=True).encode())


def _damaged(folder: Path) -> JaxlinError:
    return JaxlinError(
        f"the state in {folder} is damaged or cannot be read: remove it and run without `resume`"
    )
