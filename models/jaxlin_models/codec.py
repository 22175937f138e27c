"""Text to token ids and back: a checkpoint's tokenizer, held to what its own files say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tokenizers import pre_tokenizers

from jaxlin_models.errors import ModelError
from jaxlin_models.huggingface import PreTrainedTokenizerBase
from jaxlin_models.quiet import quiet
from jaxlin_models.reference import Reference

#: How SentencePiece writes a blank.
_BLANK = "▁"
#: What stands for bytes that are no text by themselves.
_REPLACEMENT = "\ufffd"
_BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


@dataclass(frozen=True, eq=False, repr=False)
class Codec:
    """A tokenizer whose every failure is a :class:`ModelError`.

    Attributes:
        tokenizer: one of transformers'.
        owner: whose it is, for messages.
        reference: what its ids are compared with, text by text; nothing if None.
    """

    tokenizer: PreTrainedTokenizerBase
    owner: str
    reference: Reference | None = None
    _spelled: dict[int, str] = field(default_factory=dict)

    def encode(self, text: str, *, special_tokens: bool = True, compare: bool = True) -> list[int]:
        """Token ids of a text.

        Args:
            text: any.
            special_tokens: whether the tokenizer adds those that it is set up to add.
            compare: whether with the reference.

        Raises:
            ModelError: it cannot be done, or the reference has other ids.
        """
        with guarded(self.owner):
            ids = [int(i) for i in self.tokenizer(text, add_special_tokens=special_tokens)["input_ids"]]
            if compare and self.reference is not None:
                self.reference.check(type(self.tokenizer).__name__, text, ids, special_tokens=special_tokens)
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens and all; without the blank that some tokenizers put first.

        Raises:
            ModelError: it cannot be done.
        """
        with guarded(self.owner):
            return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def spelling(self, token: int) -> str:
        """What a token adds to a text, its blank included; ``#id`` if the tokenizer does not have it.

        Raises:
            ModelError: it cannot be done.
        """
        if token not in self._spelled:
            self._spelled[token] = self._spell(token)
        return self._spelled[token]

    def only(self, text: str) -> int | None:
        """The token that adds exactly this text, as tokenizers read it first; None if there is none.

        Raises:
            ModelError: it cannot be done.
        """
        ids = self.encode(text, special_tokens=False, compare=False)
        with guarded(self.owner):
            mapped = "".join(piece for piece, _ in _BYTE_LEVEL.pre_tokenize_str(text))
            found = [self._id_of(form) for form in (text, text.replace(" ", _BLANK), mapped)]
        candidates = [*(ids if len(ids) == 1 else ()), *(token for token in found if token is not None)]
        return next((token for token in candidates if self.spelling(token) == text), None)

    def _id_of(self, piece: str) -> int | None:
        """The id of a token by the name that the vocabulary has for it."""
        found = self.tokenizer.convert_tokens_to_ids(piece)
        if not isinstance(found, int) or self.tokenizer.convert_ids_to_tokens(found) != piece:
            return None
        return found

    def _spell(self, token: int) -> str:
        with guarded(self.owner):
            piece = self.tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return f"#{token}"
        once, twice = self.decode([token]), self.decode([token, token])
        if once == piece or _REPLACEMENT in once:  # it is as it is, or bytes that are text beside others
            return once
        # At the beginning of a text its blank may be left out; behind something else it is there.
        return twice.removeprefix(once) or once or str(piece)


@contextmanager
def guarded(owner: str, trouble: str = "cannot be used") -> Iterator[None]:
    """Whatever a tokenizer ends in is a :class:`ModelError`, in one sentence.

    Args:
        owner: whose it is.
        trouble: what is said of it.
    """
    try:
        with quiet():
            yield
    except (ModelError, MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # panics of the library behind are no Exception
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:160]}".rstrip(". :")
        raise ModelError(
            f"the tokenizer in {owner} {trouble} ({reason}); fetch it anew, or remove it and give `token_ids`"
        ) from error
