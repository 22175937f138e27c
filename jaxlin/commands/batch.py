"""``jaxlin svd --prompts``: many prompts with one load, and one compilation for each bucket of lengths.

Every prompt has its own result folder, whole or absent, so a run that was cut off goes on if started again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import jaxlin_models as models
import numpy as np

from jaxlin.analyses.decoding import decode
from jaxlin.commands.job import check_choices, check_dial, load_model
from jaxlin.commands.options import Svd
from jaxlin.commands.output import tell, write_whole
from jaxlin.commands.part import Part, Places, plan_job
from jaxlin.commands.svd_files import arrays_of, summarize
from jaxlin.errors import JaxlinError
from jaxlin.planning.budget import Forecast, Solver
from jaxlin.prompts.model import Model, tokenize
from jaxlin.results.store import SUMMARY, staged, write
from jaxlin.runtime.progress import Progress
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.solvers.choose import METHODS, plan
from jaxlin.solvers.svd import svd

INDEX = "index.jsonl"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Options of one prompt that have no meaning for many, by their values when they are left out.
_ALONE: Mapping[str, Any] = {
    "prompt": None, "prompt_file": None, "token_ids": None, "span": None, "skip_first": 0, "position": None,
    "target": None, "norms": 0, "save_jacobian": False, "resume": False,
}  # fmt: skip
#: What two runs must have in common for the one to take over the other's results.
_SAME = ("k", "method", "tol", "seed", "policy", "dtype", "precision", "verify_seed", "max_passes", "block")


@dataclass(frozen=True)
class Entry:
    """One prompt: its name, which is its folder's, and its tokens."""

    name: str
    ids: list[int]


def run(config: Svd) -> int:
    """Do what the command line asked for; returns the exit code."""
    check_choices(config, method=METHODS)
    check_dial(config)
    given = [name for name, empty in _ALONE.items() if getattr(config, name) != empty]
    if given:
        raise JaxlinError(f"--prompts takes many prompts: leave out --{given[0].replace('_', '-')}")
    assert config.prompts is not None
    checkpoint = models.find(config.model, weights=False)
    entries = read_entries(config.prompts, checkpoint)
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JaxlinError(f"cannot write to {config.out} ({error.strerror}): choose another --out") from error
    with TerminalProgress(config.progress) as progress:
        todo = [entry for entry in entries if not _done(config, entry)]
        finished = len(entries) - len(todo)
        progress("prompts", finished, len(entries), "done before" if finished else "")
        if todo:
            try:
                for _ in _solve_all(config, checkpoint, todo, progress):
                    finished += 1
                    progress("prompts", finished, len(entries), "done")
                    write_index(config, entries)
            except KeyboardInterrupt as interrupt:
                done = f"{finished} of {len(entries)} prompts"
                raise KeyboardInterrupt(
                    f"interrupted after {done}; the same command goes on from there"
                ) from interrupt
    rows = write_index(config, entries)
    held = sum(row["holds"] for row in rows)
    tell(
        config,
        {"index": str(config.out / INDEX), "prompts": rows, "held": held},
        lambda told: print(f"{held} of {len(rows)} certificates hold; wrote {told['index']}"),
    )
    return 0 if held == len(rows) else 3


