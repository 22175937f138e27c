"""What the families share: rotary parameters, activations, and the weight names of Llama's layout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jaxlin_models.config import LayerType, RopeConfig
from jaxlin_models.errors import ModelError

#: A transformers config. It types every field as optional, even those that it always fills in.
HFConfig = Any

#: transformers' name of an activation -> ours.
_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}
_LAYER_TYPES: Mapping[str, LayerType] = {"full_attention": "full", "sliding_attention": "sliding"}

#: Our parameter path -> name in the checkpoint, after its prefix. ``{layer}`` counts from 0.
LLAMA_NAMES: Mapping[str, str] = {
    "embedding": "embed_tokens.weight",
    "final_norm.scale": "norm.weight",
    "layers.attention_norm.scale": "layers.{layer}.input_layernorm.weight",
    "layers.attention.query.kernel": "layers.{layer}.self_attn.q_proj.weight",
    "layers.attention.query.bias": "layers.{layer}.self_attn.q_proj.bias",
    "layers.attention.key.kernel": "layers.{layer}.self_attn.k_proj.weight",
    "layers.attention.key.bias": "layers.{layer}.self_attn.k_proj.bias",
    "layers.attention.value.kernel": "layers.{layer}.self_attn.v_proj.weight",
    "layers.attention.value.bias": "layers.{layer}.self_attn.v_proj.bias",
    "layers.attention.output.kernel": "layers.{layer}.self_attn.o_proj.weight",
    "layers.attention.output.bias": "layers.{layer}.self_attn.o_proj.bias",
    "layers.mlp_norm.scale": "layers.{layer}.post_attention_layernorm.weight",
    "layers.mlp.gate.kernel": "layers.{layer}.mlp.gate_proj.weight",
    "layers.mlp.gate.bias": "layers.{layer}.mlp.gate_proj.bias",
    "layers.mlp.up.kernel": "layers.{layer}.mlp.up_proj.weight",
    "layers.mlp.up.bias": "layers.{layer}.mlp.up_proj.bias",
    "layers.mlp.down.kernel": "layers.{layer}.mlp.down_proj.weight",
    "layers.mlp.down.bias": "layers.{layer}.mlp.down_proj.bias",
}

#: Norms of q and k, as Qwen 3 and Gemma 3 name them.
HEAD_NORM_NAMES: Mapping[str, str] = {
    "layers.attention.query_norm.scale": "layers.{layer}.self_attn.q_norm.weight",
    "layers.attention.key_norm.scale": "layers.{layer}.self_attn.k_norm.weight",
}
#: Norms before and after both branches, as Gemma names them.
PRE_AND_POST_NORM_NAMES: Mapping[str, str] = {
    "layers.attention_post_norm.scale": "layers.{layer}.post_attention_layernorm.weight",
    "layers.mlp_norm.scale": "layers.{layer}.pre_feedforward_layernorm.weight",
    "layers.mlp_post_norm.scale": "layers.{layer}.post_feedforward_layernorm.weight",
}


#: Keys of config.json that count something.
_COUNTS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
    "max_position_embeddings",
)


def require_positive(hf: HFConfig, names: tuple[str, ...]) -> None:
    """:class:`ModelError` unless all these keys of config.json are above zero."""
    for name in names:
        if not getattr(hf, name) > 0:
            raise ModelError(
                f"config.json says that {name} is {getattr(hf, name)}, which must be above 0; fetch it anew"
            )


def refuse_settings(hf: HFConfig, names: tuple[str, ...]) -> None:
    """:class:`ModelError` if any of these keys, which the family does not have, is set in config.json."""
    for name in names:
        if getattr(hf, name, None):
            raise ModelError(
                f"config.json sets {name} to {getattr(hf, name)}, which models of type {hf.model_type} do "
                f"not have; remove the key if it is a leftover"
            )


def head_dim(hf: HFConfig) -> int:
    """Features of a head: as config.json says, or an even share of the width if it does not."""
    if getattr(hf, "head_dim", None) is None:
        require_positive(hf, ("hidden_size", "num_attention_heads"))
        return int(hf.hidden_size // hf.num_attention_heads)
    require_positive(hf, ("head_dim",))
    return int(hf.head_dim)


def shared_fields(hf: HFConfig) -> dict[str, Any]:
    """The fields of a :class:`~models.config.DecoderConfig` that every family spells alike."""
    require_positive(hf, (*_COUNTS, "rms_norm_eps"))
    bias = getattr(hf, "attention_bias", False)
    return {
        "vocab_size": hf.vocab_size,
        "embed_dim": hf.hidden_size,
        "num_layers": hf.num_hidden_layers,
        "num_heads": hf.num_attention_heads,
        "num_kv_heads": hf.num_key_value_heads,
        "head_dim": head_dim(hf),
        "mlp_dim": hf.intermediate_size,
        "max_positions": hf.max_position_embeddings,
        "norm_eps": hf.rms_norm_eps,
        "qkv_bias": bias,
        "attention_output_bias": bias,
        "tie_embeddings": hf.tie_word_embeddings,
    }


def single_rope(hf: HFConfig) -> RopeConfig:
    """The rotary embedding of a family whose layers all share one."""
    truncate = hf.rope_parameters.get("truncate", True)
    return rope_config(hf.rope_parameters, hf.max_position_embeddings, truncate=truncate)


def activation(name: str) -> str:
    """Our name of an activation; :class:`ModelError` if we do not have it."""
    if name not in _ACTIVATIONS:
        raise ModelError(
            f"config.json asks for the activation {name!r}, which is not one of "
            f"{', '.join(sorted(_ACTIVATIONS))}; this checkpoint is not supported"
        )
    return _ACTIVATIONS[name]


def layer_types(names: list[str]) -> tuple[LayerType, ...]:
    """Our layer types from config.json's; :class:`ModelError` at one that we do not have."""
    unknown = sorted(set(names) - set(_LAYER_TYPES))
    if unknown:
        raise ModelError(
            f"config.json has layers of type {', '.join(unknown)}; supported are {', '.join(_LAYER_TYPES)}"
        )
    return tuple(_LAYER_TYPES[name] for name in names)


