"""Gemma 3: (1 + w) norms before and after both branches and over each head of q and k, sliding layers with a
rotary base of their own; also as the text part of a multimodal checkpoint.

Two keys of its config are ignored because the stock model ignores them: ``attn_logit_softcapping``
always, ``final_logit_softcapping`` in multimodal checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxlin_models.config import DecoderConfig
from jaxlin_models.errors import ModelError
from jaxlin_models.families.common import (
    HEAD_NORM_NAMES,
    LLAMA_NAMES,
    PRE_AND_POST_NORM_NAMES,
    HFConfig,
    activation,
    layer_types,
    require_positive,
    rope_config,
    shared_fields,
)
from jaxlin_models.families.keys import COMMON, QK_NORM_KEYS
from jaxlin_models.huggingface import Gemma3Config

NAMES: Mapping[str, str] = {
    **LLAMA_NAMES,
    **HEAD_NORM_NAMES,
    **PRE_AND_POST_NORM_NAMES,
}
USED = COMMON | {
    "hidden_activation", "attention_bias", "query_pre_attn_scalar", "sliding_window", "layer_types",
    "sliding_window_pattern", "rope_local_base_freq", "final_logit_softcapping",
    "use_bidirectional_attention",
}  # fmt: skip
IGNORED: Mapping[str, str] = {
    "attn_logit_softcapping": "stock does not hand it on to attention",
    **dict.fromkeys(QK_NORM_KEYS, "stock norms q and k whatever they say"),
}


def decoder_config(hf: HFConfig) -> DecoderConfig:
    """Translate a ``Gemma3TextConfig``, or the text part of a ``Gemma3Config``."""
    multimodal = isinstance(hf, Gemma3Config)
    text = hf.text_config if multimodal else hf
    if text.use_bidirectional_attention:
        raise ModelError(
            "config.json asks for bidirectional attention (an embedding model); load a causal Gemma 3"
        )
    require_positive(text, ("query_pre_attn_scalar",))
    ropes, positions = text.rope_parameters, text.max_position_embeddings
    fields = shared_fields(text) | {"tie_embeddings": hf.tie_word_embeddings}
    return DecoderConfig(
        **fields,
        family="gemma",
        activation=activation(text.hidden_activation),
        rope_full=rope_config(ropes["full_attention"], positions),
        rope_sliding=rope_config(ropes["sliding_attention"], positions),
        layer_types=layer_types(text.layer_types),
        sliding_window=text.sliding_window,
        query_scale=text.query_pre_attn_scalar**-0.5,
        embed_scale=text.hidden_size**0.5,
        norm_plus_one=True,
        qk_norm="head",
        post_norms=True,
        final_logit_softcap=None if multimodal else text.final_logit_softcapping,
    )
