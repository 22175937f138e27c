"""The keys of config.json: each is used, harmless for a reason that stands here, or refused.

What a family uses is listed in its own file (``USED``), and nothing else of config.json goes into its
translation, so that no other key can act. A key that changes what stock transformers computes, or that says
that the weights belong to a model of another kind, is refused unless its value changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxlin_models.errors import ModelError
from jaxlin_models.huggingface import PreTrainedConfig

#: What every family uses; ``transformers_weights`` names the file with the weights.
COMMON = frozenset(
    {
        "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
        "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps",
        "tie_word_embeddings", "rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor",
        "original_max_position_embeddings",
        "transformers_weights",
    }
)  # fmt: skip

#: What says that q and k are normed, in families where they always are.
QK_NORM_KEYS = ("use_qk_norm", "qk_norm", "qk_layernorm")

#: Keys that no prediction depends on, by the reason.
_HARMLESS: Mapping[str, tuple[str, ...]] = {
    "dropout, which is off when a model is not trained": (
        "attention_dropout", "resid_pdrop", "embd_pdrop", "hidden_dropout", "hidden_dropout_prob", "dropout",
        "classifier_dropout", "attn_pdrop",
    ),
    "how weights are drawn before training": ("initializer_range", "initializer_factor", "init_std"),
    "training": (
        "gradient_checkpointing", "problem_type", "finetuning_task", "task_specific_params", "tf_legacy_loss",
        "router_aux_loss_coef", "use_liger_kernel", "neftune_noise_alpha", "keys_to_ignore_at_inference",
        "loss_type", "aux_loss_alpha", "seq_aux",
    ),
    "what a forward pass hands out beside its result": (
        "output_hidden_states", "output_attentions", "output_router_logits", "return_dict", "use_return_dict",
        "tie_last_hidden_states", "_output_attentions", "output_loading_info", "num_logits_to_keep",
    ),
    "classes of a classifier, whose head is not used": ("id2label", "label2id", "num_labels"),
    "in what pieces or by what kernel the same numbers are computed": (
        "use_cache", "pretraining_tp", "chunk_size_feed_forward", "attn_implementation",
        "_attn_implementation", "_attn_implementation_internal", "_attn_implementation_autoset",
        "experts_implementation", "_experts_implementation", "_experts_implementation_internal",
        "_flash_attn_2_enabled", "use_flash_attn", "use_flash_attention", "use_flash_attention_2", "use_sdpa",
        "cache_implementation", "torchscript", "use_bfloat16", "use_kernels", "distributed_config",
        "device_map", "tp_plan", "base_model_tp_plan", "base_model_pp_plan", "max_batch_size",
    ),
    "in what dtype weights are kept, which `dtype` of jaxlin decides": (
        "dtype", "torch_dtype", "fp16", "bf16", "float32_attention",
    ),
    "ids and settings of the tokenizer, or of how a text is continued": (
        "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "unk_token_id", "cls_token_id",
        "mask_token_id", "decoder_start_token_id", "tokenizer_class", "model_max_length",
        "tokenizer_model_max_length", "max_length", "max_new_tokens", "min_length", "do_sample",
        "temperature", "top_k", "top_p", "typical_p", "num_beams", "num_beam_groups", "num_return_sequences",
        "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size",
        "bad_words_ids", "diversity_penalty", "early_stopping", "exponential_decay_length_penalty",
        "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "suppress_tokens",
        "begin_suppress_tokens", "return_dict_in_generate", "output_scores", "prefix", "padding_side",
        "tokenizer_padding_side", "chat_template", "generation_config", "additional_special_tokens",
    ),
    "where the file came from": (
        "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "unsloth_version",
        "unsloth_fixed", "unsloth_merged", "model_name", "_sliding_window_pattern", "_from_model_config",
        "license", "mlx_lm_version", "transformers.js_config", "base_model_name_or_path",
        "_diffusers_version", "trl_version",
    ),
    "code of the checkpoint, which is never run, as stock transformers does not unless told": ("auto_map",),
    "a part of a multimodal checkpoint that no text goes through": (
        "vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index",
        "vision_feature_layer", "vision_feature_select_strategy", "vision_aspect_ratio",
        "boi_token_id", "eoi_token_id", "image_token_id",
    ),
    "settings of transformers 4 for other kinds of model, at which no decoder looks": (
        "is_decoder", "cross_attention_hidden_size", "pruned_heads",
    ),
    "a leftover of a sibling family, whose meaning hangs on a key that is refused": (
        "hidden_act", "hidden_activation", "max_window_layers", "use_sliding_window",
        "sliding_window_pattern",
        "rope_local_base_freq",
    ),
    "what transformers' config looks at to check itself": ("_post_init_done", "num_heads"),
    "lengths of training texts": ("max_sequence_length", "seq_length", "n_ctx"),
}  # fmt: skip
HARMLESS: Mapping[str, str] = {key: reason for reason, keys in _HARMLESS.items() for key in keys}


def _off(value: Any) -> bool:
    """Whether a setting is not set; numbers that are 0 say the same."""
    return value is None or (isinstance(value, bool | int | float | str | list | dict | tuple) and not value)


def _all_full(value: Any) -> bool:
    return _off(value) or (
        isinstance(value, list | tuple) and all(kind == "full_attention" for kind in value)
    )


_Harmless = Callable[[Any], bool]
_NOT_THERE = "which models of type {type} do not have; remove the key if it is a leftover"
_BOTH_WAYS = "with which attention sees later tokens as well; load a causal model"

#: Key -> (which values change nothing, what is said of the others). A family that uses a key goes first.
REFUSED: Mapping[str, tuple[_Harmless, str]] = {
    # Stock transformers takes the mask away at every value that is not true, null among them.
    "is_causal": (lambda value: value is True, _BOTH_WAYS),
    **dict.fromkeys(
        ("use_bidirectional_attention", "bidirectional", "is_bidirectional", "bidirectional_attention"),
        (_off, _BOTH_WAYS),
    ),
    "per_layer_config": (_off, "settings of single layers, which are not supported; load another model"),
    "fusion_config": (_off, "fused modules, which are not supported; remove the key"),
    "configuration_files": (_off, "another config in place of this file; put that one here as config.json"),
    "layer_types": (_all_full, _NOT_THERE),
    **dict.fromkeys(
        ("_heterogeneity_spec", "_rope_type_labels"),
        (_off, "which only transformers itself sets; remove the key"),
    ),
    **dict.fromkeys(
        (
            # settings of sibling families
            "attention_bias", "mlp_bias", "lm_head_bias", "qkv_bias", "use_bias", "bias", "sliding_window",
            "use_mrope", "query_pre_attn_scalar", "attn_logit_softcapping", "final_logit_softcapping",
            # encoders, decoders with an encoder, models with further parts
            "is_encoder_decoder", "add_cross_attention", "tie_encoder_decoder", "text_config", "audio_config",
            "encoder", "decoder", "generator", "text_encoder", "use_mean_pooling",
            # what other decoders multiply, clip, norm, mix or leave out
            "embedding_multiplier", "residual_multiplier", "attention_multiplier", "logits_scaling",
            "logit_scale", "scale_emb", "scale_depth", "dim_model_base", "scale_embedding", "mup_width_scale",
            "key_multiplier", "lm_head_multiplier", "attention_in_multiplier", "attention_out_multiplier",
            "mlp_multipliers", "clip_qkv", "use_qk_norm", "qk_norm", "qk_layernorm", "use_qkv_bias",
            "use_parallel_residual", "parallel_residual", "parallel_attn",
            "apply_residual_connection_post_layernorm", "alibi", "no_rope_layers", "no_rope_layer_interval",
            "nope_layer_interval", "attention_chunk_size", "attn_temperature_tuning", "attn_scale",
            "floor_scale", "swiglu_limit", "attention_sinks", "attention_k_eq_v", "differential_attention",
            "num_kv_shared_layers", "layer_skip", "hidden_size_per_layer_input", "laurel_rank",
            "altup_num_inputs", "activation_sparsity_pattern",
            # experts, recurrent layers, latent attention, prediction of several tokens
            "num_experts", "num_local_experts", "n_routed_experts", "n_shared_experts", "num_experts_per_tok",
            "moe_intermediate_size", "enable_moe_block", "kv_lora_rank", "q_lora_rank",
            "linear_num_value_heads", "mamba_d_state", "ssm_cfg", "block_configs", "mlp_layer_types",
            "mtp_layer_types",
        ),
        (_off, _NOT_THERE),
    ),
}  # fmt: skip

#: Keys of one rotary embedding.
ROPE = frozenset(
    {
        "rope_type", "type", "rope_theta", "factor", "original_max_position_embeddings", "attention_factor",
        "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate", "low_freq_factor",
        "high_freq_factor", "short_factor", "long_factor", "partial_rotary_factor", "full_attention",
        "sliding_attention",
    }
)  # fmt: skip
#: Likewise, at which stock transformers does not look: DeepSeek's own, Qwen 2-VL's, YaRN's own.
HARMLESS_ROPE = frozenset({"attn_factor", "mrope_section", "finetuned", "extrapolation_factor"})
#: Likewise, of models that scale their attention in other ways.
REFUSED_ROPE = frozenset({"short_mscale", "long_mscale", "llama_4_scaling_beta", "original_inv_freq"})


def shown(value: Any) -> str:
    """A value of config.json as it can stand in a message."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply; an integer of thousands of digits
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 60 else f"{text[:57]}…"


