"""What the benchmarks measure on: a decoder and a prompt, the same for every method that is compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import jaxlin_models as models
import numpy as np
from flax import nnx
from jaxlin_models import families
from jaxlin_models.checkpoint import CONFIGS, DEMOS
from jaxlin_models.detach import Detached
from transformers import AutoConfig, LlamaConfig, PreTrainedConfig

from jaxlin import DetachedJacobian, linearize, load

_MAX_POSITIONS = 65536
#: Bytes of attention probabilities beyond which queries and keys are kept instead.
_PROBABILITIES = 2**31
#: Decoders of random weights, by name. ``speed`` has the size of GPT-2 small with Llama's parts.
SHAPES: dict[str, dict[str, int]] = {
    "speed": {
        "num_hidden_layers": 12,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "num_key_value_heads": 4,
        "intermediate_size": 3072,
    },
    "growth": {
        "num_hidden_layers": 4,
        "hidden_size": 512,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "intermediate_size": 2048,
    },
    "tiny": {
        "num_hidden_layers": 3,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
    },
}
NAMES = (*SHAPES, *DEMOS, *CONFIGS)


@dataclass(frozen=True)
class Subject:
    """One decoder at one prompt."""

    name: str
    hf_config: PreTrainedConfig
    decoder: models.Decoder
    ids: list[int]

    @cached_property
    def operator(self) -> DetachedJacobian:
        """Our operator: recorded once, replayed often."""
        config = self.decoder.config
        stored = config.num_layers * config.num_heads * len(self.ids) ** 2 * self.decoder.dtype.itemsize
        dial = models.Dial(attention="probabilities" if stored <= _PROBABILITIES else "queries_keys")
        return load(self.decoder).jacobian(self.ids, dial=dial)

    @cached_property
    def closures(self) -> DetachedJacobian:
        """jvp and vjp closures of the un-recorded detached function at the same point."""
        graphdef, weights = nnx.split(self.decoder)
        mode = Detached(models.POLICIES["detached"])
        x = self.decoder.embed(jnp.asarray(self.ids))
        return linearize(lambda x, w: nnx.merge(graphdef, w)(x, mode)[-1], x, weights)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(nnx.state(self.decoder)))

    def in_float64(self) -> Subject:
        """The same weights in float64; needs ``jax_enable_x64``."""
        graphdef, weights = nnx.split(self.decoder)
        weights = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), weights)
        return replace(self, decoder=nnx.merge(graphdef, weights))

    def flops(self) -> int:
        """Floating-point operations of one pass: value, output, up, down, and P·V as a full T × T product."""
        return linear_path_flops(self.decoder.config, len(self.ids))


def linear_path_flops(config: models.DecoderConfig, tokens: int) -> int:
    """Floating-point operations of the linear path, one pass."""
    width = config.num_heads * config.head_dim
    per_token = config.embed_dim * (config.num_kv_heads * config.head_dim + width + 2 * config.mlp_dim)
    return 2 * config.num_layers * (tokens * per_token + tokens**2 * width)


def subject(name: str, tokens: int | None = None) -> Subject:
    """A demo at its own prompt; random weights of a named shape or of a published config otherwise."""
    if name in DEMOS:
        prompt = (DEMOS[name].parent / "prompt.txt").read_text().rstrip()
        model = load(name)
        return Subject(name, model.checkpoint.hf_config, model.decoder, model.tokenize(prompt)[:tokens])
    hf_config = random_config(name)
    config = families.decoder_config(hf_config) if name in SHAPES else models.find_config(name)
    decoder = random_decoder(config)
    length = tokens or (400 if name in SHAPES else 427)
    ids = np.random.default_rng(1).integers(0, config.vocab_size, length).tolist()
    return Subject(name, hf_config, decoder, ids)


def random_config(name: str) -> PreTrainedConfig:
    """A named shape as a config of Hugging Face, or a published config."""
    if name in CONFIGS:
        return AutoConfig.from_pretrained(CONFIGS[name], local_files_only=True)
    sizes: dict[str, Any] = SHAPES[name]
    return LlamaConfig(**sizes, vocab_size=512, max_position_embeddings=_MAX_POSITIONS, rms_norm_eps=1e-6)


def random_decoder(config: models.DecoderConfig) -> models.Decoder:
    """Random weights of this shape, drawn where they will be used, in one program."""
    return nnx.jit(lambda: models.Decoder(config, rngs=nnx.Rngs(0)))()
