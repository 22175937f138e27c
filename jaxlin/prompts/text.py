"""Words and token ids: the prompt in, spellings out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import jaxlin_models as models
import numpy as np
from jaxlin_models.huggingface import PreTrainedTokenizerBase
from jaxtyping import Int

from jaxlin.errors import JaxlinError, shortened
from jaxlin.prompts.chat import Message, in_template, is_messages
from jaxlin.prompts.sources import Source
from jaxlin.prompts.target import LogitTarget
from jaxlin.runtime.sizes import spell_number

#: A prompt as text, as token ids, or as messages of a chat.
Prompt = str | Sequence[int] | Int[np.ndarray, " t"] | Sequence[Message]

#: Tokens of a wrong target that a message names.
_PIECES = 8
_EMPTY = "the prompt is empty: give some text, or `token_ids`"


@dataclass(frozen=True, eq=False, repr=False)
class Text:
    """A model as far as its tokenizer goes. Needs no weights.

    Attributes:
        source: where the model comes from.
        own_tokenizer: one to use instead of the source's.
    """

    source: Source
    own_tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def config(self) -> models.DecoderConfig:
        """Sizes and settings of the decoder; needs no weights."""
        return self.source.config

    @cached_property
    def has_tokenizer(self) -> bool:
        """Whether prompts may be text, and tokens are spelled. Looked for once: every token asks."""
        return self.own_tokenizer is not None or self.source.has_tokenizer

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, the checkpoint's own if none was given.

        Raises:
            JaxlinError: a model in memory that came without one.
            models.ModelError: a checkpoint that has none, none that can be read, or one of which transformers
                makes another.
        """
        return self.codec.tokenizer

    @cached_property
    def codec(self) -> models.Codec:
        """The tokenizer, every failure of which is one sentence; errors as of :attr:`tokenizer`."""
        if self.own_tokenizer is None:
            return self.source.codec()
        return models.Codec(self.own_tokenizer, self.source.name)

    def tokenize(self, prompt: Prompt, *, chat: bool = False, special_tokens: bool = True) -> list[int]:
        """Token ids of a prompt; ids are only checked.

        Args:
            prompt: text, token ids, or messages (dictionaries with ``role`` and ``content``), which go
                through the checkpoint's own chat template.
            chat: whether text is one message of a user, and goes through it as well.
            special_tokens: whether the tokenizer adds its own to text, as the one that texts begin with. A
                chat template writes them itself.

        Raises:
            JaxlinError: an empty prompt, text that is none, an id out of range, more tokens than positions,
                messages that the template cannot take, or ``chat`` or ``special_tokens`` with ids.
        """
        if isinstance(prompt, str) and chat:
            _check_prompt(prompt)
            prompt = [{"role": "user", "content": prompt}]
        if is_messages(prompt):
            if not special_tokens:
                raise JaxlinError(
                    "a chat template writes its own special tokens: leave `no_special_tokens` out"
                )
            prompt, special_tokens = in_template(self.tokenizer, prompt), False
        elif chat:
            raise JaxlinError("token ids are used as they are: leave `chat` out, or give text")
        if isinstance(prompt, str):
            _check_prompt(prompt)
            ids = self.codec.encode(prompt, special_tokens=special_tokens)
        elif special_tokens:
            ids = [int(token) for token in cast("Sequence[int]", prompt)]
        else:
            raise JaxlinError("token ids are used as they are: leave `no_special_tokens` out, or give text")
        _check_ids(ids, self.config)
        return ids

    @property
    def bos(self) -> int | None:
        """The token that texts begin with: the tokenizer's, or without one that of config.json; if any."""
        return self.tokenizer.bos_token_id if self.has_tokenizer else self.source.bos

    def begins_twice(self, ids: Sequence[int]) -> bool:
        """Whether a prompt begins with the token that texts begin with, and then with it again."""
        return len(ids) > 1 and ids[0] == ids[1] == self.bos

    def token_text(self, token: int) -> str:
        """What a token adds to a text, its blank included; ``#id`` where there is no tokenizer."""
        return self.codec.spelling(token) if self.has_tokenizer else f"#{token}"

    def text(self, ids: Sequence[int]) -> str:
        """The text of several tokens, special tokens included; ``#id`` where there is no tokenizer."""
        if not self.has_tokenizer:
            return " ".join(f"#{token}" for token in ids)
        return self.codec.decode(ids)

    def token_id(self, token: str | int) -> int:
        """The id of a token given as text, with the blank it begins with, or as a number.

        Raises:
            JaxlinError: text that no single token adds as it stands, or a number out of range.
        """
        vocab = self.config.vocab_size
        if isinstance(token, int):
            if not 0 <= token < vocab:
                raise JaxlinError(
                    f"token id {spell_number(token)} is out of range: ids go from 0 to {vocab - 1} here"
                )
            return token
        _check_text(token, f"the target {shortened(token)!r}")
        found = self.codec.only(token)
        if found is not None:
            return found
        ids = self.codec.encode(token, special_tokens=False, compare=False)
        few = [repr(self.token_text(i)) for i in ids[:_PIECES]]
        pieces = ", ".join([*few, "…"] if len(ids) > _PIECES else few)
        if len(ids) == 1:
            raise JaxlinError(
                f"the target {shortened(token)!r} is no token of this model, which reads it as {pieces}: "
                f"choose that, or one by its number (#{ids[0]})"
            )
        raise JaxlinError(
            f"the target {shortened(token)!r} is {len(ids)} tokens ({pieces}): choose a single one, "
            f"blank included"
        )

    def spell_target(self, target: LogitTarget) -> str:
        """A target as text, its tokens by their text as JSON has it: ``logits:" Paris"-" Rome"``.

        Raises:
            JaxlinError: a token that is several, or an id out of range.
        """
        plus, minus = (
            None if token is None else json.dumps(self.token_text(self.token_id(token)), ensure_ascii=False)
            for token in (target.plus, target.minus)
        )
        return f"logits:{plus}" if minus is None else f"logits:{plus}-{minus}"