def check(
    config: Mapping[str, Any], model_type: str, used: frozenset[str], ignored: Mapping[str, str]
) -> tuple[str, ...]:
    """The keys that neither this family nor transformers knows, and so change nothing.

    Args:
        config: of config.json, or one of its parts.
        model_type: what it says it is.
        used: the family's keys.
        ignored: keys that stock's model of this family does not read, refused elsewhere, with the reason.

    Raises:
        ModelError: a key that is refused, by name.
    """
    unknown = []
    for key, value in config.items():
        if key == "architectures":  # see jaxlin_models.families
            continue
        if key in used:
            if key in ("rope_parameters", "rope_scaling"):
                unknown += [f"{key}.{name}" for name in _check_rope(value)]
        elif (
            key in HARMLESS
            or key in ignored
            or (_off(value) and key != "is_causal")
            or (key == "sliding_window" and config.get("use_sliding_window") is False)
        ):
            continue
        elif key in REFUSED:
            harmless, why = REFUSED[key]
            if not harmless(value):
                raise ModelError(f"config.json sets {key} to {shown(value)}, {why.format(type=model_type)}")
        elif hasattr(PreTrainedConfig, key):  # such as attribute_map, which renames keys
            raise ModelError(
                f"config.json sets {shown(key)}, which is a part of transformers' own code and no setting "
                f"of a model; remove the key"
            )
        else:
            unknown.append(key)
    return tuple(unknown)


def _check_rope(parameters: Any) -> list[str]:
    """Unknown keys of rotary embeddings; those of single layer types stand one level below."""
    unknown: list[str] = []
    for key, value in parameters.items() if isinstance(parameters, Mapping) else ():
        if key in REFUSED_ROPE and not _off(value):
            raise ModelError(
                f"config.json sets {key} of the rotary embedding to {shown(value)}, which this family does "
                f"not have; remove the key if it is a leftover"
            )
        if key in ("full_attention", "sliding_attention"):
            unknown += _check_rope(value)
        elif key not in ROPE and key not in HARMLESS_ROPE and not _off(value):
            unknown.append(str(key))
    return unknown
