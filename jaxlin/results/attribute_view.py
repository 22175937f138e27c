"""What the report shows of an attribution: signed bars, layers by heads as a signed grid, shaded prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxlin.linear.certificate import Check
from jaxlin.results.labels import Labels
from jaxlin.results.page.pieces import (
    NUMBERS,
    View,
    bars,
    card,
    few_enough,
    numbers,
    shade,
    signed,
    table,
    tokens_of,
)
from jaxlin.results.split import Split
from jaxlin.results.svd import SVDResult
from jaxlin.results.tables import certificate_lines, check_line, visible

#: Bars of a result.
_BARS = 16


def view_of(
    splits: Sequence[Split],
    titles: Sequence[str],
    checks: Sequence[Check],
    holds: bool,
    triplets: SVDResult | None,
    labels: Labels | None,
) -> View:
    """The pieces of the page: what each target is split into, and the certificates."""
    tokens = tokens_of(labels)
    shades, cards = [], [card("certificate", holds, [check_line(check) for check in checks])]
    for i, (title, split) in enumerate(zip(titles, splits, strict=True)):
        name = "attribution" if len(splits) == 1 else split.target or f"target {i + 1}"
        shades.append(shade(name, split.tokens, f"contribution of each token to {title}"))
    if triplets is not None:
        along = np.asarray(splits[0].directions)
        lines = certificate_lines(triplets.certificate)
        cards.append(card("certificate of the directions", triplets.holds, lines))
        for i in range(few_enough(len(along), len(along[0]))):
            facts = [["σ", f"{float(triplets.s[i]):.5g}"], ["contribution", f"{along[i].sum():+.4g}"]]
            label = f"contribution of each token along direction {i + 1}"
            outputs = triplets.outputs[i]
            shades.append(shade(f"direction {i + 1}", along[i], label, facts=facts, outputs=outputs))
    pieces: list[View] = []
    grids: list[View] = []
    for title, split in zip(titles, splits, strict=True):
        after = f" to {title}" if len(splits) > 1 else ""
        if tokens:
            pieces.append(_bars_of_tokens(split, tokens, f"What the tokens contribute{after}"))
        if split.heads is not None:
            pieces.append(_bars_of_branches(split, f"What heads and MLPs contribute{after}"))
            grids.append(_grid(split, f"Every head and MLP{after}", len(splits), bool(tokens)))
    written = [
        _by_layer(split, "What wrote to the residual stream" + (f": {title}" if len(splits) > 1 else ""))
        for title, split in zip(titles, splits, strict=True)
    ]
    return {
        "title": " · ".join(titles),
        "tokens": tokens,
        "shades": shades if tokens else [],
        "bars": pieces,
        "signed": grids,
        "tables": written,
        "cards": cards,
    }


def _bars_of_tokens(split: Split, tokens: Sequence[Sequence[object]], title: str) -> View:
    rows = [
        (name if t is None else f"{tokens[t][0]} {visible(str(tokens[t][1]))}", share)
        for t, name, share in split.rows_of_tokens(_BARS)
    ]
    return bars(title, rows, float(split.value))


def _bars_of_branches(split: Split, title: str) -> View:
    rows = [(name, share) for _, name, share in split.rows_of_branches(_BARS)]
    return bars(title, rows, float(split.value))


def _grid(split: Split, title: str, count: int, shaded: bool) -> View:
    """Layers by branches; with what each has of every token, where that is known and is not too much."""
    each = split.each
    through = None
    if shaded and split.branch_tokens is not None:
        whole = np.asarray(split.branch_tokens)
        if whole.size * count <= NUMBERS:
            through = [[numbers(branch) for branch in layer] for layer in whole]
    columns = [*(f"head {i}" for i in range(each.shape[1] - 1)), "MLP"]
    return signed(title, [str(layer) for layer in range(len(each))], columns, each, through)


def _by_layer(split: Split, title: str) -> View:
    rows = [["embedding", f"{float(split.embedding):+.4g}", ""]]
    rows += [
        [str(layer), *(f"{share:+.4g}" for share in shares)] for layer, shares in enumerate(split.branches)
    ]
    return table(title, ("layer", "attention", "MLP"), rows)
