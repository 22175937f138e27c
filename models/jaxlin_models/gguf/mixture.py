"""The mixture of types that llama.cpp's quantiser calls Q4_K_M, for models whose files are not here.

Matrices are Q4_K; but values and down projections are Q6_K in the first and the last eighth of the layers
and in every third between, a fused q, k and v is Q5_K, and the head Q6_K (so the embeddings, where they are
tied to it). Rows that are no multiple of 256 take the next larger type of 32: Q5_0, Q5_1, Q8_0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from flax import nnx

from jaxlin_models.config import DecoderConfig
from jaxlin_models.decoder import abstract_decoder, key_of
from jaxlin_models.gguf.codes import FORMS
from jaxlin_models.packed import Form
from jaxlin_models.packing import Forms, fan_in, is_kernel_or_table

#: What the mixture is called.
ASSUMED = "Q4_K_M"
_FUSED = ("layers.attention.query.kernel", "layers.attention.key.kernel", "layers.attention.value.kernel")
_FINER = ("layers.attention.value.kernel", "layers.mlp.down.kernel")
_SMALLER: Mapping[str, str] = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}


def assumed_forms(config: DecoderConfig) -> Forms:
    """How the weights of a model of this config are written in a file of the mixture."""
    _, weights = abstract_decoder(config, np.dtype(np.float32))
    forms = {}
    for path, variable in nnx.to_flat_state(weights):
        key, shape = key_of(path), variable.shape
        if not is_kernel_or_table(key):
            continue
        kinds = [_kind(key, layer, config) for layer in range(config.num_layers if "layers" in key else 1)]
        forms[key] = tuple(_fitting(kind, fan_in(key, shape)) for kind in kinds)
    return forms


def _kind(key: str, layer: int, config: DecoderConfig) -> str:
    if key == "head" or (key == "embedding" and config.tie_embeddings):
        return "Q6_K"
    if config.family == "phi3" and key in _FUSED:
        return "Q5_K"
    eighth = config.num_layers // 8
    middle = eighth <= layer < 7 * config.num_layers // 8
    finer = not middle or (layer - eighth) % 3 == 2
    return "Q6_K" if key in _FINER and finer else "Q4_K"


def _fitting(kind: str, size: int) -> Form | None:
    form = FORMS[kind]
    if size % form.block:
        form = FORMS[_SMALLER[kind]]
    return None if size % form.block else form
