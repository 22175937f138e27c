"""The decoder against stock transformers in torch: same checkpoint, same tokens, same numbers.

The checkpoints are tiny and random (:mod:`tiny_checkpoints`), one for every variant of config and file layout
that real models use, with prompts longer than the sliding windows. In float64 the lifted stock model agrees
to 1e-12; the unmodified one, which takes norms, angles and softmax in float32, to 1e-6. The measured errors
are printed: pytest -rP tests/test_parity.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Measured
from flax import nnx
from jaxlin_models import ModelError, weights
from jaxlin_models.checkpoint import find
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import CHECKPOINTS, prompt_ids, write_checkpoint

import jaxlin
from jaxlin import JaxlinError
from jaxlin.prompts.load import locate

torch = pytest.importorskip("torch")
import torch_oracle as oracle  # noqa: E402  (needs torch)

torch.set_num_threads(1)  # tiny tensors: more threads only fight JAX for the cores

LIFTED_TOLERANCE = 1e-12
STOCK_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Pass:
    """One forward pass: what goes into layer 0, what the final norm hands out, and the logits."""

    embeddings: NDArray[np.float64]
    hidden: NDArray[np.float64]
    logits: NDArray[np.float64]


@dataclass(frozen=True)
class Passes:
    """One checkpoint's prompt through our decoder, the lifted stock model and the unmodified stock model."""

    name: str
    ours: Pass
    lifted: Pass
    stock: Pass


def our_pass(directory: Path, ids: list[int]) -> Pass:
    decoder = weights.load_decoder(directory, jnp.float64)
    x = decoder.embed(jnp.asarray(ids))
    hidden = decoder(x)
    return Pass(*(np.asarray(a) for a in (x, hidden, decoder.logits(hidden))))


def torch_pass(directory: Path, ids: list[int], *, lift: bool) -> Pass:
    model = oracle.load_stock(directory, lift=lift)
    with torch.no_grad():
        x = oracle.embeddings(model, ids)
        hidden = oracle.hidden_states(model, x)
    return Pass(*(a.numpy() for a in (x, hidden, oracle.logits(model, ids))))


@pytest.fixture(scope="module", params=CHECKPOINTS)
def passes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Passes:
    directory = write_checkpoint(request.param, tmp_path_factory.mktemp("checkpoint"))
    ids = prompt_ids(request.param)
    return Passes(
        name=request.param,
        ours=our_pass(directory, ids),
        lifted=torch_pass(directory, ids, lift=True),
        stock=torch_pass(directory, ids, lift=False),
    )


def worst_position(ours: NDArray, theirs: NDArray) -> float:
    """Largest relative error of any position's vector."""
    assert ours.shape == theirs.shape
    errors = np.linalg.norm(ours - theirs, axis=-1) / np.linalg.norm(theirs, axis=-1)
    return float(errors.max())


@pytest.mark.parametrize("quantity", ["embeddings", "hidden", "logits"])
def test_parity_with_lifted_stock(passes: Passes, quantity: str, measured: Measured) -> None:
    error = worst_position(getattr(passes.ours, quantity), getattr(passes.lifted, quantity))
    print(f"{quantity}, worst position: {error:.1e}")
    measured(passes.name, **{quantity: error})
    assert error <= LIFTED_TOLERANCE


@pytest.mark.parametrize("quantity", ["embeddings", "hidden", "logits"])
def test_parity_with_unmodified_stock(passes: Passes, quantity: str) -> None:
    ours, stock = getattr(passes.ours, quantity), getattr(passes.stock, quantity)
    error = np.linalg.norm(ours - stock) / np.linalg.norm(stock)
    print(f"{quantity}, all positions: {error:.1e}")
    assert error <= STOCK_TOLERANCE


@pytest.mark.parametrize("name", ["llama", "gemma3-text", "qwen3"])
def test_sharded_checkpoint_equals_single_file(name: str, tmp_path: Path) -> None:
    single = weights.load_decoder(write_checkpoint(name, tmp_path / "single"), jnp.float64)
    sharded = weights.load_decoder(write_checkpoint(name, tmp_path / "sharded", shards=3), jnp.float64)
    equal = jax.tree.map(jnp.array_equal, *map(parameters, (single, sharded)))
    assert jax.tree.all(equal)