def rope_config(parameters: Mapping[str, Any], max_positions: int, *, truncate: bool = True) -> RopeConfig:
    """A rotary embedding from transformers' ``rope_parameters`` (already standardised by its config).

    Args:
        parameters: one layer type's parameters, with ``rope_type`` and ``rope_theta``.
        max_positions: the model's positions, from which yarn derives a missing factor.
        truncate: yarn's rounding of its blend range to whole feature pairs.
    """
    kind, theta = parameters["rope_type"], float(parameters["rope_theta"])
    if kind == "default":
        return RopeConfig(theta)  # stock ignores partial_rotary_factor here, and so do we
    if parameters.get("partial_rotary_factor", 1.0) != 1.0:
        raise ModelError(
            "config.json asks for a partial rotary embedding (partial_rotary_factor), which this family "
            "does not have; remove the key if it is a leftover"
        )
    if kind == "linear":
        return RopeConfig(theta, kind, factor=float(parameters["factor"]))
    if kind == "llama3":
        return RopeConfig(
            theta,
            kind,
            factor=float(parameters["factor"]),
            original_max_positions=parameters["original_max_position_embeddings"],
            low_freq_factor=float(parameters["low_freq_factor"]),
            high_freq_factor=float(parameters["high_freq_factor"]),
        )
    if kind == "yarn":
        original = parameters["original_max_position_embeddings"]
        factor = float(parameters["factor"] or max_positions / original)
        return RopeConfig(
            theta,
            kind,
            factor=factor,
            original_max_positions=original,
            beta_fast=float(parameters.get("beta_fast") or 32),
            beta_slow=float(parameters.get("beta_slow") or 1),
            truncate=truncate,
            attention_factor=_yarn_attention_factor(parameters, factor),
        )
    raise ModelError(
        f"config.json asks for the rotary embedding {kind!r}; supported are default, linear, llama3, yarn, "
        f"and longrope in phi3"
    )


def _yarn_attention_factor(parameters: Mapping[str, Any], factor: float) -> float:
    """Temperature of the attention scores (YaRN §3.4, with DeepSeek's two-scale variant)."""
    if parameters.get("attention_factor") is not None:
        return float(parameters["attention_factor"])

    def magnitude(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    scale, scale_all = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if scale and scale_all:
        return magnitude(scale) / magnitude(scale_all)
    return magnitude(1.0)
