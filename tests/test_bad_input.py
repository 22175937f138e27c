"""Whatever a user gets wrong ends in exit code 2 and one sentence that says what to do, and leaves no trace.

The command line is called in this process, on random tiny checkpoints that are damaged one way at a time.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from jaxlin_models.families import FAMILIES
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tiny_checkpoints import write_checkpoint

from jaxlin.commands.main import main

JAXLIN = Path(sys.executable).with_name("jaxlin")
INDEX = "model.safetensors.index.json"
#: A valid request, the checkpoint and the folder apart.
IDS = ("--token-ids", "1,2,3")
REQUEST = (*IDS, "-k", "2")
PROMPT = ("--prompt", "w1 w2 w3", "-k", "2")
#: What the tiny llama is made of.
VOCAB, WIDTH, POSITIONS = 97, 32, 256

Damage = Callable[[Path], None]
#: Runs jaxlin svd on (checkpoint, *arguments), which must refuse; returns the sentence.
Refusal = Callable[..., str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny llama, this test's own."""
    return write_checkpoint("llama", tmp_path / "model")


@pytest.fixture
def refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refusal:
    """One run that must be refused, with everything that every refusal has to keep."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def run(checkpoint: Path | str, *arguments: str) -> str:
        before = contents(tmp_path)
        code = main(["svd", f"--model={checkpoint}", "--out", str(tmp_path / "results" / "out"), *arguments])
        printed = capsys.readouterr()
        assert code == 2
        assert printed.out == ""
        assert contents(tmp_path) == before
        return sentence(printed.err)

    return run


def contents(folder: Path) -> dict[str, bytes | None]:
    """Everything under a folder, hidden files too."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def sentence(stderr: str) -> str:
    """What a refusal said, which is one line, without the program's name."""
    lines = stderr.splitlines()
    assert len(lines) == 1, stderr
    assert lines[0].startswith("jaxlin: ")
    return lines[0].removeprefix("jaxlin: ")


# The request


@pytest.mark.parametrize(
    "prompt",
    [
        (),
        ("--prompt", "a", "--token-ids", "1"),
        ("--prompt", "a", "--prompt-file", "b"),
        ("--prompt-file", "b", "--token-ids", ""),
    ],
)
def test_not_exactly_one_prompt(refusal: Refusal, model: Path, prompt: tuple[str, ...]) -> None:
    said = refusal(model, *prompt)
    assert said == "give the prompt in one way: --prompt, --prompt-file or --token-ids"


@pytest.mark.parametrize("prompt", [("--prompt", ""), ("--prompt", " \n\t "), ("--token-ids", " ")])
def test_empty_prompt(refusal: Refusal, model: Path, prompt: tuple[str, str]) -> None:
    said = refusal(model, *prompt)
    assert "the prompt is empty" in said
    assert "--token-ids" in said


