"""The certificate recomputes the prediction by other code, from a checkpoint's tensors and the token ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxlin_models import find, second_logits
from jaxlin_models.tensors import tensors_of
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import CHECKPOINTS, prompt_ids, write_checkpoint

import jaxlin
from jaxlin.linear.certificate import Certificate
from jaxlin.prompts.model import Model
from jaxlin.results.plain import as_plain, restored


def prediction(model: Model, ids: list[int]) -> jaxlin.linear.certificate.Check:
    check = model.jacobian(ids).labels.prediction()
    assert check.name == "prediction"
    return check


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_second_path_is_stock(name: str, tmp_path: Path) -> None:
    """It is right by itself: no line of it is shared with stock or with the decoder."""
    oracle = pytest.importorskip("torch_oracle")
    directory, ids = write_checkpoint(name, tmp_path), prompt_ids(name)
    checkpoint = find(str(directory))
    ours = second_logits(tensors_of(checkpoint), checkpoint.config, ids, np.float64, np.float64)
    stock = oracle.logits(oracle.load_stock(directory), ids)[-1].numpy()
    assert np.linalg.norm(ours - stock) < 1e-13 * np.linalg.norm(stock)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", ["llama-biases", "gemma3-multimodal", "qwen3-sliding", "phi3-longrope-long"])
def test_right_models_hold(tiny_model: Callable[[str, str], Model], name: str, dtype: str) -> None:
    check = prediction(tiny_model(name, dtype), prompt_ids(name))
    assert check.holds
    assert check.value < {"float32": 1e-5, "float64": 1e-13, "bfloat16": 0.1}[dtype]
    assert "NumPy" in check.meaning


#: What could be wrong of a decoder that was loaded, by the path of the parameter.
LIES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "head": lambda table: jnp.roll(table, 1, axis=0),
    "embedding": lambda table: table.at[5].set(table[6]),
    "layers.attention.query.bias": jnp.zeros_like,
    "layers.mlp.up.bias": jnp.zeros_like,
    "layers.attention_norm.scale": lambda scale: scale[::-1],
    "final_norm.scale": jnp.ones_like,
    "layers.attention.key.kernel": lambda kernel: kernel.at[1].set(kernel[2]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_decoder_that_is_not_its_files_does_not_hold(lie: str, tmp_path: Path) -> None:
    """A wrong head, a dropped bias, a layer twice: J is right for that decoder, which is another."""
    ids = [5, 17, 3, 44, 9, 60]
    model = jaxlin.load(str(write_checkpoint("llama-biases", tmp_path)))
    parameter: Any = model.decoder
    for part in lie.split("."):
        parameter = getattr(parameter, part)
    assert isinstance(parameter, nnx.Param)
    parameter[...] = LIES[lie](parameter[...])
    assert not prediction(model, ids).holds
    result = model.svd(ids, k=2)
    assert [check.name for check in result.certificate.failed] == ["prediction"]
    assert not result.holds
    assert not model.tokens(ids, k=1).holds


def test_a_head_in_the_file_is_the_files_prediction(tmp_path: Path) -> None:
    """Whatever the config says of it."""
    directory, ids = write_checkpoint("llama-tied", tmp_path), [1, 2, 3]
    tensors = load_file(directory / "model.safetensors")
    checkpoint = find(str(directory))
    tied = second_logits(tensors_of(checkpoint), checkpoint.config, ids, np.float32, np.float32)
    tensors["lm_head.weight"] = 2 * tensors["model.embed_tokens.weight"]
    save_file(tensors, directory / "model.safetensors")
    own = second_logits(tensors_of(checkpoint), checkpoint.config, ids, np.float32, np.float32)
    np.testing.assert_allclose(own, 2 * tied, rtol=1e-5)


def test_models_in_memory(tmp_path: Path) -> None:
    """A torch model's tensors are read again; of a decoder there is the ordinary forward pass alone."""
    model = jaxlin.load(str(write_checkpoint("qwen3", tmp_path)))
    decoder = jaxlin.load(model.decoder)
    check = prediction(decoder, [1, 2, 3])
    assert check.holds
    assert "ordinary forward pass" in check.meaning
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    stock = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    taken = jaxlin.load(stock)
    before = taken.weights_sha256
    assert "NumPy" in prediction(taken, [1, 2, 3]).meaning
    assert prediction(taken, [1, 2, 3]).holds
    assert taken.weights_sha256 == before
    with torch.no_grad():
        stock.model.layers[1].mlp.up_proj.weight.mul_(1.5)
    assert not prediction(taken, [1, 2, 3]).holds


def test_only_maps_to_the_output_have_it(tiny_model: Callable[[str, str], Model]) -> None:
    recording = tiny_model("qwen3", "float32").record([1, 2, 3, 4])
    last = recording.num_layers - 1
    assert recording.stretch(0, last).labels.prediction is not None
    assert recording.stretch(1, last).labels.prediction is not None
    assert recording.stretch(0, last, normed=False).labels.prediction is None
    assert recording.stretch(0, 0).labels.prediction is None
    assert recording.module(1, "mlp").labels.prediction is None


def test_a_padded_prompt_is_predicted_as_it_is(tiny_model: Callable[[str, str], Model]) -> None:
    operator = tiny_model("gemma3-text", "float32").jacobian([1, 2, 3], length=8)
    assert operator.labels.prediction().holds


def test_zero_maps_are_said_to_be_zero() -> None:
    operator = jaxlin.linearize(lambda x, a: a @ x, jnp.ones(20), jnp.zeros((5, 20)))
    for method in ("dense", "lanczos", "power"):
        result = jaxlin.svd(operator, 2, method=method)
        assert "THE MAP IS ZERO" in repr(result)
        assert "THE MAP IS ZERO" in repr(result.certificate)
    one = replace(result.certificate, zero=False)
    assert "ZERO" not in repr(one)
    read = restored(Certificate, json.loads(json.dumps(as_plain(result.certificate))))
    assert read == result.certificate


def test_certificates_of_earlier_versions_are_read() -> None:
    """They have neither the prediction nor the word on zero."""
    operator = jaxlin.linearize(lambda x, a: a @ x, jnp.ones(4), jnp.eye(4))
    certificate = jaxlin.svd(operator, 2, method="dense").certificate
    plain = json.loads(json.dumps(as_plain(certificate)))
    del plain["zero"]
    assert restored(Certificate, plain) == certificate
