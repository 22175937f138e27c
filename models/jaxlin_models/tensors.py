"""The tensors of a checkpoint by name: in safetensors files, or in the memory of another framework."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxlin_models.checkpoint import Checkpoint
from jaxlin_models.compared import equal_rows
from jaxlin_models.converted import check
from jaxlin_models.errors import ModelError
from jaxlin_models.quantised import refuse_quantised_tensors
from jaxlin_models.weight_files import WeightFiles, weight_files

#: What may be stored, by safetensors' names of it.
_FLOATS = ("F16", "BF16", "F32", "F64")
#: The same by torch's names.
_TORCH_FLOATS = ("torch.float16", "torch.bfloat16", "torch.float32", "torch.float64")
#: Bytes of a header, which is read whole: 20,000 tensors. The largest of our families have 1,500, and 200,000
#: empty ones take safetensors a minute.
_LARGEST_HEADER = 2**21
#: All columns.
ALL = slice(None)
#: Of a file that begins with the header's length.
_LENGTH_BYTES = 8


@runtime_checkable
class Tensors(Protocol):
    """Tensors by the names of stock transformers.

    ``owner`` says in messages whose they are, ``remedy`` what to do about NaN in them.
    """

    owner: str
    remedy: str

    def __contains__(self, name: str) -> bool: ...

    def dtypes(self) -> Mapping[str, str]:
        """How each of them is stored, in the words of where it is."""

    def check(self, name: str, expected: tuple[int, ...]) -> None:
        """:class:`ModelError` at a tensor that is missing, misshaped or cannot be converted."""

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors of one shape have the same values."""

    def read(self, name: str, rows: slice, columns: slice = ALL) -> np.ndarray:
        """Some rows, and of these some columns, of one tensor, in a dtype that holds its values exactly."""


def files_of(checkpoint: Checkpoint) -> WeightFiles:
    """The files that hold a checkpoint's weights, see :func:`weight_files`."""
    return weight_files(checkpoint.directory, getattr(checkpoint.hf_config, "transformers_weights", None))


def weights_hash(checkpoint: Checkpoint) -> str:
    """sha256 over the names and contents of the files with the checkpoint's weights, as hex.

    Of a converted checkpoint it is that of its source.
    """
    if checkpoint.converted is not None:
        check(checkpoint.directory, checkpoint.converted)
        return checkpoint.converted.source_sha256
    paths = files_of(checkpoint).paths if checkpoint.gguf is None else checkpoint.gguf.files.paths
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode())
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is truncated or not safetensors ({error}); fetch it again") from error


