"""The supported families, by the ``model_type`` of their config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxlin_models.config import DecoderConfig
from jaxlin_models.errors import ModelError
from jaxlin_models.families import gemma, gemma2, llama, mistral, olmo2, phi3, qwen, qwen2
from jaxlin_models.families.common import HFConfig
from jaxlin_models.families.keys import check, shown
from jaxlin_models.families.values import check_values, is_names
from jaxlin_models.huggingface import PreTrainedConfig


@runtime_checkable
class Family(Protocol):
    """What the module of a family holds."""

    @property
    def NAMES(self) -> Mapping[str, str]:
        """See :func:`weight_names`."""

    @property
    def USED(self) -> frozenset[str]:
        """Keys of config.json that count here; see :mod:`jaxlin_models.families.keys`."""

    @property
    def IGNORED(self) -> Mapping[str, str]:
        """Keys that stock's model of this family does not read, refused elsewhere, with the reason."""

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
#: What the names of stock's classes begin with, by model type.
_CLASSES: Mapping[str, str] = {
    "llama": "Llama",
    "mistral": "Mistral",
    "ministral": "Ministral",
    "phi3": "Phi3",
    "olmo2": "Olmo2",
    "gemma2": "Gemma2",
    "gemma3_text": "Gemma3",
    "gemma3": "Gemma3",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
}
#: How the rest of such a name goes on; whatever head it has, the decoder below it is the same.
_HEADS = (
    "ForCausalLM", "Model", "TextModel", "ForConditionalGeneration", "ForSequenceClassification",
    "ForTokenClassification", "ForQuestionAnswering", "TextForSequenceClassification",
)  # fmt: skip
#: Keys of a multimodal config beside those of its text part.
_MULTIMODAL = frozenset({"model_type", "text_config", "tie_word_embeddings", "transformers_weights"})


def family(model_type: Any) -> Family:
    """The family of a ``model_type``; :class:`ModelError` names the supported ones if there is none."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(
            f"unknown architecture: config.json says model_type {shown(model_type)}; supported are "
            f"{', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def decoder_config(hf: PreTrainedConfig) -> DecoderConfig:
    """Our config from transformers' config object, of whatever supported family."""
    return family(hf.model_type).decoder_config(hf)


def read_keys(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The keys of a config.json that its family uses, and those that nobody knows and that change nothing.

    Raises:
        ModelError: an unknown ``model_type``, a key that is refused, or a value that cannot be used.
    """
    model_type = config.get("model_type")
    rules = family(model_type)
    assert isinstance(model_type, str)
    _check_architectures(config.get("architectures"), model_type)
    used, ignored = rules.USED, rules.IGNORED
    unknown: tuple[str, ...] = ()
    text = config.get("text_config")
    if model_type == "gemma3":
        # Beside its text part a text setting is a leftover; what would change the mask is refused there too.
        acting = rules.USED - _MULTIMODAL - {"use_bidirectional_attention"}
        ignored = {**dict.fromkeys(acting, "that of the text part counts"), **ignored}
        used = _MULTIMODAL
        if isinstance(text, Mapping):
            text, below = _read(text, "gemma3_text", rules.USED, rules.IGNORED)
            unknown = tuple(f"text_config.{key}" for key in below)
            config = {**config, "text_config": text}
        elif text is not None:
            raise ModelError(f"config.json says that text_config is {shown(text)}, no config; fetch it anew")
    kept, above = _read(config, model_type, used, ignored)
    return kept, above + unknown


def _read(
    config: Mapping[str, Any], model_type: str, used: frozenset[str], ignored: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    unknown = check(config, model_type, used, ignored)
    check_values(config, used)
    return {key: value for key, value in config.items() if key in used}, unknown


def _check_architectures(names: Any, model_type: str) -> None:
    """Refuse the class of another project's code: what it computes is not known here."""
    if names is None:
        return
    if not is_names(names):
        raise ModelError(
            f"config.json says that architectures is {shown(names)}, no list of names; fetch it anew"
        )
    known = {f"{_CLASSES[model_type]}{head}".casefold() for head in _HEADS}
    if model_type == "ministral":
        known |= {f"Mistral{head}".casefold() for head in _HEADS}
    for name in names:
        if name.casefold() not in known:
            raise ModelError(
                f"config.json names the architecture {shown(name)}, which is none of those of type "
                f"{model_type}; remove the name if it is a leftover"
            )


def weight_names(hf: PreTrainedConfig) -> Mapping[str, str]:
    """Parameter path -> tensor name after the checkpoint's prefix, ``{layer}`` to be filled in."""
    return family(hf.model_type).NAMES
