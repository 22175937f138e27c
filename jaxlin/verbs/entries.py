"""The prompts of a file of JSON lines, or in memory, each under a name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxlin.errors import JaxlinError, shortened
from jaxlin.prompts.chat import is_messages
from jaxlin.prompts.files import read_json_lines
from jaxlin.prompts.model import Model
from jaxlin.prompts.text import Prompt
from jaxlin.verbs.shared import Tokenized
from jaxlin.verbs.tokenizing import tell_of_two_beginnings

#: The list of all results, which no prompt may be called.
INDEX = "index.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WAYS = ("prompt", "token_ids", "messages")


@dataclass(frozen=True)
class Entry:
    """One prompt: its name, which is its folder's, and its tokens."""

    name: str
    ids: list[int]


def read_entries(path: Path, model: Model, options: Tokenized) -> list[Entry]:
    """The prompts of a JSONL file: ``prompt``, ``token_ids`` or ``messages``, and an optional ``id``.

    Raises:
        JaxlinError: a file or line that cannot be read or used, by its number; a name twice.
    """
    entries: dict[str, Entry] = {}
    for number, line in read_json_lines(path, "prompts"):
        try:
            entry = _entry(line, number, model, options)
        except JaxlinError as error:
            raise JaxlinError(f"{path}, line {number}: {error}") from error
        if entry.name in entries:
            raise JaxlinError(f"{path}, line {number}: the id {entry.name!r} was there before: give another")
        entries[entry.name] = entry
    if not entries:
        raise JaxlinError(f'{path} has no prompts: give one JSON object a line, like {{"prompt": "Hello"}}')
    tell_of_two_beginnings(model, [entry.ids for entry in entries.values()])
    return list(entries.values())


def entries_of(prompts: Iterable[Prompt], model: Model, options: Tokenized) -> list[Entry]:
    """Prompts in memory, named by their numbers from 1."""
    entries = [
        Entry(f"{number:06d}", _tokens(prompt, model, options)) for number, prompt in enumerate(prompts, 1)
    ]
    tell_of_two_beginnings(model, [entry.ids for entry in entries])
    return entries


def _entry(line: Mapping[str, Any], number: int, model: Model, options: Tokenized) -> Entry:
    ways = [way for way in _WAYS if way in line]
    if len(ways) != 1 or set(line) - {*_WAYS, "id"}:
        raise JaxlinError('give "prompt", "token_ids" or "messages", and "id" if you like, and nothing else')
    (way,) = ways
    prompt = line[way]
    fits = {
        "prompt": isinstance(prompt, str),
        # True and false are numbers to Python, and no ids.
        "token_ids": isinstance(prompt, list) and all(type(token) is int for token in prompt),
        "messages": is_messages(prompt),
    }
    if not fits[way]:
        raise JaxlinError('"prompt" is text, "token_ids" a list of numbers and "messages" a list of objects')
    name = line.get("id", f"{number:06d}")
    if type(name) not in (str, int):
        raise JaxlinError('"id" is text or a whole number')
    name = str(name)
    if _NAME.fullmatch(name) is None or name == INDEX:
        raise JaxlinError(
            f"the id {shortened(name, 40)!r} cannot be a folder: use letters, digits, dots and dashes"
        )
    return Entry(name, _tokens(prompt, model, options))


def _tokens(prompt: Prompt, model: Model, options: Tokenized) -> list[int]:
    return model.tokenize(prompt, chat=options.chat, special_tokens=not options.no_special_tokens)
