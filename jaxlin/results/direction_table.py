"""The directions of an SVD one by one: what each contributes and writes, and where in the prompt it looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from jaxlin.results.contributions import Part
from jaxlin.results.directions import one_sided
from jaxlin.results.keep import KEPT, VECTORS
from jaxlin.results.labels import TokenScore
from jaxlin.results.sinks import spell_sinks
from jaxlin.results.spelling import percent, visible
from jaxlin.results.tables import WORDS, new_table, spelled

if TYPE_CHECKING:
    from jaxlin.results.svd import SVDResult

#: Tokens of the other side of a direction in a table, and positions of an input that nothing names.
_AGAINST, _POSITIONS = 3, 3
#: Columns of text from which on everything stands in one table.
_WIDE = 110
#: Said of a direction that scores the whole vocabulary with one sign.
NOTHING = "no token stands out"


class DirectionTable:
    """Every direction, and at the end what all of them contribute together, of how much.

    One table where there is room for it. On a narrow terminal two, so that words keep their lines: first what
    the directions contribute and write, then where they look.
    """

    def __init__(self, result: SVDResult) -> None:
        self._result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result = self._result
        if options.max_width >= _WIDE:
            yield _table(result, residuals=True, words=_has_words(result), places=True)
        elif _has_words(result):
            yield _table(result, residuals=False, words=True, places=False)
            yield _table(result, residuals=True, words=False, places=True, figures=False)
        else:
            yield _table(result, residuals=True, words=False, places=True)


def _has_words(result: SVDResult) -> bool:
    return bool(result.outputs and result.outputs[0])


def _table(result: SVDResult, *, residuals: bool, words: bool, places: bool, figures: bool = True) -> Table:
    heads = columns_of(result) if figures else []
    table = new_table(None, "#", "σ", *(["residual"] if residuals else []), *heads, show_lines=True)
    where = "position" if result.directions is None else "position, token, weight (contribution) → nearest"
    told = ["writes (+) and writes against (−), with scores"] if words else []
    told += [f"right vector: {where}"] if places else []
    for column in told:
        table.add_column(column, ratio=3)
    looks = places_of(result)
    for i in result.order:
        flag = "" if bool(result.converged[i]) else " ✗"
        row = [str(i + 1), f"{float(result.s[i]):.4g}{'' if residuals else flag}"]
        row += [f"{float(result.residuals[i]):.0e}{flag}"] if residuals else []
        row += figures_of(result.split.directions[i]) if heads and result.split is not None else []
        said = [words_of(result, i)] if words else []
        said += ["\n".join(looks[i])] if places else []
        table.add_row(*row, *map(Text, said))
    if heads:
        before = [""] * (3 if residuals else 2)
        after = [Text(f"these {len(result.s)} together"), *[Text()] * (len(told) - 1)]
        table.add_section()
        sums = [figure.replace(" of ", "\nof ") for figure in together_of(result)]  # for narrow columns
        table.add_row(*before, *sums, *after)
    return table


def columns_of(result: SVDResult) -> list[str]:
    """The heads of the columns of contributions; none where nobody knows them."""
    split = result.split
    if split is None:
        return []
    pair = () if result.prediction is None or not split.whole.logits else result.prediction.pair
    return ["of ‖y‖²", *(f"to {visible(token.text)}" for token in pair)]


def figures_of(part: Part) -> list[str]:
    """What one part contributes, in the order of the columns."""
    return [percent(part.output), *(f"{logit:+.2f}" for logit in part.logits)]


def together_of(result: SVDResult) -> list[str]:
    """What all directions that there are contribute, of how much."""
    split = result.split
    if split is None:
        return []
    pairs = zip(split.together.logits, split.whole.logits, strict=True)
    return [percent(split.together.output), *(f"{mine:+.2f} of {whole:+.2f}" for mine, whole in pairs)]


def words_of(result: SVDResult, i: int) -> str:
    """Both sides of a direction as lines: what it writes, and what it writes against."""
    outputs, against = sides_of(result, i)
    nothing = nothing_written(outputs, against)
    if nothing:
        return nothing
    lines = [f"+ {spelled(outputs, WORDS, scores=True)}"]
    return "\n".join(lines + ([f"− {spelled(against, _AGAINST, scores=True)}"] if against else []))


def nothing_written(outputs: Sequence[TokenScore], against: Sequence[TokenScore] = ()) -> str:
    """A sentence where a direction scores the whole vocabulary with one sign; empty where it does not."""
    if not one_sided(outputs, against):
        return ""
    return f"{NOTHING}: all scores are {'below' if one_sided(outputs) else 'above'} 0"


def sides_of(result: SVDResult, i: int) -> tuple[tuple[TokenScore, ...], tuple[TokenScore, ...]]:
    """The tokens that a direction writes, and those of its other side."""
    if result.directions is None:
        return result.outputs[i], ()
    direction = result.directions[i]
    return direction.outputs, direction.against


def places_of(result: SVDResult) -> list[list[str]]:
    """Where each right vector points in the prompt."""
    if result.directions is not None:
        return [[str(place) for place in direction.inputs] for direction in result.directions]
    weights = result.weights
    if weights is None:
        return [["not kept"]] * len(result.s)
    first = np.argsort(-weights, axis=1, kind="stable")[:, :_POSITIONS]
    return [[f"{t} {weights[i, t]:.2f}" for t in places] for i, places in enumerate(first)]


def notes_below(result: SVDResult) -> list[Text]:
    """What has to be said of a table of directions: what is left over, what its columns are, and sinks."""
    notes, split = [], result.split
    if columns_of(result) and split is not None:
        rest, offset = figures_of(split.rest), figures_of(split.offset)
        names = columns_of(result)
        others = ", ".join(f"{figure} {name}" for figure, name in zip(rest, names, strict=True))
        note = f"all other directions: {others}"
        if split.offset.output or any(split.offset.logits):
            note += "; the offset c: "
            note += ", ".join(f"{figure} {name}" for figure, name in zip(offset, names, strict=True))
        if split.whole.logits:
            note += ". A contribution to a token is to its logit minus the mean over the vocabulary"
        notes.append(Text(note))
    names, weights = [str(i + 1) for i in range(len(result.s))], result.weights
    sinks = "" if weights is None else spell_sinks(weights, result.labels, names)
    if result.kept != VECTORS:
        notes.append(Text(f"kept were {KEPT[result.kept]}"))
    return [*notes, *([Text(sinks)] if sinks else [])]


def table_of_target(result: SVDResult) -> Table:
    """What the positions contribute to the value of a target, the largest first, and what is left over."""
    table = new_table(str(result.target), "position", "token", "contribution")
    inputs = () if result.directions is None else result.directions[0].inputs
    for place in inputs:
        table.add_row(str(place.position), Text(visible(place.text)), f"{place.contribution:+.4g}")
    value, offset = float(result.y[0]), float(result.offset[0])
    rest = value - offset - sum(place.contribution for place in inputs)
    positions = 0 if result.labels is None else len(result.labels.ids)
    others = positions - len(inputs)
    table.add_section()
    if others:
        table.add_row("", "the other token" if others == 1 else f"the other {others} tokens", f"{rest:+.4g}")
    if offset:
        table.add_row("", "the offset c", f"{offset:+.4g}")
    table.add_row("", "together", f"{value:+.4g}")
    return table
