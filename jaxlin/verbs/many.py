"""Many prompts with one load, and one compilation for each bucket of lengths.

Every prompt has a result folder of its own, whole or absent, so a run that was interrupted goes on if started
again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jaxlin_models import POLICIES, DecoderConfig
from rich.text import Text

from jaxlin.errors import JaxlinError
from jaxlin.planning.budget import Forecast, Solver
from jaxlin.prompts.model import Model
from jaxlin.results.store import SUMMARY, staged, write_whole
from jaxlin.runtime.progress import Progress, silent
from jaxlin.solvers.choose import choose_method
from jaxlin.solvers.methods import uses
from jaxlin.solvers.svd import svd as solve
from jaxlin.verbs.declare import RESULT, STEP, declared_in
from jaxlin.verbs.mapping import notes_of, plan_length
from jaxlin.verbs.options import Svd
from jaxlin.verbs.shared import PromptSource
from jaxlin.verbs.svd import given_in

INDEX = "index.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Entry:
    """One prompt: its name, which is its folder's, and its tokens."""

    name: str
    ids: list[int]


@dataclass(frozen=True)
class ManyResults:
    """Where the results of many prompts are.

    Attributes:
        index: the file that lists them, for ``pandas.read_json(index, lines=True)``.
        rows: its lines.
    """

    index: Path
    rows: tuple[dict[str, Any], ...]

    @property
    def held(self) -> int:
        """How many certificates hold."""
        return sum(bool(row["holds"]) for row in self.rows)

    @property
    def holds(self) -> bool:
        """Whether all of them do."""
        return self.held == len(self.rows)

    def __repr__(self) -> str:
        return f"ManyResults({self.held} of {len(self.rows)} certificates hold, {self.index})"

    def table(self) -> Text:
        """How many hold, and where the index is."""
        return Text(f"{self.held} of {len(self.rows)} certificates hold; wrote {self.index}", overflow="fold")

    def summary(self) -> dict[str, Any]:
        """In plain numbers and words."""
        return {"index": str(self.index), "prompts": list(self.rows), "held": self.held}


def svd_many(
    model: Model, entries: Sequence[Entry], options: Svd, progress: Progress = silent
) -> ManyResults:
    """The top-k triplets of every prompt, each in a folder of its own in ``out``, and an index of them.

    Args:
        model: the model; its weights are read if there is anything left to do.
        entries: the prompts, see :func:`read_entries`.
        options: as for one prompt; those that have no meaning for many are refused.
        progress: told of every prompt.

    Raises:
        JaxlinError: a request that cannot be met, or a folder that holds a result of another request.
        KeyboardInterrupt: with how many prompts are done.
    """
    refuse_alone(options)
    if options.out is None:
        raise JaxlinError("many prompts need a folder for their results: give `out`")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JaxlinError(
            f"cannot write to {options.out} ({error.strerror}): choose another `out`"
        ) from error
    out, asked = options.out, _asked(model, options)
    todo = [entry for entry in entries if not _done(out, asked, entry, overwrite=options.overwrite)]
    finished = len(entries) - len(todo)
    progress("prompts", finished, len(entries), "done before" if finished else "")
    try:
        for _ in _solve_all(model, todo, options, asked, progress):
            finished += 1
            progress("prompts", finished, len(entries), "done")
            write_index(out, entries)
    except KeyboardInterrupt as interrupt:
        done = f"{finished} of {len(entries)} prompts"
        raise KeyboardInterrupt(
            f"interrupted after {done}; the same command goes on from there"
        ) from interrupt
    return ManyResults(out / INDEX, tuple(write_index(out, entries)))


def refuse_alone(*given: PromptSource | Svd) -> None:
    """:class:`JaxlinError` at an option that has no meaning for many prompts."""
    for options in given:
        meaningless = {
            declared.name for declared in declared_in(type(options)) if not declared.option.many
        } & set(options.given)
        for name in sorted(meaningless):
            raise JaxlinError(f"`prompts` takes many prompts: leave out `{name}`")


