"""The prompt of a command, from whichever of the three ways it was given in."""

from __future__ import annotations

from jaxlin.errors import JaxlinError
from jaxlin.prompts.files import read_text
from jaxlin.runtime.sizes import parse_whole
from jaxlin.verbs.shared import PromptSource


def read_prompt(source: PromptSource) -> str | list[int]:
    """The prompt as text, or as token ids.

    Raises:
        JaxlinError: none or several ways, a file that cannot be read, ids that are no numbers.
    """
    given = [way for way in (source.prompt, source.prompt_file, source.token_ids) if way is not None]
    if len(given) != 1:
        raise JaxlinError("give the prompt in one way: `prompt`, `prompt_file` or `token_ids`")
    if source.prompt is not None:
        return source.prompt
    if source.prompt_file is not None:
        return read_text(source.prompt_file, "prompt_file")
    ids = source.token_ids or ""
    return [_token_id(text) for text in ids.split(",")] if ids.strip() else []


def _token_id(text: str) -> int:
    try:
        return parse_whole(text)
    except ValueError as error:
        raise JaxlinError(
            f"`token_ids` takes numbers with commas between, like 1,2,3, and {text[:20]!r} is no number"
        ) from error
