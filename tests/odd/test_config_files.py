"""Odd config.json files of every family: quantised, of hostile size or form, keys that change a model."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from jaxlin_models import ModelError, find, find_config, load_decoder
from jaxlin_models.quantised import refuse_quantised_tensors
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import prompt_ids, write_checkpoint

import jaxlin
from jaxlin.commands.main import main

FAMILIES = (
    "llama", "mistral-sliding", "ministral", "phi3", "olmo2", "gemma2", "gemma3-text", "gemma3-multimodal",
    "qwen2", "qwen3",
)  # fmt: skip

Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    """A checkpoint by name, whose config.json, or its text part if there is one, has other values."""

    def write(name: str, *, text: bool = False, **values: Any) -> Path:
        directory = write_checkpoint(name, tmp_path / name)
        file = directory / "config.json"
        config = json.loads(file.read_text())
        (config["text_config"] if text and "text_config" in config else config).update(values)
        file.write_text(json.dumps(config))
        return directory

    return write


def refusal(directory: Path) -> str:
    """The one sentence with which a checkpoint is refused before any weight is read."""
    with pytest.raises(ModelError) as refused:
        find(str(directory))
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    assert len(said) < 600
    return said


# Keys that change what every family computes


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_attention_that_sees_both_ways(written: Write, name: str, text: bool) -> None:
    for value in (False, None, 0):
        said = refusal(written(name, is_causal=value, text=text))
        assert "config.json sets is_causal to" in said
        assert "later tokens" in said
    assert "use_bidirectional_attention" in refusal(
        written(name, is_causal=True, use_bidirectional_attention=True, text=text)
    ) or name.startswith("gemma")


def test_keys_that_reach_into_transformers_own_code(written: Write) -> None:
    """Stock would read another key's value for the epsilon."""
    for key, value in (
        ("attribute_map", {"rms_norm_eps": "initializer_range"}),
        ("get_text_config", "x"),
        ("_heterogeneity_spec", {"per_layer_overrides": {}}),
    ):
        assert key in refusal(written("llama", **{key: value}))


@pytest.mark.parametrize("name", FAMILIES)
def test_settings_of_single_layers(written: Write, name: str) -> None:
    assert "per_layer_config" in refusal(written(name, per_layer_config={"1": {"skip": ["mlp"]}}))


@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma3-text"])
def test_keys_that_nobody_knows_are_named_and_change_nothing(
    written: Write, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = find_config(str(written(name)))
    directory = written(name, my_note="x\x1b[31m", unsloth_version="2025.1", unset_thing=None)
    assert find(str(directory)).unknown_keys == ("my_note",)
    assert find_config(str(directory)) == before
    jaxlin.load(str(directory))
    told = capsys.readouterr().err
    assert told.splitlines() == [
        "jaxlin: config.json has keys that neither jaxlin nor stock transformers knows, and that change "
        "nothing: 'my_note'"
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [("embedding_multiplier", 12.0), ("logit_scale", 0.06), ("clip_qkv", 8), ("num_local_experts", 8),
     ("no_rope_layers", [1, 0]), ("lm_head_bias", True), ("is_encoder_decoder", True), ("alibi", True),
     ("architectures", ["LlamaBidirectionalModel"]), ("configuration_files", ["config.5.0.json"])],
)  # fmt: skip
def test_what_says_that_the_weights_are_of_another_kind(written: Write, key: str, value: Any) -> None:
    for name in ("llama", "qwen3"):
        assert key.removesuffix("s") in refusal(written(name, **{key: value}))


def test_a_model_in_memory_is_read_by_the_same_rules(written: Write) -> None:
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    stock = AutoModelForCausalLM.from_pretrained(written("llama"), dtype=torch.float32)
    jaxlin.load(stock)
    for key, value, said in (
        ("is_causal", False, "is_causal"),
        ("quantization_config", {"quant_method": "gptq"}, r"quantised \(gptq\)"),
        ("rms_norm_eps", float("inf"), "rms_norm_eps"),
    ):
        before = getattr(stock.config, key, None)
        setattr(stock.config, key, value)
        with pytest.raises(ModelError, match=said):
            jaxlin.load(stock)
        if before is None:
            delattr(stock.config, key)
        else:
            setattr(stock.config, key, before)


# Quantised checkpoints


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}, "gptq"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "awq"),
        ({"quantization_config": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}}, "bitsandbytes"),
        ({"quantization_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors"),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}, "fp8"),
        ({"quantization_config": {"quant_method": "bitnet", "quantization_mode": "online"}}, "bitnet"),
        ({"quantization": {"group_size": 64, "bits": 4}}, "MLX"),
        ({"compression_config": {"format": "pack-quantized"}}, "compressed-tensors"),
        ({"weight_bits": 1, "input_bits": 8}, "BitNet"),
    ],
)  # fmt: skip
def test_quantised_by_its_config(written: Write, name: str, settings: dict[str, Any], method: str) -> None:
    for text in (False, True):
        said = refusal(written(name, **settings, text=text))
        assert f"is quantised ({method}), as {next(iter(settings))} in its config says" in said
        assert said.endswith("use one in float32, bfloat16 or float16")


