"""Tokenizers of GGUF files: SentencePiece's own reading, stock transformers', and llama.cpp's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jaxlin_models as models
import pytest
from jaxlin_models.reference import PROBE
from tiny_gguf import write_gguf

#: Words of a SentencePiece vocabulary with their scores, the best first; special tokens and bytes come
#: before.
_PIECES = ("▁t", "he", "▁the", "in", "▁▁", "▁a", "er", "▁▁▁▁", "nd", "on", "▁and", "re", "en", "or")
_LETTERS = "▁etaoinshrdlcumwfgypbvkxjqzETAOINSHRDLCUMWFGYPBVKXJQZ0123456789.,:;!?'\"()[]{}_=/+-\u00e9"


def sentencepiece_vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Tokens, scores, types (2 unknown, 3 control, 6 byte, 1 normal)."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *_PIECES, *_LETTERS]
    types = [2, 3, 3, *[6] * 256, *[1] * (len(_PIECES) + len(_LETTERS))]
    scores = [0.0] * 259 + [-float(i) for i in range(len(_PIECES) + len(_LETTERS))]
    return tokens, scores, types


def sentencepiece_file(path: Path, **changes: Any) -> models.Codec:
    tokens, scores, types = sentencepiece_vocabulary()
    keys: dict[str, Any] = {
        "tokenizer__ggml__model": "llama", "tokenizer__ggml__pre": "default", "tokenizer__ggml__tokens":
        tokens,
        "tokenizer__ggml__scores": scores, "tokenizer__ggml__token_type": types, "tokenizer__ggml__merges":
        None,
        "tokenizer__ggml__bos_token_id": 1, "tokenizer__ggml__eos_token_id": 2,
        "tokenizer__ggml__add_bos_token": None, "llama__vocab_size": None,
    }  # fmt: skip
    write_gguf("llama-wide", path, plain=True, **keys | changes)
    return models.load_codec(models.find(str(path)))


def by_sentencepiece(text: str, prefix: bool) -> list[int]:
    """As the library SentencePiece itself reads the same vocabulary."""
    from sentencepiece import SentencePieceProcessor
    from sentencepiece.sentencepiece_model_pb2 import ModelProto

    proto = ModelProto()
    for token, score, kind in zip(*sentencepiece_vocabulary(), strict=True):
        proto.pieces.add(piece=token, score=score, type=kind)
    proto.trainer_spec.model_type = 2  # BPE
    proto.trainer_spec.byte_fallback = True
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = prefix
    proto.normalizer_spec.remove_extra_whitespaces = False
    return list(SentencePieceProcessor(model_proto=proto.SerializeToString()).encode(text))


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_vocabularies_are_read_as_by_sentencepiece(prefix: bool, tmp_path: Path) -> None:
    pytest.importorskip("sentencepiece")
    codec = sentencepiece_file(tmp_path / "model.gguf", tokenizer__ggml__add_space_prefix=prefix)
    for text in (*PROBE, "the end and  there", " a blank first", "\n\nlines"):
        expected = by_sentencepiece(text, prefix)
        assert codec.encode(text) == [1, *expected], text
        assert codec.encode(text, special_tokens=False) == expected
        assert codec.decode(expected) == text


def test_beginnings_and_ends(tmp_path: Path) -> None:
    """llama.cpp begins texts of a SentencePiece vocabulary with <s> unless the file says no."""
    path = tmp_path / "model.gguf"
    for bos, eos, before, after in ((None, None, [1], []), (False, None, [], []), (True, True, [1], [2])):
        codec = sentencepiece_file(
            path, tokenizer__ggml__add_bos_token=bos, tokenizer__ggml__add_eos_token=eos
        )
        middle = codec.encode("the end", special_tokens=False)
        assert codec.encode("the end") == [*before, *middle, *after]
        assert (codec.tokenizer.bos_token, codec.tokenizer.eos_token) == ("<s>", "</s>")


def byte_level(path: Path, **changes: Any) -> models.Codec:
    write_gguf("llama", path, plain=True, **changes)
    return models.load_codec(models.find(str(path)))


def test_byte_level_text_comes_back(tmp_path: Path) -> None:
    codec = byte_level(tmp_path / "model.gguf")
    for text in PROBE:
        assert codec.decode(codec.encode(text)) == text
    assert codec.spelling(codec.encode("x the")[-1]) == " the"
    assert codec.encode("<|end|>") == [0]


def test_rules_by_which_text_is_taken_apart(tmp_path: Path) -> None:
    """SmolLM's single digits, which stock transformers does not know, and Llama 3's whole words."""
    path, text = tmp_path / "model.gguf", "a\n\n 7"
    tokens = {"tokenizer__ggml__merges": ["Ċ Ċ", "ĊĊ Ġ"], "tokenizer__ggml__tokens": tokens_with("ĊĊ", "ĊĊĠ")}
    spelled = {
        rules: [codec.spelling(i) for i in codec.encode(text)]
        for rules in ("gpt-2", "smollm", "llama-bpe")
        for codec in [
            byte_level(path, tokenizer__ggml__pre=rules, **tokens, tokenizer__ggml__add_bos_token=False)
        ]
    }
    assert spelled["gpt-2"] == ["a", "\n\n", " ", "7"]
    assert spelled["smollm"] == ["a", "\n\n ", "7"]
    whole = {"tokenizer__ggml__tokens": tokens_with("abc", "th"), "tokenizer__ggml__merges": ["t h"]}
    for rules, count in (("llama-bpe", 1), ("qwen2", 3)):
        codec = byte_level(path, tokenizer__ggml__pre=rules, tokenizer__ggml__add_bos_token=False, **whole)
        assert len(codec.encode("abc")) == count
    assert (
        byte_level(path, tokenizer__ggml__pre="llama-bpe", tokenizer__ggml__add_bos_token=None).encode("a")[0]
        == 0
    )


def tokens_with(*more: str) -> list[str]:
    from tiny_gguf import vocabulary

    return ["<|end|>", *vocabulary()[:256], *more]


def test_ids_are_those_of_stock_transformers(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from transformers import AutoTokenizer

    path = tmp_path / "model.gguf"
    for make, changes in ((byte_level, {}), (sentencepiece_file, {})):
        codec = make(path, **changes)
        stock = AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
        for text in PROBE:
            assert codec.encode(text) == stock(text)["input_ids"]


def test_the_chat_template_comes_with_it(tmp_path: Path) -> None:
    template = "{% for m in messages %}<|end|>{{ m.content }}{% endfor %}"
    codec = byte_level(tmp_path / "model.gguf", tokenizer__chat_template=template)
    told = codec.tokenizer.apply_chat_template([{"role": "user", "content": "the"}], tokenize=False)
    assert told == "<|end|>the"
