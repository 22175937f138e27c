"""A model in GGUF files: what transformers' config and ours of it are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from jaxlin_models import families
from jaxlin_models.config import DecoderConfig
from jaxlin_models.config_file import in_transformers, one_line
from jaxlin_models.errors import ModelError
from jaxlin_models.gguf.architectures import Architecture, Settings, architecture_of, settings_of
from jaxlin_models.gguf.metadata import Metadata
from jaxlin_models.gguf.parts import GgufFiles, open_gguf
from jaxlin_models.gguf.rope import factor_rope
from jaxlin_models.gguf.tensors import GgufTensors
from jaxlin_models.huggingface import PreTrainedConfig


@dataclass(frozen=True, repr=False)
class GgufModel:
    """What GGUF files say of their model.

    Attributes:
        files: their headers.
        architecture: by what rules they are read.
        hf_config: transformers' config of the model.
        config: ours.
        unknown_keys: of the metadata, which change nothing.
    """

    files: GgufFiles
    architecture: Architecture
    hf_config: PreTrainedConfig
    config: DecoderConfig
    unknown_keys: tuple[str, ...]

    def tensors(self) -> GgufTensors:
        """The tensors by transformers' names."""
        return GgufTensors(self.files, self.architecture, self.hf_config)


def read_gguf(path: Path) -> GgufModel:
    """A model, from the headers of its files alone.

    Raises:
        ModelError: files that are missing, damaged or do not belong together; an architecture, a setting
            or a type of tensors that is not supported.
    """
    files = open_gguf(path)
    name, architecture = architecture_of(files)
    metadata = Metadata(files.named, name, files.metadata)
    settings = settings_of(metadata, files, architecture)
    unknown = metadata.finish()
    try:
        hf_config, config = _configs(architecture.model_type, settings)
    except MemoryError:
        raise
    except Exception as error:  # whatever transformers or a conversion ends in at such values
        reason = one_line(error.__cause__ or error).replace("config.json", "it")
        raise ModelError(f"the metadata of {files.named} is no valid config ({reason})") from error
    hf_config.bos_token_id = _token(files, "bos")
    return GgufModel(files, architecture, hf_config, config, unknown)


def _configs(model_type: str, settings: Settings) -> tuple[PreTrainedConfig, DecoderConfig]:
    rope = settings["rope_parameters"]
    used, _ = families.read_keys({"model_type": model_type, **settings})
    used.pop("model_type")
    hf_config = in_transformers(model_type, used)
    if model_type == "phi3" or rope.get("rope_type") != "longrope":
        return hf_config, families.decoder_config(hf_config)
    # Families other than Phi 3 have no longrope of their own.
    plain = {"rope_type": "default", "rope_theta": rope["rope_theta"]}
    config = families.decoder_config(in_transformers(model_type, used | {"rope_parameters": plain}))
    factors = factor_rope(rope)
    return hf_config, replace(config, rope_full=factors, rope_sliding=factors)


def _token(files: GgufFiles, which: str) -> int | None:
    found = files.metadata.get(f"tokenizer.ggml.{which}_token_id")
    return found if isinstance(found, int) else None
