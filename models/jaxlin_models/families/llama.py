"""Llama 3.x: grouped queries, llama3 rotary scaling, untied or tied head, optional biases."""

from __future__ import annotations

from collections.abc import Mapping

from jaxlin_models.config import DecoderConfig
from jaxlin_models.families.common import LLAMA_NAMES, HFConfig, activation, shared_fields, single_rope
from jaxlin_models.families.keys import COMMON

NAMES: Mapping[str, str] = LLAMA_NAMES
USED = COMMON | {"hidden_act", "attention_bias", "mlp_bias"}
IGNORED: Mapping[str, str] = {}


def decoder_config(hf: HFConfig) -> DecoderConfig:
    """Translate a transformers ``LlamaConfig``."""
    rope = single_rope(hf)
    return DecoderConfig(
        **shared_fields(hf),
        family="llama",
        activation=activation(hf.hidden_act),
        rope_full=rope,
        rope_sliding=rope,
        layer_types=("full",) * hf.num_hidden_layers,
        sliding_window=None,
        query_scale=hf.head_dim**-0.5,
        mlp_bias=hf.mlp_bias,
    )
