"""GGUF files of every architecture and type, against stock transformers and as a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxlin_models as models
import numpy as np
import pytest
from jaxlin_models import families
from jaxlin_models.gguf.header import read_header
from jaxlin_models.gguf.model import read_gguf
from jaxlin_models.rope import inverse_frequencies
from numpy.testing import assert_array_equal
from tiny_checkpoints import save_shards
from tiny_gguf import LARGE_BLOCKS, MODELS, SMALL_BLOCKS, write_gguf

import jaxlin

IDS = [5, 90, 17, 33, 2, 64, 71, 8, 40, 11, 23, 90]
each = pytest.mark.parametrize("name", MODELS)


@each
def test_metadata_and_tensors_are_those_of_the_checkpoint(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    known = write_gguf(name, path)
    checkpoint = models.find(str(path))
    expected = families.decoder_config(MODELS[name].checkpoint.config())
    ours = checkpoint.config
    if name == "llama-factors":  # no key of transformers' says this
        pairs = inverse_frequencies(expected.rope_full, 16, 8) / MODELS[name].beside["rope_freqs.weight"]
        assert_array_equal(inverse_frequencies(ours.rope_full, 16, 8), pairs)
        ours = replace(ours, rope_full=expected.rope_full, rope_sliding=expected.rope_sliding)
    assert ours.norm_eps == np.float32(expected.norm_eps)
    assert replace(ours, norm_eps=expected.norm_eps) == expected
    assert checkpoint.unknown_keys == ()
    tensors = checkpoint.gguf.tensors()
    assert set(tensors.dtypes()) == set(known)
    for stock, value in known.items():
        assert_array_equal(tensors.read(stock, slice(None)), value, err_msg=stock)
        assert_array_equal(tensors.read(stock, slice(3, 9)), value[3:9], err_msg=stock)


def test_every_type_is_in_these_files(tmp_path: Path) -> None:
    found = set()
    for name in MODELS:
        write_gguf(name, tmp_path / "model.gguf")
        found |= {place.storage.number for place in read_header(tmp_path / "model.gguf").tensors.values()}
    assert found == {*SMALL_BLOCKS, *LARGE_BLOCKS}


def stock_place(name: str, path: Path) -> Path:
    """What stock transformers can load: the file, or of OLMo 2, which it does not know, a checkpoint."""
    known = write_gguf(name, path)
    if name != "olmo2":
        return path
    models.find(str(path)).hf_config.save_pretrained(path.parent / "stock")
    save_shards(known, path.parent / "stock", 1)
    return path.parent / "stock"


@each
def test_logits_are_those_of_stock_transformers(name: str, tmp_path: Path) -> None:
    """Stock reads the tensors by itself; the settings are ours, of which it leaves some out."""
    pytest.importorskip("torch")
    import torch_oracle as oracle

    path = tmp_path / "model.gguf"
    place = stock_place(name, path)
    checkpoint = models.find(str(path))
    stock = oracle.logits(oracle.load_stock(place, config=checkpoint.hf_config), IDS)[-1].numpy()
    ours = models.second_logits(checkpoint.gguf.tensors(), checkpoint.config, IDS, "float64", "float64")
    assert np.linalg.norm(ours - stock) <= 1e-12 * np.linalg.norm(stock)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gemma3", "qwen2", "qwen3", "phi3", "olmo2"])
def test_jacobian_is_that_of_stock_transformers(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import crosscheck_torch

    path = tmp_path / "model.gguf"
    place = stock_place(name, path)
    model = jaxlin.load(path, dtype="float64")
    theirs = crosscheck_torch.by_torch(place, IDS, 16, model.checkpoint.hf_config)
    figures = crosscheck_torch.compare(crosscheck_torch.by_jaxlin(model, IDS, 16), theirs)
    assert [figure for figure in figures if not figure.passed] == []


def test_what_stock_transformers_leaves_out_is_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import crosscheck_torch

    for name, keys in {
        "llama": [],
        "qwen3": ["head_dim", "rope_parameters"],
        "gemma3": ["query_pre_attn_scalar"],
    }.items():
        path = tmp_path / f"{name}.gguf"
        write_gguf(name, path)
        told = " ".join(crosscheck_torch.config_differences(path, models.find(str(path)).hf_config))
        assert all(f": {key} is " in told for key in keys)
        assert told or not keys


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        # llama.cpp knows Gemma 2 and 3 of 27 B by their layers: no key has their scale.
        ("gemma2", {"gemma2__block_count": 46}, {"query_scale": (64 // 4) ** -0.5}),
        ("gemma3", {"gemma3__block_count": 62}, {"query_scale": (64 // 4) ** -0.5}),
        ("gemma2", {"gemma2__attn_logit_softcapping": None, "gemma2__final_logit_softcapping": None},
         {"attention_softcap": 50.0, "final_logit_softcap": 30.0}),
        ("gemma2", {"gemma2__attention__sliding_window": None}, {"sliding_window": 4096}),
        ("gemma3", {"gemma3__attention__sliding_window": None}, {"layer_types": ("full",) * 7}),
        ("gemma3", {"gemma3__attention__sliding_window_pattern": 2},
         {"layer_types": ("sliding", "full") * 3 + ("sliding",)}),
        ("gemma3",
         {"gemma3__attention__sliding_window_pattern": [True, False, False, True, True, True, False]},
         {"layer_types": ("sliding", "full", "full", "sliding", "sliding", "sliding", "full")}),
        ("gemma3", {"gemma3__rope__freq_base_swa": 5e4}, {"rope_sliding": models.RopeConfig(5e4)}),
        ("gemma3", {"gemma3__final_logit_softcapping": 3.0}, {"final_logit_softcap": 3.0}),
        ("llama", {"llama__rope__scale_linear": 2.0}, {"rope_full": models.RopeConfig(1e4, "linear", 2.0)}),
        ("llama", {"llama__attention__head_count_kv": [2] * 5}, {"num_kv_heads": 2}),
    ],
)  # fmt: skip
def test_what_keys_say(name: str, changes: dict[str, Any], expected: dict[str, Any], tmp_path: Path) -> None:
    layers = MODELS[name].checkpoint.config().num_hidden_layers
    write_gguf(name, tmp_path / "model.gguf", plain=True, **changes)
    config = read_gguf(tmp_path / "model.gguf").config
    assert {key: getattr(config, key) for key in expected} == expected
    assert config.num_layers in (layers, 46, 62)


def test_float32_loads_and_is_taken_apart(tmp_path: Path) -> None:
    """As a user does it; the certificate computes the prediction from the file a second time."""
    path = tmp_path / "model.gguf"
    write_gguf("llama", path)
    model = jaxlin.load(path)
    result = model.svd("the end", k=2, out=tmp_path / "out")
    assert result.certificate.holds
    assert model.weights_sha256 == models.weights_hash(model.checkpoint)
    assert jaxlin.read(tmp_path / "out").summary()["model"] == str(path)