def read_entries(path: Path, model: Model) -> list[Entry]:
    """The prompts of a JSONL file: ``prompt`` or ``token_ids`` on every line, and an optional ``id``.

    Raises:
        JaxlinError: a file or line that cannot be read or used, by its number; a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise JaxlinError(f"cannot read {path} as UTF-8 text ({error}): check `prompts`") from error
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = _entry(line, number, model)
        except JaxlinError as error:
            raise JaxlinError(f"{path}, line {number}: {error}") from error
        if entry.name in entries:
            raise JaxlinError(f"{path}, line {number}: the id {entry.name!r} was there before: give another")
        entries[entry.name] = entry
    if not entries:
        raise JaxlinError(f'{path} has no prompts: give one JSON object a line, like {{"prompt": "Hello"}}')
    return list(entries.values())


def entries_of(prompts: Iterable[str | Sequence[int]], model: Model) -> list[Entry]:
    """Prompts in memory, named by their numbers from 1."""
    return [Entry(f"{number:06d}", model.tokenize(prompt)) for number, prompt in enumerate(prompts, 1)]


def _entry(line: str, number: int, model: Model) -> Entry:
    try:
        entry = json.loads(line)
    except ValueError as error:
        raise JaxlinError(f"this is no JSON ({error}): write one object a line") from error
    prompts = (
        [entry[key] for key in ("prompt", "token_ids") if key in entry] if isinstance(entry, dict) else []
    )
    if len(prompts) != 1 or set(entry) - {"prompt", "token_ids", "id"}:
        raise JaxlinError('give "prompt" or "token_ids", and "id" if you like, and nothing else')
    (prompt,) = prompts
    numbers = isinstance(prompt, list) and all(isinstance(token, int) for token in prompt)
    if not (isinstance(prompt, str) if "prompt" in entry else numbers):
        raise JaxlinError('"prompt" is text and "token_ids" a list of numbers')
    name = str(entry.get("id", f"{number:06d}"))
    if _NAME.fullmatch(name) is None or name == INDEX:
        raise JaxlinError(f"the id {name[:40]!r} cannot be a folder: use letters, digits, dots and dashes")
    return Entry(name, model.tokenize(prompt))


def bucket(length: int, config: DecoderConfig, policy: str) -> int:
    """To how many positions a prompt is padded: 2^n or 1.5·2^n, where padding changes nothing."""
    size = 16
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    padded = min(size, config.max_positions)
    able = POLICIES[policy].linear and not config.rope_full.differs_between(length, padded)
    return padded if able else length


def _solve_all(
    model: Model, todo: Sequence[Entry], options: Svd, asked: Mapping[str, Any], progress: Progress
) -> Iterator[Entry]:
    def size(entry: Entry) -> int:
        return bucket(len(entry.ids), model.config, options.policy)

    buckets = [(length, list(entries)) for length, entries in groupby(sorted(todo, key=size), key=size)]
    solver = Solver(options.k, options.method, options.block, given_in(options))
    forecasts = {length: plan_length(model, length, options, solver) for length, _ in buckets}
    for length, entries in buckets:
        for entry in entries:
            solve_entry(model, entry, length, forecasts[length], options, asked)
            yield entry


def solve_entry(
    model: Model, entry: Entry, length: int, forecast: Forecast, options: Svd, asked: Mapping[str, Any]
) -> None:
    """Solve one prompt, padded to ``length`` tokens, and write its result."""
    assert options.out is not None
    with staged(options.out / entry.name, overwrite=options.overwrite) as folder:
        count = len(entry.ids)
        dial = forecast.dial if POLICIES[options.policy].linear else None
        operator = model.jacobian(
            entry.ids, policy=options.policy, dial=dial, length=None if length == count else length
        )
        k = min(16, operator.shape[0], count * operator.input_shape[1]) if options.k is None else options.k
        choice = choose_method(operator, k, forecast.choice.method, options.block, given=given_in(options))
        result = solve(
            operator,
            k,
            method=choice.method,
            tolerance=options.tol,
            seed=options.seed,
            block=options.block,
            max_passes=options.max_passes,
            verify_seed=options.verify_seed,
            scratch=folder if uses(choice.method, "scratch") else None,
        )
        result.up_to(count).with_notes(
            **notes_of(options, forecast)
            | {
                "block": choice.block,
                "resumed_from_step": None,
                "id": entry.name,
                "padded_to": length,
                "request": _fingerprint(asked, entry),
            }
        ).write(folder)


def _asked(model: Model, options: Svd) -> dict[str, Any]:
    """What a result depends on, apart from the model's weights, whose hash is in it."""
    alone = {declared.name for declared in declared_in(Svd) if not declared.option.many}
    decided = {name: value for name, value in options.deciding(RESULT, STEP).items() if name not in alone}
    return decided | {"model": model.name, "dtype": model.dtype_name, "precision": model.asked_precision}


def _fingerprint(asked: Mapping[str, Any], entry: Entry) -> str:
    return hashlib.sha256(json.dumps({**asked, "ids": entry.ids}, sort_keys=True).encode()).hexdigest()


def _done(out: Path, asked: Mapping[str, Any], entry: Entry, *, overwrite: bool) -> bool:
    """Whether this prompt's result is there; :class:`JaxlinError` if it is that of another request."""
    file = out / entry.name / SUMMARY
    if not file.exists():
        return False
    if json.loads(file.read_text(encoding="utf-8")).get("request") == _fingerprint(asked, entry):
        return True
    if overwrite:
        return False
    raise JaxlinError(
        f"{file.parent} holds a result of another request: choose another `out`, or add `overwrite`"
    )


def write_index(out: Path, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One line for each result that is there, in the order of the prompts."""
    rows = []
    for entry in entries:
        file = out / entry.name / SUMMARY
        if file.exists():
            rows.append(_row(entry.name, json.loads(file.read_text(encoding="utf-8"))))
    write_whole(out / INDEX, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return rows


def _row(name: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    certificate = summary["certificate"]
    return {
        "id": name,
        "tokens": summary["tokens"],
        "holds": certificate["holds"],
        "worst_residual": certificate["worst_residual"],
        "captured_energy": certificate["energy"]["captured"],
        "s": [triplet["s"] for triplet in summary["triplets"]],
        "writes": [score["text"] for score in summary["triplets"][0]["outputs"]],
        "passes": summary["passes"],
        "seconds": summary["seconds"],
    }