@pytest.mark.parametrize("name", ["llama-biases", "phi3", "olmo2-attention-bias", "qwen2", "gemma2"])
def test_weights_go_back_to_the_tensors_they_came_from(name: str, tmp_path: Path) -> None:
    """Names, layouts and fused tensors, bit by bit."""
    checkpoint = find(str(write_checkpoint(name, tmp_path)))
    back = weights.to_huggingface(weights.load_decoder(checkpoint, jnp.float32), checkpoint.hf_config)
    stored = load_file(tmp_path / "model.safetensors")
    assert set(back) == set(stored)
    for tensor, value in stored.items():
        np.testing.assert_array_equal(back[tensor], value, err_msg=tensor)


@pytest.mark.parametrize(
    ("tensor", "shape"), [("self_attn.qkv_proj", "[95, 48]"), ("mlp.gate_up_proj", "[111, 48]")]
)
def test_fused_tensor_of_another_shape_is_refused(tensor: str, shape: str, tmp_path: Path) -> None:
    file = write_checkpoint("phi3", tmp_path) / "model.safetensors"
    tensors, name = load_file(file), f"model.layers.1.{tensor}.weight"
    save_file(tensors | {name: tensors[name][1:]}, file)
    with pytest.raises(ModelError, match=re.escape(f"tensor {name} has shape {shape} where config.json")):
        weights.load_decoder(tmp_path, jnp.float32)


def parameters(decoder: nnx.Module) -> dict[str, Any]:
    return nnx.to_pure_dict(nnx.state(decoder))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_tiny_checkpoint_mixes_positions(name: str, tmp_path: Path) -> None:
    """Uniform or one-hot attention would hide mistakes in positions, masks and scales."""
    model = oracle.load_stock(write_checkpoint(name, tmp_path))
    ids = torch.as_tensor([prompt_ids(name)])
    for layer_hts in oracle.text_model(model)(ids, output_attentions=True).attentions:
        p_hts = layer_hts[0, :, 8:]
        visible = (p_hts > 0).sum(-1)
        share_used = torch.special.entr(p_hts).sum(-1).exp() / visible
        assert 0.15 < share_used.mean() < 0.85


@pytest.mark.parametrize("name", ["llama-yarn", "gemma3-text", "qwen3-sliding", "phi3-longrope-long"])
def test_parity_at_far_positions(name: str, tmp_path: Path) -> None:
    """Rotary angles are joined from two tables of 256 positions: go past the first."""
    directory, ids = write_checkpoint(name, tmp_path), prompt_ids(name, length=300)
    ours, lifted = our_pass(directory, ids), torch_pass(directory, ids, lift=True)
    assert worst_position(ours.hidden, lifted.hidden) <= LIFTED_TOLERANCE


# --- a torch model in memory ---

#: One checkpoint a family, and one of every layout: tied heads, biases, fused tensors, a vision tower.
IN_MEMORY = (
    "llama-tied", "llama-biases", "mistral-sliding", "ministral", "phi3-longrope-long",
    "olmo2-attention-bias", "gemma2", "gemma3-text", "gemma3-multimodal", "qwen2-sliding", "qwen3-sliding",
)  # fmt: skip


@pytest.mark.parametrize("name", IN_MEMORY)
def test_a_torch_model_in_memory_is_that_of_its_files(name: str, tmp_path: Path) -> None:
    """The same Jacobian to the last bit, in the dtype that it has and in the one that is asked for."""
    directory, ids = write_checkpoint(name, tmp_path), prompt_ids(name)
    theirs = oracle.load_stock(directory, dtype=torch.float32, lift=False)
    for dtype in ("float32", "bfloat16"):
        stored, taken = jaxlin.load(directory, dtype=dtype), jaxlin.load(theirs, dtype=dtype)
        assert taken.config == stored.config
        a, b = taken.jacobian(ids), stored.jacobian(ids)
        np.testing.assert_array_equal(as_float(a.y), as_float(b.y))
        np.testing.assert_array_equal(as_float(a.dense()), as_float(b.dense()))
        assert (taken.dtype_name, taken.precision) == (stored.dtype_name, stored.precision)


