"""The tokenizer of a GGUF file: transformers' own conversion of its vocabulary, by llama.cpp's settings.

transformers splits text by the rules that ``tokenizer.ggml.pre`` names, and by GPT-2's where it does not
know the name; here such a name is refused. SmolLM's single digits and Llama 3's whole words are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

from jaxlin_models.codec import Codec, guarded
from jaxlin_models.errors import ModelError
from jaxlin_models.families.keys import shown
from jaxlin_models.gguf.parts import GgufFiles
from jaxlin_models.huggingface import PreTrainedTokenizerFast, convert_gguf_tokenizer, gguf_splits
from jaxlin_models.reference import PROBE, Reference

_PREFIX = "tokenizer.ggml."
#: GGUF's name of a vocabulary's kind.
_BYTE_LEVEL, _SENTENCEPIECE = "gpt2", "llama"
#: transformers' name -> ours of what its conversion takes.
_CONVERTED = {
    "tokenizer_type": "model",
    "pre_tokenizer_type": "pre",
    "tokens": "tokens",
    "scores": "scores",
    "token_type": "token_type",
    "merges": "merges",
}
#: Rules by which words of the vocabulary are taken whole, and texts begin with a token unless the file
#: says no.
_WHOLE_WORDS = frozenset(
    {
        "llama3",
        "llama-v3",
        "llama-bpe",
        "falcon3",
        "falcon-h1",
        "pixtral",
        "midm-2.0",
        "lfm2",
        "jina-v5-nano",
        "tekken",
    }
)
#: How SentencePiece writes a blank.
_BLANK = "▁"
_GPT2, _SINGLE_DIGITS = "gpt-2", "smollm"
_IDS = "give the prompt as `token_ids` instead"


def has_vocabulary(files: GgufFiles) -> bool:
    """Whether the files have a tokenizer of a kind that is known; without one, prompts are ids."""
    try:
        _Settings(files)
    except ModelError:  # said by load_vocabulary, to those who give text
        return False
    return True


def load_vocabulary(files: GgufFiles) -> Codec:
    """The tokenizer, held to the tokens that the conversion gives by itself and to the text it was given.

    Raises:
        ModelError: there is none, or none that can be used.
    """
    settings = _Settings(files)
    with guarded(str(files.named)):
        backend = _backend(files, settings)
        tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=backend,
            add_bos_token=settings.adds("bos"),
            add_eos_token=settings.adds("eos"),
            chat_template=settings.template(),
            clean_up_tokenization_spaces=False,
            **{f"{which}_token": settings.token(which) for which in ("bos", "eos", "unk", "pad")},
        )
    codec = Codec(tokenizer, str(files.named), _reference(files, settings, backend))
    _check(codec, settings)
    return codec


class _Settings:
    """The keys ``tokenizer.*``, with what llama.cpp takes where one is missing."""

    _NAMES: Mapping[str, str] = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    #: Of SentencePiece vocabularies.
    _USUAL: Mapping[str, int] = {"unk": 0, "bos": 1, "eos": 2}

    def __init__(self, files: GgufFiles) -> None:
        self.path, self._metadata = files.named, files.metadata
        if not isinstance(files.metadata.get(f"{_PREFIX}tokens"), list):
            raise ModelError(f"{files.named} has no tokenizer; {_IDS}")
        self.is_gemma = str(files.metadata["general.architecture"]).startswith("gemma")
        self.kind = self.get("model", str)
        self.rules = self.get("pre", str) or ""
        self.tokens = self.get("tokens", list)
        if self.kind not in (_BYTE_LEVEL, _SENTENCEPIECE):
            raise ModelError(f"{self.path} has a tokenizer of the unknown kind {shown(self.kind)}; {_IDS}")
        if self.kind == _BYTE_LEVEL and self.rules not in {_GPT2, _SINGLE_DIGITS, *gguf_splits()}:
            raise ModelError(
                f"{self.path} takes text apart by rules that are not known here (tokenizer.ggml.pre is "
                f"{shown(self.rules)}); {_IDS}"
            )
        for key in ("add_sep_token", "remove_extra_whitespaces"):
            if self.get(key, bool):
                raise ModelError(f"{self.path} sets tokenizer.ggml.{key}, which is not supported; {_IDS}")
        table = files.tensors["token_embd.weight"]
        if len(self.tokens) > table.shape[0] or not all(isinstance(token, str) for token in self.tokens):
            raise ModelError(
                f"{self.path} has {len(self.tokens)} tokens and {table.shape[0]} embeddings, or tokens "
                f"that are no text; fetch it again"
            )

    def get(self, key: str, kind: type) -> Any:
        """A value; None where there is none."""
        found = self._metadata.get(f"{_PREFIX}{key}")
        if found is not None and not isinstance(found, kind):
            raise ModelError(
                f"{self.path} sets tokenizer.ggml.{key} to {shown(found)}, which cannot be; {_IDS}"
            )
        return found

    def id(self, which: str) -> int | None:
        """The number of a special token."""
        found = self.get(f"{self._NAMES[which]}_token_id", int)
        if found is None and self.kind == _SENTENCEPIECE:
            found = self._USUAL.get(which)
        if found is not None and not 0 <= found < len(self.tokens):
            raise ModelError(
                f"{self.path} says that its {which} token is number {found} of {len(self.tokens)}; {_IDS}"
            )
        return None if found is None else int(found)

    def token(self, which: str) -> str | None:
        """A special token."""
        found = self.id(which)
        return None if found is None else self.tokens[found]

    def adds(self, which: str) -> bool:
        """Whether texts begin (``bos``) or end (``eos``) with such a token."""
        found = self.get(f"add_{which}_token", bool)
        if found is None:
            found = which == "bos" and (self.kind == _SENTENCEPIECE or self.rules in _WHOLE_WORDS)
        if found and self.id(which) is None:
            raise ModelError(f"{self.path} adds a {which} token to texts and does not say which; {_IDS}")
        return bool(found)

    @property
    def prefix(self) -> bool:
        """Whether a blank is put before texts."""
        found = self.get("add_space_prefix", bool)
        usual = self.kind == _SENTENCEPIECE and not self.is_gemma
        return usual if found is None else bool(found)

    def template(self) -> str | None:
        """That of chats."""
        found = self._metadata.get("tokenizer.chat_template")
        return found if isinstance(found, str) else None


def _backend(files: GgufFiles, settings: _Settings) -> Tokenizer:
    architecture = str(files.metadata["general.architecture"])
    given = {
        name: files.metadata[_PREFIX + key]
        for name, key in _CONVERTED.items()
        if _PREFIX + key in files.metadata
    }
    backend: Tokenizer = convert_gguf_tokenizer(architecture, given)[0]
    if settings.prefix and (settings.is_gemma or settings.kind == _BYTE_LEVEL):
        raise ModelError(f"{files.named} puts a blank before texts, which is not supported in it; {_IDS}")
    if settings.kind == _BYTE_LEVEL:
        if settings.rules == _SINGLE_DIGITS:
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Digits(individual_digits=True),
                    pre_tokenizers.ByteLevel(add_prefix_space=False),
                ]
            )
        backend.model.ignore_merges = settings.rules in _WHOLE_WORDS
    elif not settings.is_gemma:  # whose conversion knows its blanks
        _set_blanks(backend, settings.prefix)
    return backend


def _set_blanks(backend: Tokenizer, prefix: bool) -> None:
    """Blanks as SentencePiece has them: with ``prefix`` one is put before every text."""
    blank = normalizers.Replace(" ", _BLANK)
    backend.normalizer = normalizers.Sequence([normalizers.Prepend(_BLANK), blank]) if prefix else blank
    backend.pre_tokenizer = None
    spelled = [decoders.Replace(_BLANK, " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence([*spelled, decoders.Strip(" ", 1, 0)] if prefix else spelled)


def _reference(files: GgufFiles, settings: _Settings, backend: Tokenizer) -> Reference:
    """The conversion by itself, before transformers made a class of it."""
    before = [settings.id("bos")] if settings.adds("bos") else []
    after = [settings.id("eos")] if settings.adds("eos") else []

    def ids(text: str, special: bool) -> list[int]:
        found = list(backend.encode(text, add_special_tokens=False).ids)
        return [*before, *found, *after] if special else found  # type: ignore[list-item]

    return Reference(files.named, ids, _IDS, settings.id("unk"))


def _check(codec: Codec, settings: _Settings) -> None:
    """Refuse a tokenizer that does not give back what it read; what its vocabulary lacks is left out."""
    assert codec.reference is not None
    for text in PROBE:
        if not codec.reference.knows(text):
            continue
        codec.encode(text)
        read = codec.decode(codec.encode(text, special_tokens=False))
        if read != text:
            raise ModelError(f"the tokenizer of {codec.owner} reads {text!r} as {read!r}; {_IDS}")
