"""Words and token ids: the prompt in, spellings out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import jaxlin_models as models
import numpy as np
from jaxlin_models.huggingface import PreTrainedTokenizerBase
from jaxtyping import Int

from jaxlin.errors import JaxlinError
from jaxlin.prompts.sources import Source
from jaxlin.prompts.target import LogitTarget

#: A prompt as text, or as token ids.
Prompt = str | Sequence[int] | Int[np.ndarray, " t"]

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

    @property
    def has_tokenizer(self) -> bool:
        """Whether prompts may be text, and tokens are spelled."""
        return self.own_tokenizer is not None or self.source.has_tokenizer

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, the checkpoint's own if none was given.

        Raises:
            JaxlinError: a model in memory that came without one.
            models.ModelError: a checkpoint that has none, or none that can be read.
        """
        return self.source.tokenizer() if self.own_tokenizer is None else self.own_tokenizer

    def tokenize(self, prompt: Prompt) -> list[int]:
        """Token ids of a prompt, with the tokenizer's own special tokens; ids are only checked.

        Raises:
            JaxlinError: an empty prompt, an id out of range, or more tokens than positions.
        """
        return _token_ids(self.config, prompt, lambda: self.tokenizer)

    def token_text(self, token: int) -> str:
        """The text of one token as its tokenizer spells it, or ``#id`` where there is no tokenizer."""
        if not self.has_tokenizer:
            return f"#{token}"
        return str(self.tokenizer.decode([token]))

    def text(self, ids: Sequence[int]) -> str:
        """The text of several tokens, special tokens included; ``#id`` where there is no tokenizer."""
        if not self.has_tokenizer:
            return " ".join(f"#{token}" for token in ids)
        return str(self.tokenizer.decode(list(ids)))

    def token_id(self, token: str | int) -> int:
        """The id of a token given as text, with the blank it begins with, or as a number.

        Raises:
            JaxlinError: text that is several tokens or none, or a number out of range.
        """
        vocab = self.config.vocab_size
        if isinstance(token, int):
            if not 0 <= token < vocab:
                raise JaxlinError(f"token id {token} is out of range: ids go from 0 to {vocab - 1} here")
            return token
        ids: list[int] = self.tokenizer(token, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:  # some tokenizers put a blank of their own before the first word
            spelled = self.tokenizer.convert_tokens_to_ids(token.replace(" ", "▁"))
            if isinstance(spelled, int) and spelled != self.tokenizer.unk_token_id:
                ids = [spelled]
        if len(ids) != 1 or ids[0] == self.tokenizer.unk_token_id:
            pieces = ", ".join(repr(self.token_text(i)) for i in ids)
            raise JaxlinError(
                f"the target {token!r} is {len(ids)} tokens ({pieces}): choose a single one, blank included"
            )
        return ids[0]

    def spell_target(self, target: LogitTarget) -> str:
        """A target as text, its tokens by their text: ``logits:" Paris"-" Rome"``.

        Raises:
            JaxlinError: a token that is several, or an id out of range.
        """
        plus, minus = (
            None if token is None else f'"{self.token_text(self.token_id(token))}"'
            for token in (target.plus, target.minus)
        )
        return f"logits:{plus}" if minus is None else f"logits:{plus}-{minus}"


def _token_ids(
    config: models.DecoderConfig,
    prompt: Prompt,
    tokenizer: Callable[[], PreTrainedTokenizerBase],
) -> list[int]:
    if isinstance(prompt, str) and not prompt.strip():
        raise JaxlinError(_EMPTY)
    ids = tokenizer()(prompt)["input_ids"] if isinstance(prompt, str) else [int(token) for token in prompt]
    if not ids:
        raise JaxlinError(_EMPTY)
    wrong = [token for token in ids if not 0 <= token < config.vocab_size]
    if wrong:
        raise JaxlinError(
            f"token id {wrong[0]} is out of range: this model's ids go from 0 to {config.vocab_size - 1}"
        )
    if len(ids) > config.max_positions:
        raise JaxlinError(
            f"the prompt has {len(ids)} tokens and the model {config.max_positions} positions: shorten it"
        )
    return ids


def up_to(ids: list[int], position: int | None, config: models.DecoderConfig) -> list[int]:
    """The tokens up to an output position, which do for its hidden state.

    Raises:
        JaxlinError: it is outside the prompt, or the model would treat the shorter prompt otherwise.
    """
    if position is None:
        return ids
    if not -len(ids) <= position < len(ids):
        raise JaxlinError(
            f"output position {position} is outside the prompt: choose from 0 to {len(ids) - 1}"
        )
    seen = ids[: position % len(ids) + 1]
    if config.rope_full.differs_between(len(seen), len(ids)):
        raise JaxlinError(
            f"this model turns positions by other angles in prompts of more than "
            f"{config.rope_full.original_max_positions} tokens (longrope), so output position "
            f"{len(seen) - 1} depends on what follows: cut the prompt after it"
        )
    return seen