def test_empty_prompt_file(refusal: Refusal, model: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("\n")
    assert "the prompt is empty" in refusal(model, "--prompt-file", str(tmp_path / "prompt.txt"))


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00h"], ids=["missing", "not UTF-8"])
def test_unreadable_prompt_file(refusal: Refusal, model: Path, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "prompt.txt"
    if content is not None:
        file.write_bytes(content)
    said = refusal(model, "--prompt-file", str(file))
    assert f"cannot read {file} as UTF-8 text" in said
    assert "check --prompt-file" in said


@pytest.mark.parametrize(
    ("ids", "wrong"),
    [
        ("1,,x", "''"),
        ("1,x", "'x'"),
        ("1,2,", "''"),
        (",", "''"),
        ("1.5", "'1.5'"),
        ("1 2", "'1 2'"),
        ("0x1", "'0x1'"),
    ],
)
def test_token_ids_that_are_no_numbers(refusal: Refusal, model: Path, ids: str, wrong: str) -> None:
    """An empty place among the ids is refused too: dropping it would change the prompt unseen."""
    said = refusal(model, "--token-ids", ids)
    assert "--token-ids takes numbers with commas between, like 1,2,3" in said
    assert wrong in said


@pytest.mark.parametrize("token", [-1, VOCAB, 10**30])
def test_token_id_out_of_range(refusal: Refusal, model: Path, token: int) -> None:
    said = refusal(model, f"--token-ids=1,{token},2")
    assert f"token id {token} is out of range" in said
    assert f"from 0 to {VOCAB - 1}" in said


def test_prompt_longer_than_the_positions(refusal: Refusal, model: Path) -> None:
    said = refusal(model, "--token-ids", ",".join(["1"] * (POSITIONS + 1)))
    assert f"the prompt has {POSITIONS + 1} tokens and the model {POSITIONS} positions" in said
    assert "shorten it" in said


@pytest.mark.parametrize("k", [0, -1])
def test_k_too_small(refusal: Refusal, model: Path, k: int) -> None:
    said = refusal(model, *IDS, f"-k={k}")
    assert f"k is {k}" in said
    assert "1" in said.partition(f"k is {k}")[2]


@pytest.mark.parametrize("method", ["auto", "dense", "matfree"])
@pytest.mark.parametrize("k", [WIDTH + 1, 10**20])
def test_k_too_large(refusal: Refusal, model: Path, k: int, method: str) -> None:
    said = refusal(model, *IDS, "-k", str(k), "--method", method)
    assert f"k is {k}" in said
    assert f"choose 1 ≤ k ≤ {WIDTH}" in said


CHOICES = {
    "method": ("auto", "dense", "matfree"),
    "dtype": ("float32", "float64", "bfloat16"),
    "policy": ("detached", "none"),
}


@pytest.mark.parametrize("value", ["", "nope"])
@pytest.mark.parametrize("option", CHOICES)
def test_unknown_choice(refusal: Refusal, model: Path, option: str, value: str) -> None:
    said = refusal(model, *REQUEST, f"--{option}", value)
    assert f"unknown {option} {value!r}" in said
    assert all(choice in said for choice in CHOICES[option])


@pytest.mark.parametrize("seed", [-1, 2**32, 10**30])
def test_seed_out_of_range(refusal: Refusal, model: Path, seed: int) -> None:
    """Beyond 32 bits JAX drops bits or raises, depending on its mode."""
    said = refusal(model, *REQUEST, f"--seed={seed}")
    assert f"seed is {seed}" in said
    assert str(2**32 - 1) in said


@pytest.mark.parametrize("wrong", ["--method=x", "--dtype=x", "--policy=x", "-k=0", "--seed=-1"])
def test_what_is_wrong_with_any_model_is_said_before_loading_one(
    refusal: Refusal, model: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setattr("jaxlin_models.load_decoder", lambda *_, **__: pytest.fail("loaded a model first"))
    refusal(model, *IDS, wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("frobnicate",),
        ("svd", "--out", "x"),
        ("svd", "--model", "m", "--out", "x", "-k", "few"),
        ("svd", "--model", "m", "--out", "x", "--no-such-option"),
    ],
)
def test_command_line_that_cannot_be_parsed(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "--help" in sentence(told.err)
    assert contents(tmp_path) == {}


def test_dense_that_would_not_fit(refusal: Refusal, model: Path) -> None:
    said = refusal(model, *REQUEST, "--method", "dense", "--memory", "160KB")
    assert f"the dense matrix ({WIDTH} × {3 * WIDTH}) would need" in said
    assert re.search(r"need [\d.]+ [KMG]B and [\d.]+ [KMG]B are free", said)
    assert "use method lanczos" in said


def test_jacobian_that_would_not_fit(refusal: Refusal, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The method is matfree already; what has to go is the wish to store the matrix."""
    monkeypatch.setattr("jaxlin.solvers.choose.refuse_if_too_large", refuse_only_the_matrix)
    said = refusal(model, *REQUEST, "--method", "matfree", "--save-jacobian")
    assert "--save-jacobian" in said


def refuse_only_the_matrix(needed: int, free: int, what: str, way_out: str) -> None:
    from jaxlin import JaxlinError

    if "matrix" in what:
        raise JaxlinError(f"{what} would need too much: use {way_out}")


# The model's name


@pytest.mark.parametrize(
    "name",
    ["", "~", "no-such-model", "demo-x", "DEMO-LLAMA", "a/b/c", "a//b", "../x/y", "a/../b", "/no/such/place",
     "a b/c", "a/b\n", "a/b@", "a/b@..", "a/b@../../x", "a/b@/etc/passwd", "a/b@x@y", "n" * 5000],
)  # fmt: skip
def test_no_such_model(refusal: Refusal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    said = refusal(name, *REQUEST)
    assert f"no model {name!r}"[:1000] in said  # of a name without end the middle is left out
    assert "a hub id org/name@revision" in said
    assert len(name) > 1000 or "give a directory with config.json and safetensors, a GGUF file" in said
    assert all(demo in said for demo in ("demo-llama", "demo-gemma", "demo-qwen"))


@pytest.mark.parametrize("name", ["a/-b", "a--b/c", "a/b.git", "a/.b", "ä/ö", "a/" + "b" * 300])
def test_impossible_hub_id(refusal: Refusal, name: str) -> None:
    said = refusal(name, *REQUEST)
    assert f"{name} is not a hub id" in said
    assert "check its spelling" in said


def test_file_in_place_of_a_directory(refusal: Refusal, model: Path) -> None:
    assert "give a directory with config.json" in refusal(model / "model.safetensors", *REQUEST)


# config.json


@pytest.mark.parametrize("text", [b"", b"{", b"nope", b"[]", b"3", b"null", b"\xff", b'{"a":' * 5000])
def test_config_that_is_no_json_object(refusal: Refusal, model: Path, text: bytes) -> None:
    (model / "config.json").write_bytes(text)
    said = refusal(model, *REQUEST)
    assert f"{model / 'config.json'} is not a JSON object" in said
    assert said.endswith("fetch it anew")


def test_no_config(refusal: Refusal, model: Path) -> None:
    (model / "config.json").unlink()
    said = refusal(model, *REQUEST)
    assert said == f"{model} has no config.json; give the folder of a whole checkpoint"


@pytest.mark.parametrize("model_type", [None, "gpt2", "gemma", "qwen2_moe", "LLAMA", 3, ["llama"], {}])
def test_unknown_architecture(refusal: Refusal, model: Path, model_type: Any) -> None:
    """Never a silent default, and never a similar family."""
    edit_config(model, model_type=model_type)
    said = refusal(model, *REQUEST)
    assert f"unknown architecture: config.json says model_type {model_type!r}" in said
    assert all(family in said for family in FAMILIES)


def edit_config(model: Path, **values: Any) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | values))


COUNTS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "intermediate_size",
    "max_position_embeddings",
)


@pytest.mark.parametrize("value", ["many", 1.5, -1, 0, [], True, float("nan")], ids=repr)
@pytest.mark.parametrize("key", COUNTS)
def test_config_with_an_impossible_count(refusal: Refusal, model: Path, key: str, value: Any) -> None:
    edit_config(model, **{key: value})
    said = refusal(model, *REQUEST)
    assert "config.json" in said
    assert "fetch it anew" in said


@pytest.mark.parametrize(
    ("key", "count"),
    [
        ("hidden_size", 10**12),
        ("intermediate_size", 10**12),
        ("vocab_size", 10**12),
        ("head_dim", 10**12),
        ("num_hidden_layers", 10**6),
    ],
)
def test_config_with_an_absurd_count(refusal: Refusal, model: Path, key: str, count: int) -> None:
    """Seen from what its weights would take, or from their headers, before any memory is asked for."""
    edit_config(model, **{key: count})
    said = refusal(model, *REQUEST)
    if "by config.json the weights alone take" in said:
        return
    assert "where config.json implies" in said or "lacks the tensor" in said
    assert re.search("config.json belongs to another model|belong to different models", said)


DEFAULT_ROPE = {"rope_type": "default", "rope_theta": 1e4}
LONGROPE = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}


@pytest.mark.parametrize(
    ("family", "values", "what"),
    [
        ("llama", {"hidden_size": 30}, "30"),
        ("llama", {"num_key_value_heads": 3}, "num_kv_heads"),
        ("llama", {"rms_norm_eps": float("nan")}, "rms_norm_eps"),
        ("llama", {"rms_norm_eps": -1.0}, "rms_norm_eps"),
        ("llama", {"hidden_act": "tanh"}, "'tanh'"),
        ("llama", {"hidden_act": 3}, "hidden_act"),
        ("llama", {"rope_parameters": [1]}, "rope_parameters"),
        ("llama", {"rope_parameters": DEFAULT_ROPE | {"rope_theta": 0}}, "theta"),
        ("llama", {"rope_parameters": DEFAULT_ROPE | {"rope_theta": -5.0}}, "theta"),
        ("llama", {"rope_parameters": DEFAULT_ROPE | {"rope_theta": "x"}}, "x"),
        ("llama", {"rope_parameters": DEFAULT_ROPE | {"rope_type": "dynamic", "factor": 2.0}}, "'dynamic'"),
        ("llama", {"rope_parameters": DEFAULT_ROPE | {"rope_type": "linear", "factor": 0.0}}, "factor"),
        ("llama", {"rope_parameters": DEFAULT_ROPE | {"rope_type": "linear"}}, "factor"),
        ("qwen3", {"layer_types": ["full_attention"]}, "layer_types"),
        ("qwen3", {"layer_types": ["odd"] * 3}, "layer_types"),
        ("qwen3", {"layer_types": ["chunked_attention"] * 3}, "chunked_attention"),
        ("gemma3-text", {"sliding_window": 0}, "sliding_window"),
        ("gemma3-text", {"sliding_window": -3}, "sliding_window"),
        ("gemma3-text", {"query_pre_attn_scalar": -1}, "query_pre_attn_scalar"),
        ("gemma3-text", {"query_pre_attn_scalar": 0}, "query_pre_attn_scalar"),
        ("gemma3-text", {"use_bidirectional_attention": True}, "bidirectional"),
        ("gemma2", {"use_bidirectional_attention": True}, "bidirectional"),
        ("gemma2", {"attn_logit_softcapping": 0.0}, "soft-cap"),
        ("gemma2", {"final_logit_softcapping": -2.0}, "soft-cap"),
        ("mistral", {"attention_bias": True}, "attention_bias"),
        ("mistral", {"layer_types": ["sliding_attention"] * 3}, "sliding_window"),
        ("olmo2", {"sliding_window": 7}, "sliding_window"),
        ("qwen2", {"mlp_bias": True}, "mlp_bias"),
        ("phi3", {"lm_head_bias": True}, "lm_head_bias"),
        ("phi3", {"rope_parameters": DEFAULT_ROPE | {"rope_type": "linear", "factor": 2.0}}, "linear"),
        ("phi3", {"rope_parameters": DEFAULT_ROPE | {"partial_rotary_factor": 0.1}}, "rotary"),
        ("phi3-longrope-long", {"original_max_position_embeddings": 0}, "original_max_position"),
        ("phi3-longrope-long", {"rope_scaling": LONGROPE | {"short_factor": [1.0]}}, "short_factor"),
        ("phi3-longrope-long", {"rope_scaling": LONGROPE | {"long_factor": [1.0, -1.0, 1.0, 1.0]}}, "factor"),
        ("llama", {"rope_parameters": LONGROPE | {"original_max_position_embeddings": 8}}, "'longrope'"),
    ],
)
def test_config_with_values_that_make_no_model(
    refusal: Refusal, tmp_path: Path, family: str, values: dict[str, Any], what: str
) -> None:
    model = write_checkpoint(family, tmp_path / "model")
    edit_config(model, **values)
    said = refusal(model, *REQUEST)
    assert "config.json" in said
    assert what in said


# The files with the weights


def truncate(keep: Callable[[int], int]) -> Damage:
    def damage(model: Path) -> None:
        file = model / "model.safetensors"
        file.write_bytes(file.read_bytes()[: keep(file.stat().st_size)])

    return damage


@pytest.mark.parametrize(
    "damage",
    [truncate(lambda size: size // 2), truncate(lambda size: size - 1), truncate(lambda _: 100),
     truncate(lambda _: 4), truncate(lambda _: 0),
     lambda model: (model / "model.safetensors").write_bytes(b"garbage" * 1000)],
    ids=["half", "last byte", "in the header", "in the first number", "empty", "garbage"],
)  # fmt: skip
def test_truncated_weights(refusal: Refusal, model: Path, damage: Damage) -> None:
    damage(model)
    said = refusal(model, *REQUEST)
    assert f"{model / 'model.safetensors'} is truncated or not safetensors" in said
    assert said.endswith("fetch it again")


@pytest.mark.parametrize("left", [None, "model.gguf"])
def test_no_weights(refusal: Refusal, model: Path, left: str | None) -> None:
    if left is not None:
        shutil.copy(model / "model.safetensors", model / left)
    (model / "model.safetensors").unlink()
    said = refusal(model, *REQUEST)
    assert f"{model} has no model.safetensors or {INDEX}" in said
    assert "fetch the whole checkpoint" in said


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize(
    "file",
    ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "consolidated.00.pth", "model.pt", "x.ckpt"],
)
def test_pickled_weights_are_refused_unread(refusal: Refusal, model: Path, tmp_path: Path, file: str) -> None:
    (model / "model.safetensors").unlink()
    (model / file).write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    said = refusal(model, *REQUEST)  # which would see the mark
    assert f"{model} has only pickled weights ({file})" in said
    assert "convert them to safetensors" in said


def shard(number: int) -> str:
    return f"model-{number:05d}-of-00003.safetensors"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    return write_checkpoint("llama", tmp_path / "sharded", shards=3)


def test_missing_shard(refusal: Refusal, sharded: Path) -> None:
    (sharded / shard(2)).unlink()
    said = refusal(sharded, *REQUEST)
    assert said == f"{sharded / shard(2)} is missing although {INDEX} names it; fetch it again"


def test_truncated_shard(refusal: Refusal, sharded: Path) -> None:
    whole = (sharded / shard(2)).read_bytes()
    (sharded / shard(2)).write_bytes(whole[:-9])
    said = refusal(sharded, *REQUEST)
    assert f"{sharded / shard(2)} is truncated" in said


def test_shard_without_the_tensors_that_the_index_promises(refusal: Refusal, sharded: Path) -> None:
    lost = next(iter(load_file(sharded / shard(2))))
    edit_tensors(sharded / shard(2), lambda tensors: tensors.pop(lost))
    said = refusal(sharded, *REQUEST)
    assert f"lacks the tensor {lost}" in said


@pytest.mark.parametrize(
    "index",
    ["nope", "[1]", "{}", '{"weight_map": 3}', '{"weight_map": [1]}', '{"weight_map": "abc"}',
     '{"weight_map": {"a": 3}}', '{"weight_map": {"a": null}}'],
)  # fmt: skip
def test_broken_index(refusal: Refusal, sharded: Path, index: str) -> None:
    (sharded / INDEX).write_text(index)
    said = refusal(sharded, *REQUEST)
    assert said == f"{sharded / INDEX} is not a safetensors index; fetch it anew"


# The tensors in them

Tensors = dict[str, NDArray[Any]]
TENSORS = (
    "model.embed_tokens.weight",
    "model.layers.1.self_attn.q_proj.weight",
    "model.layers.2.mlp.down_proj.weight",
    "model.layers.0.input_layernorm.weight",
    "model.norm.weight",
    "lm_head.weight",
)


def edit_tensors(file: Path, edit: Callable[[Tensors], Any]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, file)


@pytest.mark.parametrize("name", TENSORS)
def test_missing_tensor(refusal: Refusal, model: Path, name: str) -> None:
    edit_tensors(model / "model.safetensors", lambda tensors: tensors.pop(name))
    said = refusal(model, *REQUEST)
    assert f"{model} lacks the tensor {name}" in said
    assert "the checkpoint is incomplete or its config.json belongs to another model" in said


@pytest.mark.parametrize(
    "misshape",
    [lambda a: a[:-1], lambda a: a[None], lambda a: a.ravel()[:0], lambda a: np.stack([a, a])],
    ids=["short", "wrapped", "empty", "double"],
)
@pytest.mark.parametrize("name", TENSORS)
def test_misshaped_tensor(
    refusal: Refusal, model: Path, name: str, misshape: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    file = model / "model.safetensors"
    right = list(load_file(file)[name].shape)
    edit_tensors(file, lambda tensors: tensors.update({name: misshape(tensors[name])}))
    wrong = list(load_file(file)[name].shape)
    said = refusal(model, *REQUEST)
    assert f"tensor {name} has shape {wrong} where config.json implies {right}" in said
    assert "config and weights belong to different models" in said


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", TENSORS)
def test_tensor_that_is_not_finite(refusal: Refusal, model: Path, name: str, value: float) -> None:
    """One bad number among thousands is enough."""
    edit_tensors(model / "model.safetensors", lambda tensors: np.put(tensors[name], -1, value))
    said = refusal(model, *REQUEST)
    assert f"tensor {name} holds NaN or infinite values" in said
    assert "fetch the checkpoint again" in said


def test_tensor_that_overflows_in_the_wanted_dtype(refusal: Refusal, model: Path) -> None:
    name = TENSORS[1]
    edit_tensors(
        model / "model.safetensors",
        lambda tensors: tensors.update({name: tensors[name].astype(np.float64) * 1e300}),
    )
    assert f"tensor {name} holds NaN or infinite values in float32" in refusal(model, *REQUEST)


@pytest.mark.parametrize(
    "dtype", [np.int8, np.uint8, np.int64, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
)
@pytest.mark.parametrize("name", TENSORS)
def test_quantised_tensor(refusal: Refusal, model: Path, name: str, dtype: type) -> None:
    edit_tensors(
        model / "model.safetensors", lambda tensors: tensors.update({name: tensors[name].astype(dtype)})
    )
    said = refusal(model, *REQUEST)
    assert f"tensor {name} is stored as " in said
    assert "use one in float32, bfloat16 or float16" in said


def test_faults_are_found_before_weights_are_read(
    refusal: Refusal, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last tensor's fault must not cost the time of loading all others."""
    edit_tensors(
        model / "model.safetensors", lambda tensors: tensors.pop("model.layers.2.mlp.up_proj.weight")
    )
    monkeypatch.setattr("jax.device_put", lambda *_, **__: pytest.fail("read weights first"))
    refusal(model, *REQUEST)


@pytest.mark.parametrize("policy", ["detached", "none"])
def test_output_that_is_not_finite(refusal: Refusal, model: Path, policy: str) -> None:
    """Finite weights may still overflow on the way; NaN singular vectors help nobody."""
    name = TENSORS[1]
    edit_tensors(
        model / "model.safetensors",
        lambda tensors: tensors.update({name: np.full_like(tensors[name], 3e38)}),
    )
    said = refusal(model, *REQUEST, "--policy", policy)
    assert "the model's output at this prompt is not finite in float32" in said
    assert "choose a wider --dtype" in said


# The tokenizer


def write_tokenizer(model: Path, config: Any = None, vocabulary: int = VOCAB) -> None:
    """Words w0, w1, …, split at blanks."""
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {f"w{i}": i for i in range(vocabulary)},
            "unk_token": "w0",
        },
    }
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    if config is not None:
        (model / "tokenizer_config.json").write_text(json.dumps(config))


def test_prompt_without_tokenizer(refusal: Refusal, model: Path) -> None:
    said = refusal(model, *PROMPT)
    assert said == f"{model} has no tokenizer.json; give the prompt as --token-ids instead"


def test_token_ids_without_tokenizer(model: Path, tmp_path: Path) -> None:
    assert main(["svd", "--model", str(model), *REQUEST, "--out", str(tmp_path / "out")]) == 0
    summary = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {token["text"] for token in summary["triplets"][0]["inputs"]} == {"#1", "#2", "#3"}


def test_prompt_with_tokenizer(model: Path, tmp_path: Path) -> None:
    """Its faults, below, are only worth testing if this tokenizer works when whole."""
    write_tokenizer(model, {"tokenizer_class": "PreTrainedTokenizerFast"})
    assert main(["svd", "--model", str(model), *PROMPT, "--out", str(tmp_path / "out")]) == 0
    assert load_file(tmp_path / "out" / "result.safetensors")["token_ids"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("prompt", [PROMPT, REQUEST], ids=["prompt", "token ids"])
@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("tokenizer.json", "garbage"),
        ("tokenizer.json", ""),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "[]"),
        ("tokenizer.json", '{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": 3}}'),
        ("tokenizer_config.json", "garbage"),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"tokenizer_class": 3}'),
    ],
)
def test_broken_tokenizer(
    refusal: Refusal, model: Path, prompt: tuple[str, ...], file: str, text: str
) -> None:
    """With --token-ids as well, because tokens are still to be spelt; the way out is then another."""
    write_tokenizer(model, {"tokenizer_class": "PreTrainedTokenizerFast"})
    (model / file).write_text(text)
    said = refusal(model, *prompt)
    assert f"the tokenizer in {model} cannot be read" in said
    assert "fetch it anew, or remove it and give --token-ids" in said


