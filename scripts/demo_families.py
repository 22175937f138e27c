"""What the three demo checkpoints are: special tokens and Hugging Face config of each family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transformers import Gemma3TextConfig, LlamaConfig, PretrainedConfig, Qwen3Config

MAX_POSITIONS = 4096


@dataclass(frozen=True)
class DemoFamily:
    """One family: its special tokens, as in the real checkpoints, and its config given their ids."""

    name: str
    bos: str | None
    eos: str
    pad: str
    config: Callable[..., PretrainedConfig]

    @property
    def specials(self) -> tuple[str, ...]:
        """The special tokens, each once."""
        return tuple(dict.fromkeys(token for token in (self.pad, self.eos, self.bos) if token))


def _llama(**ids: int | None) -> PretrainedConfig:
    return LlamaConfig(
        architectures=["LlamaForCausalLM"],
        hidden_size=128,
        num_hidden_layers=5,
        intermediate_size=272,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        rms_norm_eps=1e-5,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 500_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 512,
        },
        tie_word_embeddings=False,
        **ids,
    )


def _gemma(**ids: int | None) -> PretrainedConfig:
    return Gemma3TextConfig(
        architectures=["Gemma3ForCausalLM"],
        hidden_size=128,
        num_hidden_layers=6,
        intermediate_size=240,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=48,
        query_pre_attn_scalar=32,
        max_position_embeddings=MAX_POSITIONS,
        sliding_window=128,
        layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
        rope_parameters={
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        final_logit_softcapping=30.0,
        tie_word_embeddings=True,
        **ids,
    )


def _qwen(**ids: int | None) -> PretrainedConfig:
    return Qwen3Config(
        architectures=["Qwen3ForCausalLM"],
        hidden_size=128,
        num_hidden_layers=5,
        intermediate_size=320,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=48,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        tie_word_embeddings=True,
        **ids,
    )


FAMILIES = {
    family.name: family
    for family in (
        DemoFamily("llama", "<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", _llama),
        DemoFamily("gemma", "<bos>", "<eos>", "<pad>", _gemma),
        DemoFamily("qwen", None, "<|endoftext|>", "<|endoftext|>", _qwen),
    )
}
