"""Several sets of weights, heads tied and not, tensors that nobody asked for: as stock, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jaxlin_models import ModelError, find, load_decoder, second_logits, weights_hash
from jaxlin_models.tensors import tensors_of as file_tensors
from jaxlin_models.weights import to_huggingface
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import save_shards, write_checkpoint

#: One checkpoint for each model_type.
EVERY_TYPE = (
    "llama", "mistral", "ministral", "phi3", "olmo2", "gemma2", "gemma3-text", "gemma3-multimodal", "qwen2",
    "qwen3",
)  # fmt: skip
FEW = ("llama", "gemma3-multimodal", "phi3")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

Tensors = dict[str, NDArray[Any]]


def edit_config(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def tensors_of(folder: Path) -> Tensors:
    return load_file(folder / SINGLE)


def load(folder: Path) -> tuple[Tensors, list[str]]:
    """Our parameters under stock's names in a text model, and what was said.

    Whatever loads is also predicted by the certificate's other path, which takes the tensors by name itself.
    """
    said: list[str] = []
    checkpoint = find(str(folder))
    decoder = load_decoder(checkpoint, jnp.float64, tell=said.append)
    ids = [5, 17, 3]
    ours = decoder.logits(decoder(decoder.embed(jnp.array(ids)))[-1])
    theirs = second_logits(file_tensors(checkpoint), checkpoint.config, ids, np.float64, np.float64)
    np.testing.assert_allclose(theirs, ours, rtol=1e-10, atol=1e-10)
    return to_huggingface(decoder, checkpoint.hf_config), said


def stock(folder: Path) -> Tensors:
    """Stock's parameters under the same names, those of its head included."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    state = {name.replace("model.language_model.", "model."): p.detach().numpy()
             for name, p in model.state_dict().items()}  # fmt: skip
    return state | {"lm_head.weight": model.get_output_embeddings().weight.detach().numpy()}


def assert_as_stock(folder: Path, ours: Tensors) -> None:
    theirs = stock(folder)
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    head = ours.get("lm_head.weight", ours["model.embed_tokens.weight"])
    np.testing.assert_array_equal(head, theirs["lm_head.weight"])


# Which files


def scaled(tensors: Tensors, factor: float) -> Tensors:
    return {name: (value * factor).astype(value.dtype) for name, value in tensors.items()}


@pytest.mark.parametrize("name", FEW)
def test_single_file_goes_before_an_index(name: str, tmp_path: Path) -> None:
    write_checkpoint(name, tmp_path)
    before = weights_hash(find(str(tmp_path)))
    save_shards(scaled(tensors_of(tmp_path), 1.1), tmp_path, 2)
    ours, said = load(tmp_path)
    assert_as_stock(tmp_path, ours)
    assert len(said) == 1
    assert f"several sets of weights: {SINGLE} is used" in said[0]
    assert f"{INDEX} and 2 more left aside" in said[0]
    assert weights_hash(find(str(tmp_path))) == before


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("chosen", ["hf.safetensors", "hf.safetensors.index.json", "below/hf.safetensors"])
def test_file_that_the_config_names(name: str, chosen: str, tmp_path: Path) -> None:
    write_checkpoint(name, tmp_path)
    before = weights_hash(find(str(tmp_path)))
    other = scaled(tensors_of(tmp_path), 1.1)
    if chosen.endswith(".json"):
        save_shards(other, tmp_path, 2)
        (tmp_path / INDEX).rename(tmp_path / chosen)
    else:
        (tmp_path / chosen).parent.mkdir(exist_ok=True)
        save_file(other, tmp_path / chosen)
    edit_config(tmp_path, transformers_weights=chosen)
    ours, said = load(tmp_path)
    if chosen.endswith(".json"):
        np.testing.assert_array_equal(ours["model.norm.weight"], norm_of(other))
    else:
        assert_as_stock(tmp_path, ours)
    assert SINGLE in said[0]
    assert weights_hash(find(str(tmp_path))) != before


def norm_of(tensors: Tensors) -> NDArray[Any]:
    return next(value for name, value in tensors.items()
                if name.endswith("model.norm.weight"))  # fmt: skip


@pytest.mark.parametrize(
    "named", ["model.bin", "adapter_model.bin", "../model.safetensors", "/model.safetensors", 3, ["a"], "",
              "a\0b.safetensors", "x" * 300 + ".safetensors"],
)  # fmt: skip
def test_config_that_names_no_file_of_weights(named: Any, tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path / "model")
    (tmp_path / "model" / SINGLE).rename(tmp_path / SINGLE)
    edit_config(tmp_path / "model", transformers_weights=named)
    with pytest.raises(ModelError, match="transformers_weights"):
        load(tmp_path / "model")


