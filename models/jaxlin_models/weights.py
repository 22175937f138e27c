"""Stock tensors -> NNX and back, one stacked parameter at a time, straight to the target dtype."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.typing import DTypeLike

from jaxlin_models import families
from jaxlin_models.aligned import aligned
from jaxlin_models.checkpoint import Checkpoint, find
from jaxlin_models.config import DecoderConfig
from jaxlin_models.converted import restore
from jaxlin_models.decoder import LOGICAL_AXES, Decoder, abstract_decoder, key_of
from jaxlin_models.divided import check_groups
from jaxlin_models.errors import ModelError
from jaxlin_models.huggingface import PreTrainedConfig
from jaxlin_models.leftover import refuse_leftover
from jaxlin_models.offload import to_host
from jaxlin_models.packed import Form
from jaxlin_models.packing import (
    TABLES,
    Forms,
    Quantised,
    fill,
    forms_in,
    refuse_unquantised,
)
from jaxlin_models.places import Place, places_of, sizes_of, stock_part, to_stock
from jaxlin_models.quantised import refuse_quantised_tensors
from jaxlin_models.sharding import Layout
from jaxlin_models.slices import Index, all_of, spread, spread_codes
from jaxlin_models.stacks import apart, keeps_apart
from jaxlin_models.tensors import Tensors, files_of, tensors_of

#: Where stock transformers puts the text decoder: text-only, multimodal (5.x and 4.x), bare.
_PREFIXES = ("model.", "model.language_model.", "language_model.model.", "")
_HEADS = ("lm_head.weight", "language_model.lm_head.weight")

#: (stage, done, total, note)
Progress = Callable[[str, int, int, str], None]
#: Told, in one sentence, what a user should know of a checkpoint that loads all the same.
Tell = Callable[[str], None]


def warn(sentence: str) -> None:
    """A Python warning, for those who have no place of their own for it."""
    warnings.warn(sentence, stacklevel=2)


def load_decoder(
    source: Checkpoint | Path | str,
    dtype: DTypeLike,
    *,
    precision: str | None = None,
    offload: bool = False,
    packed: bool = False,
    layout: Layout | None = None,
    progress: Progress | None = None,
    tell: Tell = warn,
) -> Decoder:
    """The decoder of a checkpoint, its weights converted to ``dtype`` tensor by tensor.

    On a CPU never holds more than the finished parameters and one tensor besides.

    Args:
        source: a checkpoint, or whatever :func:`jaxlin_models.checkpoint.find` takes.
        dtype: float32, bfloat16, or float64 (which needs ``jax_enable_x64``).
        precision: how they are multiplied, see :mod:`jaxlin_models.precision`; as they are stored if None.
        offload: keep the weights of the layers in the host's memory, see :mod:`jaxlin_models.offload`;
            embeddings, head and final norm are on the device all the same.
        packed: keep what is quantised in codes, see :mod:`jaxlin_models.packed`; ``dtype`` is then that of
            the numbers that are computed of them, and of all else.
        layout: the devices to spread them over, and how; each is given its slices of every tensor, and
            nothing else is read.
        progress: called as (stage, done, total, note) for each parameter.
        tell: told of a second set of weights in the folder, and of a head where the config has none.

    Raises:
        ModelError: files missing, truncated or pickled; a tensor missing, misshaped, not floating,
            not finite, or without a place in the model; an unknown dtype or precision, or two that do not
            go together; ``packed`` where nothing is quantised.
    """
    checkpoint = source if isinstance(source, Checkpoint) else find(str(source))
    if checkpoint.converted is not None:
        return restore(
            checkpoint.directory, checkpoint.converted, checkpoint.config, np.dtype(dtype),
            precision=precision, offload=offload, layout=layout, progress=progress,
        )  # fmt: skip
    files = None if checkpoint.gguf is not None else files_of(checkpoint)
    if files is not None and files.aside:
        more = f" and {len(files.aside) - 1} more" if len(files.aside) > 1 else ""
        tell(
            f"{checkpoint.directory} has several sets of weights: {files.chosen.name} is used, as stock "
            f"transformers does, and {files.aside[0]}{more} left aside"
        )
    return decoder_of(
        checkpoint.config,
        checkpoint.hf_config,
        tensors_of(checkpoint),
        dtype,
        precision=precision,
        offload=offload,
        packed=packed,
        layout=layout,
        progress=progress,
        tell=tell,
    )


def decoder_of(
    config: DecoderConfig,
    hf_config: PreTrainedConfig,
    tensors: Tensors,
    dtype: DTypeLike,
    *,
    precision: str | None = None,
    offload: bool = False,
    packed: bool = False,
    layout: Layout | None = None,
    progress: Progress | None = None,
    tell: Tell = warn,
) -> Decoder:
    """The decoder of a config and its tensors; arguments and errors as of :func:`load_decoder`.

    Args:
        config: sizes and settings, as :func:`families.decoder_config` makes them of ``hf_config``.
        hf_config: says under which names the tensors are.
        tensors: in files or in memory.
        dtype, precision, offload, packed, layout, progress, tell: as there.
    """
    refuse_quantised_tensors(tensors.dtypes(), tensors.owner)
    names = _names_in(tensors, hf_config)
    _check_last_layer(names, config.num_layers, tensors)
    config, names = _with_head(config, names, tensors, tell)
    graphdef, state = abstract_decoder(config, np.dtype(dtype), precision, layout)
    flat = [(path, key_of(path), variable) for path, variable in nnx.to_flat_state(state)]
    shapes = {key: variable.shape for _, key, variable in flat}
    places = places_of(names, shapes)
    for place in places.values():
        for name in place.names:
            tensors.check(name, place.tensor)
    used = {name for place in places.values() for name in place.names}
    refuse_leftover(tensors.dtypes(), used | {names["head"]}, config.num_layers, tensors.owner)
    forms = _forms(tensors, places) if packed else {}
    if packed and not forms:
        refuse_unquantised(tensors.owner)
    if layout is not None:
        check_groups(layout, forms, shapes, tensors.owner)
    filled = []
    for done, (path, key, variable) in enumerate(flat):
        if progress is not None:
            progress("loading weights", done, len(flat), key)
        place, shape = places[key], variable.shape
        put = _putter(offload) if place.stacked else jax.device_put
        load = partial(_load, key, place, shape, np.dtype(dtype), tensors)
        if key in forms and isinstance(tensors, Quantised):
            value = _load_codes(key, place, forms[key], shape, np.dtype(dtype), tensors)
            if layout is None:
                value = put(value)
            else:
                value = spread_codes(layout, LOGICAL_AXES[key], value, offload=offload and place.stacked)
        elif layout is None:
            value = put(load(all_of(shape)))
        else:
            value = spread(layout, LOGICAL_AXES[key], shape, load, offload=offload and place.stacked)
        filled.append((path, variable.replace(value)))
    if progress is not None:
        progress("loading weights", len(flat), len(flat), "parameters")
    return nnx.merge(graphdef, nnx.from_flat_state(filled))


def _putter(offload: bool) -> Callable[[Any], Any]:
    """Where a stack of layers goes, and in what form."""
    if offload:
        return to_host
    return (lambda stack: jax.device_put(apart(stack))) if keeps_apart() else jax.device_put


def to_huggingface(decoder: Decoder, hf_config: PreTrainedConfig) -> dict[str, np.ndarray]:
    """The decoder's weights under the names and in the layout of stock transformers."""
    names = _full_names(families.weight_names(hf_config), "model.", "lm_head.weight")
    values = {key_of(path): np.asarray(v[...]) for path, v in nnx.to_flat_state(nnx.state(decoder))}
    tensors: dict[str, np.ndarray] = {}
    for key, place in places_of(names, {key: value.shape for key, value in values.items()}).items():
        layers = values[key] if place.stacked else values[key][None]
        for name, value in zip(place.names, layers, strict=True):
            whole = tensors.setdefault(name, np.empty(place.tensor, value.dtype))
            whole[place.rows] = value if key in TABLES else to_stock(key, value)
    return tensors


