"""Gemma 3 270M and SmolLM2-135M-Instruct, wherever their packages are installed (make real-models)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import jaxlin_models as models
import numpy as np
import pytest
from jaxlin_models.gguf.header import read_header
from jaxlin_models.installed import INSTALLED_MODELS, installed_file, is_installed

import jaxlin

TEXT = Path(models.__file__).parent / "demo" / "bridge.txt"
#: A model, its types, tokens of the text, and how a short prompt goes on.
GEMMA = (
    "gemma-3-270m",
    {"F32", "Q5_0", "Q4_K", "Q8_0", "Q6_K"},
    445,
    "The bridge out of Marin is the Golden",
    " Gate",
)
SMOLLM = ("smollm2-135m", {"F32", "Q4_1", "Q8_0"}, 453, "The capital of France is", " Paris")
each = pytest.mark.parametrize(("name", "types", "length", "prompt", "next_token"), [GEMMA, SMOLLM])

pytestmark = pytest.mark.demos


@pytest.fixture(autouse=True)
def only_where_installed(request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["name"]
    if not is_installed(name):
        pytest.skip(f"{name} is not installed: {INSTALLED_MODELS[name].install}")


@cache
def loaded(name: str) -> Any:
    return jaxlin.load(name)


@each
def test_file_and_types(name: str, types: set[str], length: int, prompt: str, next_token: str) -> None:
    header = read_header(installed_file(name))
    assert {place.storage.name for place in header.tensors.values()} == types
    config = models.find_config(name)
    ours = models.find(name).config
    assert (ours.embed_dim, ours.num_layers, ours.vocab_size) == (
        config.embed_dim,
        config.num_layers,
        config.vocab_size,
    )


@each
def test_it_is_taken_apart(name: str, types: set[str], length: int, prompt: str, next_token: str) -> None:
    """The map is that of the prediction, which NumPy computes from the file's tensors as well."""
    model = loaded(name)
    result = model.svd(prompt, k=2)
    assert result.certificate.holds
    ours = np.asarray(model.logits(model.jacobian(model.tokenize(prompt)).y))
    assert model.token_text(int(np.argmax(ours))) == next_token


@each
def test_tokens_are_those_of_stock_and_text_comes_back(
    name: str, types: set[str], length: int, prompt: str, next_token: str
) -> None:
    from transformers import AutoTokenizer

    model, path, text = loaded(name), installed_file(name), TEXT.read_text()
    assert len(model.tokenize(text)) == length
    assert model.text(model.tokenize(text, special_tokens=False)) == text
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for given in (prompt, text):
        assert tokenizer(given)["input_ids"] == model.tokenize(given)


@pytest.mark.parametrize(("name", "types", "length", "prompt", "next_token"), [SMOLLM])
def test_logits_are_those_of_stock(
    name: str, types: set[str], length: int, prompt: str, next_token: str
) -> None:
    """Of both models make crosscheck-real compares the whole Jacobian, in float64."""
    pytest.importorskip("torch")
    import torch_oracle as oracle

    model, path = loaded(name), installed_file(name)
    ids = model.tokenize(prompt)
    stock = oracle.logits(oracle.load_stock(path), ids)[-1].numpy()
    ours = np.asarray(model.logits(model.jacobian(ids).y), np.float64)
    assert np.linalg.norm(ours - stock) <= 1e-5 * np.linalg.norm(stock)
