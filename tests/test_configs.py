"""The configs of published checkpoints: their sizes, and the parameters that they add up to."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pytest
from flax import nnx
from tiny_checkpoints import write_checkpoint
from transformers import AutoConfig

import models
from models import DecoderConfig, ModelError, RopeConfig, families
from models.checkpoint import CONFIGS, DEMOS
from models.decoder import Decoder

FOLDER = Path(models.__file__).parent / "configs"


class Sizes(NamedTuple):
    """One row of the configs' README, written down a second time so that neither can slip."""

    layers: int
    d: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    window: int | None
    positions: int
    #: As their authors publish it, in billions.
    billions: float
    #: Exactly, as the published checkpoint has it (of multimodal ones, its text model).
    parameters: int


PUBLISHED = {
    "gemma-3-1b": Sizes(26, 1152, 4, 1, 256, 6912, 262144, 512, 32768, 1.0, 999885952),
    "gemma-3-4b": Sizes(34, 2560, 8, 4, 256, 10240, 262208, 1024, 131072, 3.88, 3880263168),
    "gemma-3-12b": Sizes(48, 3840, 16, 8, 256, 15360, 262208, 1024, 131072, 11.77, 11766034176),
    "gemma-3-27b": Sizes(62, 5376, 32, 16, 128, 21504, 262208, 1024, 131072, 27.0, 27009346304),
    "llama-3.2-3b": Sizes(28, 3072, 24, 8, 128, 8192, 128256, None, 131072, 3.21, 3212749824),
    "llama-3.1-8b": Sizes(32, 4096, 32, 8, 128, 14336, 128256, None, 131072, 8.03, 8030261248),
    "qwen3-8b": Sizes(36, 4096, 32, 8, 128, 12288, 151936, None, 40960, 8.19, 8190735360),
    "qwen3-14b": Sizes(40, 5120, 40, 8, 128, 17408, 151936, None, 40960, 14.77, 14768307200),
    "qwen3-32b": Sizes(64, 5120, 64, 8, 128, 25600, 151936, None, 40960, 32.76, 32762123264),
}
GEMMAS = [name for name in PUBLISHED if name.startswith("gemma")]
TIED = {*GEMMAS, "llama-3.2-3b"}

each = pytest.mark.parametrize("name", PUBLISHED)


def test_every_config_is_known_and_tested() -> None:
    assert set(CONFIGS) == set(PUBLISHED) == {path.parent.name for path in FOLDER.glob("*/config.json")}


@each
def test_sizes(name: str) -> None:
    published = PUBLISHED[name]
    config = families.decoder_config(AutoConfig.from_pretrained(CONFIGS[name], local_files_only=True))
    assert config == models.find_config(name)
    assert published[:9] == (
        config.num_layers,
        config.embed_dim,
        config.num_heads,
        config.num_kv_heads,
        config.head_dim,
        config.mlp_dim,
        config.vocab_size,
        config.sliding_window,
        config.max_positions,
    )
    assert config.tie_embeddings == (name in TIED)
    assert not config.has_linear_biases
    assert config.norm_eps == (1e-5 if config.family == "llama" else 1e-6)


@each
def test_parameters(name: str) -> None:
    published = PUBLISHED[name]
    counted = count(models.find_config(name))
    assert counted == by_formula(name) == published.parameters
    assert counted == pytest.approx(published.billions * 1e9, rel=0.02)


def count(config: DecoderConfig) -> int:
    """The decoder's parameters, from shapes alone: nothing of their size is allocated."""
    decoder = nnx.eval_shape(lambda: Decoder(config, rngs=nnx.Rngs(0)))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(decoder, nnx.Param)))


def by_formula(name: str) -> int:
    """The same from the table here and the families' papers, without our code."""
    s = PUBLISHED[name]
    family = name.split("-")[0]
    attention = 2 * s.d * (s.heads + s.kv_heads) * s.head_dim  # query and output, key and value
    norms = {"gemma": 4, "llama": 2, "qwen3": 2}[family] * s.d
    head_norms = {"gemma": 2, "llama": 0, "qwen3": 2}[family] * s.head_dim
    layer = attention + 3 * s.d * s.mlp + norms + head_norms
    tables = (1 if name in TIED else 2) * s.vocab * s.d
    return tables + s.layers * layer + s.d


