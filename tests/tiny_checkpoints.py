"""Random tiny checkpoints in the Hugging Face format: every family, every variant that real models use.

Written with numpy alone, from the families' tensor names and shapes, so that they exist where torch does
not. The weights are not trained but they are not arbitrary either: queries and keys are large enough that
attention really mixes positions (neither uniform nor one-hot), norm weights and biases are random, and
every sublayer adds about as much as it finds. A mistake anywhere in a forward pass moves the output.

``CHECKPOINTS`` names them all; ``write_checkpoint(name, directory)`` writes one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import TensorSpec, serialize_file
from transformers import (
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    LlamaConfig,
    MinistralConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)

Family = Literal[
    "llama", "mistral", "ministral", "phi3", "olmo2", "qwen2", "qwen3", "gemma2", "gemma3_text", "gemma3"
]
Tensors = dict[str, NDArray[Any]]

#: Longer than every sliding window below.
PROMPT_LENGTH = 29

_CONFIG_CLASSES: Mapping[Family, type[PreTrainedConfig]] = {
    "llama": LlamaConfig,
    "mistral": MistralConfig,
    "ministral": MinistralConfig,
    "phi3": Phi3Config,
    "olmo2": Olmo2Config,
    "qwen2": Qwen2Config,
    "qwen3": Qwen3Config,
    "gemma2": Gemma2Config,
    "gemma3_text": Gemma3TextConfig,
    "gemma3": Gemma3Config,
}


@dataclass(frozen=True)
class Layout:
    """Where things stand in a file: what tensor names begin with."""

    decoder: str
    head: str = "lm_head.weight"
    vision: str = ""
    projector: str = ""


#: A causal language model; a decoder saved without its head.
_TEXT, _BARE = Layout("model."), Layout("")
#: Multimodal: as transformers 5 saves, as transformers 4 did (all of the hub), and the names of the loaded
#: modules, which some fine-tunes save.
_SAVED = Layout(
    "language_model.model.", "language_model.lm_head.weight", "vision_tower.", "multi_modal_projector."
)
_HUB = replace(_SAVED, vision="vision_tower.vision_model.")
_IN_MEMORY = Layout(
    "model.language_model.", "lm_head.weight", "model.vision_tower.", "model.multi_modal_projector."
)


@dataclass(frozen=True)
class TinyCheckpoint:
    """One checkpoint: its family, what differs from the family's tiny default, and how it is stored."""

    family: Family
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: Write config.json with the keys of transformers 4 (rope_theta, rope_scaling, …).
    old_config: bool = False
    #: Keys left out of an old config.json, so that the family's defaults count.
    left_out: tuple[str, ...] = ()
    layout: Layout = _TEXT
    storage: Literal["float32", "bfloat16", "float16"] = "float32"

    def config(self) -> PreTrainedConfig:
        """The checkpoint's configuration, as transformers understands it."""
        if self.family == "gemma3":
            text = _tiny_settings("gemma3_text") | dict(self.settings)
            return Gemma3Config(
                tie_word_embeddings=text["tie_word_embeddings"],
                text_config=Gemma3TextConfig(**text).to_dict(),
                vision_config=_VISION,
                mm_tokens_per_image=4,
                architectures=["Gemma3ForConditionalGeneration"],
            )
        architecture = _CONFIG_CLASSES[self.family].__name__.removesuffix("Config")
        return _CONFIG_CLASSES[self.family](
            **_tiny_settings(self.family) | dict(self.settings),
            architectures=[f"{architecture.removesuffix('Text')}ForCausalLM"],
        )


_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
    "vision_use_head": False,
}


def _tiny_settings(family: Family) -> dict[str, Any]:
    """Sizes that differ wherever the architecture lets them, so that no mix-up goes unseen."""
    shared: dict[str, Any] = {
        "max_position_embeddings": 256,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 3,
    }
    if family in ("llama", "mistral", "ministral", "phi3", "olmo2"):
        return (
            shared
            | {
                "vocab_size": 97,
                "hidden_size": 32,
                "intermediate_size": 56,
                "rms_norm_eps": 1e-5,
                "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
                "tie_word_embeddings": False,
            }
            | _TINY_BESIDE_LLAMA.get(family, {})
        )
    if family in ("qwen2", "qwen3"):
        return shared | {
            "vocab_size": 113,
            "hidden_size": 40,
            "intermediate_size": 72,
            **({"head_dim": 16} if family == "qwen3" else {}),
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
            "tie_word_embeddings": True,
        }
    if family == "gemma2":
        return shared | {
            "vocab_size": 109,
            "hidden_size": 44,
            "intermediate_size": 76,
            "head_dim": 16,
            "query_pre_attn_scalar": 20,
            "sliding_window": 8,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
            # Low enough that most scores and logits feel them.
            "attn_logit_softcapping": 1.5,
            "final_logit_softcapping": 3.0,
            "tie_word_embeddings": True,
        }
    return shared | {
        "vocab_size": 127,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 4,
        "head_dim": 16,
        "query_pre_attn_scalar": 20,
        "sliding_window": 8,
        "sliding_window_pattern": 3,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
        "tie_word_embeddings": True,
    }