def test_no_quantisation_is_none(written: Write) -> None:
    for nothing in (None, {}):
        find(str(written("llama", quantization_config=nothing)))


@pytest.mark.parametrize("file", ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
def test_quantised_by_a_file_beside(written: Write, file: str) -> None:
    directory = written("qwen3")
    (directory / file).write_text("{}")
    assert f"as the file {file} says" in refusal(directory)


@pytest.mark.parametrize(
    ("tensor", "method"),
    [("qweight", "gptq"), ("weight_packed", "compressed-tensors"), ("weight_scale_inv", "fp8"),
     ("scales", "MLX"), ("weight.absmax", "bitsandbytes"), ("SCB", "bitsandbytes"), ("W_q", "hqq"),
     ("trellis", "exl3"),
     ("weight.quant_state.bitsandbytes__nf4", "bitsandbytes")],
)  # fmt: skip
def test_quantised_by_the_names_of_its_tensors(written: Write, tensor: str, method: str) -> None:
    """Its packed weights have other shapes as well, about which nothing is said."""
    directory = written("llama")
    file = directory / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.mlp.up_proj"
    tensors[f"{name}.weight"] = tensors[f"{name}.weight"].ravel()[:64].astype(np.uint8)
    tensors[f"{name}.{tensor}"] = np.zeros(3, np.float32)
    save_file(tensors, file)
    with pytest.raises(
        ModelError, match=rf"is quantised \(.*{method}.*\), as the tensor {name}\.{tensor} says"
    ):
        load_decoder(directory, "float32")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, ml_dtypes.float8_e4m3fn])
def test_quantised_by_dtypes_before_shapes(written: Write, dtype: Any) -> None:
    directory = written("gemma3-text")
    file = directory / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.2.self_attn.k_proj.weight"
    save_file(tensors | {name: np.zeros((7, 3), dtype)}, file)
    with pytest.raises(
        ModelError, match=rf"tensor {name} is stored as .*, a quantised checkpoint; use one in"
    ):
        load_decoder(directory, "float32")


def test_scales_of_caches_are_no_quantised_weights() -> None:
    refuse_quantised_tensors(
        {"model.layers.0.self_attn.k_scale": "F32", "model.layers.0.self_attn.q_proj.weight": "BF16"}, "here"
    )


