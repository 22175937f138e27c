"""The oracle: stock transformers models in torch, lifted to float64 and detached, on the loaded instance.

Nothing here shares code with jaxlin. A stock model is loaded from the same checkpoint; three kinds of
module of that one instance get another ``forward`` (norms, gated MLPs, rotary embeddings), and attention is
replaced through transformers' own registry of attention functions. No file, class or module is patched, so
a second model loaded in the same process is stock again.

Two things can be done to an instance:

* ``lift``: stock code computes norms, rotary angles and the softmax in float32 whatever the model's dtype
  is. In float64 that leaves an error of about 1e-7. A lifted model computes all of it in its own dtype.
* ``detach``: norm statistics, attention probabilities and gate activations are detached from autograd
  (arXiv:2505.24293, §3), which makes the last hidden state exactly affine in the input embeddings for
  autograd, while its value stays the same. Detaching includes lifting.

The formulas follow transformers 5: ``models/{gemma2,gemma3,llama,ministral,mistral,olmo2,phi3,qwen2,qwen3}``
and ``modeling_rope_utils.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.gemma2 import modeling_gemma2 as gemma2
from transformers.models.gemma3 import modeling_gemma3 as gemma3
from transformers.models.llama import modeling_llama as llama
from transformers.models.ministral import modeling_ministral as ministral
from transformers.models.mistral import modeling_mistral as mistral
from transformers.models.olmo2 import modeling_olmo2 as olmo2
from transformers.models.phi3 import modeling_phi3 as phi3
from transformers.models.qwen2 import modeling_qwen2 as qwen2
from transformers.models.qwen3 import modeling_qwen3 as qwen3

_DECODERS = (
    llama.LlamaModel,
    mistral.MistralModel,
    ministral.MinistralModel,
    phi3.Phi3Model,
    olmo2.Olmo2Model,
    qwen2.Qwen2Model,
    qwen3.Qwen3Model,
    gemma2.Gemma2Model,
    gemma3.Gemma3TextModel,
)
#: Gemma's norms scale by 1 + w.
_GEMMA_NORMS = (gemma2.Gemma2RMSNorm, gemma3.Gemma3RMSNorm)
_NORMS = (
    *_GEMMA_NORMS,
    llama.LlamaRMSNorm,
    mistral.MistralRMSNorm,
    ministral.MinistralRMSNorm,
    phi3.Phi3RMSNorm,
    olmo2.Olmo2RMSNorm,
    qwen2.Qwen2RMSNorm,
    qwen3.Qwen3RMSNorm,
)
_MLPS = (
    llama.LlamaMLP,
    mistral.MistralMLP,
    ministral.MinistralMLP,
    phi3.Phi3MLP,
    olmo2.Olmo2MLP,
    qwen2.Qwen2MLP,
    qwen3.Qwen3MLP,
    gemma2.Gemma2MLP,
    gemma3.Gemma3MLP,
)
_ROTARIES = (
    llama.LlamaRotaryEmbedding,
    mistral.MistralRotaryEmbedding,
    ministral.MinistralRotaryEmbedding,
    phi3.Phi3RotaryEmbedding,
    olmo2.Olmo2RotaryEmbedding,
    qwen2.Qwen2RotaryEmbedding,
    qwen3.Qwen3RotaryEmbedding,
    gemma2.Gemma2RotaryEmbedding,
    gemma3.Gemma3RotaryEmbedding,
)

_LIFTED_ATTENTION = "oracle_lifted"
_DETACHED_ATTENTION = "oracle_detached"


class IncompleteCheckpoint(ValueError):
    """Stock transformers did not find every tensor in its shape: the model would be part random."""


def load_stock(
    path: str | Path,
    dtype: torch.dtype = torch.float64,
    lift: bool = True,
    config: PreTrainedConfig | None = None,
) -> PreTrainedModel:
    """The stock causal language model at ``path``, ready to be asked; lifted unless told otherwise.

    Args:
        path: a checkpoint's folder, or a GGUF file, whose tensors stock transformers then reads by itself.
        dtype: of all weights.
        lift: whether all of it computes in that dtype.
        config: in place of the one that stock transformers reads there.
    """
    files = {"gguf_file": Path(path).name} if Path(path).is_file() else {}
    where = Path(path).parent if files else path
    if config is not None:
        files["config"] = config
    model, report = AutoModelForCausalLM.from_pretrained(
        where, dtype=dtype, attn_implementation="eager", output_loading_info=True, **files
    )
    report.pop("unexpected_keys")  # tensors that stock does not use are no part of the stock model
    problems = {kind: names for kind, names in report.items() if names}
    if problems:
        raise IncompleteCheckpoint(f"{path}: {problems}")
    model.eval().requires_grad_(False)
    return lift_instance(model) if lift else model


def text_model(model: PreTrainedModel) -> PreTrainedModel:
    """The decoder stack inside a causal language model, multimodal ones included."""
    decoder = model.get_decoder()
    if not isinstance(decoder, _DECODERS):
        known = ", ".join(kind.__name__ for kind in _DECODERS)
        raise TypeError(f"no rules for {type(decoder).__name__}: the oracle knows {known}")
    return decoder


# --- what is changed on the instance -------------------------------------------------------------------


def lift_instance(model: PreTrainedModel) -> PreTrainedModel:
    """Let this instance compute everything in its own dtype. Returns the same model."""
    decoder = text_model(model)
    _replace_norms(decoder, frozen=False)
    for module in _modules(decoder, _ROTARIES):
        module.forward = _lifted_rotary(module)
    if isinstance(decoder, gemma2.Gemma2Model | gemma3.Gemma3TextModel):
        weight = decoder.embed_tokens.weight
        decoder.embed_tokens.embed_scale = torch.tensor(
            math.sqrt(decoder.config.hidden_size), dtype=weight.dtype
        )
    decoder.set_attn_implementation(_LIFTED_ATTENTION)
    return model


def detach(model: PreTrainedModel, live: Sequence[str] = ("up",)) -> PreTrainedModel:
    """Lift this instance and detach its coefficients from autograd. Returns the same model.

    ``live`` names the factors of gated products (up, gate) that autograd sees; with both, half of each.
    """
    lift_instance(model)
    decoder = text_model(model)
    _replace_norms(decoder, frozen=True)
    for mlp in _modules(decoder, _MLPS):
        forward = _detached_phi_mlp if isinstance(mlp, phi3.Phi3MLP) else _detached_mlp
        mlp.forward = partial(forward, mlp, tuple(live))
    decoder.set_attn_implementation(_DETACHED_ATTENTION)
    return model


def _modules(decoder: nn.Module, kinds: tuple[type[nn.Module], ...]) -> Iterator[nn.Module]:
    found = [module for module in decoder.modules() if isinstance(module, kinds)]
    if not found:
        raise TypeError(f"{type(decoder).__name__} has none of {[kind.__name__ for kind in kinds]}")
    yield from found


def _replace_norms(decoder: nn.Module, frozen: bool) -> None:
    for norm in _modules(decoder, _NORMS):
        if isinstance(norm, _GEMMA_NORMS):
            norm.forward = partial(_rms_norm, 1 + norm.weight, norm.eps, frozen)
        else:
            norm.forward = partial(_rms_norm, norm.weight, norm.variance_epsilon, frozen)


def _rms_norm(gain: Tensor, eps: float, frozen: bool, x: Tensor) -> Tensor:
    inverse_rms = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    if frozen:
        inverse_rms = inverse_rms.detach()
    return gain * (x * inverse_rms)


def _detached_mlp(mlp: nn.Module, live: tuple[str, ...], x: Tensor) -> Tensor:
    return mlp.down_proj(_detached_product(mlp.act_fn, mlp.gate_proj(x), mlp.up_proj(x), live))


def _detached_phi_mlp(mlp: nn.Module, live: tuple[str, ...], x: Tensor) -> Tensor:
    gate, up = mlp.gate_up_proj(x).chunk(2, dim=-1)
    return mlp.down_proj(_detached_product(mlp.activation_fn, gate, up, live))


def _detached_product(
    activation: Callable[[Tensor], Tensor], gate: Tensor, up: Tensor, live: tuple[str, ...]
) -> Tensor:
    """activation(gate)·up as a multiple of ``up``, of ``gate``, or the mean of both, the rest constant."""
    activated = activation(gate)
    ways = {"up": activated.detach() * up, "gate": (activated / gate * up).detach() * gate}
    return torch.stack([ways[factor] for factor in live]).mean(0)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    frozen: bool,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Eager attention of ``modeling_*.py`` with the softmax in the model's dtype.

    Query, key and value are [batch, head, t, head_dim]. Stock Gemma 3 reads ``attn_logit_softcapping`` from
    its configuration but never passes it on, Gemma 2 does.
    """
    if attention_mask is None:
        raise NotImplementedError("the oracle needs a mask")
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores = query @ key.transpose(2, 3) * scaling
    if softcap is not None:
        scores = (scores / softcap).tanh() * softcap
    probabilities = (scores + attention_mask).softmax(dim=-1)
    if frozen:
        probabilities = probabilities.detach()
    return (probabilities @ value).transpose(1, 2).contiguous(), probabilities