def read_entries(path: Path, checkpoint: models.Checkpoint) -> list[Entry]:
    """The prompts of a JSONL file: ``prompt`` or ``token_ids`` on every line, and an ``id`` if one likes.

    Raises:
        JaxlinError: a file or line that cannot be read or used, by its number; a name twice.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise JaxlinError(f"cannot read {path} as UTF-8 text ({error}): check --prompts") from error
    speak = models.load_tokenizer(checkpoint) if models.has_tokenizer(checkpoint) else None
    entries: dict[str, Entry] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = _entry(line, number, checkpoint, speak)
        except JaxlinError as error:
            raise JaxlinError(f"{path}, line {number}: {error}") from error
        if entry.name in entries:
            raise JaxlinError(f"{path}, line {number}: the id {entry.name!r} was there before: give another")
        entries[entry.name] = entry
    if not entries:
        raise JaxlinError(f'{path} has no prompts: give one JSON object a line, like {{"prompt": "Hello"}}')
    return list(entries.values())


def _entry(line: str, number: int, checkpoint: models.Checkpoint, speak: Any) -> Entry:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise JaxlinError(f"this is no JSON ({error}): write one object a line") from error
    prompts = (
        [found[key] for key in ("prompt", "token_ids") if key in found] if isinstance(found, dict) else []
    )
    if len(prompts) != 1 or set(found) - {"prompt", "token_ids", "id"}:
        raise JaxlinError('give "prompt" or "token_ids", and "id" if you like, and nothing else')
    (prompt,) = prompts
    numbers = isinstance(prompt, list) and all(isinstance(token, int) for token in prompt)
    if not (isinstance(prompt, str) if "prompt" in found else numbers):
        raise JaxlinError('"prompt" is text and "token_ids" a list of numbers')
    name = str(found.get("id", f"{number:06d}"))
    if _NAME.fullmatch(name) is None or name == INDEX:
        raise JaxlinError(f"the id {name[:40]!r} cannot be a folder: use letters, digits, dots and dashes")
    return Entry(name, tokenize(checkpoint, prompt, None if speak is None else lambda: speak))


def bucket(length: int, config: models.DecoderConfig, policy: str) -> int:
    """To how many positions a prompt is padded: 2^n or 1.5·2^n, where padding changes nothing."""
    size = 16
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size * 4 // 3
    padded = min(size, config.max_positions)
    able = models.POLICIES[policy].linear and not config.rope_full.differs_between(length, padded)
    return padded if able else length


def _solve_all(config: Svd, checkpoint: models.Checkpoint, todo: Sequence[Entry], progress: Progress) -> Any:
    def size(entry: Entry) -> int:
        return bucket(len(entry.ids), checkpoint.config, config.policy)

    buckets = [(length, list(each)) for length, each in groupby(sorted(todo, key=size), key=size)]
    solver = Solver(config.k, config.method, config.block)
    plans = {
        length: plan_job(config, checkpoint, Places([0] * length, np.arange(length), True, None), solver)
        for length, _ in buckets
    }
    model = load_model(config, progress)
    for length, each in buckets:
        for entry in each:
            _solve(config, model, entry, length, plans[length])
            yield entry


def _solve(config: Svd, model: Model, entry: Entry, length: int, expected: Forecast) -> None:
    with staged(config.out / entry.name, overwrite=config.overwrite) as folder:
        count = len(entry.ids)
        padded = None if length == count else length
        dial = expected.dial if models.POLICIES[config.policy].linear else None
        operator = model.jacobian(entry.ids, policy=config.policy, dial=dial, length=padded)
        k = min(16, operator.shape[0], count * operator.input_shape[1]) if config.k is None else config.k
        chosen = plan(operator, k, expected.choice.method, config.block)
        found = svd(
            operator,
            k,
            method=chosen.method,
            tolerance=config.tol,
            seed=config.seed,
            block=chosen.block,
            max_passes=config.max_passes,
            verify_seed=config.verify_seed,
            scratch=folder,
        )
        result = replace(found, V=found.V[:, :count])
        places = np.arange(count)
        part = Part(operator.select(places), entry.ids, places, count - 1, expected.dial)
        directions = decode(
            result,
            part.operator.x,
            entry.ids,
            logits=model.logits,
            vocabulary=model.vocabulary(),
            text=model.token_text,
        )
        summary = summarize(config, model, part, result, chosen, expected, directions)
        summary |= {"id": entry.name, "padded_to": length, "request": _fingerprint(config, entry)}
        write(folder, arrays_of(part, result, None), summary)


def _fingerprint(config: Svd, entry: Entry) -> str:
    """Of what a result depends on, apart from the model's weights, whose hash stands beside it."""
    asked = {name: getattr(config, name) for name in _SAME} | {"model": config.model, "ids": entry.ids}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _done(config: Svd, entry: Entry) -> bool:
    """Whether this prompt's result is there; :class:`JaxlinError` if it is that of another request."""
    file = config.out / entry.name / SUMMARY
    if not file.exists():
        return False
    if json.loads(file.read_text(encoding="utf-8")).get("request") == _fingerprint(config, entry):
        return True
    if config.overwrite:
        return False
    raise JaxlinError(
        f"{file.parent} holds a result of another request: choose another --out, or add --overwrite"
    )


def write_index(config: Svd, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """One line for each result that is there, in the order of the prompts; pandas.read_json(lines=True)."""
    rows = []
    for entry in entries:
        file = config.out / entry.name / SUMMARY
        if not file.exists():
            continue
        summary = json.loads(file.read_text(encoding="utf-8"))
        first = summary["triplets"][0]
        rows.append(
            {
                "id": entry.name,
                "tokens": summary["tokens"],
                "holds": summary["certificate"]["holds"],
                "worst_residual": summary["certificate"]["worst_residual"],
                "captured_energy": summary["certificate"]["energy"]["captured"],
                "s": [triplet["s"] for triplet in summary["triplets"]],
                "writes": [score["text"] for score in first["outputs"]],
                "passes": summary["passes"],
                "seconds": summary["seconds"],
            }
        )
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_whole(config.out / INDEX, "".join(lines))
    return rows
