"""The prompts of a file, or in memory, each under a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxlin.errors import JaxlinError, shortened
from jaxlin.prompts.chat import is_messages
from jaxlin.prompts.model import Model
from jaxlin.prompts.rows import Row, read_rows
from jaxlin.prompts.text import Prompt
from jaxlin.results.plain import as_plain
from jaxlin.verbs.shard import Shard
from jaxlin.verbs.shared import Tokenized
from jaxlin.verbs.tokenizing import tell_of_two_beginnings

#: The list of all results, which no prompt may be called.
INDEX = "index.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_WAYS = ("prompt", "token_ids", "messages")


@dataclass(frozen=True)
class Entry:
    """One prompt.

    Attributes:
        name: its own, which is its folder's.
        ids: its tokens; none where it cannot be used.
        fields: what else its line says, which goes into the index.
        refused: why it cannot be used, in a sentence.
    """

    name: str
    ids: list[int]
    fields: Mapping[str, Any] = field(default_factory=dict)
    refused: str | None = None


@dataclass(frozen=True)
class Prompts:
    """Many prompts.

    Attributes:
        names: of all of them, in their order.
        entries: those that this run is to do.
        shard: which part of all that is.
    """

    names: tuple[str, ...]
    entries: tuple[Entry, ...]
    shard: Shard


def read_entries(path: Path, model: Model, options: Tokenized, shard: Shard) -> Prompts:
    """The prompts of a file: ``prompt``, ``token_ids`` or ``messages``, an optional ``id``, other fields.

    A row that cannot be read or used is an entry that says why.

    Raises:
        JaxlinError: a file that cannot be read, or has no prompts; a name that cannot be a folder's, or comes
            twice.
    """
    names: dict[str, int] = {}
    mine = []
    for place, (number, row) in enumerate(read_rows(path, "prompts")):
        where = f"{path}, line {number}"
        name = _name(row, number, where)
        if name in names:
            raise JaxlinError(f"{where}: the id {name!r} was there before: give another")
        names[name] = place
        if shard.has(place):
            mine.append(_entry(row, name, where, model, options))
    if not names:
        raise JaxlinError(f'{path} has no prompts: give one JSON object a line, like {{"prompt": "Hello"}}')
    if not mine:
        raise JaxlinError(
            f"{path} has {len(names)} prompts, and `shard` leaves none of them: use fewer parts"
        )
    tell_of_two_beginnings(model, [entry.ids for entry in mine])
    return Prompts(tuple(names), tuple(mine), shard)


def entries_of(prompts: Iterable[Prompt], model: Model, options: Tokenized, shard: Shard) -> Prompts:
    """Prompts in memory, named by their numbers from 1."""
    names, mine = [], []
    for place, prompt in enumerate(prompts):
        names.append(f"{place + 1:06d}")
        if shard.has(place):
            mine.append(_used(prompt, names[-1], {}, f"prompt {place + 1}", model, options))
    tell_of_two_beginnings(model, [entry.ids for entry in mine])
    return Prompts(tuple(names), tuple(mine), shard)


def _name(row: Row, number: int, where: str) -> str:
    """Its id, or its number from 1."""
    name = f"{number:06d}" if isinstance(row, JaxlinError) else row.get("id", f"{number:06d}")
    if type(name) not in (str, int):
        raise JaxlinError(f'{where}: "id" is text or a whole number')
    name = str(name)
    if _NAME.fullmatch(name) is None or name == INDEX:
        raise JaxlinError(
            f"{where}: the id {shortened(name, 40)!r} cannot be a folder: use letters, digits, dots, dashes"
        )
    return name


def _entry(row: Row, name: str, where: str, model: Model, options: Tokenized) -> Entry:
    if isinstance(row, JaxlinError):
        return Entry(name, [], refused=f"{where}: {row}")
    others = {key: value for key, value in row.items() if key not in (*_WAYS, "id")}
    fields = json.loads(json.dumps(as_plain(others), default=str))  # Parquet knows dates and the like
    ways = [way for way in _WAYS if way in row]
    if len(ways) != 1:
        refused = f'{where}: give one of "prompt", "token_ids" and "messages"'
        return Entry(name, [], fields, refused)
    (way,) = ways
    prompt = row[way]
    fits = {
        "prompt": isinstance(prompt, str),
        # True and false are numbers to Python, and no ids.
        "token_ids": isinstance(prompt, list) and all(type(token) is int for token in prompt),
        "messages": is_messages(prompt),
    }
    if not fits[way]:
        refused = f'{where}: "prompt" is text, "token_ids" a list of numbers and "messages" a list of objects'
        return Entry(name, [], fields, refused)
    return _used(prompt, name, fields, where, model, options)


def _used(
    prompt: Prompt, name: str, fields: Mapping[str, Any], where: str, model: Model, options: Tokenized
) -> Entry:
    try:
        return Entry(name, _tokens(prompt, model, options), fields)
    except JaxlinError as error:
        return Entry(name, [], fields, f"{where}: {error}")


def _tokens(prompt: Prompt, model: Model, options: Tokenized) -> list[int]:
    return model.tokenize(prompt, chat=options.chat, special_tokens=not options.no_special_tokens)