@each
def test_positions(name: str) -> None:
    """Rotary embeddings, score scaling and which layers are full: what no parameter count can tell."""
    config = models.find_config(name)
    sliding = full = {
        "gemma-3-1b": RopeConfig(1e6),
        "llama-3.2-3b": RopeConfig(5e5, "llama3", 32.0, 8192, 1.0, 4.0),
        "llama-3.1-8b": RopeConfig(5e5, "llama3", 8.0, 8192, 1.0, 4.0),
    }.get(name, RopeConfig(1e6, "linear", 8.0) if name in GEMMAS else RopeConfig(1e6))
    kinds = ["full"] * config.num_layers
    if name in GEMMAS:
        sliding = RopeConfig(1e4)
        kinds = ["sliding" if (layer + 1) % 6 else "full" for layer in range(config.num_layers)]
    assert (config.rope_full, config.rope_sliding) == (full, sliding)
    assert list(config.layer_types) == kinds
    # 27B alone divides by the square root of d / heads and not of head_dim.
    assert config.query_scale == (168 if name == "gemma-3-27b" else config.head_dim) ** -0.5
    assert config.activation == ("gelu_tanh" if name in GEMMAS else "silu")
    assert config.final_logit_softcap is None


def test_readme_is_the_configs() -> None:
    rows = re.findall(
        r"^\| (\S+-\S+) \| (\d.*) \| [\d, ]+ \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    shown = {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}
    assert shown == {
        name: [
            str(s.layers),
            f"{s.d:,}",
            f"{s.heads}/{s.kv_heads}",
            str(s.head_dim),
            f"{s.mlp:,}",
            f"{s.vocab:,}",
            f"{s.window:,}" if s.window else "–",
            f"{s.parameters:,}",
        ]
        for name, s in PUBLISHED.items()
    }


# find_config


@pytest.fixture
def config_only(tmp_path: Path) -> Path:
    """A directory with nothing but a config.json."""
    whole = write_checkpoint("qwen3", tmp_path / "whole")
    (tmp_path / "bare").mkdir()
    return Path(shutil.copy(whole / "config.json", tmp_path / "bare")).parent


def test_directory_without_weights(config_only: Path) -> None:
    assert models.find_config(str(config_only)) == models.find(str(config_only.parent / "whole")).config


@pytest.mark.parametrize("demo", sorted(DEMOS))
def test_demo(demo: str) -> None:
    assert models.find_config(demo) == models.find(demo).config


def test_hub_id_fetches_config_alone(config_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(hub_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((hub_id, revision, allow_patterns))
        return str(config_only)

    monkeypatch.setattr("models.checkpoint.snapshot_download", download)
    assert models.find_config("an-org/a-model@v1") == models.find_config(str(config_only))
    assert asked == [("an-org/a-model", "v1", ["config.json"])]


def test_cached_hub_id_offline(config_only: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached, commit = tmp_path / "hub" / "models--an-org--a-model", "0" * 40
    shutil.copytree(config_only, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    assert models.find_config("an-org/a-model") == models.find_config(str(config_only))


def test_directory_before_built_in_name(config_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same name then means the same checkpoint to ``find``."""
    shutil.copytree(config_only, config_only.parent / "gemma-3-1b")
    monkeypatch.chdir(config_only.parent)
    assert models.find_config("gemma-3-1b").family == "qwen"


def test_unknown_name_is_told_what_to_give() -> None:
    with pytest.raises(
        ModelError, match=r"^no model 'gemma-3-2b': give .*demo-llama.*gemma-3-1b.*qwen3-32b$"
    ):
        models.find_config("gemma-3-2b")


def test_directory_without_config_is_told_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json; give the folder"):
        models.find_config(str(tmp_path))


def test_unsupported_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ModelError, match=r"unknown architecture: .*'gpt2'; supported are"):
        models.find_config(str(tmp_path))