for _name, _frozen in ((_LIFTED_ATTENTION, False), (_DETACHED_ATTENTION, True)):
    AttentionInterface.register(_name, partial(_attention, frozen=_frozen))
    # Without a mask function under the same name transformers would hand out no mask at all.
    AttentionMaskInterface.register(_name, eager_mask)


# --- rotary embeddings in float64 ----------------------------------------------------------------------


def _lifted_rotary(rotary: nn.Module) -> Callable[..., tuple[Tensor, Tensor]]:
    """A rotary embedding's ``forward`` with angles in float64; Gemma 3 has a table for each layer type."""
    config = rotary.config
    per_layer_type = isinstance(rotary, gemma3.Gemma3RotaryEmbedding)
    by_type = config.rope_parameters if per_layer_type else {None: config.rope_parameters}
    features = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if isinstance(rotary, phi3.Phi3RotaryEmbedding):
        features = int(features * config.rope_parameters["partial_rotary_factor"])

    def forward(x: Tensor, position_ids: Tensor, layer_type: str | None = None) -> tuple[Tensor, Tensor]:
        frequencies, attention_factor = rotary_frequencies(
            by_type[layer_type], features, config.max_position_embeddings, int(position_ids.max()) + 1
        )
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat((angles, angles), dim=-1)
        cos, sin = angles.cos() * attention_factor, angles.sin() * attention_factor
        return cos.to(x.dtype), sin.to(x.dtype)

    return forward


