"""Where a checkpoint is and what it says of itself: paths, hub ids, the demos; config.json."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from huggingface_hub import is_offline_mode, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from jaxlin_models.config import DecoderConfig
from jaxlin_models.config_file import one_line, read_config
from jaxlin_models.converted import Converted, read_manifest, tied
from jaxlin_models.errors import ModelError
from jaxlin_models.gguf.model import GgufModel, read_gguf
from jaxlin_models.gguf.parts import is_gguf
from jaxlin_models.huggingface import PreTrainedConfig
from jaxlin_models.installed import INSTALLED_MODELS, installed_file

DEMOS = {f"demo-{name}": Path(__file__).parent / "demo" / name for name in ("llama", "gemma", "qwen")}
#: Published checkpoints of which only the config.json is here, for what needs no weights,
#: and what they are called on the hub.
HUB_IDS = {
    "gemma-2-2b": "google/gemma-2-2b",
    "gemma-3-270m": "google/gemma-3-270m",
    "gemma-3-1b": "google/gemma-3-1b-pt",
    "gemma-3-4b": "google/gemma-3-4b-pt",
    "gemma-3-12b": "google/gemma-3-12b-pt",
    "gemma-3-27b": "google/gemma-3-27b-pt",
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B",
    "llama-3.1-8b": "meta-llama/Llama-3.1-8B",
    "llama-3.3-70b": "meta-llama/Llama-3.3-70B-Instruct",
    "mistral-7b-v0.1": "mistralai/Mistral-7B-v0.1",
    "olmo-2-7b": "allenai/OLMo-2-1124-7B",
    "phi-4-mini": "microsoft/Phi-4-mini-instruct",
    "phi-4": "microsoft/phi-4",
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "qwen2.5-7b": "Qwen/Qwen2.5-7B",
    "deepseek-r1-0528-qwen3-8b": "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B",
    "qwen3-0.6b": "Qwen/Qwen3-0.6B",
    "qwen3-1.7b": "Qwen/Qwen3-1.7B",
    "qwen3-4b": "Qwen/Qwen3-4B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-14b": "Qwen/Qwen3-14B",
    "qwen3-32b": "Qwen/Qwen3-32B",
}
CONFIGS = {name: Path(__file__).parent / "configs" / name for name in HUB_IDS}
_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>\w[\w.-]*(/\w[\w.-]*)*))?")
_SMALL_FILES = ["*.json", "*.model", "*.jinja", "*.txt"]
_HUB_FILES = ["*.safetensors", *_SMALL_FILES]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this disk.

    Attributes:
        name: what was asked for.
        directory: where its files are.
        revision: the hub commit it came from, if it did.
        hf_config: transformers' config, of the keys that its family uses.
        config: ours.
        unknown_keys: keys of config.json that neither its family nor transformers knows; they change nothing.
        gguf: the model in a GGUF file, which is then all that is read.
        converted: what ``jaxlin convert`` wrote, where the folder is such a checkpoint.
    """

    name: str
    directory: Path
    revision: str | None
    hf_config: PreTrainedConfig
    config: DecoderConfig
    unknown_keys: tuple[str, ...] = ()
    gguf: GgufModel | None = None
    converted: Converted | None = None

    def __repr__(self) -> str:
        revision = "" if self.revision is None else f", revision {self.revision}"
        return f"Checkpoint({self.name}, {self.config.family}{revision})"


def find(name: str, *, weights: bool = True) -> Checkpoint:
    """The checkpoint called ``name``: a demo (``demo-llama``), a directory, a GGUF file, one of
    :data:`INSTALLED_MODELS`, or ``org/name@revision``.

    Hub ids are downloaded to the hub's cache, safetensors only, or config and tokenizer alone without
    ``weights``; ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` hold.

    Raises:
        ModelError: no such checkpoint, no network, no access, or a config.json that is not supported.
    """
    if is_gguf(name) and not os.path.isdir(name):
        return _in_gguf(name, Path(name))
    if name in INSTALLED_MODELS and not os.path.isdir(name):
        return _in_gguf(name, installed_file(name))
    directory, revision = _locate(name, _HUB_FILES if weights else _SMALL_FILES)
    found = Checkpoint(name, directory, revision, *read_config(directory), converted=read_manifest(directory))
    return found if found.converted is None else replace(found, config=tied(found.config, found.converted))


def find_config(name: str) -> DecoderConfig:
    """The config of what ``name`` calls, from its config.json alone: no weights, no tokenizer.

    ``name`` is what :func:`find` takes, or one of :data:`CONFIGS` (a directory of that name goes first, as
    it does in :func:`find`). Of a hub id, nothing but config.json is downloaded.

    Raises:
        ModelError: as :func:`find`.
    """
    if is_gguf(name) and not os.path.isdir(name):
        return read_gguf(Path(name)).config
    directory, _ = _locate(name, ["config.json"], without_weights=True)
    return read_config(directory)[1]


def is_config_alone(name: str) -> bool:
    """Whether ``name`` calls one of :data:`CONFIGS`, of which nothing but the config is here."""
    return name in CONFIGS and not os.path.isdir(name)


def _in_gguf(name: str, path: Path) -> Checkpoint:
    model = read_gguf(path)
    return Checkpoint(name, path.parent, None, model.hf_config, model.config, model.unknown_keys, model)


def _locate(name: str, files: list[str], *, without_weights: bool = False) -> tuple[Path, str | None]:
    if name in DEMOS:
        return DEMOS[name], None
    if os.path.isdir(name):  # unlike Path's, no error at a name that no file can have
        return Path(name), None
    if without_weights and name in CONFIGS:
        return CONFIGS[name], None
    if name in CONFIGS and not os.path.exists(name):
        raise ModelError(
            f"of {name} only the config is here, for a plan: give its name on the hub, {HUB_IDS[name]}, or a "
            f"directory with its files"
        )
    match = _HUB_ID.fullmatch(name)
    if match is None or os.path.exists(name):
        contents, names = ("config.json and safetensors", [*DEMOS, *INSTALLED_MODELS])
        if without_weights:
            contents, names = ("config.json", [*DEMOS, *CONFIGS])
        raise ModelError(
            f"no model {name!r}: give a directory with {contents}, a GGUF file (.gguf), a hub id "
            f"org/name@revision, or one of {', '.join(names)}"
        )
    return _download(match["id"], match["revision"], files)


def _download(hub_id: str, revision: str | None, files: list[str]) -> tuple[Path, str]:
    wanted = hub_id if revision is None else f"{hub_id}@{revision}"
    try:
        path = Path(
            snapshot_download(
                hub_id, revision=revision, allow_patterns=files, local_files_only=is_offline_mode()
            )
        )
    except HFValidationError as error:
        raise ModelError(f"{hub_id} is not a hub id ({one_line(error)}); check its spelling") from error
    except GatedRepoError as error:
        raise ModelError(f"{hub_id} is gated: accept its licence on the hub and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{hub_id} has no revision {revision!r}; check the name after @") from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"the hub knows no model {hub_id}, or HF_TOKEN has no access to it; check the name"
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        if is_offline_mode():
            raise ModelError(
                f"{wanted} is not in the local cache and HF_HUB_OFFLINE is set; unset it to download, "
                f"or give a local directory"
            ) from error
        raise ModelError(
            f"{wanted} is not in the local cache and the hub cannot be reached ({one_line(error)}); "
            f"connect, or give a local directory"
        ) from error
    return path, path.name  # the cache names a snapshot's folder by its commit