def _names_in(tensors: Tensors, hf_config: PreTrainedConfig) -> Mapping[str, str]:
    """Where everything stands, by what these tensors' names begin with."""
    table = families.weight_names(hf_config)
    marks = ("embedding", "final_norm.scale")  # a tied head may stand for the embeddings
    present = (prefix for mark in marks for prefix in _PREFIXES if prefix + table[mark] in tensors)
    head = next((name for name in _HEADS if name in tensors), _HEADS[0])
    return _full_names(table, next(present, _PREFIXES[0]), head)


def _full_names(table: Mapping[str, str], prefix: str, head: str) -> Mapping[str, str]:
    return {"head": head} | {key: prefix + name for key, name in table.items()}


def _check_last_layer(names: Mapping[str, str], layers: int, tensors: Tensors) -> None:
    """Refuse a config of more layers than there are, before anything is made for each of them."""
    last = names["layers.attention.output.kernel"].format(layer=layers - 1)
    if last not in tensors:
        tensors.check(last, ())


def _with_head(
    config: DecoderConfig, names: Mapping[str, str], tensors: Tensors, tell: Tell
) -> tuple[DecoderConfig, Mapping[str, str]]:
    """Where the config ties the head to the embeddings: what the tensors say about that.

    As in stock transformers (``tie_weights`` in its ``modeling_utils.py``), a head of other values stays
    itself, and of one that stands alone the embeddings are a copy.
    """
    head, table = names["head"], names["embedding"]
    if not config.tie_embeddings or head not in tensors:
        return config, names
    if table not in tensors:
        return config, {**names, "embedding": head}
    for name in (table, head):
        tensors.check(name, (config.vocab_size, config.embed_dim))
    if tensors.equal(table, head):
        return config, names
    tell(
        f"{tensors.owner} has a head of its own ({head}) although its config ties the head to the embeddings "
        f"(tie_word_embeddings): it is used, as stock transformers does"
    )
    return replace(config, tie_embeddings=False), names


