"""Qwen 2 and 2.5: biases on q, k and v, none on attention's output; sliding layers if the config says so."""

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
USED = COMMON | {"hidden_act", "use_sliding_window", "sliding_window", "max_window_layers", "layer_types"}
IGNORED: Mapping[str, str] = dict.fromkeys(
    ("attention_bias", "qkv_bias", "use_qkv_bias"), "stock has biases of q, k and v whatever they say"
)


def decoder_config(hf: HFConfig) -> DecoderConfig:
    """Translate a ``Qwen2Config``, in which the biases are no setting."""
    rope = single_rope(hf)
    fields = shared_fields(hf) | {"qkv_bias": True, "attention_output_bias": False}
    return DecoderConfig(
        **fields,
        family="qwen2",
        activation=activation(hf.hidden_act),
        rope_full=rope,
        rope_sliding=rope,
        layer_types=layer_types(hf.layer_types),
        sliding_window=hf.sliding_window,
        query_scale=fields["head_dim"] ** -0.5,
    )
