"""GGUF files of every architecture and type, against stock transformers and the same model as a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import jaxlin_models as models
import numpy as np
import pytest
from jaxlin_models import families
from jaxlin_models.gguf.header import read_header
from jaxlin_models.rope import inverse_frequencies
from numpy.testing import assert_array_equal
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


@each
def test_jacobian_is_that_of_stock_transformers(name: str, tmp_path: Path) -> None:
    """Stock reads the tensors by itself; the settings are ours, of which it leaves some out."""
    pytest.importorskip("torch")
    import crosscheck_torch

    path = tmp_path / "model.gguf"
    write_gguf(name, path)
    model = jaxlin.load(path, dtype="float64")
    theirs = crosscheck_torch.by_torch(path, IDS, 16, model.checkpoint.hf_config)
    figures = crosscheck_torch.compare(crosscheck_torch.by_jaxlin(model, IDS, 16), theirs)
    assert [figure for figure in figures if not figure.passed] == []
