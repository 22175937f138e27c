"""Many prompts with one load, and one compilation for each bucket of lengths.

Every prompt has a result folder of its own, whole or absent, so a run that was interrupted goes on if started
again. A prompt that fails is noted with its reason, and the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby
from pathlib import Path
from typing import Any

from jaxlin.errors import JaxlinError
from jaxlin.prompts.model import Model
from jaxlin.results.base import Result
from jaxlin.results.staging import Claim, claimed, made
from jaxlin.runtime.failure import is_out_of_memory, out_of_memory
from jaxlin.runtime.progress import Progress, silent
from jaxlin.runtime.workshop import workshop
from jaxlin.verbs.declare import declared_in
from jaxlin.verbs.entries import INDEX, Entry, Prompts
from jaxlin.verbs.finished import (
    asked_of,
    failed_row,
    fingerprint,
    finished_row,
    is_half,
    look_at,
    written_row,
)
from jaxlin.verbs.index import Index
from jaxlin.verbs.many_results import ManyResults
from jaxlin.verbs.mapping import Forecasts, PlannedMap
from jaxlin.verbs.shared import Mapped, PromptSource

#: A prompt, and how its map will be made.
Planned = tuple[Entry, PlannedMap]


def answer_many(
    model: Model,
    prompts: Prompts,
    options: Mapped,
    progress: Progress = silent,
    *,
    retry_failed: bool = False,
) -> ManyResults:
    """A verb's result of every prompt, each in a folder of its own in ``out``, and an index of them.

    Args:
        model: the model; its weights are read if there is anything left to do.
        prompts: see :func:`jaxlin.verbs.entries.read_entries`.
        options: as for one prompt; those that have no meaning for many are refused.
        progress: told of every prompt.
        retry_failed: try prompts once more that failed before.

    Raises:
        JaxlinError: a request that no prompt can meet, a folder that holds a result of another request, or a
            place that cannot be written.
        KeyboardInterrupt: with how many prompts are done.

    Another run of the same prompts, or of the same part of them, into the same folder is refused for as long
    as this one goes on. Other parts go on beside it.
    """
    refuse_alone(options)
    if options.out is None:
        raise JaxlinError("many prompts need a folder for their results: give `out`")
    out, shard = options.out, prompts.shard
    part = INDEX if shard.count == 1 else f"{INDEX}.{shard.number}-of-{shard.count}"
    with ExitStack() as leaving:
        leaving.enter_context(made(out))
        try:
            if (out / INDEX).is_dir() and not (out / INDEX).is_symlink():
                raise JaxlinError(f"{out / INDEX} is a folder: remove it, or choose another `out`")
            shop = leaving.enter_context(workshop(out / part))
        except OSError as error:
            raise JaxlinError(f"cannot write to {out} ({error.strerror}): choose another `out`") from error
        run = _Run(model, prompts, options, Index(out / INDEX, shop), asked_of(model, options))
        return run.all(progress, retry_failed=retry_failed)


def refuse_alone(*given: PromptSource | Mapped) -> None:
    """:class:`JaxlinError` at an option that has no meaning for many prompts."""
    for options in given:
        meaningless = {
            declared.name for declared in declared_in(type(options)) if not declared.option.many
        } & set(options.given)
        for name in sorted(meaningless):
            raise JaxlinError(f"`prompts` takes many prompts: leave out `{name}`")


@dataclass(eq=False)
class _Run:
    """One run through many prompts, where no other run does the same ones."""

    model: Model
    prompts: Prompts
    options: Mapped
    index: Index
    asked: Mapping[str, Any]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    left: int = 0

    def all(self, progress: Progress, *, retry_failed: bool) -> ManyResults:
        """Do what is not done."""
        entries = self.prompts.entries
        todo = self._to_do(retry_failed=retry_failed)
        progress("prompts", len(self.rows), len(entries), "done before" if self.rows else "")
        try:
            for _ in self._work(todo):
                progress("prompts", len(self.rows), len(entries), "done")
        except KeyboardInterrupt as error:
            done = f"{len(self.rows)} of {len(entries)} prompts"
            raise KeyboardInterrupt(
                f"interrupted after {done}; the same command goes on from there"
            ) from error
        listed = self.index.put_in_order(self.prompts.names)
        rows = tuple(listed[entry.name] for entry in entries if entry.name in self.rows)
        return ManyResults(self.index.path, rows, len(entries), self.left)

    def _to_do(self, *, retry_failed: bool) -> list[Entry]:
        """The prompts that are neither done nor known to fail; every folder is looked at before any work."""
        todo = []
        for entry in self.prompts.entries:
            request, listed = fingerprint(self.asked, entry), self.index.rows.get(entry.name)
            row = self._finished(entry) if entry.refused is None else None
            failed = listed is not None and "failed" in listed and listed.get("request") == request
            if row is None and failed and not retry_failed:
                row = failed_row(entry, request, str((listed or {})["failed"]))
            if row is None:
                todo.append(entry)
                continue
            self.rows[entry.name] = row
            if row != listed:
                self.index.add(row)
        return todo

    def _finished(self, entry: Entry) -> dict[str, Any] | None:
        assert self.options.out is not None
        return finished_row(
            self.options.out,
            entry,
            fingerprint(self.asked, entry),
            self.index.rows.get(entry.name),
            type(self.options),
            overwrite=self.options.overwrite,
        )

    def _work(self, todo: Sequence[Entry]) -> Iterator[None]:
        """One prompt after the other, those of one size together."""
        planned, refused = self._planned(todo)
        if refused and not planned and not self.rows:  # what no prompt can meet
            raise JaxlinError(next(iter(refused.values()))[1])
        for entry, sentence in refused.values():
            self._note(failed_row(entry, fingerprint(self.asked, entry), sentence))
            yield

        def shape(one: Planned) -> tuple[int, int]:
            return one[1].length or len(one[1].places.seen), len(one[1].kept or ())

        for _, group in groupby(sorted(planned, key=shape), key=shape):
            alike = list(group)
            size = self._batch_size(alike)
            for start in range(0, len(alike), size):
                self._solve(alike[start : start + size], size)
                yield

    def _batch_size(self, group: Sequence[Planned]) -> int:
        """How many prompts of one size go together: as many as the verb can take, in equal batches."""
        verb = self._verb
        most = verb.batch_of(group[0][1], self.options) if hasattr(verb, "batch_of") else 1
        return -(-len(group) // -(-len(group) // most))

    def _planned(self, todo: Sequence[Entry]) -> tuple[list[Planned], dict[str, tuple[Entry, str]]]:
        """How each prompt will be made, and why those cannot be that are refused."""
        known: Forecasts = {}
        planned, refused = [], {}
        for entry in todo:
            try:
                if entry.refused is not None:
                    raise JaxlinError(entry.refused)
                plan = self._verb.plan(self.model, entry.ids, self.options, padded=True, known=known)
                planned.append((entry, plan))
            except JaxlinError as error:
                refused[entry.name] = entry, str(error)
        return planned, refused

    @property
    def _verb(self) -> Any:
        """The module of the verb, with its ``plan`` and ``make``."""
        return import_module(f"jaxlin.verbs.{self.options.verb}")

    def _solve(self, some: Sequence[Planned], size: int) -> None:
        """Solve a batch, of ``size`` prompts unless it is the last, write their results and note them.

        Or note why one cannot be solved.
        """
        if len(some) > 1 and self._together(some, size):
            return
        for entry, plan in some:
            with self._claimed([(entry, plan)]) as claims:
                for claim, *_ in claims:
                    try:
                        with claim.filled() as folder:
                            result = self._verb.make(self.model, plan, self.options, folder)
                            self._write(result, entry, plan, folder)
                    except (JaxlinError, MemoryError, RuntimeError) as error:
                        self._note(failed_row(entry, fingerprint(self.asked, entry), _reason(error)))
                    else:
                        self._note(self._written(entry))

    def _together(self, some: Sequence[Planned], size: int) -> bool:
        """Solve several prompts as one; False, and nothing done, where one of them may be at fault."""
        with self._claimed(some) as claims:
            if not claims:
                return True
            try:
                plans = [plan for _, _, plan in claims]
                results = self._verb.make_together(self.model, plans, self.options, size)
            except (JaxlinError, MemoryError, RuntimeError) as error:
                _reason(error)
                self.left -= len(some) - len(claims)  # they will be counted once more
                return False
            for (claim, entry, plan), result in zip(claims, results, strict=True):
                with claim.filled() as folder:
                    self._write(result, entry, plan, folder)
                self._note(self._written(entry))
            return True

    @contextmanager
    def _claimed(self, some: Sequence[Planned]) -> Iterator[list[tuple[Claim, Entry, PlannedMap]]]:
        """The places of those prompts that no other run is at, and that none has done meanwhile."""
        assert self.options.out is not None
        with ExitStack() as leaving:
            claims = []
            for entry, plan in some:
                out = self.options.out / entry.name
                overwrite = self.options.overwrite or is_half(out)
                try:
                    claim = leaving.enter_context(claimed(out, overwrite=overwrite, sweep=False))
                except JaxlinError as error:
                    row = None if isinstance(error.__cause__, BlockingIOError) else self._finished(entry)
                    if row is not None:  # another run was quicker
                        self._note(row)
                    elif isinstance(error.__cause__, BlockingIOError):
                        self.left += 1
                    else:
                        raise
                    continue
                claims.append((claim, entry, plan))
            yield claims

    def _write(self, result: Result, entry: Entry, plan: PlannedMap, folder: Path) -> None:
        length = plan.length or len(plan.places.seen)
        noted = {"id": entry.name, "padded_to": length, "request": fingerprint(self.asked, entry)}
        result.with_notes(**noted).write(folder)

    def _written(self, entry: Entry) -> dict[str, Any]:
        """The row of a result that was just written."""
        assert self.options.out is not None
        out, verb = self.options.out, type(self.options)
        return written_row(out, entry, fingerprint(self.asked, entry), look_at(out / entry.name, verb), verb)

    def _note(self, row: dict[str, Any]) -> None:
        self.index.add(row)
        self.rows[row["id"]] = row


def _reason(error: JaxlinError | MemoryError | RuntimeError) -> str:
    """Why a prompt failed, in a sentence.

    Raises:
        JaxlinError, MemoryError, RuntimeError: this one, where it is not about the prompt.
    """
    if is_out_of_memory(error):
        return out_of_memory()
    if not isinstance(error, JaxlinError) or isinstance(error.__cause__, OSError):
        raise error  # a full disk is no fault of a prompt
    return str(error)
