"""What each architecture of GGUF is in stock transformers: its settings, and what its converter changed.

The settings follow llama.cpp, which ``docs/models.md`` compares with stock transformers' own reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gguf

from jaxlin_models.errors import ModelError
from jaxlin_models.gguf.metadata import Metadata
from jaxlin_models.gguf.parts import GgufFiles
from jaxlin_models.gguf.rope import rope_parameters, with_factors

Settings = dict[str, Any]

#: Tensors that are settings of the rotary embedding.
FREQUENCIES, LONG, SHORT = "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"
_ANOTHER = "which models of this architecture do not have; load another model"


@dataclass(frozen=True)
class Architecture:
    """How a model of one architecture is read.

    Attributes:
        number: that of the library ``gguf``, by which it names tensors.
        model_type: transformers' name of it.
        settings: the family's own keys of config.json.
        turned: whether the rows of q and k were reordered, from halves to pairs of features.
        norms_plus_one: whether 1 was added to the norms.
        rope_tensors: which are settings of the rotary embedding.
    """

    number: gguf.MODEL_ARCH
    model_type: str
    settings: Callable[[Metadata, GgufFiles, Settings], Settings]
    turned: bool = False
    norms_plus_one: bool = False
    rope_tensors: tuple[str, ...] = ()


def architecture_of(files: GgufFiles) -> tuple[str, Architecture]:
    """The architecture of a model, and its name.

    Raises:
        ModelError: none that is supported, or a file that is no model.
    """
    kind = files.metadata.get("general.type", "model")
    if kind != "model":
        raise ModelError(f"{files.named} is of type {kind!r} and no whole model; give the model's own file")
    name = files.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        raise ModelError(
            f"{files.named} is of the unknown architecture {name!r}; supported are {', '.join(ARCHITECTURES)}"
        )
    return name, ARCHITECTURES[name]


def settings_of(metadata: Metadata, files: GgufFiles, architecture: Architecture) -> Settings:
    """The keys of config.json that these files stand for.

    Raises:
        ModelError: a key that is missing, refused, or of a value that cannot be.
    """
    table = files.tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise ModelError(f"{files.named} lacks the tensor token_embd.weight; fetch the whole model")
    layers = metadata.count("block_count")
    if layers > len(files.tensors):  # before a list with an entry for each is made
        raise ModelError(
            f"{files.named} states {layers} layers and has {len(files.tensors)} tensors; fetch it again"
        )
    heads = metadata.count("attention.head_count")
    width = metadata.count("embedding_length")
    size = metadata.count("attention.key_length", max(1, width // heads))
    metadata.only(
        "attention.value_length", size, f"and heads of values are as long as those of keys here ({size})"
    )
    metadata.only(
        "vocab_size", table.shape[0], f"and its embeddings have {table.shape[0]} rows; fetch it again"
    )
    metadata.only(
        "attention.causal", True, "with which attention sees later tokens as well; load a causal model"
    )
    metadata.only("attention.scale", size**-0.5, _ANOTHER)
    positions = metadata.count("context_length")
    shared: Settings = {
        "vocab_size": table.shape[0],
        "hidden_size": width,
        "intermediate_size": metadata.count("feed_forward_length"),
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": metadata.count("attention.head_count_kv", heads),
        "head_dim": size,
        "max_position_embeddings": positions,
        "rms_norm_eps": metadata.number("attention.layer_norm_rms_epsilon"),
        "tie_word_embeddings": "output.weight" not in files.tensors,
        "rope_parameters": rope_parameters(metadata, positions),
    }
    return architecture.settings(metadata, files, shared)


def _llama(metadata: Metadata, files: GgufFiles, shared: Settings) -> Settings:
    if FREQUENCIES in files.tensors:
        factors = _factors(files, FREQUENCIES)
        if shared["rope_parameters"]["rope_type"] != "default":
            raise ModelError(
                f"{files.named} scales its rotary embedding twice, by keys and by {FREQUENCIES}; "
                f"convert it again"
            )
        shared["rope_parameters"] = with_factors(shared["rope_parameters"], factors)
    return _whole_rotary(metadata, shared) | {
        "hidden_act": "silu",
        "attention_bias": "blk.0.attn_q.bias" in files.tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in files.tensors,
    }


def _gemma2(metadata: Metadata, files: GgufFiles, shared: Settings) -> Settings:
    return _whole_rotary(metadata, shared) | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": _query_scalar(shared, largest=46),
        "sliding_window": metadata.count("attention.sliding_window", 4096),
        "layer_types": _layer_types(metadata, shared, 2),
        "attn_logit_softcapping": metadata.number("attn_logit_softcapping", 50.0) or None,
        "final_logit_softcapping": metadata.number("final_logit_softcapping", 30.0) or None,
    }


def _gemma3(metadata: Metadata, files: GgufFiles, shared: Settings) -> Settings:
    window = metadata.count("attention.sliding_window", 0, least=0)
    rope = shared["rope_parameters"]
    local = metadata.number("rope.freq_base_swa", 1e4)
    return _whole_rotary(metadata, shared) | {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": _query_scalar(shared, largest=62),
        "sliding_window": window or None,
        "layer_types": _layer_types(metadata, shared, 6)
        if window
        else ["full_attention"] * shared["num_hidden_layers"],
        "rope_parameters": {
            "full_attention": rope,
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        },
        "final_logit_softcapping": metadata.number("final_logit_softcapping", 0.0) or None,
    }


def _qwen2(metadata: Metadata, files: GgufFiles, shared: Settings) -> Settings:
    return _plain_heads(metadata, shared) | {"hidden_act": "silu"}


def _qwen3(metadata: Metadata, files: GgufFiles, shared: Settings) -> Settings:
    return _whole_rotary(metadata, shared) | {
        "hidden_act": "silu",
        "attention_bias": "blk.0.attn_q.bias" in files.tensors,
    }


def _phi3(metadata: Metadata, files: GgufFiles, shared: Settings) -> Settings:
    size, rope = shared["head_dim"], shared["rope_parameters"]
    turned = metadata.count("rope.dimension_count", size)
    temperature = metadata.number("rope.scaling.attn_factor", 1.0)
    original = metadata.count("rope.scaling.original_context_length", shared["max_position_embeddings"])
    if LONG in files.tensors or SHORT in files.tensors:
        rope = {
            "rope_type": "longrope",
            "rope_theta": rope["rope_theta"],
            "short_factor": _factors(files, SHORT),
            "long_factor": _factors(files, LONG),
            "attention_factor": temperature,
        }
    else:
        metadata.only(
            "rope.scaling.attn_factor", 1.0, "and has no factors of single frequencies; convert it again"
        )
    share = turned / size
    # As it is read: ``int(size * share)``.
    share = share if int(size * share) == turned else math.nextafter(share, math.inf)
    window = metadata.count("attention.sliding_window", 0, least=0)
    return _without(_plain(metadata, shared), "head_dim") | {
        "hidden_act": "silu",
        "sliding_window": window or None,
        "rope_parameters": rope | {"partial_rotary_factor": share},
        "original_max_position_embeddings": original,
    }


def _olmo2(metadata: Metadata, files: GgufFiles, shared: Settings) -> Settings:
    return _plain_heads(metadata, shared) | {
        "hidden_act": "silu",
        "attention_bias": "blk.0.attn_q.bias" in files.tensors,
    }


def _plain(metadata: Metadata, shared: Settings) -> Settings:
    """The same, of a family whose heads share the width evenly."""
    even = shared["hidden_size"] // shared["num_attention_heads"]
    metadata.only("attention.key_length", even, f"and heads share the width evenly here ({even})")
    return shared


def _plain_heads(metadata: Metadata, shared: Settings) -> Settings:
    return _without(_whole_rotary(metadata, _plain(metadata, shared)), "head_dim")


def _whole_rotary(metadata: Metadata, shared: Settings) -> Settings:
    """The same, of a family that turns all features of its heads, with no temperature but YaRN's own."""
    size = shared["head_dim"]
    metadata.only("rope.dimension_count", size, f"and all {size} features of a head are turned here")
    metadata.only("rope.scaling.attn_factor", 1.0, "which is not supported; load another model")
    return shared