def test_named_file_that_is_not_there(tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path)
    edit_config(tmp_path, transformers_weights="hf.safetensors")
    with pytest.raises(ModelError, match=r"hf\.safetensors"):
        load(tmp_path)


@pytest.mark.parametrize(
    "other", ["consolidated.safetensors", "model-00009-of-00009.safetensors", "pytorch_model.bin"]
)
def test_weights_that_are_left_aside_are_named(other: str, tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path)
    (tmp_path / other).write_bytes((tmp_path / SINGLE).read_bytes())
    _, said = load(tmp_path)
    assert len(said) == 1
    assert other in said[0]


def test_one_set_is_not_mentioned(tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path, shards=3)
    (tmp_path / "training_args.bin").write_bytes(b"0")
    assert load(tmp_path)[1] == []


def test_adapter_beside_the_weights(tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(ModelError, match="adapter beside its weights"):
        load(tmp_path)


def test_tensor_in_two_files(tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path, shards=2)
    first, second = (tmp_path / f"model-0000{n}-of-00002.safetensors" for n in (1, 2))
    both = load_file(first)
    save_file(load_file(second) | {"model.norm.weight": np.ones(32, np.float32)}, second)
    save_file(both | {"model.norm.weight": np.zeros(32, np.float32)}, first)
    with pytest.raises(ModelError, match=r"tensor model\.norm\.weight is in two files"):
        load(tmp_path)


# Heads


def names_of_tables(tensors: Tensors) -> tuple[str, str]:
    table = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    head = "language_model.lm_head.weight" if table.startswith("language_model") else "lm_head.weight"
    return table, head


def tie(folder: Path) -> None:
    edit_config(folder, tie_word_embeddings=True)


def rewrite(folder: Path, edit: Callable[[Tensors], Tensors]) -> None:
    save_file(edit(tensors_of(folder)), folder / SINGLE)


@pytest.mark.parametrize("name", EVERY_TYPE)
def test_own_head_where_the_config_ties(name: str, tmp_path: Path) -> None:
    write_checkpoint(name, tmp_path)
    tie(tmp_path)
    table, head = names_of_tables(tensors_of(tmp_path))
    rewrite(tmp_path, lambda old: old | {head: (old[table] * np.float32(1.5)).copy()})
    ours, said = load(tmp_path)
    assert_as_stock(tmp_path, ours)
    assert np.any(ours["lm_head.weight"] != ours["model.embed_tokens.weight"])
    assert len(said) == 1
    assert f"a head of its own ({head})" in said[0]


@pytest.mark.parametrize("name", EVERY_TYPE)
def test_head_alone_where_the_config_ties(name: str, tmp_path: Path) -> None:
    write_checkpoint(name, tmp_path)
    tie(tmp_path)
    table, head = names_of_tables(tensors_of(tmp_path))
    rewrite(
        tmp_path, lambda old: {n: t for n, t in old.items() if n not in (table, head)} | {head: old[table]}
    )
    ours, said = load(tmp_path)
    assert_as_stock(tmp_path, ours)
    assert said == []


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_equal_head_where_the_config_ties(dtype: type, tmp_path: Path) -> None:
    write_checkpoint("qwen3", tmp_path)
    table = tensors_of(tmp_path)["model.embed_tokens.weight"].astype(dtype)
    rewrite(tmp_path, lambda old: old | {"model.embed_tokens.weight": table, "lm_head.weight": table.copy()})
    ours, said = load(tmp_path)
    assert said == []
    assert "lm_head.weight" not in ours


def test_head_whose_last_row_alone_differs(tmp_path: Path) -> None:
    write_checkpoint("qwen3", tmp_path)
    table = tensors_of(tmp_path)["model.embed_tokens.weight"].copy()
    table[-1, -1] += 1
    rewrite(tmp_path, lambda old: old | {"lm_head.weight": table})
    assert len(load(tmp_path)[1]) == 1


def test_head_of_other_shape_where_the_config_ties(tmp_path: Path) -> None:
    write_checkpoint("qwen3", tmp_path)
    rewrite(tmp_path, lambda old: old | {"lm_head.weight": np.zeros((128, 40), np.float32)})
    with pytest.raises(ModelError, match=r"tensor lm_head\.weight has shape \[128, 40\]"):
        load(tmp_path)


def test_no_head_where_the_config_ties_nothing(tmp_path: Path) -> None:
    write_checkpoint("qwen3", tmp_path)
    edit_config(tmp_path, tie_word_embeddings=False)
    with pytest.raises(ModelError, match=r"lacks the tensor lm_head\.weight"):
        load(tmp_path)


def test_torch_model_with_a_head_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    import jaxlin

    write_checkpoint("qwen3", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    capsys.readouterr()
    tied = jaxlin.load(model, dtype="float64")
    assert tied.decoder.config.tie_embeddings
    assert capsys.readouterr().err == ""
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach() * 1.5)
    own = jaxlin.load(model, dtype="float64")
    assert not own.decoder.config.tie_embeddings
    assert "a head of its own (lm_head.weight)" in capsys.readouterr().err


# Tensors that the config has no place for


def extra(layers: int, width: int = 32) -> dict[str, tuple[int, ...]]:
    """Names that follow the decoder's prefix."""
    return {
        f"layers.{layers}.self_attn.o_proj.weight": (width, width),
        "layers.0.self_attn.o_proj.bias": (width,),
        "layers.0.mlp.down_proj.bias": (width,),
        "layers.1.self_attn.sinks": (4,),
        "layers.0.self_attn.q_proj.lora_A.weight": (2, width),
        "layers.0.mlp.experts.0.up_proj.weight": (2, width),
        "norm.bias": (width,),
        "embed_positions.weight": (8, width),
    }


@pytest.mark.parametrize("name", EVERY_TYPE)
def test_tensors_without_a_place_are_refused(name: str, tmp_path: Path) -> None:
    write_checkpoint(name, tmp_path)
    whole = tensors_of(tmp_path)
    table, _ = names_of_tables(whole)
    prefix = table.removesuffix("embed_tokens.weight")
    layers = find(str(tmp_path)).config.num_layers
    for tensor, shape in extra(layers).items():
        rewrite(tmp_path, lambda _, t=tensor, s=shape: whole | {prefix + t: np.zeros(s, np.float32)})
        with pytest.raises(ModelError) as refused:
            load(tmp_path)
        assert f"has the tensor {prefix}{tensor}, and its config has " in str(refused.value)


@pytest.mark.parametrize(
    "tensor", ["lm_head.bias", "score.weight", "v_head.summary.weight", "mtp.norm.weight"]
)
def test_other_heads_are_refused(tensor: str, tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path)
    rewrite(tmp_path, lambda old: old | {tensor: np.zeros(3, np.float32)})
    with pytest.raises(ModelError, match=f"has the tensor {tensor}"):
        load(tmp_path)


def test_second_decoder_in_one_file_is_refused(tmp_path: Path) -> None:
    write_checkpoint("llama", tmp_path)
    rewrite(tmp_path, lambda old: old | {n.removeprefix("model."): t.copy() for n, t in old.items()})
    with pytest.raises(ModelError, match=r"has the tensor embed_tokens\.weight and"):
        load(tmp_path)


@pytest.mark.parametrize("name", EVERY_TYPE)
def test_more_layers_in_the_config_than_in_the_file(name: str, tmp_path: Path) -> None:
    write_checkpoint(name, tmp_path)
    whole = tensors_of(tmp_path)
    last = find(str(tmp_path)).config.num_layers - 1
    rewrite(tmp_path, lambda old: {n: t for n, t in old.items() if f"layers.{last}.self_attn" not in n
                                   and f"layers.{last}.mlp" not in n})  # fmt: skip
    assert len(tensors_of(tmp_path)) < len(whole)
    with pytest.raises(ModelError, match=rf"lacks the tensor .*layers\.{last}\."):
        load(tmp_path)


@pytest.mark.parametrize("name", FEW)
def test_harmless_tensors_are_left_out(name: str, tmp_path: Path) -> None:
    write_checkpoint(name, tmp_path)
    before, _ = load(tmp_path)
    prefix = names_of_tables(tensors_of(tmp_path))[0].removesuffix("embed_tokens.weight")
    harmless = {
        f"{prefix}layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32),
        f"{prefix}rotary_emb.inv_freq": np.ones(4, np.float32),
        f"{prefix}layers.1.self_attn.k_scale": np.ones(1, np.float32),
        f"{prefix}layers.1.self_attn.v_scale": np.ones(1, np.float32),
        f"{prefix}layers.1.self_attn.k_proj.k_scale": np.ones((), np.float32),
        "vision_tower.vision_model.embeddings.position_ids": np.ones(4, np.int64),
        "model.vision_tower.x.weight": np.ones(4, np.float16),
        "multi_modal_projector.y.weight": np.ones(4, np.float32),
    }
    rewrite(tmp_path, lambda old: old | harmless)
    after, said = load(tmp_path)
    assert said == []
    assert before.keys() == after.keys()
    for tensor, value in before.items():
        np.testing.assert_array_equal(value, after[tensor])
