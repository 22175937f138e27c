"""Random tiny models in GGUF files, as llama.cpp's converter and quantiser would write them.

Each is the model of a :class:`TinyCheckpoint`, so that its config and its tensors are known in
transformers' own form.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter
from numpy.typing import NDArray
from tiny_checkpoints import TinyCheckpoint, random_tensors
from tokenizers.pre_tokenizers import ByteLevel

Arrays = dict[str, NDArray[Any]]

#: For rows of a multiple of 32, and of 256.
SMALL_BLOCKS = (Type.F32, Type.Q8_0, Type.F16, Type.Q4_0, Type.BF16, Type.Q5_1, Type.Q4_1, Type.Q5_0)
LARGE_BLOCKS = (Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K)
#: Where the scales are in a block, in numbers of 16 bits, and how large they may be.
_SCALES: Mapping[Type, Mapping[int, float]] = {
    Type.Q2_K: {-2: 2e-3, -1: 2e-3},
    Type.Q3_K: {-1: 1e-3},
    Type.Q4_K: {0: 2e-4, 1: 2e-3},
    Type.Q5_K: {0: 1e-4, 1: 3e-3},
    Type.Q6_K: {-1: 1e-4},
}


@dataclass(frozen=True)
class TinyGguf:
    """One model and its metadata, keys without the name of the architecture before them."""

    architecture: str
    checkpoint: TinyCheckpoint
    metadata: Mapping[str, Any] = field(default_factory=dict)
    #: Further tensors, by the names of the file.
    beside: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def _tiny(architecture: str, family: Any, settings: Mapping[str, Any], **more: Any) -> TinyGguf:
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 5, "vocab_size": 288}
    return TinyGguf(architecture, TinyCheckpoint(family, 7, {**sizes, **settings}), **more)


_FREQUENCIES = (1.0, 1.0, 1.5, 2.5, 4.0, 8.0, 8.0, 8.0)
_LONG = {
    "rope_factors_long.weight": (1.5, 2.5, 7.0, 19.0),
    "rope_factors_short.weight": (1.0, 1.25, 1.5, 1.75),
}
_YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
_LONGROPE = {
    "rope_type": "longrope", "rope_theta": 1e4, "short_factor": list(_LONG["rope_factors_short.weight"]),
    "long_factor": list(_LONG["rope_factors_long.weight"]), "partial_rotary_factor": 0.5,
    "attention_factor": 1.25,
}  # fmt: skip
_GEMMA3_ROPE = {
    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}

MODELS: Mapping[str, TinyGguf] = {
    "llama": _tiny("llama", "llama", {}, metadata={"rope.dimension_count": 16, "vocab_size": 288}),
    "llama-small": _tiny(
        "llama",
        "llama",
        {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1,
         "max_position_embeddings": 16},
    ),
    "llama-wide": _tiny("llama", "llama", {"vocab_size": 384, "num_hidden_layers": 1}),
    "llama-tied-biases": _tiny(
        "llama",
        "llama",
        {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 32},
        metadata={"attention.key_length": 32, "attention.value_length": 32, "rope.dimension_count": 32},
    ),
    "llama-factors": _tiny(
        "llama",
        "llama",
        {},
        metadata={"rope.dimension_count": 16},
        beside={"rope_freqs.weight": _FREQUENCIES},
    ),
    "llama-linear": _tiny(
        "llama",
        "llama",
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
        metadata={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
    ),
    "gemma2": _tiny(
        "gemma2",
        "gemma2",
        {"head_dim": 32, "query_pre_attn_scalar": 32},
        metadata={"attention.key_length": 32, "attention.value_length": 32, "attention.sliding_window": 8,
                  "attn_logit_softcapping": 1.5, "final_logit_softcapping": 3.0},
    ),
    "gemma3": _tiny(
        "gemma3",
        "gemma3_text",
        {"head_dim": 32, "query_pre_attn_scalar": 32, "num_hidden_layers": 7, "sliding_window_pattern": 6,
         "rope_parameters": _GEMMA3_ROPE},
        metadata={"attention.key_length": 32, "attention.value_length": 32, "attention.sliding_window": 8,
                  "rope.freq_base": 1e6, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
    ),
    "qwen2": _tiny("qwen2", "qwen2", {}, metadata={"rope.freq_base": 1e6}),
    "qwen3": _tiny(
        "qwen3",
        "qwen3",
        {"head_dim": 32, "tie_word_embeddings": False, "rope_parameters": _YARN},
        metadata={"attention.key_length": 32, "attention.value_length": 32, "rope.scaling.type": "yarn",
                  "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 64},
    ),
    "phi3": _tiny(
        "phi3",
        "phi3",
        {"sliding_window": 7,
         "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        metadata={"rope.dimension_count": 8, "attention.sliding_window": 7},
    ),
    "phi3-longrope": _tiny(
        "phi3",
        "phi3",
        {"rope_parameters": _LONGROPE, "original_max_position_embeddings": 10},
        metadata={"rope.dimension_count": 8, "attention.sliding_window": 0, "rope.scaling.attn_factor": 1.25,
                  "rope.scaling.original_context_length": 10},
        beside=_LONG,
    ),
    "olmo2": _tiny("olmo2", "olmo2", {}, metadata={"rope.freq_base": 1e4}),
}  # fmt: skip


def write_gguf(
    name: str,
    path: Path,
    *,
    plain: bool = False,
    small: Sequence[Type] = SMALL_BLOCKS,
    large: Sequence[Type] = LARGE_BLOCKS,
    **changes: Any,
) -> Arrays:
    """Write a model; returns its tensors as transformers has them, as they are after quantisation.

    Args:
        name: in ``MODELS``.
        path: of the file.
        plain: all tensors in float32.
        small, large: the types of matrices, in turn; large ones of rows of a multiple of 256.
        changes: of the metadata; None takes a key away. ``__`` stands for a point.
    """
    tiny = MODELS[name]
    writer = GGUFWriter(path, tiny.architecture)
    for key, value in (
        metadata_of(tiny) | {key.replace("__", "."): value for key, value in changes.items()}
    ).items():
        if value is not None:
            add(writer, key, value)
    smaller, larger = cycle(small), cycle(large)
    rng = np.random.default_rng(3)
    known: Arrays = {}
    config = tiny.checkpoint.config()
    for stock, file_name, value in _converted(tiny):
        kind = Type.F32
        if value.ndim == 2 and not plain:
            kind = next(larger if value.shape[-1] % 256 == 0 else smaller)
        raw = _blocks(value.shape, kind, rng) if kind in _SCALES else gguf.quantize(value, kind)
        writer.add_tensor(file_name, raw, raw_dtype=kind)
        known[stock] = unconverted(tiny.architecture, stock, gguf.dequantize(raw, kind), config)
    for file_name, values in tiny.beside.items():
        writer.add_tensor(file_name, np.asarray(values, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return known


def metadata_of(tiny: TinyGguf) -> dict[str, Any]:
    """The keys of the file, their architecture before them, and those of a byte-level tokenizer."""
    config = tiny.checkpoint.config()
    own = {
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
    } | dict(tiny.metadata)
    tokens = ["<|end|>", *vocabulary()]
    return {f"{tiny.architecture}.{key}": value for key, value in own.items()} | {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] + [1] * (len(tokens) - 1),
        "tokenizer.ggml.merges": ["t h", "th e", "Ġ the", "e n"],
        "tokenizer.ggml.eos_token_id": 0,
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


def vocabulary() -> list[str]:
    """Every byte as byte-level tokenizers spell it, and what the merges make."""
    return [*sorted(ByteLevel.alphabet()), "th", "the", "Ġthe", "en"]


def add(writer: GGUFWriter, key: str, value: Any) -> None:
    """A key of the type that converters give it."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _converted(tiny: TinyGguf) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """transformers' name, the file's, and the values as the converter writes them."""
    config = tiny.checkpoint.config()
    number = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == tiny.architecture)
    names = gguf.get_tensor_name_map(number, config.num_hidden_layers)
    for stock, tensor in random_tensors(tiny.checkpoint, config).items():
        base, _, ending = stock.rpartition(".")
        value = np.asarray(tensor, np.float32)
        heads = turned_heads(tiny.architecture, stock, config)
        if heads:
            halves = value.reshape(heads, 2, len(value) // heads // 2, *value.shape[1:])
            value = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(value.shape)
        if tiny.architecture.startswith("gemma") and stock.endswith("norm.weight"):
            value = value + 1
        yield stock, f"{names.get_name(base)}.{ending}", value


def unconverted(architecture: str, stock: str, value: NDArray[Any], config: Any) -> NDArray[Any]:
    """The values as transformers has them."""
    heads = turned_heads(architecture, stock, config)
    if heads:
        pairs = value.reshape(heads, len(value) // heads // 2, 2, *value.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(value.shape)
    return (
        value - np.float32(1) if architecture.startswith("gemma") and stock.endswith("norm.weight") else value
    )


def turned_heads(architecture: str, stock: str, config: Any) -> int:
    """How many heads of q or k the converter of llama reorders in a tensor."""
    if architecture != "llama" or not any(f".{part}_proj." in stock for part in "qk"):
        return 0
    return int(config.num_attention_heads if ".q_proj." in stock else config.num_key_value_heads)


def _blocks(shape: tuple[int, ...], kind: Type, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random blocks of a type that has no quantiser in Python, their scales small and finite."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (*shape[:-1], shape[-1] // values, size), np.uint8)
    halves = blocks.view(np.float16)
    for place, scale in _SCALES[kind].items():
        halves[..., place] = scale * (0.5 + rng.random(halves.shape[:-1]))
    return blocks.reshape(*shape[:-1], -1)
