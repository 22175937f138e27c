"""The tokens of a verb's prompt, as its options say."""

from __future__ import annotations

from collections.abc import Sequence

from jaxlin.prompts.text import Prompt, Text
from jaxlin.runtime.stderr import tell
from jaxlin.verbs.shared import Tokenized


def tokenized(model: Text, prompt: Prompt, options: Tokenized, *, chat: bool | None = None) -> list[int]:
    """Token ids of a prompt; a line on stderr where it begins with the same special token twice.

    Args:
        model: whose tokenizer, and whose chat template.
        prompt: text, token ids or messages.
        options: which special tokens there will be.
        chat: in place of that of the options.

    Raises:
        JaxlinError: a prompt that cannot be used, or options that have no meaning for it.
    """
    ids = model.tokenize(
        prompt,
        chat=options.chat if chat is None else chat,
        special_tokens=not options.no_special_tokens,
    )
    tell_of_two_beginnings(model, [ids])
    return ids


def tell_of_two_beginnings(model: Text, prompts: Sequence[Sequence[int]]) -> None:
    """A line on stderr where prompts begin with the special token of a beginning, and then with it again."""
    twice = sum(model.begins_twice(ids) for ids in prompts)
    if twice:
        which = "the prompt begins" if len(prompts) == 1 else f"{twice} of {len(prompts)} prompts begin"
        bos = model.bos or 0
        tell(
            f"{which} with {model.token_text(bos)} twice (ids {bos}, {bos}): the tokenizer adds one to text, "
            f"so leave it out of the text, or ask for no special tokens"
        )