def rotary_frequencies(
    rope: Mapping[str, Any], features: int, max_positions: int, length: int
) -> tuple[Tensor, float]:
    """Inverse frequencies [features / 2] in float64 and the factor on cos and sin, by ``rope_type``."""
    powers = torch.arange(0, features, 2, dtype=torch.float64) / features
    plain = torch.pow(float(rope["rope_theta"]), -powers)
    match rope["rope_type"]:
        case "default":
            return plain, 1.0
        case "linear":
            return plain / rope["factor"], 1.0
        case "llama3":
            return _llama3_rope(plain, rope), 1.0
        case "yarn":
            return _yarn_rope(plain, rope, max_positions)
        case "longrope":
            return _longrope(plain, rope, max_positions, length)
    raise NotImplementedError(f"the oracle has no formula for rope_type {rope['rope_type']!r}")


def _llama3_rope(plain: Tensor, rope: Mapping[str, Any]) -> Tensor:
    """``_compute_llama3_parameters``, frequency by frequency."""
    old_length = rope["original_max_position_embeddings"]
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]

    def scaled(frequency: float) -> float:
        wavelength = 2 * math.pi / frequency
        if wavelength < old_length / high:
            return frequency
        if wavelength > old_length / low:
            return frequency / factor
        smooth = (old_length / wavelength - low) / (high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency

    return torch.tensor([scaled(f) for f in plain.tolist()], dtype=torch.float64)


def _yarn_rope(plain: Tensor, rope: Mapping[str, Any], max_positions: int) -> tuple[Tensor, float]:
    """``_compute_yarn_parameters``: a ramp over the pairs from extrapolation to interpolation."""
    old_length = rope["original_max_position_embeddings"]
    factor = max_positions / old_length if rope["factor"] is None else rope["factor"]
    head_dim = 2 * len(plain)

    def correction_dim(rotations: float) -> float:
        turns = math.log(old_length / (rotations * 2 * math.pi))
        return head_dim * turns / (2 * math.log(rope["rope_theta"]))

    low = correction_dim(rope.get("beta_fast") or 32)
    high = correction_dim(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # stock's guard
    pairs = torch.arange(head_dim // 2, dtype=torch.float64)
    interpolated = ((pairs - low) / (high - low)).clamp(0, 1)
    frequencies = plain / factor * interpolated + plain * (1 - interpolated)
    return frequencies, _yarn_temperature(rope, factor)


def _longrope(
    plain: Tensor, rope: Mapping[str, Any], max_positions: int, length: int
) -> tuple[Tensor, float]:
    """``_compute_longrope_parameters``, and ``longrope_frequency_update``'s choice between its two sets."""
    old_length = rope["original_max_position_embeddings"]
    factors = rope["long_factor" if length > old_length else "short_factor"]
    divisors = torch.tensor(factors, dtype=torch.float64)
    if rope.get("attention_factor") is not None:
        return plain / divisors, rope["attention_factor"]
    stretch = rope.get("factor") or max_positions / old_length
    return plain / divisors, math.sqrt(1 + max(0.0, math.log(stretch)) / math.log(old_length))


def _yarn_temperature(rope: Mapping[str, Any], factor: float) -> float:
    """The factor on cos and sin: as given, or from the two mscales, or from the stretch alone."""
    if rope.get("attention_factor") is not None:
        return rope["attention_factor"]
    stretch = math.log(factor) if factor > 1 else 0.0
    mscale, mscale_all_dim = rope.get("mscale"), rope.get("mscale_all_dim")
    if mscale and mscale_all_dim:
        return (0.1 * mscale * stretch + 1) / (0.1 * mscale_all_dim * stretch + 1)
    return 0.1 * stretch + 1


# --- what the oracle is asked --------------------------------------------------------------------------


def embeddings(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Input embeddings [t, d] as they enter layer 0: Gemma's √d is inside ``embed_tokens``."""
    return text_model(model).embed_tokens(torch.as_tensor(ids)).detach()


def hidden_states(model: PreTrainedModel, x_td: Tensor) -> Tensor:
    """Hidden states [t, d] of all positions after the final norm, from embeddings [t, d]."""
    output = text_model(model)(inputs_embeds=x_td[None], use_cache=False)
    return output.last_hidden_state[0]


def logits(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Logits [t, vocab] by the model's own whole forward pass, head and softcap included."""
    with torch.no_grad():
        return model(input_ids=torch.as_tensor(ids)[None], use_cache=False).logits[0]


def last_hidden(model: PreTrainedModel, x_td: Tensor) -> Tensor:
    """The output y [d]: the last position's hidden state after the final norm."""
    return hidden_states(model, x_td)[-1]


def dense_jacobian(model: PreTrainedModel, x_td: Tensor, chunk: int = 16) -> Tensor:
    """dy/dx [d, t, d] by autograd, ``chunk`` rows at a time: the detached Jacobian of a detached model."""
    leaf = x_td.detach().clone().requires_grad_()
    (jacobian,) = _rows(last_hidden(model, leaf), [leaf], chunk)
    return jacobian


def offset(model: PreTrainedModel, x_td: Tensor, chunk: int = 16) -> Tensor:
    """The offset c [d] of a detached model, Σ (dy/db)·b over its biases b.

    The detached output is linear in embeddings and biases together, so this is c without ever forming
    y − J x, and the two can be compared.
    """
    biases = [p for name, p in text_model(model).named_parameters() if name.endswith(".bias")]
    if not biases:
        return x_td.new_zeros(x_td.shape[-1])
    leaves = [bias.detach().clone() for bias in biases]
    for bias in biases:
        bias.requires_grad_(True)
    try:
        rows = _rows(last_hidden(model, x_td), biases, chunk)
    finally:
        for bias in biases:
            bias.requires_grad_(False)
    return sum(row @ leaf for row, leaf in zip(rows, leaves, strict=True))


def _rows(y_d: Tensor, leaves: Sequence[Tensor], chunk: int) -> list[Tensor]:
    """dy/dleaf [d, …] for each leaf, in batches of vector-Jacobian products; 0 where y ignores the leaf."""
    parts: list[list[Tensor]] = [[] for _ in leaves]
    for cotangents in torch.eye(y_d.shape[0], dtype=y_d.dtype).split(chunk):
        gradients = torch.autograd.grad(
            y_d,
            leaves,
            cotangents,
            retain_graph=True,
            is_grads_batched=True,
            allow_unused=True,
        )
        for part, leaf, gradient in zip(parts, leaves, gradients, strict=True):
            if gradient is None:
                gradient = leaf.new_zeros(len(cotangents), *leaf.shape)
            part.append(gradient)
    return [torch.cat(part) for part in parts]