#: What differs from the tiny llama in the families that are like it.
_TINY_BESIDE_LLAMA: Mapping[str, Mapping[str, Any]] = {
    "mistral": {"sliding_window": None},
    "ministral": {
        "head_dim": 12,
        "sliding_window": 7,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    },
    "phi3": {"hidden_size": 48, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    "olmo2": {"eos_token_id": 2},
}

_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 160,
}
_YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 2048,
}
_ALL_OF_YARN = _YARN_ROPE | {
    "attention_factor": 1.17,
    "beta_fast": 20.0,
    "beta_slow": 2.0,
    "truncate": False,
}
#: The keys that DeepSeek added, and a factor left to follow from the two lengths.
_YARN_WITH_MSCALE = _YARN_ROPE | {"factor": None, "mscale": 1.3, "mscale_all_dim": 0.7}
#: As DeepSeek-R1-0528-Qwen3-8B has it: attn_factor is a key that transformers does not know.
_DEEPSEEK_YARN = _YARN_ROPE | {"attn_factor": 0.8782488562869419}
#: For heads of 12 of which 8 features turn: four pairs.
_LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0, 1.05, 1.3, 1.7],
    "long_factor": [1.1, 2.5, 7.0, 19.0],
    "partial_rotary_factor": 0.7,
}
_GLOBAL_PLAIN_ROPE = {
    "full_attention": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
}

