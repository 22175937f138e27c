"""Token ids are those of the checkpoint's own files, tokens are what they add to a text; or it is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jaxlin_models import ModelError, find, load_codec
from jaxlin_models.reference import PROBE
from tiny_checkpoints import write_checkpoint
from tokenizers import Tokenizer, models, pre_tokenizers

from jaxlin import JaxlinError
from jaxlin.prompts.load import locate

FAMILIES = ("llama", "mistral", "phi3", "olmo2", "gemma2", "gemma3-text", "qwen2", "qwen3")
TEXT = "the capital\n\nof  France is 1234"


def piece(text: str) -> str:
    """In the letters that stand for bytes."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(part for part, _ in level.pre_tokenize_str(text))


def byte_level(split: str) -> dict[str, Any]:
    """A tokenizer of bytes, a few words and two line breaks, that takes text apart by its own pattern."""
    vocab = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in (" the", " capital", " of", " France", " Paris", "\n\n", "12", "123", "Paris"):
        whole = piece(word)
        for end in range(2, len(whole) + 1):
            if whole[:end] not in vocab:
                vocab[whole[:end]] = len(vocab)
                merges.append((whole[: end - 1], whole[end - 1]))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    described = json.loads(tokenizer.to_str())
    described["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        ],
    }
    described["decoder"] = {
        "type": "ByteLevel",
        "add_prefix_space": True,
        "trim_offsets": True,
        "use_regex": True,
    }
    return described


#: Line breaks by themselves, three digits at a time: as Llama 3 does.
LIKE_LLAMA_3 = r"\s*[\r\n]+|\p{N}{1,3}| ?[^\s\p{N}]+|\s+"


def sentencepiece_like(*, prepends: bool = True) -> dict[str, Any]:
    """As Llama 2: blanks are ▁, one stands before every text, bytes where letters are missing."""
    vocab = {name: i for i, name in enumerate(("<unk>", "<s>", "</s>"))}
    vocab |= {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    merges = []
    for word in ("▁Paris", "▁s", "Paris", "▁the"):
        for letter in word:
            vocab.setdefault(letter, len(vocab))
        for end in range(2, len(word) + 1):
            if word[:end] not in vocab:
                vocab[word[:end]] = len(vocab)
                merges.append([word[: end - 1], word[end - 1]])
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    before = [{"type": "Prepend", "prepend": "▁"}] if prepends else []
    first = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True} for i, name in enumerate(("<unk>", "<s>", "</s>"))
        ],
        "normalizer": {"type": "Sequence", "normalizers": [*before, replace]},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *([{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prepends else []),
            ],
        },
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                  "vocab": vocab, "merges": merges},
    }  # fmt: skip


def write(folder: Path, tokenizer: Mapping[str, Any] | str, name: str | None, **settings: Any) -> Path:
    text = tokenizer if isinstance(tokenizer, str) else json.dumps(tokenizer)
    (folder / "tokenizer.json").write_text(text)
    config = settings | ({} if name is None else {"tokenizer_class": name})
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


# Ids


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["LlamaTokenizerFast", "LlamaTokenizer", "GPT2Tokenizer", "Qwen2Tokenizer",
                                  "GemmaTokenizer", "PreTrainedTokenizerFast", None])  # fmt: skip
def test_ids_of_the_file_or_a_refusal(family: str, name: str | None, tmp_path: Path) -> None:
    folder = write(write_checkpoint(family, tmp_path), byte_level(LIKE_LLAMA_3), name)
    expected = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids
    try:
        codec = load_codec(find(str(folder)))
    except ModelError as refused:
        # Of qwen2 transformers takes its own class, whatever is named.
        assert name != "PreTrainedTokenizerFast" or family == "qwen2"
        differs = f"and {folder / 'tokenizer.json'} read" in str(refused)
        assert differs or "not found in the vocabulary" in str(refused)  # noqa: PT017
    else:
        assert codec.encode(TEXT) == expected


def test_a_class_that_differs_is_refused(tmp_path: Path) -> None:
    """Seen with the llama layout and GPT-2's class; line breaks come apart."""
    folder = write(write_checkpoint("llama", tmp_path), byte_level(LIKE_LLAMA_3), "GPT2Tokenizer")
    with pytest.raises(ModelError, match=r"transformers' GPT2Tokenizer and .* as different tokens"):
        load_codec(find(str(folder)))


