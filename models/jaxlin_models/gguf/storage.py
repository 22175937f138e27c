"""How GGUF stores a tensor's values: which types are supported, and how rows of them become numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

from jaxlin_models.errors import ModelError

_Type = gguf.GGMLQuantizationType
#: All that ``gguf.dequantize`` takes, and float64; the IQ types are left out, whose tables nobody has
#: checked here.
_SUPPORTED = (
    _Type.F32, _Type.F16, _Type.BF16, _Type.F64,
    _Type.Q8_0, _Type.Q4_0, _Type.Q4_1, _Type.Q5_0, _Type.Q5_1,
    _Type.Q2_K, _Type.Q3_K, _Type.Q4_K, _Type.Q5_K, _Type.Q6_K,
)  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """One type: ``bytes`` for every ``block`` of values."""

    number: int
    name: str
    block: int
    bytes: int

    def bytes_of(self, values: int) -> int:
        """Of a row with so many values, which must be whole blocks."""
        return values // self.block * self.bytes

    @property
    def dtype(self) -> type[np.floating]:
        """Of the numbers."""
        return np.float64 if self.number == _Type.F64 else np.float32

    def values(self, rows: np.ndarray) -> np.ndarray:
        """The numbers [rows, values] that raw rows [rows, bytes] stand for."""
        if self.number == _Type.F64:
            return rows.view(np.float64)
        if self.number in (_Type.F32, _Type.F16):
            return rows.view(np.float32 if self.number == _Type.F32 else np.float16)
        with np.errstate(all="ignore"):  # what is not finite is refused when the weights are loaded
            return np.asarray(gguf.dequantize(rows, _Type(self.number)), np.float32)


#: GGUF's number of a type -> the type.
STORAGE: Mapping[int, Storage] = {
    int(kind): Storage(int(kind), kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in _SUPPORTED
}


def refuse_storage(path: Path, tensor: str, number: int) -> None:
    """:class:`ModelError` that names a type that is not supported, and what is."""
    names = {int(kind): kind.name for kind in _Type}
    known = ", ".join(storage.name for storage in STORAGE.values())
    raise ModelError(
        f"tensor {tensor!r} of {path} is stored as {names.get(number, f'type {number}')}, which is not "
        f"supported; give a file of {known}"
    )
