"""Many prompts with one load, and one compilation for each bucket of lengths.

Every prompt has a result folder of its own, whole or absent, so a run that was interrupted goes on if started
again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from jaxlin_models import POLICIES, DecoderConfig
from rich.text import Text

from jaxlin.errors import JaxlinError
from jaxlin.planning.budget import Forecast, Solver
from jaxlin.prompts.model import Model
from jaxlin.results.staging import staged
from jaxlin.runtime.progress import Progress, silent
from jaxlin.runtime.workshop import workshop
from jaxlin.solvers.choose import choose_method
from jaxlin.solvers.methods import uses
from jaxlin.solvers.svd import svd as solve
from jaxlin.verbs.declare import declared_in
from jaxlin.verbs.entries import INDEX, Entry
from jaxlin.verbs.finished import Index, asked_of, done_before, fingerprint, is_half
from jaxlin.verbs.mapping import notes_of, plan_length
from jaxlin.verbs.options import Svd
from jaxlin.verbs.shared import PromptSource
from jaxlin.verbs.svd import given_in


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
        entries: the prompts, see :func:`jaxlin.verbs.entries.read_entries`.
        options: as for one prompt; those that have no meaning for many are refused.
        progress: told of every prompt.

    Raises:
        JaxlinError: a request that cannot be met, or a folder that holds a result of another request.
        KeyboardInterrupt: with how many prompts are done.

    Another run into the same folder is refused for as long as this one goes on.
    """
    refuse_alone(options)
    if options.out is None:
        raise JaxlinError("many prompts need a folder for their results: give `out`")
    out = options.out
    with ExitStack() as leaving:
        try:
            out.mkdir(parents=True, exist_ok=True)
            if (out / INDEX).is_dir() and not (out / INDEX).is_symlink():  # a link is replaced, not followed
                raise JaxlinError(f"{out / INDEX} is a folder: remove it, or choose another `out`")
            shop = leaving.enter_context(workshop(out / INDEX))
        except OSError as error:
            raise JaxlinError(f"cannot write to {out} ({error.strerror}): choose another `out`") from error
        return _svd_many(model, entries, options, progress, shop)


def _svd_many(
    model: Model, entries: Sequence[Entry], options: Svd, progress: Progress, shop: Path
) -> ManyResults:
    """The same, where no other run is at work."""
    assert options.out is not None
    out, asked = options.out, asked_of(model, options)
    index = Index(
        out,
        shop,
        [entry.name for entry in entries],
        done_before(out, asked, entries, overwrite=options.overwrite),
    )
    todo = [entry for entry in entries if entry.name not in index.rows]
    progress("prompts", len(index.rows), len(entries), "done before" if index.rows else "")
    try:
        for entry in _solve_all(model, todo, options, asked, progress):
            index.add(entry.name)
            progress("prompts", len(index.rows), len(entries), "done")
    except BaseException as error:
        with suppress(JaxlinError):  # what stopped the work is what is told; the next run writes the index
            if index.rows:
                index.write()
        if isinstance(error, KeyboardInterrupt):
            done = f"{len(index.rows)} of {len(entries)} prompts"
            raise KeyboardInterrupt(
                f"interrupted after {done}; the same command goes on from there"
            ) from error
        raise
    return ManyResults(out / INDEX, index.write())


def refuse_alone(*given: PromptSource | Svd) -> None:
    """:class:`JaxlinError` at an option that has no meaning for many prompts."""
    for options in given:
        meaningless = {
            declared.name for declared in declared_in(type(options)) if not declared.option.many
        } & set(options.given)
        for name in sorted(meaningless):
            raise JaxlinError(f"`prompts` takes many prompts: leave out `{name}`")


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
    out = options.out / entry.name
    with staged(out, overwrite=options.overwrite or is_half(out), sweep=False) as folder:
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
                "request": fingerprint(asked, entry),
            }
        ).write(folder)
