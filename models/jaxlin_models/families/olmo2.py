"""OLMo 2: norms on the outputs of attention and MLP alone, q and k normed over all heads together."""

from __future__ import annotations

from collections.abc import Mapping

from jaxlin_models.config import DecoderConfig
from jaxlin_models.families.common import (
    LLAMA_NAMES,
    HFConfig,
    activation,
    shared_fields,
    single_rope,
)
from jaxlin_models.families.keys import COMMON, QK_NORM_KEYS

NAMES: Mapping[str, str] = {
    **LLAMA_NAMES,
    "layers.attention.joint_query_norm.scale": "layers.{layer}.self_attn.q_norm.weight",
    "layers.attention.joint_key_norm.scale": "layers.{layer}.self_attn.k_norm.weight",
    "layers.attention_post_norm.scale": "layers.{layer}.post_attention_layernorm.weight",
    "layers.mlp_post_norm.scale": "layers.{layer}.post_feedforward_layernorm.weight",
}
USED = COMMON | {"hidden_act", "attention_bias"}
IGNORED: Mapping[str, str] = dict.fromkeys(QK_NORM_KEYS, "stock norms q and k whatever they say")


def decoder_config(hf: HFConfig) -> DecoderConfig:
    """Translate an ``Olmo2Config``."""
    rope, fields = single_rope(hf), shared_fields(hf)
    return DecoderConfig(
        **fields,
        family="olmo2",
        activation=activation(hf.hidden_act),
        rope_full=rope,
        rope_sliding=rope,
        layer_types=("full",) * hf.num_hidden_layers,
        sliding_window=None,
        query_scale=fields["head_dim"] ** -0.5,
        qk_norm="joint",
        pre_norms=False,
        post_norms=True,
    )
