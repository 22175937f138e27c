"""The prediction by another path: from token ids to logits in NumPy, straight from a checkpoint's tensors.

It shares no line with the decoder but the frequencies of the rotary embedding. Which tensors there are says
what is computed: biases, norms of q and k, norms before and after a branch, the number of layers and the head
are used where the tensors have them, whatever the config says. So a head that was not the model's, a tensor
that was left out or put in another's place, and a program that was compiled wrongly give another prediction.

It reads one layer at a time, and computes attention a head and some queries at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from jaxlin_models.config import DecoderConfig, RopeConfig
from jaxlin_models.rope import inverse_frequencies
from jaxlin_models.tensors import Tensors

Floats = NDArray[Any]

_PREFIXES = ("model.", "model.language_model.", "language_model.model.", "")
_HEADS = ("lm_head.weight", "language_model.lm_head.weight")
#: Queries whose scores are held at once, and rows of the head.
_QUERIES, _ROWS = 512, 4096


def second_logits(
    tensors: Tensors, config: DecoderConfig, ids: Sequence[int], storage: DTypeLike, dtype: DTypeLike
) -> Floats:
    """Logits [vocab] after the last of these tokens, one ordinary forward pass.

    Args:
        tensors: of the checkpoint.
        config: numbers of heads, scales, windows and the like, which no tensor has.
        ids: the prompt.
        storage: the dtype in which the decoder keeps its weights: they are rounded to it here too.
        dtype: of the computation, float32 or float64.
    """
    (logits,) = second_logits_of_many(tensors, config, [ids], storage, dtype)
    return logits


def second_logits_of_many(
    tensors: Tensors,
    config: DecoderConfig,
    prompts: Sequence[Sequence[int]],
    storage: DTypeLike,
    dtype: DTypeLike,
) -> list[Floats]:
    """The same of several prompts, each by itself; the tensors of a layer are read once for all of them."""
    with np.errstate(all="ignore"):  # numbers that are too large are seen in what comes out
        reader = _Reader(tensors, np.dtype(storage), np.dtype(dtype), {} if len(prompts) > 1 else None)
        return _logits(reader, config, prompts)


def _logits(reader: _Reader, config: DecoderConfig, prompts: Sequence[Sequence[int]]) -> list[Floats]:
    tensors, dtype = reader.tensors, reader.dtype
    head = next((name for name in _HEADS if name in tensors), reader.table)
    table = reader.table if reader.table in tensors else head  # of a tied pair, either may stand alone
    scale = np.asarray(config.embed_scale, dtype)
    streams = [np.concatenate([reader.rows(table, slice(i, i + 1)) for i in ids]) * scale for ids in prompts]
    ropes = {"full": config.rope_full, "sliding": config.rope_sliding}
    layer = 0
    while f"{reader.prefix}layers.{layer}.mlp.down_proj.weight" in tensors:
        kind = config.layer_types[layer] if layer < len(config.layer_types) else "full"
        for number, x in enumerate(streams):
            length = len(x)
            window = (config.sliding_window or length) if kind == "sliding" else length
            angles = _rotary(ropes[kind], config, length, dtype)
            block = _Block(reader, f"{reader.prefix}layers.{layer}.", config, angles, window)
            streams[number] = block.mlp_branch(block.attention_branch(x))
        reader.forget()
        layer += 1
    norm = reader.norm("norm", config)
    last = [norm(x[-1:])[0] for x in streams]
    parts: list[list[Floats]] = [[] for _ in prompts]
    for start in range(0, config.vocab_size, _ROWS):
        rows = reader.rows(head, slice(start, min(start + _ROWS, config.vocab_size)))
        for part, y in zip(parts, last, strict=True):
            part.append(rows @ y)
    return [_capped(np.concatenate(part), config.final_logit_softcap) for part in parts]


@dataclass(frozen=True, eq=False)
class _Reader:
    """Tensors in the dtype of the computation, after rounding to that of the storage.

    With a ``memory`` whole tensors are read once until it is told to forget them.
    """

    tensors: Tensors
    storage: np.dtype
    dtype: np.dtype
    memory: dict[str, Floats] | None = None

    def forget(self) -> None:
        """The next layer has other tensors."""
        if self.memory is not None:
            self.memory.clear()

    @property
    def prefix(self) -> str:
        """What the names of the decoder's tensors begin with."""
        here = (prefix for prefix in _PREFIXES if f"{prefix}norm.weight" in self.tensors)
        return next(here, _PREFIXES[0])

    @property
    def table(self) -> str:
        """The name of the embeddings."""
        return f"{self.prefix}embed_tokens.weight"

    def rows(self, name: str, rows: slice) -> Floats:
        return np.asarray(self.tensors.read(name, rows).astype(self.storage), self.dtype)

    def every_row(self, name: str) -> Floats:
        """A whole tensor."""
        if self.memory is None:
            return self.rows(name, slice(None))
        if name not in self.memory:
            self.memory[name] = self.rows(name, slice(None))
        return self.memory[name]

    def whole(self, name: str) -> Floats | None:
        """A tensor; None where there is none of this name."""
        return self.every_row(name) if name in self.tensors else None

    def linear(self, name: str) -> Callable[[Floats], Floats]:
        """x ↦ x·Wᵀ + b, with the bias if there is one."""
        weight, bias = self.every_row(f"{name}.weight"), self.whole(f"{name}.bias")
        return lambda x: x @ weight.T if bias is None else x @ weight.T + bias

    def norm(self, name: str, config: DecoderConfig) -> Callable[[Floats], Floats]:
        """RMS norm over the last axis, in the form [last axis] or [heads · last axis] that the tensor has."""
        name = f"{self.prefix}{name}.weight" if name == "norm" else f"{name}.weight"
        gain = self.whole(name)
        if gain is None:
            return lambda x: x
        scale = 1 + gain if config.norm_plus_one else gain

        def apply(x: Floats) -> Floats:
            flat = x if x.shape[-1] == len(scale) else x.reshape(len(x), -1)
            mean = np.mean(np.square(flat), axis=-1, keepdims=True)
            normed: Floats = flat / np.sqrt(mean + np.asarray(config.norm_eps, x.dtype)) * scale
            return normed.reshape(x.shape)

        return apply


