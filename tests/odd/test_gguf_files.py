"""GGUF files that are damaged, hostile, in parts, or say what is not supported: one sentence each."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import jaxlin_models as models
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from gguf import GGUFEndian, GGUFWriter
from jaxlin_models import ModelError
from jaxlin_models.gguf.header import read_header
from numpy.testing import assert_array_equal
from tiny_gguf import MODELS, add, metadata_of, write_gguf

import jaxlin
from jaxlin import JaxlinError

TOKEN_TABLE = "token_embd.weight"


def whole(path: Path) -> None:
    """Read all of a model."""
    checkpoint = models.find(str(path))
    models.load_codec(checkpoint)
    models.load_decoder(checkpoint, "float32")


def said(path: Path) -> str:
    """What a file is refused with: one sentence."""
    with pytest.raises(ModelError) as refusal:
        whole(path)
    sentence = str(refusal.value)
    assert "\n" not in sentence
    return sentence


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("valid") / "model.gguf"
    write_gguf("llama", path)
    return path.read_bytes()


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    return data.replace(old, new)


def text(word: str) -> bytes:
    return struct.pack("<Q", len(word)) + word.encode()


def test_every_beginning_of_a_file_is_refused(valid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    for length in [*range(0, 400, 7), *np.linspace(400, len(valid) - 33, 40, dtype=int)]:
        path.write_bytes(valid[:length])
        assert "fetch it again" in said(path)


@pytest.mark.parametrize(
    ("at", "kind", "value", "why"),
    [
        (0, "I", 0x12345678, "is no GGUF file"),
        (4, "I", 1, "of version 1"),
        (4, "I", 4, "of version 4"),
        (4, "I", 3 << 24, "big-endian"),
        (8, "Q", 2**60, f"states {2**60} tensors"),
        (8, "Q", 10**4, "fetch it again"),
        (16, "Q", 2**60, f"states {2**60} keys"),
        (16, "Q", 10**4, "fetch it again"),
        (24, "Q", 2**62, "bytes of a text"),
        (24, "Q", 2**20, "fetch it again"),
    ],
)
def test_counts_and_lengths(valid: bytes, tmp_path: Path, at: int, kind: str, value: int, why: str) -> None:
    path = tmp_path / "model.gguf"
    packed = struct.pack(f"<{kind}", value)
    path.write_bytes(valid[:at] + packed + valid[at + len(packed) :])
    assert why in said(path)


def tensor_entry(valid: bytes) -> int:
    """Where the entry of the embeddings stands in a header: name, axes, shape, type, offset."""
    return valid.index(text(TOKEN_TABLE)) + len(text(TOKEN_TABLE))


@pytest.mark.parametrize(
    ("at", "kind", "value", "why"),
    [
        (0, "I", 9, "axes of a tensor"),
        (0, "I", 0, "fetch it again"),
        (4, "Q", 63, "ends at byte"),  # overlaps nothing, but is not what follows
        (4, "Q", 2**61, "ends at byte"),
        (12, "Q", 2**61, "ends at byte"),
        (12, "Q", 0, "is empty"),
        (20, "I", 16, "stored as IQ2_XXS"),
        (20, "I", 4, "stored as type 4"),
        (20, "I", 26, "stored as I32"),
        (24, "Q", 2**62, "fetch it again"),
        (24, "Q", 8, "begins inside of"),
        (24, "Q", 2**20 * 32, "ends at byte"),
    ],
)
def test_places_of_tensors(valid: bytes, tmp_path: Path, at: int, kind: str, value: int, why: str) -> None:
    path, at = tmp_path / "model.gguf", tensor_entry(valid) + at
    packed = struct.pack(f"<{kind}", value)
    path.write_bytes(valid[:at] + packed + valid[at + len(packed) :])
    sentence = said(path)
    assert why in sentence or "shape" in sentence


def test_rows_that_are_no_whole_blocks(valid: bytes, tmp_path: Path) -> None:
    name = text("blk.0.ffn_down.weight")
    at = valid.index(name) + len(name) + 4
    path = tmp_path / "model.gguf"
    path.write_bytes(valid[:at] + struct.pack("<Q", 255) + valid[at + 8 :])
    assert "no multiple of 256" in said(path)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("blk.0.attn_k.weight", "blk.0.attn_q.weight", "twice"),
        (
            "blk.0.attn_k.weight",
            "blk.0.attn_m.weight",
            "lacks the tensor model.layers.0.self_attn.k_proj.weight",
        ),
        ("llama.block_count", "llama.embedding_l", "without which"),
        ("general.architecture", "general.architectura", "unknown architecture None"),
    ],
)
def test_names(valid: bytes, tmp_path: Path, old: str, new: str, why: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(replaced(valid, text(old), text(new)))
    assert why in said(path)


def test_a_key_that_stands_twice_and_text_that_is_none(valid: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(replaced(valid, text("llama.context_length"), text("general.architecture")))
    assert "stands in it twice" in said(path)
    path.write_bytes(valid.replace(b"general.architecture", b"\xff" * 20))
    assert "no UTF-8" in said(path)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"llama__block_count": 10**9}, "states 1000000000 layers"),
        ({"llama__block_count": 6}, "lacks the tensor model.layers.5."),
        ({"llama__block_count": 4}, "has no place"),
        ({"llama__block_count": 0}, "from 1 to"),
        ({"llama__block_count": None}, "lacks the key llama.block_count"),
        ({"llama__block_count": "5"}, "a whole number"),
        ({"llama__attention__head_count": 3}, "config"),
        ({"llama__attention__head_count": 10**9}, "llama"),
        ({"llama__attention__head_count_kv": [2, 2, 2, 2, 1]}, "a whole number"),
        ({"llama__attention__layer_norm_rms_epsilon": float("nan")}, "a finite number"),
        ({"llama__attention__layer_norm_rms_epsilon": 7.0}, "the epsilon of the norms"),
        ({"llama__embedding_length": 128}, "shape"),
        ({"llama__vocab_size": 97}, "288 rows"),
        ({"llama__expert_count": 8}, "llama.expert_count"),
        ({"llama__attention__sliding_window": 4}, "llama.attention.sliding_window"),
        ({"llama__attention__scale": 0.5}, "llama.attention.scale"),
        ({"llama__attention__causal": False}, "load a causal model"),
        ({"llama__attention__value_length": 8}, "values"),
        ({"llama__attn_logit_softcapping": 30.0}, "llama.attn_logit_softcapping"),
        ({"llama__logit_scale": 0.1}, "llama.logit_scale"),
        ({"llama__rope__dimension_count": 8}, "all 16 features"),
        ({"llama__rope__scaling__type": "su", "llama__rope__scaling__factor": 2.0}, ".rope.scaling.type"),
        ({"llama__rope__scaling__type": "longrope", "llama__rope__scaling__factor": 2.0}, ".scaling.type"),
        ({"llama__rope__scaling__attn_factor": 1.5}, "llama.rope.scaling.attn_factor"),
        ({"llama__rope__scaling__yarn_ext_factor": 0.5}, "llama.rope.scaling.yarn_ext_factor"),
        ({"llama__rope__freq_base": float("inf")}, "a finite number"),
        ({"llama__rope__freq_base": 0.0}, "theta"),
        ({"llama__something_new": 1}, "llama.something_new"),
        ({"general__alignment": 3}, "no power of two"),
        ({"general__type": "adapter"}, "no whole model"),
        ({"split__count": 3}, "one of 3 parts"),
        ({"tokenizer__ggml__pre": "unheard-of"}, "rules that are not known"),
        ({"tokenizer__ggml__pre": None}, "rules that are not known"),
        ({"tokenizer__ggml__model": "t5"}, "unknown kind 't5'"),
        ({"tokenizer__ggml__tokens": None}, "has no tokenizer"),
        ({"tokenizer__ggml__tokens": [f"t{i}" for i in range(300)]}, "300 tokens and 288 embeddings"),
        ({"tokenizer__ggml__tokens": [1, 2]}, "no text"),
        ({"tokenizer__ggml__merges": None}, "tokenizer"),
        ({"tokenizer__ggml__merges": ["no such"]}, "tokenizer"),
        ({"tokenizer__ggml__bos_token_id": 5000}, "number 5000"),
        ({"tokenizer__ggml__add_bos_token": True, "tokenizer__ggml__bos_token_id": None}, "not say which"),
        ({"tokenizer__ggml__add_sep_token": True}, "add_sep_token"),
        ({"tokenizer__ggml__add_space_prefix": True}, "blank before"),
    ],
)  # fmt: skip
def test_metadata(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf("llama", path, plain=True, **changes)
    sentence = said(path)
    assert why in sentence, sentence


def test_ids_do_without_a_tokenizer_that_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf("llama-small", path, plain=True, tokenizer__ggml__pre="unheard-of")
    model = jaxlin.load(path)
    assert not model.has_tokenizer
    assert model.token_text(3) == "#3"
    with pytest.raises(JaxlinError, match="rules that are not known here"):
        model.tokenize("the end")


@pytest.mark.parametrize("name", ["gemma", "qwen3moe", "llama4", "bert"])
def test_unknown_architectures(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, name)
    writer.add_tensor(TOKEN_TABLE, np.zeros((4, 4), np.float32))
    finish(writer)
    assert f"unknown architecture {name!r}; supported are llama, " in said(path)


def test_big_endian(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama", endianess=GGUFEndian.BIG)
    writer.add_tensor(TOKEN_TABLE, np.zeros((4, 4), np.float32))
    finish(writer)
    assert "big-endian" in said(path)


def test_float64_is_read_as_it_is(tmp_path: Path) -> None:
    path, values = tmp_path / "model.gguf", np.random.default_rng(0).standard_normal((3, 4))
    writer = GGUFWriter(path, "llama")
    writer.add_tensor("a", values)
    finish(writer)
    place = read_header(path).tensors["a"]
    assert place.storage.number == Type.F64
    assert_array_equal(place.read(slice(1, 3)), values[1:3])


def finish(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_parts(folder: Path, count: int = 3, **changes: Any) -> list[Path]:
    """The model ``llama`` in several files, as llama.cpp's splitter writes them."""
    whole = folder / "whole.gguf"
    write_gguf("llama", whole)
    tensors = gguf.GGUFReader(whole).tensors
    paths = []
    for number in range(count):
        path = folder / f"model-{number + 1:05d}-of-{count:05d}.gguf"
        writer = GGUFWriter(path, "llama")
        for key, value in metadata_of(MODELS["llama"]).items() if number == 0 else ():
            add(writer, key, value)
        split = {"split.no": number, "split.count": count, "split.tensors.count": len(tensors)} | changes
        for key, value in split.items():
            writer.add_uint16(key, value)
        for tensor in tensors[number::count]:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        finish(writer)
        paths.append(path)
    return paths


