"""config.json, read by an allow-list: what no family uses reaches neither transformers nor the decoder."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxlin_models import families
from jaxlin_models.config import DecoderConfig
from jaxlin_models.errors import ModelError
from jaxlin_models.huggingface import AutoConfig, PreTrainedConfig, quietly
from jaxlin_models.quantised import refuse_quantised_config, refuse_quantised_files

#: Bytes; the largest of published ones have some ten thousand.
_MOST_BYTES = 16 * 10**6
#: The tokens that transformers' own defaults name lie outside small vocabularies, about which it would warn.
_NO_TOKENS = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}


def read_config(directory: Path) -> tuple[PreTrainedConfig, DecoderConfig, tuple[str, ...]]:
    """transformers' config of a checkpoint's folder, ours, and the keys of the file that change nothing.

    Those are the keys that neither a family here nor transformers knows.

    Raises:
        ModelError: no config.json or one that cannot be read, an architecture or a setting that is not
            supported, or quantised weights.
    """
    path = directory / "config.json"
    config = _read_json(path)
    families.family(config.get("model_type"))
    refuse_quantised_config(config, directory)
    refuse_quantised_files(directory)
    used, unknown = families.read_keys(config)
    model_type = used.pop("model_type")
    if model_type == "mistral" and "layer_types" in used:
        model_type = "ministral"  # as transformers reads such a file
    try:
        hf_config = in_transformers(model_type, used)
        return hf_config, families.decoder_config(hf_config), unknown
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # whatever transformers or a conversion ends in at such values
        raise ModelError(
            f"{path} is not a valid config ({one_line(error.__cause__ or error)}); fetch it anew"
        ) from error


def config_of(hf_config: PreTrainedConfig, owner: str) -> DecoderConfig:
    """Our config from transformers' config object of a model in memory, which is called ``owner``.

    Raises:
        ModelError: an architecture or a setting that is not supported, or a config that cannot be.
    """
    if hf_config.model_type not in families.FAMILIES:
        raise ModelError(
            f"{owner} is of an unknown architecture: its config says model_type {hf_config.model_type!r}; "
            f"supported are {', '.join(sorted(families.FAMILIES))}"
        )
    try:
        with quietly():
            settings = hf_config.to_dict()
        refuse_quantised_config(settings, owner)
        families.read_keys(settings)
        return families.decoder_config(hf_config)
    except (ModelError, MemoryError):
        raise
    except Exception as error:
        reason = one_line(error.__cause__ or error)
        raise ModelError(f"the config of {owner} is not valid ({reason}); give another model") from error


def one_line(error: BaseException) -> str:
    """The first line of an error's message, short enough to stand inside a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return textwrap.shorten(lines[0], 160, placeholder=" …").rstrip(". ")


def _read_json(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        raise ModelError(f"{path.parent} has no config.json; give the folder of a whole checkpoint")
    if not path.is_file():  # a pipe or a device could be read without end
        raise ModelError(f"{path} is not a regular file; give the folder of a whole checkpoint")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(
                f"{path} has more than {_MOST_BYTES / 1e6:.0f} MB, which no config has; fetch it anew"
            )
        config = json.loads(path.read_text(encoding="utf-8"))
    except ModelError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not a JSON object ({one_line(error)}); fetch it anew") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path} is not a JSON object (it is a {type(config).__name__}); fetch it anew")
    return config


def in_transformers(model_type: str, used: Mapping[str, Any]) -> PreTrainedConfig:
    """transformers' config object of these keys, with its defaults for the others."""
    settings = dict(used)
    if isinstance(settings.get("text_config"), Mapping):
        settings["text_config"] = _NO_TOKENS | dict(settings["text_config"])
    elif model_type != "gemma3":
        settings = _NO_TOKENS | settings
    with quietly():
        return AutoConfig.for_model(model_type, **settings)
