"""The tensors of a GGUF file under stock transformers' names, what llama.cpp's converter did undone."""

from __future__ import annotations

from collections.abc import Mapping

import gguf
import numpy as np

from jaxlin_models import families
from jaxlin_models.compared import equal_rows
from jaxlin_models.errors import ModelError
from jaxlin_models.gguf.architectures import Architecture
from jaxlin_models.gguf.codes import FORMS, take_apart
from jaxlin_models.gguf.header import Place
from jaxlin_models.gguf.parts import GgufFiles
from jaxlin_models.huggingface import PreTrainedConfig
from jaxlin_models.packed import Codes, Form

_PREFIX, _HEAD = "model.", "lm_head.weight"


class GgufTensors:
    """Every tensor of a model's files by name; rows are dequantised when they are asked for.

    Undone are the order of the rows of q and k (llama.cpp turns neighbouring features, transformers those
    of two halves) and the 1 that was added to Gemma's norms, which is taken off in float32 as stock does.

    Args:
        files: of the model.
        architecture: what they say they are.
        hf_config: transformers' config of them.
    """

    remedy = "fetch the file again"

    def __init__(self, files: GgufFiles, architecture: Architecture, hf_config: PreTrainedConfig) -> None:
        self.owner = str(files.named)
        self._architecture = architecture
        self._heads = (hf_config.num_attention_heads, hf_config.num_key_value_heads)
        names = _names(architecture, hf_config)
        # Settings of the rotary embedding are used already; what has no other name keeps its own.
        self._place = {
            names.get(name, name): place
            for name, place in files.tensors.items()
            if name not in architecture.rope_tensors
        }

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def dtypes(self) -> Mapping[str, str]:
        """How each of them is stored: all as floats, whatever is quantised."""
        return {name: "F64" if place.storage.name == "F64" else "F32" for name, place in self._place.items()}

    def check(self, name: str, expected: tuple[int, ...]) -> None:
        """Refuse a tensor that is missing or misshaped; the files' headers know."""
        if name not in self._place:
            raise ModelError(f"{self.owner} lacks the tensor {name}; fetch the whole model")
        if (shape := self._place[name].shape) != expected:
            raise ModelError(
                f"tensor {name} of {self.owner} has shape {list(shape)} where its metadata implies "
                f"{list(expected)}; convert the model again"
            )

    def equal(self, one: str, other: str) -> bool:
        """Whether two tensors of one shape have the same values."""
        return equal_rows(self.read, one, other, self._place[one].shape[0])

    def read(self, name: str, rows: slice, columns: slice = slice(None)) -> np.ndarray:
        """Some rows, and of these some columns, in float32, or float64 where they are stored so."""
        place = self._place[name]
        heads = self._turned(name)
        if heads:
            return place.read(_pairs_of_halves(place, heads)[rows], columns)
        values = place.read(rows, columns)
        return values - values.dtype.type(1) if self._is_offset(name) else values

    def form(self, name: str) -> Form | None:
        """How the codes of a matrix are written; None of what is no matrix, stored as floats, or missing."""
        place = self._place.get(name)
        return None if place is None or len(place.shape) != 2 else FORMS.get(place.storage.name)

    def codes(self, name: str, rows: slice) -> Codes:
        """Some rows of a matrix in codes, which :meth:`read` gives as numbers."""
        place = self._place[name]
        heads = self._turned(name)
        chosen = _pairs_of_halves(place, heads)[rows] if heads else rows
        return take_apart(place.storage.name, np.ascontiguousarray(place.raw()[chosen]), place.storage.bytes)

    def _turned(self, name: str) -> int:
        """The heads whose rows were reordered in a tensor; 0 where none were."""
        if not self._architecture.turned:
            return 0
        query, key = (f".self_attn.{part}_proj." in name for part in "qk")
        return int(self._heads[0] if query else self._heads[1] if key else 0)

    def _is_offset(self, name: str) -> bool:
        return self._architecture.norms_plus_one and name.endswith("norm.weight")


def _pairs_of_halves(place: Place, heads: int) -> np.ndarray:
    """For each row [head, half, pair] of transformers the number of the file's row [head, pair, half]."""
    count = place.shape[0]
    if count % (2 * heads):
        raise ModelError(
            f"{place.path} has {count} rows of q or k for {heads} heads; convert the model again"
        )
    return np.arange(count).reshape(heads, -1, 2).swapaxes(1, 2).reshape(-1)


def _names(architecture: Architecture, hf_config: PreTrainedConfig) -> dict[str, str]:
    """The file's name of a tensor -> transformers'."""
    layers = hf_config.num_hidden_layers
    known = gguf.get_tensor_name_map(architecture.number, layers)
    table = families.weight_names(hf_config).values()
    stock = [
        *(
            _PREFIX + name.format(layer=layer)
            for name in table
            if "{layer}" in name
            for layer in range(layers)
        ),
        *(_PREFIX + name for name in table if "{layer}" not in name),
        _HEAD,
    ]
    names = {}
    for name in stock:
        base, _, ending = name.rpartition(".")
        found = known.get_name(base)
        if found is not None:
            names[f"{found}.{ending}"] = name
    return names
