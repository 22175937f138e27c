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
import jaxlin_models as models
import pytest
from flax import nnx
from jaxlin_models import DecoderConfig, ModelError, RopeConfig, families
from jaxlin_models.checkpoint import CONFIGS, DEMOS
from jaxlin_models.decoder import Decoder
from tiny_checkpoints import write_checkpoint
from transformers import AutoConfig

FOLDER = Path(str(models.__file__)).parent / "configs"


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
    "gemma-2-2b": Sizes(26, 2304, 8, 4, 256, 9216, 256000, 4096, 8192, 2.61, 2614341888),
    "gemma-3-270m": Sizes(18, 640, 4, 1, 256, 2048, 262144, 512, 32768, 0.27, 268098176),
    "gemma-3-1b": Sizes(26, 1152, 4, 1, 256, 6912, 262144, 512, 32768, 1.0, 999885952),
    "gemma-3-4b": Sizes(34, 2560, 8, 4, 256, 10240, 262208, 1024, 131072, 3.88, 3880263168),
    "gemma-3-12b": Sizes(48, 3840, 16, 8, 256, 15360, 262208, 1024, 131072, 11.77, 11766034176),
    "gemma-3-27b": Sizes(62, 5376, 32, 16, 128, 21504, 262208, 1024, 131072, 27.0, 27009346304),
    "llama-3.2-1b": Sizes(16, 2048, 32, 8, 64, 8192, 128256, None, 131072, 1.23, 1235814400),
    "llama-3.2-3b": Sizes(28, 3072, 24, 8, 128, 8192, 128256, None, 131072, 3.21, 3212749824),
    "llama-3.1-8b": Sizes(32, 4096, 32, 8, 128, 14336, 128256, None, 131072, 8.03, 8030261248),
    "llama-3.3-70b": Sizes(80, 8192, 64, 8, 128, 28672, 128256, None, 131072, 70.6, 70553706496),
    "mistral-7b-v0.1": Sizes(32, 4096, 32, 8, 128, 14336, 32000, 4096, 32768, 7.24, 7241732096),
    "olmo-2-7b": Sizes(32, 4096, 32, 32, 128, 11008, 100352, None, 4096, 7.30, 7298617344),
    "phi-4-mini": Sizes(32, 3072, 24, 8, 128, 8192, 200064, 262144, 131072, 3.84, 3836021760),
    "phi-4": Sizes(40, 5120, 40, 10, 128, 17920, 100352, None, 16384, 14.7, 14659507200),
    "smollm2-135m": Sizes(30, 576, 9, 3, 64, 1536, 49152, None, 8192, 0.135, 134515008),
    "qwen2.5-7b": Sizes(28, 3584, 28, 4, 128, 18944, 152064, None, 131072, 7.62, 7615616512),
    "deepseek-r1-0528-qwen3-8b": Sizes(36, 4096, 32, 8, 128, 12288, 151936, None, 131072, 8.19, 8190735360),
    "qwen3-0.6b": Sizes(28, 1024, 16, 8, 128, 3072, 151936, None, 40960, 0.6, 596049920),
    "qwen3-1.7b": Sizes(28, 2048, 16, 8, 128, 6144, 151936, None, 40960, 1.72, 1720574976),
    "qwen3-4b": Sizes(36, 2560, 32, 8, 128, 9728, 151936, None, 40960, 4.02, 4022468096),
    "qwen3-8b": Sizes(36, 4096, 32, 8, 128, 12288, 151936, None, 40960, 8.19, 8190735360),
    "qwen3-14b": Sizes(40, 5120, 40, 8, 128, 17408, 151936, None, 40960, 14.77, 14768307200),
    "qwen3-32b": Sizes(64, 5120, 64, 8, 128, 25600, 151936, None, 40960, 32.76, 32762123264),
}
GEMMAS = [name for name in PUBLISHED if name.startswith("gemma")]
TIED = {
    *GEMMAS,
    "smollm2-135m",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "phi-4-mini",
    "qwen3-0.6b",
    "qwen3-1.7b",
    "qwen3-4b",
}
#: One of each family, small ones, for comparison with stock models of shapes alone.
IN_STOCK = (
    "gemma-2-2b", "gemma-3-270m", "llama-3.2-1b", "mistral-7b-v0.1", "olmo-2-7b", "phi-4-mini", "qwen2.5-7b",
    "qwen3-0.6b",
)  # fmt: skip
LLAMA3_32, LLAMA3_8 = (RopeConfig(5e5, "llama3", factor, 8192, 1.0, 4.0) for factor in (32.0, 8.0))
#: Rotary embeddings of the full layers, where they are not the plain ones with base 1,000,000.
ROPES = {
    "gemma-2-2b": RopeConfig(1e4),
    "gemma-3-4b": RopeConfig(1e6, "linear", 8.0),
    "gemma-3-12b": RopeConfig(1e6, "linear", 8.0),
    "gemma-3-27b": RopeConfig(1e6, "linear", 8.0),
    "llama-3.2-1b": LLAMA3_32,
    "llama-3.2-3b": LLAMA3_32,
    "llama-3.1-8b": LLAMA3_8,
    "llama-3.3-70b": LLAMA3_8,
    "mistral-7b-v0.1": RopeConfig(1e4),
    "olmo-2-7b": RopeConfig(5e5),
    "phi-4": RopeConfig(2.5e5),
    "smollm2-135m": RopeConfig(1e5),
    # transformers ignores the file's attn_factor, 1 / (0.1·ln 4 + 1), with which there were no temperature.
    "deepseek-r1-0528-qwen3-8b": RopeConfig(1e6, "yarn", 4.0, 32768, attention_factor=0.1 * math.log(4) + 1),
}

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
    assert config.has_linear_biases == (name == "qwen2.5-7b")
    assert config.norm_eps == (1e-5 if name.startswith(("llama", "mistral", "phi", "smollm")) else 1e-6)


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
    attention = 2 * s.d * (s.heads + s.kv_heads) * s.head_dim  # query and output, key and value
    norms = (4 if name in GEMMAS else 2) * s.d
    head_norms = 2 * s.head_dim if "gemma-3" in name or "qwen3" in name else 0
    if name == "olmo-2-7b":
        head_norms = (s.heads + s.kv_heads) * s.head_dim
    biases = (s.heads + 2 * s.kv_heads) * s.head_dim if name == "qwen2.5-7b" else 0
    layer = attention + 3 * s.d * s.mlp + norms + head_norms + biases
    tables = (1 if name in TIED else 2) * s.vocab * s.d
    return tables + s.layers * layer + s.d