def _check_header(path: Path) -> None:
    """Refuse a header that is longer than the file or than any; the rest safetensors checks itself."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
        raise ModelError(f"{path} is truncated or not safetensors ({size} bytes); fetch it again")
    if length > _LARGEST_HEADER:
        raise ModelError(
            f"{path} has a header of {length} bytes, which is more than any model has that is supported "
            f"({_LARGEST_HEADER}); fetch it again"
        )


class FileTensors:
    """Every tensor of a checkpoint by name, whichever file it is in.

    Files are mapped into memory only while one tensor is read, because what is mapped counts as held.
    """

    remedy = "fetch the checkpoint again"

    def __init__(self, directory: Path, files: WeightFiles) -> None:
        self.owner = str(directory)
        self._place: dict[str, tuple[Path, tuple[int, ...], str]] = {}
        for path in files.paths:
            _check_header(path)
            with _opened(path) as file:
                for name in file.keys():  # noqa: SIM118 (not a dict)
                    if name in self._place:
                        raise ModelError(
                            f"tensor {name} is in two files, {self._place[name][0]} and {path}; keep only "
                            f"those that belong together"
                        )
                    header = file.get_slice(name)
                    self._place[name] = (path, tuple(header.get_shape()), header.get_dtype())
        refuse_quantised_tensors({name: dtype for name, (_, _, dtype) in self._place.items()}, directory)

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def dtypes(self) -> Mapping[str, str]:
        """How each of them is stored, by safetensors' names."""
        return {name: dtype for name, (_, _, dtype) in self._place.items()}

    def check(self, name: str, expected: tuple[int, ...]) -> None:
        """Refuse a tensor that is missing, misshaped or quantised; the files' headers know."""
        if name not in self._place:
            raise ModelError(
                f"{self.owner} lacks the tensor {name}; the checkpoint is incomplete or its "
                f"config.json belongs to another model"
            )
        _, shape, dtype = self._place[name]
        if dtype not in _FLOATS:  # first, because what is packed has another shape as well
            raise ModelError(
                f"tensor {name} is stored as {dtype}, a quantised checkpoint; use one in float32, "
                f"bfloat16 or float16"
            )
        if shape != expected:
            raise ModelError(
                f"tensor {name} has shape {list(shape)} where config.json implies {list(expected)}; "
                f"config and weights belong to different models"
            )

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors of one shape have the same values."""
        return equal_rows(self.read, one, other, self._place[one][1][0])

    def read(self, name: str, rows: slice, columns: slice = ALL) -> np.ndarray:
        """Some rows, and of these some columns, of one tensor."""
        path, shape, _ = self._place[name]
        with _opened(path) as file:
            part: np.ndarray = file.get_slice(name)[(rows, columns)[: len(shape)]]
            return part


def tensors_of(checkpoint: Checkpoint) -> Tensors:
    """The tensors of a checkpoint's files."""
    if checkpoint.gguf is not None:
        return checkpoint.gguf.tensors()
    return FileTensors(checkpoint.directory, files_of(checkpoint))


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
        self.owner = owner
        self._digest = hashlib.sha256()
        self._read = False

    def __contains__(self, name: str) -> bool:
        return name in self._state

    def dtypes(self) -> Mapping[str, str]:
        """How each of them is stored, by torch's names; what is no tensor by the name of its class."""
        return {name: str(getattr(value, "dtype", type(value))) for name, value in self._state.items()}

    def check(self, name: str, expected: tuple[int, ...]) -> None:
        """Refuse a tensor that is missing, misshaped, quantised or without values."""
        if name not in self._state:
            raise ModelError(
                f"{self.owner} lacks the tensor {name}; give a whole model, with adapters merged into it"
            )
        tensor = self._state[name]
        if str(tensor.dtype) not in _TORCH_FLOATS:
            raise ModelError(
                f"tensor {name} of {self.owner} is stored as {tensor.dtype}, a quantised model; use one in "
                f"float32, bfloat16 or float16"
            )
        if tuple(tensor.shape) != expected:
            raise ModelError(
                f"tensor {name} of {self.owner} has shape {list(tensor.shape)} where its config implies "
                f"{list(expected)}; give a model whose layers are those of its config"
            )
        if tensor.device.type == "meta":
            raise ModelError(
                f"tensor {name} of {self.owner} is on the meta device and has no values; load the model "
                f"without offloading first"
            )

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors of one shape have the same values."""
        first, second = (self._state[name].detach().cpu() for name in (one, other))
        return bool((first == second).all())

    def read(self, name: str, rows: slice, columns: slice = ALL) -> np.ndarray:
        """Some rows of one tensor: float64 as it is, all else in float32, which holds it exactly."""
        part = self._state[name][rows]
        part = (part if columns == ALL else part[:, columns]).detach().cpu()
        values = np.ascontiguousarray((part if str(part.dtype) == "torch.float64" else part.float()).numpy())
        self._digest.update(f"{name} {rows.start}:{rows.stop} {part.dtype}".encode())
        self._digest.update(values.data)
        self._read = True
        return values

    def again(self) -> StateTensors:
        """The same tensors, to be read once more; that does not count in :meth:`sha256` here."""
        return StateTensors(self._state, self.owner)

    def sha256(self) -> str | None:
        """sha256 over names, dtypes and values of what was read, in that order; None before."""
        return self._digest.hexdigest() if self._read else None
