"""The tokenizer that a checkpoint brings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from jaxlin_models.checkpoint import Checkpoint
from jaxlin_models.codec import Codec, guarded
from jaxlin_models.errors import ModelError
from jaxlin_models.gguf.vocabulary import has_vocabulary, load_vocabulary
from jaxlin_models.huggingface import AutoTokenizer
from jaxlin_models.reference import PROBE, Reference, of_sentencepiece, of_tokenizer_json
from jaxlin_models.regular import kind_of, require_small

_WHOLE, _SENTENCEPIECE = "tokenizer.json", "tokenizer.model"
#: Byte-level BPE in two files.
_PAIR = ("vocab.json", "merges.txt")
#: All that transformers may open.
_FILES = (
    _WHOLE,
    _SENTENCEPIECE,
    *_PAIR,
    "config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
)


def has_tokenizer(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint has a tokenizer."""
    if checkpoint.gguf is not None:
        return has_vocabulary(checkpoint.gguf.files)
    sets = ((_WHOLE,), (_SENTENCEPIECE,), _PAIR)
    there = {name for names in sets for name in names if kind_of(checkpoint.directory / name) is not None}
    return any(there.issuperset(names) for names in sets)


def load_codec(checkpoint: Checkpoint) -> Codec:
    """The checkpoint's own tokenizer, its ids compared with those of its files on :data:`PROBE`.

    Raises:
        ModelError: it has none, none that can be read, or one of which transformers makes another.
    """
    if checkpoint.gguf is not None:
        return load_vocabulary(checkpoint.gguf.files)
    directory = checkpoint.directory
    if not has_tokenizer(checkpoint):
        raise ModelError(f"{directory} has no {_WHOLE}; give the prompt as `token_ids` instead")
    for name in _FILES:
        if kind_of(directory / name) is not None:
            require_small(directory / name)
    reference = _reference(directory)
    with guarded(str(directory), "cannot be read"):
        # With the config that was read, or it would be read again, keys that are left out included.
        tokenizer = AutoTokenizer.from_pretrained(
            directory, config=checkpoint.hf_config, local_files_only=True, trust_remote_code=False
        )
    codec = Codec(tokenizer, str(directory), reference)
    for text in PROBE:
        if reference is None or reference.knows(text):
            for special in (False, True):
                codec.encode(text, special_tokens=special)
    if reference is None:
        _check_blanks(codec)
    return codec


def _reference(directory: Path) -> Reference | None:
    """What the ids can be compared with; two files of byte-level BPE do not say how text is taken apart."""
    with guarded(str(directory), "cannot be read"):
        if kind_of(directory / _WHOLE) is not None:
            return of_tokenizer_json(directory / _WHOLE)
        if all(kind_of(directory / name) is not None for name in _PAIR):
            return None
        if find_spec("sentencepiece") is None:
            raise ModelError(
                f"the tokenizer in {directory} is a SentencePiece model ({_SENTENCEPIECE}), and the package "
                f"for it is not installed: pip install jaxlin[sentencepiece], or give `token_ids`"
            )
        return of_sentencepiece(directory / _SENTENCEPIECE)


def _check_blanks(codec: Codec) -> None:
    """Refuse a tokenizer that loses blanks or line breaks, which byte-level BPE never does."""
    text = "The capital of  France\n\nis Paris."
    read = codec.decode(codec.encode(text, special_tokens=False))
    if read.strip() != text:
        raise ModelError(
            f"transformers' {type(codec.tokenizer).__name__} reads {text!r} from the files in {codec.owner} "
            f"as {read!r}; name the right tokenizer_class in tokenizer_config.json"
        )