@pytest.mark.parametrize("name", IN_STOCK)
def test_parameters_of_stock(name: str) -> None:
    """Stock transformers count as many when they build the model without memory."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        stock = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(CONFIGS[name], local_files_only=True)
        )
    assert stock.num_parameters() == PUBLISHED[name].parameters


@each
def test_positions(name: str) -> None:
    """Rotary embeddings, score scaling and which layers are full: what no parameter count can tell."""
    config = models.find_config(name)
    full = phi_4_mini_rope(config.rope_full) if name == "phi-4-mini" else ROPES.get(name, RopeConfig(1e6))
    sliding = RopeConfig(1e4) if name in GEMMAS else full
    period = {"gemma-2": 2, "gemma-3": 6}.get(name[:7])
    if name in ("mistral-7b-v0.1", "phi-4-mini"):
        kinds = ["sliding"] * config.num_layers
    elif period is None:
        kinds = ["full"] * config.num_layers
    else:
        kinds = ["sliding" if (layer + 1) % period else "full" for layer in range(config.num_layers)]
    assert (config.rope_full, config.rope_sliding) == (full, sliding)
    assert list(config.layer_types) == kinds
    assert config.turned_features == (96 if name == "phi-4-mini" else config.head_dim)
    # 27B alone divides by the square root of d / heads and not of head_dim.
    assert config.query_scale == (168 if name == "gemma-3-27b" else config.head_dim) ** -0.5
    assert config.activation == ("gelu_tanh" if name in GEMMAS else "silu")
    caps = (50.0, 30.0) if name == "gemma-2-2b" else (None, None)
    assert (config.attention_softcap, config.final_logit_softcap) == caps


def phi_4_mini_rope(found: RopeConfig) -> RopeConfig:
    """Longrope by its paper; of the 48 long factors, which the file gives, the ends and the order."""
    long = found.long_factors
    assert (long[0], long[1], long[-1]) == (1.0, 1.118320672, 47.77)
    assert list(long) == sorted(long)
    stretch = math.log(131072 / 4096) / math.log(4096)
    return RopeConfig(
        1e4,
        "longrope",
        original_max_positions=4096,
        short_factors=(1.0,) * 48,
        long_factors=long,
        attention_factor=math.sqrt(1 + stretch),
    )


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

    def download(hub_id: str, *, revision: str | None, allow_patterns: list[str], **_: bool) -> str:
        asked.append((hub_id, revision, allow_patterns))
        return str(config_only)

    monkeypatch.setattr("jaxlin_models.checkpoint.snapshot_download", download)
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