# Hostile values


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    "values",
    [
        {"num_labels": 3 * 10**7}, {"num_labels": 10**24}, {"id2label": {str(i): "x" for i in range(1000)}},
        {"torch_dtype": ["float32"]}, {"dtype": {"a": 1}}, {"dtype": "no_such_dtype"},
        {"output_attentions": True, "attn_implementation": "sdpa"}, {"pad_token_id": -1},
        {"problem_type": "nope"}, {"use_return_dict": False}, {"label2id": [1]},
        {"task_specific_params": json.loads("[" * 900 + "]" * 900)},
    ],
    ids=lambda values: next(iter(values)),
)  # fmt: skip
def test_what_no_prediction_needs_is_not_looked_at(
    written: Write, name: str, values: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """No memory is taken for it, no library warns of it, and nothing is different."""
    before = find_config(str(written(name)))
    started = time.perf_counter()
    assert find_config(str(written(name, **values, text=True))) == before
    assert time.perf_counter() - started < 5
    assert capfd.readouterr().err == ""


NESTED = json.loads("[" * 900 + "]" * 900)


@pytest.mark.parametrize(
    "value", [NESTED, 10**24, float("inf"), float("nan"), "x" * 10**5, {"a": NESTED}, [1]]
)
@pytest.mark.parametrize(
    "key",
    ["num_hidden_layers", "hidden_size", "vocab_size", "max_position_embeddings", "rms_norm_eps",
     "layer_types", "rope_parameters", "rope_scaling", "tie_word_embeddings", "architectures", "model_type"],
)  # fmt: skip
def test_values_of_no_use(written: Write, key: str, value: Any) -> None:
    for name in ("llama", "qwen3"):
        directory = written(name, **{key: value})
        assert "config.json" in refusal(directory)


@pytest.mark.parametrize(
    "name", ["gemma2", "gemma3-text", "mistral-sliding", "phi3-sliding", "qwen2-sliding"]
)
def test_windows_and_layers_of_any_size_take_no_memory(written: Write, name: str) -> None:
    for key in ("sliding_window", "num_hidden_layers"):
        assert key in refusal(written(name, **{key: 10**24}))


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("eps", [float("inf"), 1e300, 1e30, 2.0, 0.0, -1e-6])
def test_epsilons_that_leave_nothing_of_a_model(written: Write, name: str, eps: float) -> None:
    """In text 1e400 is infinity too: J would be 0, and its certificate hold."""
    assert "rms_norm_eps" in refusal(written(name, rms_norm_eps=eps, text=True))


def test_an_epsilon_of_1e400(written: Write) -> None:
    directory = written("llama")
    file = directory / "config.json"
    file.write_text(file.read_text().replace('"rms_norm_eps": 1e-05', '"rms_norm_eps": 1e400'))
    assert "rms_norm_eps is inf" in refusal(directory)


YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    "rope",
    [
        YARN | {"original_max_position_embeddings": -64}, YARN | {"factor": float("inf")},
        YARN | {"factor": 1e300}, YARN | {"attention_factor": float("nan")},
        YARN | {"attention_factor": 1e308}, YARN | {"beta_fast": -1.0},
        YARN | {"rope_theta": 1.0}, YARN | {"original_max_position_embeddings": 10**400},
        LLAMA3 | {"low_freq_factor": 4.0}, LLAMA3 | {"low_freq_factor": 9.0}, LLAMA3 | {"factor": 1e-300},
        LLAMA3 | {"high_freq_factor": float("inf")},
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 0.0},
        {"rope_type": "default", "rope_theta": 1e400}, {"rope_type": "default", "rope_theta": 1e-300},
    ],
)  # fmt: skip
def test_rotary_embeddings_that_say_nothing(
    written: Write, rope: dict[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("llama", "qwen3"):
        assert "config.json" in refusal(written(name, rope_parameters=rope))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("cap", [float("inf"), 1e308, 1e-300, float("nan"), -1.0])
def test_soft_caps_that_say_nothing(written: Write, cap: float) -> None:
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        assert "soft-cap" in refusal(written("gemma2", **{key: cap}))


# What is no file


def test_a_config_that_is_no_regular_file(written: Write) -> None:
    directory = written("llama")
    (directory / "config.json").unlink()
    os.mkfifo(directory / "config.json")
    assert "is not a regular file" in refusal(directory)
    (directory / "config.json").unlink()
    (directory / "config.json").symlink_to("/dev/zero")
    assert "is not a regular file" in refusal(directory)


def test_a_config_of_many_megabytes(written: Write) -> None:
    directory = written("llama")
    with (directory / "config.json").open("a") as file:
        file.truncate(10**9)
    assert "16 MB" in refusal(directory)


# YaRN by its published recipe


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama", "mistral-sliding"])
def test_yarn_beyond_the_positions_that_the_config_has(written: Write, name: str) -> None:
    """The recipe adds a factor and the original length, and leaves the positions as they were."""
    oracle = pytest.importorskip("torch_oracle")
    ids = prompt_ids(name, length=100)
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
    directory = written(
        name, max_position_embeddings=64, rope_scaling=scaling, rope_theta=1e4, rope_parameters=None
    )
    model = jaxlin.load(str(directory), dtype="float64")
    assert model.config.max_positions == 256
    ours = np.asarray(model.logits(model.jacobian(ids).y))
    stock = oracle.logits(oracle.load_stock(directory), ids)[-1].numpy()
    assert np.linalg.norm(ours - stock) < 1e-11 * np.linalg.norm(stock)
    with pytest.raises(jaxlin.JaxlinError, match="257 tokens and the model 256 positions"):
        model.jacobian(ids * 2 + ids[:57])


def test_other_rotary_embeddings_do_not_make_room(written: Write) -> None:
    rope = LLAMA3 | {"original_max_position_embeddings": 128}
    assert find_config(str(written("llama", rope_parameters=rope))).max_positions == 256


# The command line says the same


def test_one_sentence_on_the_command_line(
    written: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = written("qwen3", is_causal=False)
    arguments = ["svd", f"--model={directory}", "--token-ids=1,2,3", f"--out={tmp_path / 'out'}"]
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("jaxlin: config.json sets is_causal to False")
    assert len(told.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()
