"""What the report shows of an attribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxlin.results.page.directions import PLACES, direction, directions
from jaxlin.results.page.pieces import (
    NUMBERS,
    View,
    bars,
    card,
    few_enough,
    measure,
    numbers,
    shade,
    signed,
    some_shade,
    table,
    tokens_of,
)
from jaxlin.results.split import Split
from jaxlin.results.svd import SVDResult
from jaxlin.results.tables import certificate_lines, check_line, visible

if TYPE_CHECKING:
    from jaxlin.results.attribute import Attribution

#: Bars of a result.
_BARS = 16
Tokens = Sequence[Sequence[object]]


def view_of(result: Attribution) -> View:
    """What each target is split into, the prompt that it shades, and the certificates."""
    splits, titles, triplets = result.splits, result.titles, result.triplets
    tokens = tokens_of(result.labels)
    several = len(splits) > 1
    cards = [card("certificate", result.holds, [check_line(check) for check in result.checks])]
    shades = []
    room = max(1, NUMBERS // len(result.tokens))
    for i, (title, split) in enumerate(zip(titles[:room], splits[:room], strict=True)):
        name = (split.target or f"target {i + 1}") if several else "all of it"
        label = f"contribution of each token to {title}"
        shades.append(shade(name, {"target": i + 1}, [measure("contribution", label, split.tokens)]))
    view: View = {"title": " · ".join(titles), "tokens": tokens, "cards": cards}
    if triplets is not None:
        lines = certificate_lines(triplets.certificate)
        cards.append(card("certificate of the directions", triplets.holds, lines))
        shaded = _shades_of_directions(splits[0], triplets, titles[0])[: max(0, room - len(shades))]
        notes = some_shade(len(shaded), len(triplets.s)) if tokens else []
        view["directions"] = _directions(splits, triplets, tokens, notes)
        shades += shaded
    pieces: list[View] = []
    grids: list[View] = []
    for i, (title, split) in enumerate(zip(titles, splits, strict=True)):
        after = f" to {title}" if several else ""
        if tokens:
            pieces.append(_bars_of_tokens(split, tokens, f"What the tokens contribute{after}"))
        if split.heads is not None:
            pieces.append(_bars_of_branches(split, f"What heads and MLPs contribute{after}"))
            key = {"target": i + 1} if several else {}
            grids.append(_grid(split, f"Every head and MLP{after}", key, len(splits), bool(tokens)))
    written = [
        _by_layer(split, "What wrote to the residual stream" + (f": {title}" if several else ""))
        for title, split in zip(titles, splits, strict=True)
    ]
    shown = {"shades": shades if tokens else [], "bars": pieces, "signed": grids, "tables": written}
    return view | shown


def _shades_of_directions(split: Split, triplets: SVDResult, title: str) -> list[View]:
    along = np.asarray(split.directions)
    made = []
    for i in range(few_enough(len(along), len(along[0]))):
        facts = [("σ", f"{float(triplets.s[i]):.5g}"), ("contribution", f"{along[i].sum():+.4g}")]
        label = f"contribution of each token along direction {i + 1} to {title}"
        measures = [measure("contribution", label, along[i])]
        name, key, outputs = f"direction {i + 1}", {"direction": i + 1}, triplets.outputs[i]
        made.append(shade(name, key, measures, facts=facts, outputs=outputs))
    return made


def _directions(splits: Sequence[Split], triplets: SVDResult, tokens: Tokens, notes: Sequence[str]) -> View:
    """Every direction: σ, what it contributes to each target, what it writes, where it comes from."""
    sums = [np.asarray(split.directions).sum(1) for split in splits]
    first = np.asarray(splits[0].directions)
    rows = []
    for i in range(len(first)):
        order = np.argsort(-np.abs(first[i]), kind="stable")[:PLACES]
        named = [tokens[t] if tokens else (int(t), "") for t in order]
        places = [(p, text, float(first[i][t])) for t, (p, text) in zip(order, named, strict=True)]
        figures = [(f"{each[i]:+.3g}", float(each[i])) for each in sums]
        outputs, held = triplets.outputs[i], bool(triplets.converged[i])
        rows.append(
            direction(
                i,
                float(triplets.s[i]),
                float(triplets.residuals[i]),
                figures,
                outputs,
                places=places,
                converged=held,
            )
        )
    heads = [f"to {split.target}" if len(splits) > 1 else "contribution" for split in splits]
    wholes = [
        f"{each.sum():+.3g} of {float(split.value):+.3g}" for each, split in zip(sums, splits, strict=True)
    ]
    together = [f"these {len(first)} together", *wholes]
    return directions(heads, rows, "contribution of each token", together=together, notes=notes)


def _bars_of_tokens(split: Split, tokens: Tokens, title: str) -> View:
    rows = [
        (name if t is None else f"{tokens[t][0]} {visible(str(tokens[t][1]))}", share)
        for t, name, share in split.rows_of_tokens(_BARS)
    ]
    return bars(title, rows, float(split.value))


def _bars_of_branches(split: Split, title: str) -> View:
    rows = [(name, share) for _, name, share in split.rows_of_branches(_BARS)]
    return bars(title, rows, float(split.value))


def _grid(split: Split, title: str, key: dict[str, int], count: int, shaded: bool) -> View:
    """Layers by branches; with what each has of every token, where that is known and is not too much."""
    each = split.each
    through = None
    if shaded and split.branch_tokens is not None:
        whole = np.asarray(split.branch_tokens)
        if whole.size * count <= NUMBERS:
            through = [[numbers(branch) for branch in layer] for layer in whole]
    columns = [*(f"head {i}" for i in range(each.shape[1] - 1)), "MLP"]
    return signed(title, key, [str(layer) for layer in range(len(each))], columns, each, through)


def _by_layer(split: Split, title: str) -> View:
    rows = [["embedding", f"{float(split.embedding):+.4g}", ""]]
    rows += [
        [str(layer), *(f"{share:+.4g}" for share in shares)] for layer, shares in enumerate(split.branches)
    ]
    return table(title, ("layer", "attention", "MLP"), rows)
