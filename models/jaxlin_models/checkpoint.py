"""Where a checkpoint is and what it says of itself: paths, hub ids, the demos; config.json."""

from __future__ import annotations

import json
import os
import re
import textwrap
from dataclasses import dataclass
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
    StrictDataclassError,
)

from jaxlin_models import families
from jaxlin_models.config import DecoderConfig
from jaxlin_models.errors import ModelError
from jaxlin_models.huggingface import AutoConfig, PreTrainedConfig

DEMOS = {f"demo-{name}": Path(__file__).parent / "demo" / name for name in ("llama", "gemma", "qwen")}
#: Published checkpoints of which only the config.json is here, for what needs no weights.
CONFIGS = {
    name: Path(__file__).parent / "configs" / name
    for name in (
        "gemma-2-2b",
        "gemma-3-270m",
        "gemma-3-1b",
        "gemma-3-4b",
        "gemma-3-12b",
        "gemma-3-27b",
        "llama-3.2-1b",
        "llama-3.2-3b",
        "llama-3.1-8b",
        "llama-3.3-70b",
        "mistral-7b-v0.1",
        "olmo-2-7b",
        "phi-4-mini",
        "phi-4",
        "qwen2.5-7b",
        "deepseek-r1-0528-qwen3-8b",
        "qwen3-0.6b",
        "qwen3-1.7b",
        "qwen3-4b",
        "qwen3-8b",
        "qwen3-14b",
        "qwen3-32b",
    )
}
_HUB_ID = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(@(?P<revision>\w[\w.-]*(/\w[\w.-]*)*))?")
_SMALL_FILES = ["*.json", "*.model", "*.jinja", "*.txt"]
_HUB_FILES = ["*.safetensors", *_SMALL_FILES]
#: What a config.json with values of the wrong type or size ends in, here or in transformers.
_BAD_VALUES = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    StrictDataclassError,
)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on this disk. ``revision`` is the hub commit it came from, if it did."""

    name: str
    directory: Path
    revision: str | None
    hf_config: PreTrainedConfig
    config: DecoderConfig

    def __repr__(self) -> str:
        revision = "" if self.revision is None else f", revision {self.revision}"
        return f"Checkpoint({self.name}, {self.config.family}{revision})"


def find(name: str, *, weights: bool = True) -> Checkpoint:
    """The checkpoint called ``name``: a demo (``demo-llama``), a directory, or ``org/name@revision``.

    Hub ids are downloaded to the hub's cache, safetensors only, or config and tokenizer alone without
    ``weights``; ``HF_HOME``, ``HF_TOKEN`` and ``HF_HUB_OFFLINE`` hold.

    Raises:
        ModelError: no such checkpoint, no network, no access, or a config.json that is not supported.
    """
    directory, revision = _locate(name, _HUB_FILES if weights else _SMALL_FILES)
    return Checkpoint(name, directory, revision, *_read_config(directory))


def find_config(name: str) -> DecoderConfig:
    """The config of what ``name`` calls, from its config.json alone: no weights, no tokenizer.

    ``name`` is what :func:`find` takes, or one of :data:`CONFIGS` (a directory of that name goes first, as
    it does in :func:`find`). Of a hub id, nothing but config.json is downloaded.

    Raises:
        ModelError: as :func:`find`.
    """
    directory, _ = _locate(name, ["config.json"], without_weights=True)
    return _read_config(directory)[1]


def _locate(name: str, files: list[str], *, without_weights: bool = False) -> tuple[Path, str | None]:
    if name in DEMOS:
        return DEMOS[name], None
    if os.path.isdir(name):  # unlike Path's, no error at a name that no file can have
        return Path(name), None
    if without_weights and name in CONFIGS:
        return CONFIGS[name], None
    match = _HUB_ID.fullmatch(name)
    if match is None or os.path.exists(name):
        contents, names = ("config.json and safetensors", [*DEMOS])
        if without_weights:
            contents, names = ("config.json", [*DEMOS, *CONFIGS])
        raise ModelError(
            f"no model {name!r}: give a directory with {contents}, a hub id "
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
        raise ModelError(f"{hub_id} is not a hub id ({_one_line(error)}); check its spelling") from error
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
            f"{wanted} is not in the local cache and the hub cannot be reached ({_one_line(error)}); "
            f"connect, or give a local directory"
        ) from error
    return path, path.name  # the cache names a snapshot's folder by its commit


def _read_config(directory: Path) -> tuple[PreTrainedConfig, DecoderConfig]:
    path = directory / "config.json"
    if not path.is_file():
        raise ModelError(f"{directory} has no config.json; give the folder of a whole checkpoint")
    try:
        model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path} is not a JSON object ({_one_line(error)}); fetch it anew") from error
    families.family(model_type)
    try:
        hf_config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        return hf_config, families.decoder_config(hf_config)
    except ModelError:
        raise
    except _BAD_VALUES as error:
        reason = _one_line(error.__cause__ or error)
        raise ModelError(f"{path} is not a valid config ({reason}); fetch it anew") from error


def config_of(hf_config: PreTrainedConfig, owner: str) -> DecoderConfig:
    """Our config from transformers' config object of a model in memory, which is called ``owner``.

    Raises:
        ModelError: an architecture that is not supported, or a config that cannot be.
    """
    if hf_config.model_type not in families.FAMILIES:
        raise ModelError(
            f"{owner} is of an unknown architecture: its config says model_type {hf_config.model_type!r}; "
            f"supported are {', '.join(sorted(families.FAMILIES))}"
        )
    try:
        return families.decoder_config(hf_config)
    except ModelError:
        raise
    except _BAD_VALUES as error:
        reason = _one_line(error.__cause__ or error)
        raise ModelError(f"the config of {owner} is not valid ({reason}); give another model") from error


def _one_line(error: BaseException) -> str:
    """The first line of an error's message, short enough to stand inside a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return textwrap.shorten(lines[0], 160, placeholder=" …").rstrip(". ")