CHECKPOINTS: Mapping[str, TinyCheckpoint] = {
    "llama": TinyCheckpoint("llama", 1),
    "llama-tied": TinyCheckpoint("llama", 2, {"tie_word_embeddings": True}),
    "llama-biases": TinyCheckpoint("llama", 3, {"attention_bias": True, "mlp_bias": True}),
    "llama-head-dim": TinyCheckpoint("llama", 4, {"head_dim": 20}),
    "llama-one-kv-head": TinyCheckpoint("llama", 5, {"num_key_value_heads": 1}),
    "llama-llama3-rope": TinyCheckpoint(
        "llama", 6, {"head_dim": 16, "rope_parameters": _LLAMA3_ROPE, "max_position_embeddings": 1280}
    ),
    "llama-linear-rope": TinyCheckpoint(
        "llama", 7, {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000, "factor": 4}}
    ),
    "llama-yarn": TinyCheckpoint(
        "llama", 8, {"head_dim": 16, "rope_parameters": _YARN_ROPE, "max_position_embeddings": 8192}
    ),
    "llama-yarn-all-keys": TinyCheckpoint(
        "llama", 9, {"head_dim": 16, "rope_parameters": _ALL_OF_YARN, "max_position_embeddings": 8192}
    ),
    "llama-yarn-mscale": TinyCheckpoint(
        "llama",
        13,
        {"head_dim": 16, "rope_parameters": _YARN_WITH_MSCALE, "max_position_embeddings": 8192},
    ),
    "llama-gelu": TinyCheckpoint("llama", 14, {"hidden_act": "gelu"}),
    "llama-relu": TinyCheckpoint("llama", 15, {"hidden_act": "relu"}),
    "llama-bare-names": TinyCheckpoint("llama", 16, {"tie_word_embeddings": True}, layout=_BARE),
    "llama-bfloat16": TinyCheckpoint("llama", 10, storage="bfloat16"),
    "llama-old-config": TinyCheckpoint(
        "llama",
        11,
        {"head_dim": 16, "rope_parameters": _LLAMA3_ROPE, "max_position_embeddings": 1280},
        old_config=True,
    ),
    "llama-oldest-config": TinyCheckpoint(
        "llama",
        12,
        {"num_key_value_heads": 4},
        old_config=True,
        left_out=("rope_theta", "rope_scaling", "num_key_value_heads", "head_dim", "attention_bias",
                  "mlp_bias", "tie_word_embeddings"),
    ),
    "llama-float16": TinyCheckpoint("llama", 17, storage="float16"),
    "mistral": TinyCheckpoint("mistral", 51),
    "mistral-sliding": TinyCheckpoint("mistral", 52, {"sliding_window": 7, "head_dim": 12}, old_config=True),
    "ministral": TinyCheckpoint("ministral", 53),
    "phi3": TinyCheckpoint("phi3", 61, old_config=True),
    "phi3-partial-rotary": TinyCheckpoint(
        "phi3",
        62,
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.7}},
    ),
    "phi3-longrope-short": TinyCheckpoint(
        "phi3", 63, {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 29}
    ),
    "phi3-longrope-long": TinyCheckpoint(
        "phi3",
        64,
        {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 28, "tie_word_embeddings": True},
        old_config=True,
    ),
    "phi3-longrope-factors": TinyCheckpoint(
        "phi3",
        65,
        {"rope_parameters": _LONGROPE | {"attention_factor": 1.4}, "original_max_position_embeddings": 28},
    ),
    "phi3-sliding": TinyCheckpoint("phi3", 66, {"sliding_window": 7}),
    "olmo2": TinyCheckpoint("olmo2", 71),
    "olmo2-attention-bias": TinyCheckpoint("olmo2", 72, {"attention_bias": True}),
    "gemma2": TinyCheckpoint("gemma2", 81),
    "gemma2-without-caps": TinyCheckpoint(
        "gemma2", 82, {"attn_logit_softcapping": None, "final_logit_softcapping": None}, old_config=True
    ),
    "qwen2": TinyCheckpoint("qwen2", 91, {"sliding_window": 7, "max_window_layers": 1}),
    "qwen2-sliding": TinyCheckpoint(
        "qwen2",
        92,
        {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1,
         "tie_word_embeddings": False},
        old_config=True,
    ),
    "qwen3": TinyCheckpoint("qwen3", 21),
    "qwen3-untied": TinyCheckpoint("qwen3", 22, {"tie_word_embeddings": False}),
    "qwen3-attention-bias": TinyCheckpoint("qwen3", 23, {"attention_bias": True}),
    "qwen3-yarn": TinyCheckpoint(
        "qwen3", 24, {"rope_parameters": _YARN_ROPE, "max_position_embeddings": 8192}
    ),
    "qwen3-yarn-deepseek": TinyCheckpoint(
        "qwen3",
        28,
        {"rope_parameters": _DEEPSEEK_YARN, "max_position_embeddings": 8192, "tie_word_embeddings": False},
        old_config=True,
    ),
    "qwen3-sliding": TinyCheckpoint(
        "qwen3", 25, {"use_sliding_window": True, "sliding_window": 7, "max_window_layers": 1}
    ),
    "qwen3-window-unused": TinyCheckpoint(
        "qwen3", 26, {"use_sliding_window": False, "sliding_window": 7, "max_window_layers": 1}
    ),
    "qwen3-old-config": TinyCheckpoint(
        "qwen3", 27,
        {"rope_parameters": _YARN_ROPE, "max_position_embeddings": 8192, "use_sliding_window": True,
         "sliding_window": 7, "max_window_layers": 2},
        old_config=True,
    ),
    "gemma3-text": TinyCheckpoint("gemma3_text", 31),
    "gemma3-text-plain-rope": TinyCheckpoint("gemma3_text", 32, {"rope_parameters": _GLOBAL_PLAIN_ROPE}),
    "gemma3-text-final-softcap": TinyCheckpoint("gemma3_text", 33, {"final_logit_softcapping": 3.0}),
    "gemma3-text-attention-softcap": TinyCheckpoint("gemma3_text", 34, {"attn_logit_softcapping": 2.0}),
    "gemma3-text-attention-bias": TinyCheckpoint("gemma3_text", 35, {"attention_bias": True}),
    "gemma3-text-old-config": TinyCheckpoint("gemma3_text", 36, old_config=True),
    "gemma3-multimodal": TinyCheckpoint("gemma3", 41, layout=_SAVED),
    "gemma3-multimodal-in-memory-names": TinyCheckpoint("gemma3", 42, layout=_IN_MEMORY),
    "gemma3-multimodal-final-softcap": TinyCheckpoint(
        "gemma3", 43, {"final_logit_softcapping": 3.0}, layout=_SAVED
    ),
    "gemma3-multimodal-untied": TinyCheckpoint(
        "gemma3", 45, {"tie_word_embeddings": False}, layout=_HUB
    ),
    "gemma3-multimodal-old-config": TinyCheckpoint(
        "gemma3",
        44,
        {"num_hidden_layers": 7, "sliding_window_pattern": 6},
        old_config=True,
        layout=_HUB,
        left_out=("rope_theta", "rope_local_base_freq", "sliding_window_pattern", "rms_norm_eps",
                  "tie_word_embeddings", "attn_logit_softcapping", "final_logit_softcapping"),
    ),
}  # fmt: skip