def test_what_the_probe_does_not_see_is_seen_in_the_text(tmp_path: Path) -> None:
    """Llama 2's layout: transformers drops a blank at the beginning, or it does not."""
    folder = write(write_checkpoint("llama", tmp_path), sentencepiece_like(), "LlamaTokenizer")
    codec = load_codec(find(str(folder)))
    expected = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in (" Paris", "  Paris", "Paris", "\nParis "):
        try:
            assert codec.encode(text) == expected.encode(text).ids
        except ModelError as refused:
            assert "as different tokens" in str(refused)  # noqa: PT017


def test_the_probe_has_what_differs() -> None:
    whole = "".join(PROBE)
    assert all(part in whole for part in ("  ", "\n\n", "\r\n", "\t", "é", "日", "😀", "\u2028"))
    assert not any(text.startswith(" ") for text in PROBE)


# Folders without tokenizer.json


def pair(folder: Path, name: str | None) -> Path:
    described = byte_level(LIKE_LLAMA_3)["model"]
    (folder / "vocab.json").write_text(json.dumps(described["vocab"]))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in described["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({} if name is None else {"tokenizer_class": name})
    )
    return folder


@pytest.mark.parametrize(("family", "name"), [("llama", "GPT2Tokenizer"), ("qwen2", "Qwen2Tokenizer"),
                                              ("qwen2", None)])  # fmt: skip
def test_vocab_and_merges(family: str, name: str | None, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = pair(write_checkpoint(family, tmp_path), name)
    codec = load_codec(find(str(folder)))
    assert codec.decode(codec.encode(TEXT)) == TEXT
    assert codec.encode(TEXT) == AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]


def test_vocab_and_merges_of_a_class_that_loses_blanks(tmp_path: Path) -> None:
    folder = pair(write_checkpoint("llama", tmp_path), "LlamaTokenizer")
    with pytest.raises(ModelError, match="name the right tokenizer_class"):
        load_codec(find(str(folder)))


def test_sentencepiece_alone(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    (tmp_path / "words.txt").write_text("the capital of France is Paris\n" * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.txt"), model_prefix=str(tmp_path / "tokenizer"), vocab_size=300,
        model_type="bpe", byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False, hard_vocab_limit=False,
    )  # fmt: skip
    folder = write_checkpoint("llama", tmp_path)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    codec = load_codec(find(str(folder)))
    own = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    assert codec.encode(TEXT, special_tokens=False) == own.encode(TEXT)


def test_sentencepiece_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jaxlin_models.tokenizer_files.find_spec", lambda _: None)
    folder = write_checkpoint("llama", tmp_path)
    (folder / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"pip install jaxlin\[sentencepiece\]"):
        load_codec(find(str(folder)))


# Tokens as text


@pytest.fixture(scope="module")
def blanks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_checkpoint("mistral", tmp_path_factory.mktemp("blanks"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 300}))
    return write(folder, sentencepiece_like(), "LlamaTokenizer", bos_token="<s>", unk_token="<unk>")


@pytest.mark.parametrize(
    ("text", "name"), [("s", "s"), (" s", "▁s"), ("Paris", "Paris"), (" Paris", "▁Paris"), (" ", "▁"),
                       ("<s>", "<s>"), (" the", "▁the")],
)  # fmt: skip
def test_targets_are_the_text_that_was_asked_for(text: str, name: str, blanks: Path) -> None:
    model = locate(str(blanks))
    vocab = json.loads((blanks / "tokenizer.json").read_text())["model"]["vocab"]
    assert model.token_id(text) == vocab[name]
    assert model.token_text(vocab[name]) == text


@pytest.mark.parametrize("text", ["the", "Paris Paris", "zzz", "", "  "])
def test_targets_that_are_no_token(text: str, blanks: Path) -> None:
    with pytest.raises(JaxlinError, match="the target"):
        locate(str(blanks)).token_id(text)


def test_tokens_together_are_the_text(blanks: Path) -> None:
    model = locate(str(blanks))
    ids = model.tokenize("Paris s Paris")[1:]
    assert "".join(model.token_text(token) for token in ids) == " Paris s Paris"


def test_ids_beyond_the_tokenizer_are_numbers(blanks: Path) -> None:
    codec = load_codec(find(str(blanks)))
    assert codec.spelling(299) == "#299"
    assert codec.spelling(10**9) == "#1000000000"