@dataclass(frozen=True, eq=False)
class _Block:
    """One layer, by the names of its tensors."""

    reader: _Reader
    name: str
    config: DecoderConfig
    rotary: tuple[Floats, Floats]
    window: int

    def attention_branch(self, x: Floats) -> Floats:
        """x with what attention adds to it."""
        return x + self._after("post_attention_layernorm")(self._attention(self._norm("input_layernorm")(x)))

    def mlp_branch(self, x: Floats) -> Floats:
        """x with what the MLP adds to it."""
        before = "pre_feedforward_layernorm" if self._has_own_post_norms else "post_attention_layernorm"
        added = self._mlp(self._norm(before)(x))
        return x + self._norm("post_feedforward_layernorm")(added)

    @property
    def _has_own_post_norms(self) -> bool:
        """Whether norms stand behind the branches, as in Gemma and OLMo 2; Llama's names mean others."""
        return f"{self.name}post_feedforward_layernorm.weight" in self.reader.tensors

    def _norm(self, name: str) -> Callable[[Floats], Floats]:
        return self.reader.norm(f"{self.name}{name}", self.config)

    def _after(self, name: str) -> Callable[[Floats], Floats]:
        return self._norm(name) if self._has_own_post_norms else lambda x: x

    def _attention(self, x: Floats) -> Floats:
        config, length = self.config, len(x)
        heads, kv_heads = config.num_heads, config.num_kv_heads
        if f"{self.name}self_attn.qkv_proj.weight" in self.reader.tensors:
            fused = self._linear("self_attn.qkv_proj", x)
            features = fused.shape[-1] // (heads + 2 * kv_heads)
            q, k, v = np.split(fused, [heads * features, (heads + kv_heads) * features], axis=-1)
        else:
            q, k, v = (self._linear(f"self_attn.{part}_proj", x) for part in "qkv")
        q = self._turned(self._norm("self_attn.q_norm")(q.reshape(length, heads, -1)))
        k = self._turned(self._norm("self_attn.k_norm")(k.reshape(length, kv_heads, -1)))
        v = v.reshape(length, kv_heads, -1)
        mixed = np.empty_like(q)
        for head in range(heads):
            shared = head * kv_heads // heads
            for start in range(0, length, _QUERIES):
                part = slice(start, min(start + _QUERIES, length))
                scores = q[part, head] @ k[:, shared].T * config.query_scale
                scores = _capped(scores, config.attention_softcap)
                distance = np.arange(length)[part, None] - np.arange(length)
                scores = np.where((distance >= 0) & (distance < self.window), scores, -np.inf)
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                mixed[part, head] = weights / weights.sum(-1, keepdims=True) @ v[:, shared]
        return self._linear("self_attn.o_proj", mixed.reshape(length, -1))

    def _turned(self, x: Floats) -> Floats:
        """Each pair of features (i, i + half) turned by its position's angle."""
        cos, sin = (table[:, None] for table in self.rotary)
        half = cos.shape[-1]
        a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin, rest], axis=-1)

    def _mlp(self, x: Floats) -> Floats:
        if f"{self.name}mlp.gate_up_proj.weight" in self.reader.tensors:
            gate, up = np.split(self._linear("mlp.gate_up_proj", x), 2, axis=-1)
        else:
            gate, up = self._linear("mlp.gate_proj", x), self._linear("mlp.up_proj", x)
        return self._linear("mlp.down_proj", _ACTIVATIONS[self.config.activation](gate) * up)

    def _linear(self, name: str, x: Floats) -> Floats:
        return self.reader.linear(f"{self.name}{name}")(x)


def _rotary(rope: RopeConfig, config: DecoderConfig, length: int, dtype: DTypeLike) -> tuple[Floats, Floats]:
    """cos and sin of every position's angles [t, pairs]."""
    angles = np.arange(length)[:, None] * inverse_frequencies(rope, config.turned_features, length)
    factor = rope.attention_factor
    return (np.cos(angles) * factor).astype(dtype), (np.sin(angles) * factor).astype(dtype)


def _capped(x: Floats, cap: float | None) -> Floats:
    capped: Floats = x if cap is None else cap * np.tanh(x / cap)
    return capped


def _silu(x: Floats) -> Floats:
    y: Floats = x / (1 + np.exp(-np.maximum(x, -80)))
    return y


def _gelu(x: Floats) -> Floats:
    from scipy.special import erf  # 0.2 s to import, and few need it

    y: Floats = x * (1 + erf(x * x.dtype.type(math.sqrt(0.5)))) / 2
    return y


def _gelu_tanh(x: Floats) -> Floats:
    y: Floats = x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x))) / 2
    return y


_ACTIVATIONS: Mapping[str, Callable[[Floats], Floats]] = {
    "silu": _silu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
}