def write_checkpoint(name: str, directory: Path, shards: int = 1) -> Path:
    """Write the checkpoint called ``name`` into ``directory`` (config.json and safetensors) and return it."""
    checkpoint = CHECKPOINTS[name]
    config = checkpoint.config()
    directory.mkdir(parents=True, exist_ok=True)
    if checkpoint.old_config:
        old = config_of_transformers_4(config.to_dict(), checkpoint.left_out)
        (directory / "config.json").write_text(json.dumps(old, indent=2))
    else:
        config.save_pretrained(directory)
    tensors = random_tensors(checkpoint, config)
    if shards == 1:
        _save_tensors(tensors, directory / "model.safetensors")
    else:
        save_shards(tensors, directory, shards)
    return directory


def prompt_ids(name: str, length: int = PROMPT_LENGTH) -> list[int]:
    """A random prompt for this checkpoint, with token 0 in it: Gemma's padding is a token like any other."""
    checkpoint = CHECKPOINTS[name]
    vocab_size = checkpoint.config().get_text_config().vocab_size
    ids = np.random.default_rng(checkpoint.seed + 1000).integers(vocab_size, size=length)
    ids[length // 2] = 0
    return [int(i) for i in ids]


def config_of_transformers_4(config: dict[str, Any], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same configuration under the keys that transformers 4 wrote.

    Rotary settings stood in ``rope_theta``, ``rope_scaling`` and Gemma's ``rope_local_base_freq``, layer
    types in a ``sliding_window_pattern`` or in ``max_window_layers``, the dtype in ``torch_dtype``.
    """
    if "text_config" in config:
        text = config_of_transformers_4(config["text_config"], left_out)
        return config | {"text_config": text, "transformers_version": "4.50.0"}
    old = {key: value for key, value in config.items() if not key.startswith("_")}
    rope = old.pop("rope_parameters")
    old.pop("layer_types", None)
    old |= {"transformers_version": "4.50.0", "torch_dtype": old.pop("dtype", None) or "float32"}
    if "sliding_attention" in rope:
        old |= {"rope_local_base_freq": rope["sliding_attention"]["rope_theta"]}
        old |= {"sliding_window_pattern": config["_sliding_window_pattern"], "cache_implementation": "hybrid"}
        rope = rope["full_attention"]
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    old |= {"rope_theta": rope["rope_theta"]}
    old |= {"rope_scaling": None if rope["rope_type"] == "default" else scaling}
    return {key: value for key, value in old.items() if key not in left_out}


def random_tensors(checkpoint: TinyCheckpoint, config: PreTrainedConfig) -> Tensors:
    """Every tensor of the checkpoint under the name it has in the file."""
    rng = np.random.default_rng(checkpoint.seed)
    text = config.get_text_config()
    layout = checkpoint.layout
    shapes = {layout.decoder + name: shape for name, shape in _decoder_shapes(text).items()}
    if not text.tie_word_embeddings:
        shapes[layout.head] = (text.vocab_size, text.hidden_size)
    is_gemma = text.model_type in ("gemma2", "gemma3_text")
    centre = 0.0 if is_gemma else 1.0  # Gemma's norms scale by 1 + w
    embed_size = text.hidden_size**-0.5 if is_gemma else 1.0  # and its embeddings by √d
    tensors = {name: _fill(name, shape, centre, embed_size, rng) for name, shape in shapes.items()}
    if checkpoint.family == "gemma3":
        vision = _vision_shapes(config.vision_config)
        tensors |= {layout.vision + n: rng.standard_normal(s) for n, s in vision.items()}
        projector = _projector_shapes(config)
        tensors |= {layout.projector + n: rng.standard_normal(s) for n, s in projector.items()}
    dtype = ml_dtypes.bfloat16 if checkpoint.storage == "bfloat16" else checkpoint.storage
    return {name: np.ascontiguousarray(value, dtype) for name, value in tensors.items()}


def _decoder_shapes(text: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the decoder's tensors, from the embeddings to the final norm."""
    width, mlp_width = text.hidden_size, text.intermediate_size
    head_dim = getattr(text, "head_dim", None) or width // text.num_attention_heads
    query_width = text.num_attention_heads * head_dim
    kv_width = text.num_key_value_heads * head_dim
    linears = {
        "self_attn.q_proj": (query_width, width),
        "self_attn.k_proj": (kv_width, width),
        "self_attn.v_proj": (kv_width, width),
        "self_attn.o_proj": (width, query_width),
        "mlp.gate_proj": (mlp_width, width),
        "mlp.up_proj": (mlp_width, width),
        "mlp.down_proj": (width, mlp_width),
    }
    biased = {name for name in linears if getattr(text, _bias_setting(name), False)}
    if text.model_type == "qwen2":
        biased = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}
    if text.model_type == "phi3":
        linears = {
            "self_attn.qkv_proj": (query_width + 2 * kv_width, width),
            "self_attn.o_proj": (width, query_width),
            "mlp.gate_up_proj": (2 * mlp_width, width),
            "mlp.down_proj": (width, mlp_width),
        }
    norms = {"input_layernorm": width, "post_attention_layernorm": width}
    if text.model_type in ("qwen3", "gemma3_text"):
        norms |= {"self_attn.q_norm": head_dim, "self_attn.k_norm": head_dim}
    if text.model_type in ("gemma2", "gemma3_text"):
        norms |= {"pre_feedforward_layernorm": width, "post_feedforward_layernorm": width}
    if text.model_type == "olmo2":
        norms = {"post_attention_layernorm": width, "post_feedforward_layernorm": width}
        norms |= {"self_attn.q_norm": query_width, "self_attn.k_norm": kv_width}
    layer: dict[str, tuple[int, ...]] = {f"{name}.weight": (size,) for name, size in norms.items()}
    for name, shape in linears.items():
        layer[f"{name}.weight"] = shape
        if name in biased:
            layer[f"{name}.bias"] = shape[:1]
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (text.vocab_size, width),
        "norm.weight": (width,),
    }
    for index in range(text.num_hidden_layers):
        shapes |= {f"layers.{index}.{name}": shape for name, shape in layer.items()}
    return shapes


