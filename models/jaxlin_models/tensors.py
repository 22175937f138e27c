"""The tensors of a checkpoint by name: in safetensors files, or in the memory of another framework."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxlin_models.checkpoint import Checkpoint
from jaxlin_models.errors import ModelError

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
#: What may be stored, by safetensors' names of it.
_FLOATS = ("F16", "BF16", "F32", "F64")
#: The same by torch's names.
_TORCH_FLOATS = ("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64")


@runtime_checkable
class Tensors(Protocol):
    """Tensors by the names of stock transformers; ``remedy`` says what to do about NaN in them."""

    remedy: str

    def __contains__(self, name: str) -> bool: ...

    def check(self, name: str, expected: tuple[int, ...]) -> None:
        """:class:`ModelError` at a tensor that is missing, misshaped or cannot be converted."""

    def read(self, name: str, rows: slice) -> np.ndarray:
        """Some rows of one tensor, in a dtype that holds its values exactly."""


def weights_hash(checkpoint: Checkpoint) -> str:
    """sha256 over the names and contents of the checkpoint's safetensors files, as hex."""
    total = hashlib.sha256()
    for path in weight_files(checkpoint.directory):
        total.update(path.name.encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of a checkpoint in name order; :class:`ModelError` if one is missing."""
    if (directory / _INDEX).exists():
        return _shards(directory)
    if (directory / _SINGLE).exists():
        return [directory / _SINGLE]
    pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
    if pickles:
        raise ModelError(
            f"{directory} has only pickled weights ({pickles[0]}), which can run code when loaded; "
            f"convert them to safetensors"
        )
    raise ModelError(
        f"{directory} has no {_SINGLE} or {_INDEX}; fetch the whole checkpoint, or one that has safetensors"
    )


def _shards(directory: Path) -> list[Path]:
    try:
        weight_map = json.loads((directory / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        paths = sorted({directory / file for file in weight_map.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{directory / _INDEX} is not a safetensors index; fetch it anew") from error
    for path in paths:
        if not path.exists():
            raise ModelError(f"{path} is missing although {_INDEX} names it; fetch it again")
    return paths


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is truncated or not safetensors ({error}); fetch it again") from error


class FileTensors:
    """Every tensor of a checkpoint by name, whichever file it is in.

    Files are mapped into memory only while one tensor is read, because what is mapped counts as held.
    """

    remedy = "fetch the checkpoint again"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._place: dict[str, tuple[Path, tuple[int, ...], str]] = {}
        for path in weight_files(directory):
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    header = file.get_slice(name)
                    self._place[name] = (path, tuple(header.get_shape()), header.get_dtype())

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def check(self, name: str, expected: tuple[int, ...]) -> None:
        """Refuse a tensor that is missing, misshaped or quantised; the files' headers know."""
        if name not in self._place:
            raise ModelError(
                f"{self._directory} lacks the tensor {name}; the checkpoint is incomplete or its "
                f"config.json belongs to another model"
            )
        _, shape, dtype = self._place[name]
        if shape != expected:
            raise ModelError(
                f"tensor {name} has shape {list(shape)} where config.json implies {list(expected)}; "
                f"config and weights belong to different models"
            )
        if dtype not in _FLOATS:
            raise ModelError(
                f"tensor {name} is stored as {dtype}, a quantised checkpoint; use one in float32, "
                f"bfloat16 or float16"
            )

    def read(self, name: str, rows: slice) -> np.ndarray:
        """Some rows of one tensor."""
        with _opened(self._place[name][0]) as file:
            part: np.ndarray = file.get_slice(name)[rows]
            return part


class StateTensors:
    """The tensors of a torch ``state_dict``, converted one by one.

    Torch is not imported: each tensor is asked for its own values.

    Args:
        state: names and tensors.
        owner: whose they are, for messages.
    """

    remedy = "mend the model, or choose a wider `dtype`"

    def __init__(self, state: Mapping[str, Any], owner: str) -> None:
        self._state = state
        self._owner = owner
        self._digest = hashlib.sha256()
        self._read = False

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def check(self, name: str, expected: tuple[int, ...]) -> None:
        """Refuse a tensor that is missing, misshaped, quantised or without values."""
        if name not in self._state:
            raise ModelError(
                f"{self._owner} lacks the tensor {name}; give a whole model, with adapters merged into it"
            )
        tensor = self._state[name]
        if tuple(tensor.shape) != expected:
            raise ModelError(
                f"tensor {name} of {self._owner} has shape {list(tensor.shape)} where its config implies "
                f"{list(expected)}; give a model whose layers are those of its config"
            )
        if str(tensor.dtype) not in _TORCH_FLOATS:
            raise ModelError(
                f"tensor {name} of {self._owner} is stored as {tensor.dtype}, a quantised model; use one in "
                f"float32, bfloat16 or float16"
            )
        if tensor.device.type == "meta":
            raise ModelError(
                f"tensor {name} of {self._owner} is on the meta device and has no values; load the model "
                f"without offloading first"
            )

    def read(self, name: str, rows: slice) -> np.ndarray:
        """Some rows of one tensor: float64 as it is, all else in float32, which holds it exactly."""
        part = self._state[name][rows].detach().cpu()
        values = np.ascontiguousarray((part if str(part.dtype) == "torch.float64" else part.float()).numpy())
        self._digest.update(f"{name} {rows.start}:{rows.stop} {part.dtype}".encode())
        self._digest.update(values.data)
        self._read = True
        return values

    def sha256(self) -> str | None:
        """sha256 over names, dtypes and values of what was read, in that order; None before."""
        return self._digest.hexdigest() if self._read else None
