"""Mistral and Ministral: no biases, a window in every layer of the one, in the named layers of the other."""

from __future__ import annotations

from collections.abc import Mapping

from jaxlin_models.config import DecoderConfig
from jaxlin_models.families.common import (
    LLAMA_NAMES,
    HFConfig,
    activation,
    layer_types,
    shared_fields,
    single_rope,
)
from jaxlin_models.families.keys import COMMON

NAMES: Mapping[str, str] = LLAMA_NAMES
USED = COMMON | {"hidden_act", "sliding_window", "layer_types"}
IGNORED: Mapping[str, str] = {}


def decoder_config(hf: HFConfig) -> DecoderConfig:
    """Translate a ``MistralConfig`` or a ``MinistralConfig``."""
    rope, fields = single_rope(hf), shared_fields(hf)
    alike = "full_attention" if hf.sliding_window is None else "sliding_attention"
    # transformers reads a file of a mistral with layer_types as a ministral, a model in memory it leaves one.
    named = hf.layer_types if hf.model_type == "ministral" else [alike] * hf.num_hidden_layers
    return DecoderConfig(
        **fields,
        family="mistral",
        activation=activation(hf.hidden_act),
        rope_full=rope,
        rope_sliding=rope,
        layer_types=layer_types(named),
        sliding_window=hf.sliding_window,
        query_scale=fields["head_dim"] ** -0.5,
    )
