"""Rotary embeddings as GGUF states them: keys ``rope.*``, and factors of single frequencies as tensors.

llama.cpp: a missing ``rope.scaling.type`` is linear, and a missing factor is 1; YaRN's temperature follows
from the factor. Stock transformers reads none of it but ``rope.freq_base``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxlin_models.config import RopeConfig
from jaxlin_models.gguf.metadata import Metadata

#: Positions that no prompt has: short and long factors are alike here, so nothing hangs on it.
_NEVER = 10**12


def rope_parameters(metadata: Metadata, positions: int) -> dict[str, Any]:
    """transformers' ``rope_parameters`` of the keys; frequencies of single pairs are not among them.

    Args:
        metadata: of the architecture.
        positions: that the model is made for, the original length unless the file has another.
    """
    theta = metadata.number("rope.freq_base", 1e4)
    factor = metadata.number("rope.scaling.factor", metadata.number("rope.scale_linear", 0.0)) or 1.0
    kind = metadata.name("rope.scaling.type", "linear")
    if kind not in ("none", "linear", "yarn", "longrope"):
        metadata.only("rope.scaling.type", "linear", "which is not supported; load another model")
    original = metadata.count("rope.scaling.original_context_length", positions)
    for key, plain in (("yarn_ext_factor", 1.0), ("yarn_attn_factor", 1.0), ("yarn_log_multiplier", 0.0)):
        metadata.only(f"rope.scaling.{key}", plain, "which is not supported; load another model")
    fast = metadata.number("rope.scaling.yarn_beta_fast", 32.0)
    slow = metadata.number("rope.scaling.yarn_beta_slow", 1.0)
    if kind == "none" or factor == 1:
        return {"rope_type": "default", "rope_theta": theta}
    if kind == "linear":
        return {"rope_type": "linear", "rope_theta": theta, "factor": factor}
    metadata.only("rope.scaling.type", "yarn", "which is not supported with a factor; load another model")
    return {
        "rope_type": "yarn",
        "rope_theta": theta,
        "factor": factor,
        "original_max_position_embeddings": original,
        "beta_fast": fast,
        "beta_slow": slow,
    }


def with_factors(parameters: Mapping[str, Any], factors: list[float]) -> dict[str, Any]:
    """The same with a factor for each frequency (``rope_freqs.weight`` of Llama 3.1), as a longrope."""
    return {
        "rope_type": "longrope",
        "rope_theta": parameters["rope_theta"],
        "short_factor": factors,
        "long_factor": factors,
        "original_max_position_embeddings": _NEVER,
        "attention_factor": 1.0,
    }


def factor_rope(parameters: Mapping[str, Any]) -> RopeConfig:
    """Ours, of what :func:`with_factors` made."""
    factors = tuple(parameters["short_factor"])
    return RopeConfig(
        parameters["rope_theta"],
        "longrope",
        original_max_positions=_NEVER,
        short_factors=factors,
        long_factors=factors,
    )