def _bias_setting(name: str) -> str:
    return "attention_bias" if name.startswith("self_attn") else "mlp_bias"


def _fill(
    name: str, shape: tuple[int, ...], norm_centre: float, embed_size: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Random values of a size that suits the tensor's role."""
    noise = rng.standard_normal(shape)
    if name.endswith("bias"):
        return 0.3 * noise
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return norm_centre + 0.3 + 0.3 * noise
    if name.endswith("norm.weight"):
        return norm_centre + 0.3 * noise
    if name.endswith("embed_tokens.weight"):
        return embed_size * noise
    gain = 1.3 if name.endswith(("q_proj.weight", "k_proj.weight", "qkv_proj.weight")) else 1.0
    return gain * noise / np.sqrt(shape[-1])


def _vision_shapes(vision: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a SigLIP tower: present in the file, unused by the text part."""
    width, patch = vision.hidden_size, vision.patch_size
    modules: dict[str, tuple[int, ...]] = {
        "embeddings.patch_embedding": (width, vision.num_channels, patch, patch),
        "post_layernorm": (width,),
    }
    for index in range(vision.num_hidden_layers):
        layer = f"encoder.layers.{index}"
        modules |= {f"{layer}.self_attn.{p}_proj": (width, width) for p in ("q", "k", "v", "out")}
        modules |= {f"{layer}.layer_norm1": (width,), f"{layer}.layer_norm2": (width,)}
        modules |= {f"{layer}.mlp.fc1": (vision.intermediate_size, width)}
        modules |= {f"{layer}.mlp.fc2": (width, vision.intermediate_size)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in modules.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    patches = (vision.image_size // patch) ** 2
    return shapes | {"embeddings.position_embedding.weight": (patches, width)}


def _projector_shapes(config: PreTrainedConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what stands between the vision tower and the text model."""
    width = config.vision_config.hidden_size
    return {
        "mm_input_projection_weight": (width, config.text_config.hidden_size),
        "mm_soft_emb_norm.weight": (width,),
    }


def save_shards(tensors: Tensors, directory: Path, shards: int) -> None:
    """Split the tensors over several files with the index that the hub's large checkpoints have."""
    weight_map = {}
    for shard in range(shards):
        part = dict(list(tensors.items())[shard::shards])
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        _save_tensors(part, directory / file)
        weight_map |= dict.fromkeys(part, file)
    index = {
        "metadata": {"total_size": sum(tensor.nbytes for tensor in tensors.values())},
        "weight_map": dict(sorted(weight_map.items())),
    }
    (directory / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _save_tensors(tensors: Tensors, file: Path) -> None:
    """Save as safetensors; ``safetensors.numpy`` itself has no bfloat16."""
    specs = {
        name: TensorSpec(
            dtype=tensor.dtype.name,
            shape=tensor.shape,
            data_ptr=tensor.ctypes.data,
            data_len=tensor.nbytes,
        )
        for name, tensor in tensors.items()
    }
    serialize_file(specs, str(file), metadata={"format": "pt"})
