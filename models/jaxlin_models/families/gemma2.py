"""Gemma 2: (1 + w) norms before and after both branches, soft-caps on scores and logits, every other layer
sliding.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxlin_models.config import DecoderConfig
from jaxlin_models.errors import ModelError
from jaxlin_models.families.common import (
    LLAMA_NAMES,
    PRE_AND_POST_NORM_NAMES,
    HFConfig,
    activation,
    layer_types,
    require_positive,
    shared_fields,
    single_rope,
)
from jaxlin_models.families.keys import COMMON

NAMES: Mapping[str, str] = {**LLAMA_NAMES, **PRE_AND_POST_NORM_NAMES}
USED = COMMON | {
    "hidden_activation", "attention_bias", "query_pre_attn_scalar", "sliding_window", "layer_types",
    "attn_logit_softcapping", "final_logit_softcapping", "use_bidirectional_attention",
}  # fmt: skip
IGNORED: Mapping[str, str] = {}


def decoder_config(hf: HFConfig) -> DecoderConfig:
    """Translate a ``Gemma2Config``."""
    if hf.use_bidirectional_attention:
        raise ModelError(
            "config.json asks for bidirectional attention (an embedding model); load a causal Gemma 2"
        )
    require_positive(hf, ("query_pre_attn_scalar",))
    rope = single_rope(hf)
    return DecoderConfig(
        **shared_fields(hf),
        family="gemma2",
        activation=activation(hf.hidden_activation),
        rope_full=rope,
        rope_sliding=rope,
        layer_types=layer_types(hf.layer_types),
        sliding_window=hf.sliding_window,
        query_scale=hf.query_pre_attn_scalar**-0.5,
        embed_scale=hf.hidden_size**0.5,
        norm_plus_one=True,
        post_norms=True,
        attention_softcap=hf.attn_logit_softcapping,
        final_logit_softcap=hf.final_logit_softcapping,
    )
