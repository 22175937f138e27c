"""Files of weights and tokenizers that are damaged, hostile or no files: one sentence, soon."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import pytest
from jaxlin_models import ModelError, find, load_decoder
from jaxlin_models.tokenizer_files import load_codec
from tiny_checkpoints import write_checkpoint

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_checkpoint("llama", tmp_path / "model")


def refusal(action: Callable[[], object]) -> str:
    """What is said, at once and in one line."""
    start = time.monotonic()
    with pytest.raises(ModelError) as refused:
        action()
    assert time.monotonic() - start < 30
    said = str(refused.value)
    assert len(said.splitlines()) == 1
    assert len(said) < 700
    return said


def weights_refused(model: Path) -> str:
    return refusal(lambda: load_decoder(find(str(model)), jnp.float32))


def tensor(dtype: str, shape: list[Any], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


HEADERS: dict[str, Any] = {
    "beyond the file": {"a": tensor("F32", [10**9], 0, 4 * 10**9)},
    "shape and length differ": {"a": tensor("F32", [17], 0, 64)},
    "shape overflows": {"a": tensor("F32", [2**62, 4], 0, 64)},
    "shape of 30 digits": {"a": tensor("F32", [10**30], 0, 64)},
    "negative shape": {"a": tensor("F32", [-16], 0, 64)},
    "float shape": {"a": tensor("F32", [16.5], 0, 64)},
    "overlap": {"a": tensor("F32", [16], 0, 64), "b": tensor("F32", [16], 0, 64)},
    "reversed": {"a": tensor("F32", [16], 64, 0)},
    "gap": {"a": tensor("F32", [8], 0, 32), "b": tensor("F32", [4], 48, 64)},
    "unknown dtype": {"a": tensor("Q4_K", [16], 0, 64)},
    "no dtype": {"a": {"shape": [16], "data_offsets": [0, 64]}},
    "list": [1],
    "nothing": {},
    "name that acts": {"a\x1b[31m\n": tensor("F32", [16], 0, 64)},
    "name of a megabyte": {"a" * 2**20: tensor("F32", [16], 0, 64)},
    "dtype that numpy lacks": {"model.embed_tokens.weight": tensor("F8_E8M0", [64], 0, 64)},
}


def write_header(path: Path, header: bytes, length: int | None = None, data: bytes = bytes(64)) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + data)


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_hostile_headers(model: Path, header: Any) -> None:
    write_header(model / SINGLE, json.dumps(header).encode())
    assert str(model) in weights_refused(model)


@pytest.mark.parametrize(
    ("header", "length"),
    [(b"", 0), (b"", 2**63), (b"{}", 2**40), (b"{}", 2**64 - 1), (b"\xff\xfe", None), (b"[" * 10**6, None),
     (b'{"a":' * 10**5, None), (b"{" + b" " * 2**24 + b"}", None), (bytes(100), None)],
)  # fmt: skip
def test_headers_that_are_none(model: Path, header: bytes, length: int | None) -> None:
    write_header(model / SINGLE, header, length)
    assert str(model) in weights_refused(model)


def test_header_of_200_000_tensors(model: Path) -> None:
    names = {f"t{i}": tensor("U8", [0], 0, 0) for i in range(200_000)}
    write_header(model / SINGLE, json.dumps(names).encode(), data=b"")
    assert "has a header of" in weights_refused(model)


def test_sparse_file_of_a_terabyte(model: Path) -> None:
    """It has the size that its header promises; config.json promises less."""
    size = 4 * 97 * 10**9
    header = {"lm_head.weight": tensor("F32", [97, 10**9], 0, size),
              "model.layers.2.self_attn.o_proj.weight": tensor("F32", [0], size, size),
              "model.embed_tokens.weight": tensor("F32", [0], size, size)}  # fmt: skip
    write_header(model / SINGLE, json.dumps(header).encode(), data=b"")
    os.truncate(model / SINGLE, (model / SINGLE).stat().st_size + size)
    assert "has shape [97, 1000000000] where config.json implies [97, 32]" in weights_refused(model)


def put_folder(path: Path) -> None:
    path.mkdir()


def put_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def put_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.name)
    finally:
        os.chdir(here)


SPECIAL = {"pipe": os.mkfifo, "folder": put_folder, "device": put_device, "socket": put_socket}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", [SINGLE, INDEX, "shard.safetensors"])
def test_special_files_in_place_of_weights(model: Path, name: str, kind: str) -> None:
    (model / SINGLE).unlink()
    if name == "shard.safetensors":
        (model / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    SPECIAL[kind](model / name)
    assert f"{model / name} is a {kind} and no file" in weights_refused(model)


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "merges.txt",
                                  "special_tokens_map.json", "chat_template.jinja"])  # fmt: skip
def test_special_files_in_place_of_a_tokenizer(model: Path, name: str, kind: str) -> None:
    if name != "tokenizer.json":
        (model / "tokenizer.json").write_text("{}")
    SPECIAL[kind](model / name)
    said = refusal(lambda: load_codec(find(str(model))))
    assert f"{model / name} is a {kind} and no file" in said


def test_link_in_a_circle(model: Path) -> None:
    (model / SINGLE).unlink()
    (model / SINGLE).symlink_to(SINGLE)
    assert f"has no {SINGLE}" in weights_refused(model)


@pytest.mark.parametrize(
    "name",
    ["x" * 300 + ".safetensors", "../model.safetensors", "/dev/zero.safetensors", "a/../../b.safetensors",
     "a\0.safetensors", "", "model.bin", "é" * 200],
)  # fmt: skip
def test_names_in_an_index_that_are_none(model: Path, name: str) -> None:
    (model / SINGLE).rename(model.parent / SINGLE)
    (model / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
    assert "is not a safetensors index" in weights_refused(model)


@pytest.mark.parametrize(
    "text", ["[" * 10**5, '{"weight_map":' * 10**4, "", "null", '{"weight_map": {}}', "1e999", "\ud800"]
)
def test_indexes_that_are_none(model: Path, text: str) -> None:
    (model / SINGLE).unlink()
    (model / INDEX).write_bytes(text.encode(errors="surrogatepass"))
    assert "is not a safetensors index" in weights_refused(model)


def test_index_beyond_any_size(model: Path) -> None:
    (model / SINGLE).unlink()
    (model / INDEX).touch()
    os.truncate(model / INDEX, 2**40)
    assert "more than any such file" in weights_refused(model)


def test_config_of_a_million_layers(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 10**6}))
    refusal(lambda: load_decoder(find(str(model)), jnp.float32))
