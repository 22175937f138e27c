"""The supported families, by the ``model_type`` of their config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxlin_models.config import DecoderConfig
from jaxlin_models.errors import ModelError
from jaxlin_models.families import gemma, gemma2, llama, mistral, olmo2, phi3, qwen, qwen2
from jaxlin_models.families.common import HFConfig
from jaxlin_models.huggingface import PreTrainedConfig


@runtime_checkable
class Family(Protocol):
    """What the module of a family holds."""

    @property
    def NAMES(self) -> Mapping[str, str]:
        """See :func:`weight_names`."""

    def decoder_config(self, hf: HFConfig) -> DecoderConfig:
        """See :func:`decoder_config`."""


FAMILIES: Mapping[str, Family] = {
    "llama": llama,
    "mistral": mistral,
    "ministral": mistral,
    "phi3": phi3,
    "olmo2": olmo2,
    "gemma2": gemma2,
    "gemma3_text": gemma,
    "gemma3": gemma,
    "qwen2": qwen2,
    "qwen3": qwen,
}


def family(model_type: Any) -> Family:
    """The family of a ``model_type``; :class:`ModelError` names the supported ones if there is none."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(
            f"unknown architecture: config.json says model_type {model_type!r}; supported are "
            f"{', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def decoder_config(hf: PreTrainedConfig) -> DecoderConfig:
    """Our config from transformers' config object, of whatever supported family."""
    return family(hf.model_type).decoder_config(hf)


def weight_names(hf: PreTrainedConfig) -> Mapping[str, str]:
    """Parameter path -> tensor name after the checkpoint's prefix, ``{layer}`` to be filled in."""
    return family(hf.model_type).NAMES
