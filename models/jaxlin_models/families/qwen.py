"""Qwen 3: norms over each head of q and k, head_dim of its own, sliding layers if the config says so.

Of yarn's keys ``attn_factor``, as DeepSeek-R1-0528-Qwen3-8B has it, is ignored because the stock
model ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxlin_models.config import DecoderConfig
from jaxlin_models.families.common import (
    HEAD_NORM_NAMES,
    LLAMA_NAMES,
    HFConfig,
    activation,
    layer_types,
    shared_fields,
    single_rope,
)
from jaxlin_models.families.keys import COMMON, QK_NORM_KEYS

NAMES: Mapping[str, str] = {**LLAMA_NAMES, **HEAD_NORM_NAMES}
USED = COMMON | {
    "hidden_act", "attention_bias", "use_sliding_window", "sliding_window", "max_window_layers",
    "layer_types",
}  # fmt: skip
IGNORED: Mapping[str, str] = dict.fromkeys(QK_NORM_KEYS, "stock norms q and k whatever they say")


def decoder_config(hf: HFConfig) -> DecoderConfig:
    """Translate a ``Qwen3Config``; ``sliding_window`` counts only with ``use_sliding_window``."""
    rope = single_rope(hf)
    return DecoderConfig(
        **shared_fields(hf),
        family="qwen",
        activation=activation(hf.hidden_act),
        rope_full=rope,
        rope_sliding=rope,
        layer_types=layer_types(hf.layer_types),
        sliding_window=hf.sliding_window,
        query_scale=hf.head_dim**-0.5,
        qk_norm="head",
    )