def _check_text(text: str, what: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise JaxlinError(
            f"{what} is no text (letter {error.start + 1} is {half}, half of a surrogate pair or a byte that "
            f"is no UTF-8): write it in UTF-8, and pairs whole"
        ) from error


def _check_prompt(prompt: str) -> None:
    if not prompt.strip():
        raise JaxlinError(_EMPTY)
    _check_text(prompt, "the prompt")


def _check_ids(ids: Sequence[int], config: models.DecoderConfig) -> None:
    if not ids:
        raise JaxlinError(_EMPTY)
    wrong = next((token for token in ids if not 0 <= token < config.vocab_size), None)
    if wrong is not None:
        raise JaxlinError(
            f"token id {spell_number(wrong)} is out of range: this model's ids go from 0 to "
            f"{config.vocab_size - 1}"
        )
    if len(ids) > config.max_positions:
        raise JaxlinError(
            f"the prompt has {len(ids)} tokens and the model {config.max_positions} positions: shorten it"
        )


def up_to(ids: list[int], position: int | None, config: models.DecoderConfig) -> list[int]:
    """The tokens up to an output position, which do for its hidden state.

    Raises:
        JaxlinError: it is outside the prompt, or the model would treat the shorter prompt otherwise.
    """
    if position is None:
        return ids
    if not -len(ids) <= position < len(ids):
        raise JaxlinError(
            f"output position {spell_number(position)} is outside the prompt: choose from 0 to {len(ids) - 1}"
        )
    seen = ids[: position % len(ids) + 1]
    if config.rope_full.differs_between(len(seen), len(ids)):
        raise JaxlinError(
            f"this model turns positions by other angles in prompts of more than "
            f"{config.rope_full.original_max_positions} tokens (longrope), so output position "
            f"{len(seen) - 1} depends on what follows: cut the prompt after it"
        )
    return seen
