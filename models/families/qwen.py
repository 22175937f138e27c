"""Qwen 3: norms over each head of q and k, head_dim of its own, sliding layers if the config says so."""

from __future__ import annotations

from collections.abc import Mapping

from transformers import Qwen3Config

from models.config import DecoderConfig
from models.families.common import (
    HEAD_NORM_NAMES,
    LLAMA_NAMES,
    activation,
    layer_types,
    shared_fields,
    single_rope,
)

NAMES: Mapping[str, str] = {**LLAMA_NAMES, **HEAD_NORM_NAMES}


def decoder_config(hf: Qwen3Config) -> DecoderConfig:
    """Translate a transformers config; ``sliding_window`` counts only with ``use_sliding_window``."""
    return DecoderConfig(
        **shared_fields(hf),
        **single_rope(hf),
        family="qwen",
        activation=activation(hf.hidden_act),
        layer_types=layer_types(hf.layer_types),
        sliding_window=hf.sliding_window,
        query_scale=hf.head_dim**-0.5,
        qk_norm=True,
    )