def test_code_in_a_checkpoint_never_runs(
    refusal: Refusal, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is the user asked whether it may."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    write_tokenizer(model, {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}})
    edit_config(model, auto_map={"AutoConfig": "own.OwnConfig"})
    (model / "own.py").write_text(f"open({str(tmp_path / 'exploded')!r}, 'w')\nclass Own: pass\n")
    assert "cannot be read" in refusal(model, *PROMPT)  # which would see the mark


def test_token_that_the_model_does_not_have(refusal: Refusal, model: Path) -> None:
    write_tokenizer(model, vocabulary=VOCAB + 9)
    said = refusal(model, "--prompt", f"w1 w{VOCAB + 3}")
    assert f"token id {VOCAB + 3} is out of range" in said


# The installation


def jaxlin(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The real console command."""
    return subprocess.run(
        [JAXLIN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


def test_console_command_refuses_like_main(model: Path, tmp_path: Path) -> None:
    done = jaxlin("svd", "--model", str(model), "--token-ids", "1,97", "--out", str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence(done.stderr) == "token id 97 is out of range: this model's ids go from 0 to 96"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["models/__init__.py", "models.py"])
def test_another_package_named_models(model: Path, tmp_path: Path, file: str) -> None:
    """It hides nothing of ours, and not one line of it runs."""
    stranger = tmp_path / "stranger" / file
    stranger.parent.mkdir(parents=True)
    stranger.write_text("raise SystemExit('a stranger ran')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path / "stranger"), os.environ.get("PYTHONPATH")]))
    done = jaxlin("svd", "--model", str(model), *REQUEST, "--out", str(tmp_path / "out"), PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "a stranger ran" not in done.stdout
    assert (tmp_path / "out" / "result.json").exists()


def test_import_jaxlin_does_not_look_for_models(tmp_path: Path) -> None:
    """A user of the engine alone may have a package of that name."""
    (tmp_path / "models.py").write_text("raise SystemExit('a stranger ran')\n")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    code = "import sys, jaxlin; jaxlin.svd; print(sorted({'models', 'transformers'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert (done.returncode, done.stdout) == (0, "[]\n")