def _without(settings: Settings, key: str) -> Settings:
    return {name: value for name, value in settings.items() if name != key}


def _query_scalar(shared: Settings, largest: int) -> int:
    """What scores are scaled by: llama.cpp knows the largest Gemma by its layers, whose scale no key has."""
    if shared["num_hidden_layers"] == largest:
        return int(shared["hidden_size"] // shared["num_attention_heads"])
    return int(shared["head_dim"])


def _layer_types(metadata: Metadata, shared: Settings, usual: int) -> list[str]:
    """Sliding layers and, at the end of every period, a full one; or as a list says."""
    layers, pattern = shared["num_hidden_layers"], metadata.flags("attention.sliding_window_pattern")
    if isinstance(pattern, list):
        if len(pattern) != layers:
            metadata.only(
                "attention.sliding_window_pattern", None, f"and it has {layers} layers; fetch it again"
            )
        return ["sliding_attention" if slides else "full_attention" for slides in pattern]
    period = usual if pattern is None else pattern
    # A period of 0 has no full layer at all.
    return [
        "full_attention" if period and i % period == period - 1 else "sliding_attention"
        for i in range(layers)
    ]


def _factors(files: GgufFiles, name: str) -> list[float]:
    """The values of a tensor of one axis."""
    place = files.tensors.get(name)
    if place is None or len(place.shape) != 1:
        raise ModelError(f"{files.named} lacks the tensor {name}, or has it in another form; fetch it again")
    return [float(value) for value in place.read(slice(None))]


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture(gguf.MODEL_ARCH.LLAMA, "llama", _llama, turned=True, rope_tensors=(FREQUENCIES,)),
    "gemma2": Architecture(gguf.MODEL_ARCH.GEMMA2, "gemma2", _gemma2, norms_plus_one=True),
    "gemma3": Architecture(gguf.MODEL_ARCH.GEMMA3, "gemma3_text", _gemma3, norms_plus_one=True),
    "qwen2": Architecture(gguf.MODEL_ARCH.QWEN2, "qwen2", _qwen2),
    "qwen3": Architecture(gguf.MODEL_ARCH.QWEN3, "qwen3", _qwen3),
    "phi3": Architecture(gguf.MODEL_ARCH.PHI3, "phi3", _phi3, rope_tensors=(LONG, SHORT)),
    "olmo2": Architecture(gguf.MODEL_ARCH.OLMO2, "olmo2", _olmo2),
}