def test_parts_are_one_model_by_the_name_of_any(tmp_path: Path) -> None:
    paths = write_parts(tmp_path)
    whole = models.find(str(tmp_path / "whole.gguf")).gguf.tensors()
    found = [models.find(str(path)) for path in paths]
    assert len({models.weights_hash(checkpoint) for checkpoint in found}) == 1
    for checkpoint in found:
        tensors = checkpoint.gguf.tensors()
        assert set(tensors.dtypes()) == set(whole.dtypes())
        for name in whole.dtypes():
            assert_array_equal(tensors.read(name, slice(None)), whole.read(name, slice(None)))


def test_parts_that_do_not_belong_together(tmp_path: Path) -> None:
    paths = write_parts(tmp_path)
    kept = paths[1].read_bytes()
    paths[1].unlink()
    assert f"there is no file {paths[1]}, a part of this model" in said(paths[2])
    paths[1].write_bytes(paths[2].read_bytes())
    assert "says that it is part 3 of 3" in said(paths[0])
    paths[1].write_bytes(kept[: len(kept) // 2])
    assert str(paths[1]) in said(paths[0])
    write_parts(tmp_path, **{"split.tensors.count": 3})
    assert "has 3 tensors" in said(paths[0]) or "have 3 tensors" in said(paths[0])
    odd = tmp_path / "model-00004-of-00003.gguf"
    odd.write_bytes(kept)
    assert "cannot be a part of 3" in said(odd)