def test_words_joined_by_blanks_have_none_of_their_own(tmp_path: Path) -> None:
    words = {"version": "1.0", "added_tokens": [], "normalizer": None, "post_processor": None,
             "decoder": None, "pre_tokenizer": {"type": "WhitespaceSplit"},
             "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}  # fmt: skip
    folder = write(write_checkpoint("llama", tmp_path), words, "PreTrainedTokenizerFast")
    model = locate(str(folder))
    assert (model.token_id("b"), model.token_text(1)) == (1, "b")


# Damage


def damaged() -> dict[str, Any]:
    whole = byte_level(LIKE_LLAMA_3)
    model = whole["model"]
    return {
        "no vocabulary": whole | {"model": model | {"vocab": {}}},
        "ids of a list": whole | {"model": model | {"vocab": [1]}},
        "negative ids": whole | {"model": model | {"vocab": {"a": -1}}},
        "id beyond 32 bits": whole | {"model": model | {"vocab": {"a": 2**40}}},
        "merge of what is not there": whole | {"model": model | {"merges": [["zz", "yy"]]}},
        "unknown model": whole | {"model": {"type": "Nope"}},
        "broken pattern": byte_level("(((("),
        "special token that is none": whole
        | {"post_processor": {"type": "TemplateProcessing", "pair": [], "special_tokens": {},
                              "single": [{"SpecialToken": {"id": "x", "type_id": 0}}]}},
        "unigram without pieces": whole | {"model": {"type": "Unigram", "unk_id": 5, "vocab": []}},
        "unigram of NaN": json.dumps(
            whole | {"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}}
        ).replace("0.0]", "NaN]"),
        "deep": "[" * 10**5,
        "deep objects": '{"a":' * 10**5,
        "null": "null",
        "half a file": json.dumps(whole)[:1000],
        "no UTF-8": "\ud800",
    }  # fmt: skip


@pytest.mark.parametrize("kind", damaged())
def test_damaged_tokenizers(kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = write_checkpoint("llama", tmp_path)
    content = damaged()[kind]
    text = content if isinstance(content, str) else json.dumps(content)
    write(folder, "", "PreTrainedTokenizerFast")
    (folder / "tokenizer.json").write_bytes(text.encode(errors="surrogatepass"))
    try:
        codec = load_codec(find(str(folder)))
        codec.encode(TEXT)
    except ModelError as refused:
        assert len(str(refused).splitlines()) == 1  # noqa: PT017
        assert str(folder) in str(refused)  # noqa: PT017
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "settings",
    [{"added_tokens_decoder": {"x": {"content": "a"}}}, {"added_tokens_decoder": 3}, {"bos_token": 3},
     {"bos_token": {"content": 3}}, {"model_max_length": "x"}, {"extra_special_tokens": [1]},
     {"chat_template": 3}, {"padding_side": "up"}, {"vocab_file": "/dev/zero"},
     {"added_tokens_decoder": {"99999999999": {"content": "a"}}}, {"tokenizer_file": "/dev/zero"},
     {"init_inputs": [1, 2, 3]}, {"backend": "x"}],
)  # fmt: skip
def test_hostile_settings(
    settings: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = write_checkpoint("llama", tmp_path)
    write(folder, byte_level(LIKE_LLAMA_3), "PreTrainedTokenizerFast", **settings)
    expected = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(TEXT).ids
    try:
        assert load_codec(find(str(folder))).encode(TEXT) == expected
    except ModelError as refused:
        assert len(str(refused).splitlines()) == 1  # noqa: PT017
    assert capfd.readouterr().err == ""


class Panic(BaseException):
    """As the library behind raises where it fails in Rust: no Exception."""


@pytest.mark.parametrize("error", [Panic("line\nline"), TypeError("x"), RecursionError(), RuntimeError()])
def test_whatever_a_tokenizer_raises_in_use(error: BaseException, blanks: Path) -> None:
    class Raising:
        def __call__(self, *_: Any, **__: Any) -> Any:
            raise error

        decode = convert_ids_to_tokens = convert_tokens_to_ids = __call__

    model = locate(str(blanks))
    codec = model.codec
    object.__setattr__(codec, "tokenizer", Raising())
    for use in (lambda: model.tokenize("a"), lambda: model.text([1]), lambda: model.token_text(77),
                lambda: model.token_id("a")):  # fmt: skip
        with pytest.raises(
            ModelError, match=f"the tokenizer in .* cannot be used .*{type(error).__name__}"
        ) as said:
            use()
        assert len(str(said.value).splitlines()) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, SystemExit])
def test_what_is_not_the_tokenizers_fault_passes(error: type[BaseException], blanks: Path) -> None:
    codec = load_codec(find(str(blanks)))

    def raising(*_: Any, **__: Any) -> Any:
        raise error

    object.__setattr__(codec, "tokenizer", raising)
    with pytest.raises(error):
        codec.encode("a")
