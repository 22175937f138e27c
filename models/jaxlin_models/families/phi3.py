"""Phi 3 to 4: q, k, v in one tensor, gate and up in another; partial rotary embeddings; longrope.

The two context lengths of longrope stand beside ``rope_parameters`` and not in it, in files of every age:
``original_max_position_embeddings`` decides between short and long factors, and its ratio to
``max_position_embeddings`` gives the temperature (``_compute_longrope_parameters`` in transformers'
``modeling_rope_utils.py``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from jaxlin_models.config import DecoderConfig, RopeConfig
from jaxlin_models.families.common import (
    LLAMA_NAMES,
    HFConfig,
    activation,
    require_positive,
    rope_config,
    shared_fields,
)
from jaxlin_models.families.keys import COMMON

#: In the order of their rows in the tensor that they share.
_FUSED: Mapping[str, str] = {
    "layers.attention.query.kernel": "layers.{layer}.self_attn.qkv_proj.weight",
    "layers.attention.key.kernel": "layers.{layer}.self_attn.qkv_proj.weight",
    "layers.attention.value.kernel": "layers.{layer}.self_attn.qkv_proj.weight",
    "layers.mlp.gate.kernel": "layers.{layer}.mlp.gate_up_proj.weight",
    "layers.mlp.up.kernel": "layers.{layer}.mlp.gate_up_proj.weight",
}
NAMES: Mapping[str, str] = {
    **{key: name for key, name in LLAMA_NAMES.items() if key not in _FUSED},
    **_FUSED,
}
USED = COMMON | {"hidden_act", "sliding_window"}
IGNORED: Mapping[str, str] = {}


def decoder_config(hf: HFConfig) -> DecoderConfig:
    """Translate a ``Phi3Config``; a window counts in every layer."""
    fields, rope = shared_fields(hf), _rope(hf)
    kind = "full" if hf.sliding_window is None else "sliding"
    return DecoderConfig(
        **fields,
        family="phi3",
        activation=activation(hf.hidden_act),
        rope_full=rope,
        rope_sliding=rope,
        rotary_dim=int(fields["head_dim"] * hf.rope_parameters["partial_rotary_factor"]),
        layer_types=(kind,) * hf.num_hidden_layers,
        sliding_window=hf.sliding_window,
        query_scale=fields["head_dim"] ** -0.5,
    )


def _rope(hf: HFConfig) -> RopeConfig:
    parameters = hf.rope_parameters
    if parameters["rope_type"] != "longrope":
        return rope_config(parameters, hf.max_position_embeddings)
    require_positive(hf, ("original_max_position_embeddings",))
    original = hf.original_max_position_embeddings
    stretch = parameters.get("factor") or hf.max_position_embeddings / original
    temperature = parameters.get("attention_factor")
    if temperature is None:
        temperature = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
    return RopeConfig(
        float(parameters["rope_theta"]),
        "longrope",
        original_max_positions=original,
        short_factors=tuple(map(float, parameters["short_factor"])),
        long_factors=tuple(map(float, parameters["long_factor"])),
        attention_factor=float(temperature),
    )
