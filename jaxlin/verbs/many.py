"""Many prompts with one load, and one compilation for each bucket of lengths.

Every prompt has a result folder of its own, whole or absent, so a run that was interrupted goes on if started
again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from jaxlin_models import POLICIES, DecoderConfig
from rich.text import Text

from jaxlin.analyses.weighing import weighed, with_images
from jaxlin.errors import JaxlinError
from jaxlin.linear.operator import DetachedJacobian
from jaxlin.planning.budget import Forecast, Solver
from jaxlin.prompts.model import Model
from jaxlin.results.base import Result
from jaxlin.results.labels import Labels
from jaxlin.results.staging import made, staged
from jaxlin.runtime.progress import Progress, silent
from jaxlin.runtime.workshop import workshop
from jaxlin.solvers.choose import choose_method
from jaxlin.verbs.attribute import attributed, solver_of, targets_in
from jaxlin.verbs.declare import declared_in
from jaxlin.verbs.entries import INDEX, Entry
from jaxlin.verbs.finished import Index, asked_of, done_before, fingerprint, is_half
from jaxlin.verbs.mapping import metric_rows, notes_of, plan_length, span_in_words, stream_of
from jaxlin.verbs.options import Attribute, Svd
from jaxlin.verbs.shared import PromptSource
from jaxlin.verbs.svd import given_in, solved

#: Options of a verb that takes many prompts.
Asked = Svd | Attribute
#: Rows of a metric are filled up to a multiple of this, so that prompts share a compilation.
_ROWS = 64


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


def answer_many(
    model: Model, entries: Sequence[Entry], options: Asked, progress: Progress = silent
) -> ManyResults:
    """A verb's result of every prompt, each in a folder of its own in ``out``, and an index of them.

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
    if isinstance(options, Attribute):
        targets_in(options)
    if options.out is None:
        raise JaxlinError("many prompts need a folder for their results: give `out`")
    out = options.out
    with ExitStack() as leaving:
        leaving.enter_context(made(out))
        try:
            if (out / INDEX).is_dir() and not (out / INDEX).is_symlink():  # a link is replaced, not followed
                raise JaxlinError(f"{out / INDEX} is a folder: remove it, or choose another `out`")
            shop = leaving.enter_context(workshop(out / INDEX))
        except OSError as error:
            raise JaxlinError(f"cannot write to {out} ({error.strerror}): choose another `out`") from error
        return _answer_many(model, entries, options, progress, shop)


def _answer_many(
    model: Model, entries: Sequence[Entry], options: Asked, progress: Progress, shop: Path
) -> ManyResults:
    """The same, where no other run is at work."""
    assert options.out is not None
    _check_lengths(entries, options)
    out, asked = options.out, asked_of(model, options)
    before = done_before(out, asked, entries, type(options), overwrite=options.overwrite)
    index = Index(out, shop, [entry.name for entry in entries], before, type(options))
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


def refuse_alone(*given: PromptSource | Asked) -> None:
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


def without_first(operator: DetachedJacobian, count: int, span: str | None) -> DetachedJacobian:
    """A map without its first input positions, whose contributions join the offset.

    It may be padded behind the prompt; its labels are those of the prompt's own tokens.
    """
    labels: Labels | None = operator.labels
    if not count or labels is None:
        return operator
    chosen = operator.bare.select(range(count, operator.input_shape[0]))
    kept = labels.take(range(count, len(labels.ids)))
    return replace(chosen, labels=replace(kept, facts={**kept.facts, "span": span}))


def _check_lengths(entries: Sequence[Entry], options: Asked) -> None:
    """:class:`JaxlinError` where nothing would be left of a prompt."""
    for entry in entries:
        if len(entry.ids) <= options.skip_first:
            raise JaxlinError(
                f"the prompt {entry.name} has {len(entry.ids)} tokens, and `skip_first` is "
                f"{options.skip_first}: choose fewer than the shortest prompt has"
            )


def _solve_all(
    model: Model, todo: Sequence[Entry], options: Asked, asked: Mapping[str, Any], progress: Progress
) -> Iterator[Entry]:
    def size(entry: Entry) -> int:
        length = len(entry.ids)
        return bucket(length, model.config, options.policy) if isinstance(options, Svd) else length

    buckets = [(length, list(entries)) for length, entries in groupby(sorted(todo, key=size), key=size)]
    forecasts = {length: _planned(model, length, options) for length, _ in buckets}
    for length, entries in buckets:
        for entry in entries:
            solve_entry(model, entry, length, forecasts[length], options, asked)
            yield entry


def _planned(model: Model, length: int, options: Asked) -> Forecast:
    if isinstance(options, Attribute):
        return plan_length(model, length, options, solver_of(options), beside=stream_of(model, length))
    solver = Solver(options.k, options.method, options.block, given_in(options))
    return plan_length(model, length, options, solver, options.metric)


def solve_entry(
    model: Model, entry: Entry, length: int, forecast: Forecast, options: Asked, asked: Mapping[str, Any]
) -> None:
    """Solve one prompt, padded to ``length`` tokens, and write its result."""
    assert options.out is not None
    out = options.out / entry.name
    with staged(out, overwrite=options.overwrite or is_half(out), sweep=False) as folder:
        if isinstance(options, Attribute):
            result: Result = _attribution(model, entry, forecast, options, folder)
        else:
            result = _triplets(model, entry, length, forecast, options, folder)
        noted = {"id": entry.name, "padded_to": length, "request": fingerprint(asked, entry)}
        result.with_notes(**noted).write(folder)


def _attribution(model: Model, entry: Entry, forecast: Forecast, options: Attribute, folder: Path) -> Result:
    recording = model.record(entry.ids, policy=options.policy, dial=forecast.dial)
    operator = recording.stretch(0, recording.num_layers - 1)
    operator = without_first(operator, options.skip_first, span_in_words(options))
    return attributed(model, recording, operator, options, folder)


def _triplets(
    model: Model, entry: Entry, length: int, forecast: Forecast, options: Svd, folder: Path
) -> Result:
    count = len(entry.ids)
    dial = forecast.dial if POLICIES[options.policy].linear else None
    whole = model.jacobian(
        entry.ids, policy=options.policy, dial=dial, length=None if length == count else length
    )
    whole = without_first(whole, options.skip_first, span_in_words(options))
    count -= options.skip_first
    rows = metric_rows(model, whole.y, options.metric)
    operator = weighed(whole, rows, options.metric, multiple=_ROWS)
    k = min(16, operator.shape[0], count * operator.input_shape[1]) if options.k is None else options.k
    choice = choose_method(operator, k, forecast.choice.method, options.block, given=given_in(options))
    result = solved(operator, k, choice, options, folder)
    if rows is not None:
        result = with_images(result, whole, len(rows))
    return result.up_to(count).with_notes(
        **notes_of(options, forecast) | {"block": choice.block, "resumed_from_step": None}
    )
