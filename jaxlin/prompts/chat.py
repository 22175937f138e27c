"""Messages of a chat as the text that a model was trained on, by the template that its tokenizer brings.

transformers runs the template in jinja's sandbox, where it can neither import nor change anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from jaxlin_models.huggingface import PreTrainedTokenizerBase

from jaxlin.errors import JaxlinError, shortened

#: One message: ``role`` and ``content`` are text; what else a template asks for may stand beside them.
Message = Mapping[str, Any]


def is_messages(prompt: Any) -> TypeGuard[Sequence[Message]]:
    """Whether a prompt is given as messages, which are dictionaries."""
    return isinstance(prompt, list | tuple) and any(isinstance(message, Mapping) for message in prompt)


def in_template(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """The text of a chat, special tokens and all, up to where the model's answer begins.

    Where the last message is the assistant's own, the text ends in it, and so goes on with it.

    Raises:
        JaxlinError: there is no template, it cannot take these messages, or they are none.
    """
    for message in messages:
        given = message if isinstance(message, Mapping) else {}
        if not all(isinstance(given.get(name), str) for name in ("role", "content")):
            raise JaxlinError(
                'every message is an object with text as "role" and as "content", like '
                '{"role": "user", "content": "Hello"}'
            )
    if tokenizer.chat_template is None:
        raise JaxlinError(
            "this checkpoint's tokenizer has no chat template: write the prompt as the model expects it, "
            "and leave `chat` out"
        )
    goes_on = messages[-1]["role"] == "assistant"
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=not goes_on,
            continue_final_message=goes_on,
        )
    except MemoryError:
        raise
    except Exception as error:  # a template is a program of somebody else's, and refuses as it likes
        reason = shortened(str(error).strip().partition("\n")[0], 160) or type(error).__name__
        raise JaxlinError(
            f"the checkpoint's chat template cannot be used on these messages ({reason}): check their roles, "
            f"or write the prompt as the model expects it"
        ) from error
    return str(text)
