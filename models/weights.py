"""Safetensors -> NNX and back, one stacked parameter at a time, straight to the target dtype."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

import jax
import ml_dtypes
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig

from models import families
from models.checkpoint import Checkpoint, find
from models.decoder import LOGICAL_AXES, Decoder
from models.errors import ModelError

_INDEX = "model.safetensors.index.json"
_SINGLE = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
#: Where stock transformers puts the text decoder: text-only, multimodal (5.x and 4.x), bare.
_PREFIXES = ("model.", "model.language_model.", "language_model.model.", "")
_HEADS = ("lm_head.weight", "language_model.lm_head.weight")
_FLOATS = (np.float16, np.float32, np.float64, ml_dtypes.bfloat16)

#: (stage, done, total, note)
Progress = Callable[[str, int, int, str], None]


def load_decoder(
    source: Checkpoint | Path | str, dtype: DTypeLike, progress: Progress | None = None
) -> Decoder:
    """The decoder of a checkpoint, its weights converted to ``dtype`` tensor by tensor.

    Never holds more than the finished parameters and one stacked one besides.

    Args:
        source: a checkpoint, or whatever :func:`models.checkpoint.find` takes.
        dtype: float32, bfloat16, or float64 (which needs ``jax_enable_x64``).
        progress: called as (stage, done, total, note) for each parameter.

    Raises:
        ModelError: files missing, truncated or pickled; a tensor missing, misshaped, not floating or
            not finite.
    """
    checkpoint = source if isinstance(source, Checkpoint) else find(str(source))
    decoder = nnx.eval_shape(lambda: Decoder(checkpoint.config, rngs=nnx.Rngs(0), dtype=dtype))
    graphdef, state = nnx.split(decoder)
    with ExitStack() as stack:
        tensors = _Tensors(checkpoint.directory, stack)
        names = _names_in(tensors, checkpoint)
        filled = []
        flat = list(nnx.to_flat_state(state))
        for done, (path, variable) in enumerate(flat):
            key = _key(path)
            if progress is not None:
                progress("loading weights", done, len(flat), key)
            value = _load(key, names[key], variable.shape, np.dtype(dtype), tensors)
            filled.append((path, variable.replace(jax.device_put(value))))
        if progress is not None:
            progress("loading weights", len(flat), len(flat), "parameters")
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def to_huggingface(decoder: Decoder, hf_config: PreTrainedConfig) -> dict[str, NDArray]:
    """The decoder's weights under the names and in the layout of stock transformers."""
    names = _full_names(families.weight_names(hf_config), "model.", "lm_head.weight")
    tensors = {}
    for path, variable in nnx.to_flat_state(nnx.state(decoder)):
        key, value = _key(path), np.asarray(variable[...])
        if "{layer}" not in names[key]:
            tensors[names[key]] = value
            continue
        for layer, one in enumerate(value):
            tensors[names[key].format(layer=layer)] = _to_stock(key, one)
    return tensors


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
        return sorted({directory / file for file in _weight_map(directory).values()})
    if (directory / _SINGLE).exists():
        return [directory / _SINGLE]
    pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
    if pickles:
        raise ModelError(
            f"{directory} has only pickled weights ({pickles[0]}), which can run code when loaded; "
            f"convert them to safetensors"
        )
    raise ModelError(f"{directory} has no {_SINGLE} or {_INDEX}; fetch the whole checkpoint")


def _weight_map(directory: Path) -> Mapping[str, str]:
    try:
        return json.loads((directory / _INDEX).read_text())["weight_map"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ModelError(f"{directory / _INDEX} is not a safetensors index; fetch it anew") from error


class _Tensors:
    """Every tensor of a checkpoint by name, whichever file it is in."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._file_of = {}
        for path in weight_files(directory):
            if not path.exists():
                raise ModelError(f"{path} is missing although {_INDEX} names it; fetch it again")
            try:
                file = stack.enter_context(safe_open(path, framework="numpy"))
            except (SafetensorError, OSError) as error:
                raise ModelError(
                    f"{path} is truncated or not safetensors ({error}); fetch it again"
                ) from error
            self._file_of.update(dict.fromkeys(file.keys(), file))

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def read(self, name: str) -> NDArray:
        if name not in self._file_of:
            raise ModelError(
                f"{self._directory} lacks the tensor {name}; the checkpoint is incomplete or its "
                f"config.json belongs to another model"
            )
        value = self._file_of[name].get_tensor(name)
        if value.dtype not in _FLOATS:
            raise ModelError(
                f"tensor {name} is stored as {value.dtype}, a quantised checkpoint; use one in "
                f"float32, bfloat16 or float16"
            )
        return value


def _names_in(tensors: _Tensors, checkpoint: Checkpoint) -> Mapping[str, str]:
    table = families.weight_names(checkpoint.hf_config)
    present = (prefix for prefix in _PREFIXES if prefix + table["embedding"] in tensors)
    head = next((name for name in _HEADS if name in tensors), _HEADS[0])
    return _full_names(table, next(present, _PREFIXES[0]), head)


def _full_names(table: Mapping[str, str], prefix: str, head: str) -> Mapping[str, str]:
    return {"head": head} | {key: prefix + name for key, name in table.items()}


def _key(path: tuple) -> str:
    return ".".join(str(part) for part in path)


def _load(key: str, name: str, shape: tuple[int, ...], dtype: np.dtype, tensors: _Tensors) -> NDArray:
    if "{layer}" not in name:
        return _from_stock(key, name, shape, dtype, tensors)
    stacked = np.empty(shape, dtype)
    for layer in range(shape[0]):
        stacked[layer] = _from_stock(key, name.format(layer=layer), shape[1:], dtype, tensors)
    return stacked


def _from_stock(key: str, name: str, shape: tuple[int, ...], dtype: np.dtype, tensors: _Tensors) -> NDArray:
    value = tensors.read(name)
    expected = _stock_shape(key, shape)
    if value.shape != expected:
        raise ModelError(
            f"tensor {name} has shape {list(value.shape)} where config.json implies {list(expected)}; "
            f"config and weights belong to different models"
        )
    if not np.isfinite(value.astype(np.float32, copy=False)).all():
        raise ModelError(f"tensor {name} holds NaN or infinite values; fetch the checkpoint again")
    if key.endswith("kernel"):
        value = value.T
    return value.astype(dtype, copy=False).reshape(shape)


def _to_stock(key: str, value: NDArray) -> NDArray:
    if not key.endswith("kernel"):
        return value.reshape(-1)
    outputs, inputs = _stock_matrix(key, value.shape)
    return np.ascontiguousarray(value.reshape(inputs, outputs).T)


def _stock_shape(key: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of one layer's tensor in the checkpoint, from the shape of ours."""
    if key in ("embedding", "head"):
        return shape
    return _stock_matrix(key, shape) if key.endswith("kernel") else (math.prod(shape),)


def _stock_matrix(key: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """[outputs, inputs] of a torch ``nn.Linear`` from [inputs…, outputs…]: one side is always embed."""
    inputs = 1 if LOGICAL_AXES[key][1] == "embed" else len(shape) - 1
    return math.prod(shape[inputs:]), math.prod(shape[:inputs])
