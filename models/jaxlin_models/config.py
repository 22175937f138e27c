"""What a decoder is made of, in the field's terms: one frozen dataclass for every family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LayerType = Literal["full", "sliding"]
LAYER_TYPES: tuple[LayerType, ...] = ("full", "sliding")

#: (field, least, most) of a rotary embedding. What lies outside turns by noise, or makes every score alike.
_ROPE_LIMITS = (
    ("theta", 1e-2, 1e30),
    ("factor", 1e-2, 1e9),
    ("low_freq_factor", 1e-6, 1e6),
    ("high_freq_factor", 1e-6, 1e6),
    ("beta_fast", 1e-6, 1e6),
    ("beta_slow", 1e-6, 1e6),
    ("attention_factor", 1e-3, 1e3),
)
_MOST_POSITIONS = 10**12


def _check(what: str, value: int | float, least: int | float, most: int | float) -> None:
    """:class:`ValueError` unless a number lies in these limits; NaN lies in none."""
    if not least <= value <= most:
        raise ValueError(f"{what} is {value}, which must be from {least:g} to {most:g}")


@dataclass(frozen=True)
class RopeConfig:
    """One rotary embedding.

    ``kind`` is ``default``, ``linear`` (position interpolation, arXiv:2306.15595), ``llama3`` (Llama 3.1
    report, arXiv:2407.21783), ``yarn`` (arXiv:2309.00071) or ``longrope`` (arXiv:2402.13753). Fields that
    a kind does not use keep their defaults.
    """

    theta: float
    kind: Literal["default", "linear", "llama3", "yarn", "longrope"] = "default"
    factor: float = 1.0
    original_max_positions: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    #: What longrope divides frequencies by: in prompts of up to ``original_max_positions``, in longer ones.
    short_factors: tuple[float, ...] = ()
    long_factors: tuple[float, ...] = ()
    #: Multiplies cos and sin (the temperature of yarn and longrope); 1 elsewhere.
    attention_factor: float = 1.0

    def __post_init__(self) -> None:
        for name, least, most in _ROPE_LIMITS:
            _check(f"the rotary embedding's {name}", getattr(self, name), least, most)
        _, least, most = _ROPE_LIMITS[1]
        for name in ("short_factor", "long_factor"):
            for value in getattr(self, f"{name}s"):
                _check(f"an entry of the rotary embedding's {name}", value, least, most)
        if self.kind == "llama3" and not self.low_freq_factor < self.high_freq_factor:
            raise ValueError(
                f"the rotary embedding's low_freq_factor, {self.low_freq_factor}, must be below its "
                f"high_freq_factor, {self.high_freq_factor}"
            )
        if self.kind in ("llama3", "yarn", "longrope"):
            least = 2 if self.kind == "longrope" else 1  # its temperature divides by their logarithm
            _check("original_max_position_embeddings", self.original_max_positions, least, _MOST_POSITIONS)
        if self.kind == "yarn" and self.theta == 1:
            raise ValueError("the rotary embedding's theta is 1, by whose logarithm yarn divides")

    def differs_between(self, short: int, long: int) -> bool:
        """Whether positions turn by other angles in a prompt of ``short`` tokens than in a ``long`` one."""
        return self.kind == "longrope" and short <= self.original_max_positions < long


@dataclass(frozen=True)
class DecoderConfig:
    """Everything that :class:`jaxlin_models.decoder.Decoder` needs to know, whatever the family.

    Sizes are counts of features, heads, layers, tokens or positions. ``layer_types`` has one entry a
    layer; a ``sliding`` layer sees the last ``sliding_window`` positions, itself included.
    """

    family: str
    vocab_size: int
    embed_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    mlp_dim: int
    max_positions: int
    norm_eps: float
    activation: str
    rope_full: RopeConfig
    #: Rotary embedding of the sliding layers (Gemma 3 has another base there).
    rope_sliding: RopeConfig
    layer_types: tuple[LayerType, ...]
    sliding_window: int | None
    #: Attention scores are multiplied by this before the softmax.
    query_scale: float
    #: Embedding rows are multiplied by this on their way to layer 0 (Gemma's √d).
    embed_scale: float = 1.0
    #: Norms scale by 1 + w instead of w.
    norm_plus_one: bool = False
    #: Leading features of each head that rotary embeddings turn; all of them if None.
    rotary_dim: int | None = None
    #: Norms of q and k: over each head by itself, or over all heads together (OLMo 2).
    qk_norm: Literal["head", "joint"] | None = None
    #: Norms on the input of attention and MLP; OLMo 2 alone has none.
    pre_norms: bool = True
    #: Norms on the output of attention and MLP, before they join the residual stream.
    post_norms: bool = False
    #: Biases of q, k and v; Qwen 2 has them without one on attention's output.
    qkv_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    tie_embeddings: bool = True
    #: Attention scores become cap·tanh(scores/cap) before the mask (Gemma 2).
    attention_softcap: float | None = None
    #: Logits become cap·tanh(logits/cap).
    final_logit_softcap: float | None = None

    def __post_init__(self) -> None:
        if len(self.layer_types) != self.num_layers:
            raise ValueError(
                f"layer_types names {len(self.layer_types)} layers, but num_layers is {self.num_layers}"
            )
        unknown = sorted(set(self.layer_types) - set(LAYER_TYPES))
        if unknown:
            raise ValueError(f"unknown layer types {unknown}: a layer is one of {LAYER_TYPES}")
        if "sliding" in self.layer_types and (self.sliding_window or 0) < 1:
            raise ValueError("sliding layers need a sliding_window of at least 1 position")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads ({self.num_heads}) must be a multiple of num_kv_heads ({self.num_kv_heads})"
            )
        # Outside of these a model says nothing: a norm divides by its epsilon alone, all scores are alike.
        _check("the epsilon of the norms (rms_norm_eps)", self.norm_eps, 1e-300, 1.0)
        _check("the scale of the scores", self.query_scale, 1e-6, 1e6)
        _check("the scale of the embeddings", self.embed_scale, 1e-6, 1e6)
        for cap in (self.attention_softcap, self.final_logit_softcap):
            if cap is not None:
                _check("a soft-cap", cap, 1e-3, 1e6)
        self._check_rotary()

    def _check_rotary(self) -> None:
        turned = self.turned_features
        if not 2 <= turned <= self.head_dim - turned % 2:
            raise ValueError(
                f"rotary embeddings turn {turned} features, in pairs, of heads of {self.head_dim}"
            )
        for rope in (self.rope_full, self.rope_sliding):
            counts = {len(rope.short_factors), len(rope.long_factors)}
            if rope.kind == "longrope" and counts != {-(-self.turned_features // 2)}:
                raise ValueError(
                    f"short_factor and long_factor need one entry for each pair of the "
                    f"{self.turned_features} features that rotary embeddings turn"
                )

    @property
    def queries_per_kv(self) -> int:
        """How many query heads share one key/value head."""
        return self.num_heads // self.num_kv_heads

    @property
    def has_linear_biases(self) -> bool:
        """Whether a bias sits on the linear path, which makes the offset c of y = J·x + c nonzero."""
        return self.qkv_bias or self.attention_output_bias or self.mlp_bias

    @property
    def turned_features(self) -> int:
        """How many features of each head rotary embeddings turn."""
        return self.head_dim if self.rotary_dim is None else self.rotary_dim