def packed_forms(checkpoint: Checkpoint) -> Forms:
    """How a checkpoint's parameters are written, those that are in codes, by what its files' headers say.

    Nothing if no layer is quantised.
    """
    if checkpoint.gguf is None:  # the weights of a hub id may not be here yet
        return {}
    tensors = tensors_of(checkpoint)
    names = _names_in(tensors, checkpoint.hf_config)
    config, names = _with_head(checkpoint.config, names, tensors, lambda _: None)
    _, state = abstract_decoder(config, np.dtype(np.float32))
    shapes = {key_of(path): variable.shape for path, variable in nnx.to_flat_state(state)}
    return _forms(tensors, places_of(names, shapes))


def _forms(tensors: Tensors, places: Mapping[str, Place]) -> Forms:
    names = {key: place.names for key, place in places.items()}
    return forms_in(tensors, names) if isinstance(tensors, Quantised) else {}


def _load_codes(
    key: str,
    place: Place,
    forms: Sequence[Form | None],
    shape: tuple[int, ...],
    dtype: np.dtype,
    tensors: Quantised,
) -> Any:
    """A whole parameter in codes."""

    def plain(name: str) -> np.ndarray:
        return _from_stock(key, name, place, shape[1:], all_of(shape[1:]), dtype, tensors)

    return fill(key, forms, shape, dtype, tensors, place.names, place.rows, plain)


def _load(
    key: str, place: Place, shape: tuple[int, ...], dtype: np.dtype, tensors: Tensors, index: Index
) -> np.ndarray:
    """The part of a parameter of this shape that the index says."""
    if not place.stacked:
        return _from_stock(key, place.names[0], place, shape, index, dtype, tensors)
    layers, within = range(shape[0])[index[0]], index[1:]
    stacked = aligned((len(layers), *sizes_of(within)), dtype)
    for row, layer in enumerate(layers):
        stacked[row] = _from_stock(key, place.names[layer], place, shape[1:], within, dtype, tensors)
    return stacked


def _from_stock(
    key: str,
    name: str,
    place: Place,
    shape: tuple[int, ...],
    index: Index,
    dtype: np.dtype,
    tensors: Tensors,
) -> np.ndarray:
    rows, columns = stock_part(key, shape, index)
    rows = slice(place.rows.start + rows.start, place.rows.start + rows.stop)
    with np.errstate(over="ignore"):  # what overflows is refused below
        value = tensors.read(name, rows, columns).astype(dtype, copy=False)
    if not np.isfinite(value).all():
        raise ModelError(f"tensor {name} holds NaN or infinite values in {dtype}; {tensors.remedy}")
    return (value.T if key.endswith("kernel") else value).reshape(sizes_of(index))