def as_float(array: Any) -> NDArray[np.float64]:
    return np.asarray(array, np.float64)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_torch_tensors_keep_their_values(dtype: str, tmp_path: Path) -> None:
    """Narrow ones are widened, wide ones are kept, both without rounding."""
    theirs = oracle.load_stock(write_checkpoint("llama", tmp_path), dtype=getattr(torch, dtype), lift=False)
    digits = getattr(torch, dtype)  # the file has float32: fill all digits that this dtype has
    theirs.get_input_embeddings().weight.mul_(torch.tensor(1 / 3, dtype=digits))
    decoder = jaxlin.load(theirs, dtype="float64").decoder
    expected = theirs.get_input_embeddings().weight.double().numpy()
    np.testing.assert_array_equal(decoder.embedding[...], expected)
    kernel = theirs.model.layers[1].mlp.down_proj.weight.double().numpy().T
    np.testing.assert_array_equal(decoder.layers.mlp.down.kernel[...][1], kernel)


def test_a_torch_model_says_which_it_is(tmp_path: Path) -> None:
    directory = write_checkpoint("llama", tmp_path)
    theirs = oracle.load_stock(directory, dtype=torch.float32, lift=False)
    model = locate(theirs)
    assert (model.held_bytes, model.weights_sha256) == (0, None)
    assert (model.name, model.checkpoint) == (str(directory), None)
    theirs.config.name_or_path = ""
    assert repr(jaxlin.load(theirs)) == "Model(LlamaForCausalLM, llama, 3 layers, width 32, float32)"
    before = jaxlin.load(theirs).weights_sha256
    assert before is not None
    assert jaxlin.load(theirs, dtype="bfloat16").weights_sha256 == before
    with torch.no_grad():
        theirs.model.layers[2].mlp.up_proj.weight[0, 0] += 1
    assert jaxlin.load(theirs).weights_sha256 != before
    with pytest.raises(JaxlinError, match="no tokenizer: give one"):
        model.tokenize("Hello")
    tokenizer = jaxlin.load("demo-llama").tokenizer
    assert jaxlin.load(theirs, tokenizer=tokenizer).tokenizer is tokenizer


def test_a_bare_torch_model_has_a_head_where_it_is_tied(tmp_path: Path) -> None:
    """``AutoModel`` instead of ``AutoModelForCausalLM``: other names, no head."""
    theirs = oracle.load_stock(write_checkpoint("llama-tied", tmp_path), dtype=torch.float32, lift=False)
    a, b = jaxlin.load(theirs.model).decoder, jaxlin.load(theirs).decoder
    assert jax.tree.all(jax.tree.map(jnp.array_equal, parameters(a), parameters(b)))


def test_torch_models_that_cannot_be_taken(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    small = GPT2LMHeadModel(GPT2Config(vocab_size=8, n_positions=8, n_embd=8, n_layer=1, n_head=1))
    said = r"this GPT2LMHeadModel is of an unknown architecture: .* 'gpt2'; supported are gemma2"
    with pytest.raises(ModelError, match=said):
        locate(small)
    theirs = oracle.load_stock(write_checkpoint("llama", tmp_path), dtype=torch.float32, lift=False)
    whole = theirs.model.layers[1].mlp.up_proj.weight

    def with_weight(weight: torch.Tensor) -> None:
        theirs.model.layers[1].mlp.up_proj.weight = torch.nn.Parameter(weight, requires_grad=False)

    name = r"model\.layers\.1\.mlp\.up_proj\.weight"
    for weight, words in (
        (whole[:3], rf"tensor {name} of this LlamaForCausalLM has shape \[3, "),
        (whole.to(torch.int8), rf"tensor {name} of this LlamaForCausalLM is stored as torch.int8"),
        (whole.to("meta"), rf"tensor {name} of this LlamaForCausalLM is on the meta device"),
        (whole * torch.inf, rf"tensor {name} holds NaN or infinite values in float32; mend the model"),
    ):
        with_weight(weight)
        with pytest.raises(ModelError, match=words):
            jaxlin.load(theirs)
    del theirs.model.layers[1].mlp.up_proj
    with pytest.raises(ModelError, match=rf"lacks the tensor {name}; .* adapters merged"):
        jaxlin.load(theirs)
    with pytest.raises(JaxlinError, match=r"a Linear cannot be loaded: give a directory"):
        jaxlin.load(torch.nn.Linear(2, 2))
