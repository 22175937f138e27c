"""How an attribution is shown: as tables in a terminal, on the page of the report, and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jaxlin.errors import printable
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
from jaxlin.results.pictures import Picture, bars_of_layers, bars_of_tokens
from jaxlin.results.signed import signed_branches, signed_tokens
from jaxlin.results.split import Split, table_of_branches, table_of_layers, table_of_tokens
from jaxlin.results.svd import SVDResult
from jaxlin.results.tables import (
    WORDS,
    certificate_lines,
    check_line,
    new_table,
    panel,
    spell,
    spell_map,
    verdict,
    verdict_of,
    visible,
)

if TYPE_CHECKING:
    from jaxlin.results.attribute import Attribution

#: What the summary says of a target that nobody chose; older versions split the first of the two alone.
TWO_BEST = "the model's own two most likely next tokens"
MOST_LIKELY = "the model's own most likely next token"
#: Bars of a result.
_BARS = 16


def table_of(result: Attribution) -> RenderableType:
    """The certificate, then every target over tokens, over heads and MLPs, and over directions."""
    lines = [check_line(check) for check in result.checks]
    failed = verdict_of([check.name for check in result.checks if not check.holds])
    chosen = result.entry("chosen_by")
    of_itself = f", {chosen}" if chosen in (TWO_BEST, MOST_LIKELY) else ""
    shown: list[RenderableType] = [panel(lines, failed, spell_map(result.summary()))]
    for title, split in zip(result.titles, result.splits, strict=True):
        shown.append(Text(printable(f"{title}{of_itself}")))
        shown.append(table_of_tokens(split, result.positions, result.texts, "over input tokens"))
        if split.heads is not None:
            shown.append(table_of_branches(split, result.texts, "over heads and MLPs"))
        if split.heads is None or len(result.splits) == 1:
            shown.append(table_of_layers(split))
        if result.triplets is not None:
            shown.append(_table_of_directions(split, result.triplets))
    return Group(*shown)


def pictures_of(result: Attribution) -> list[Picture]:
    """Bars over tokens and over layers of every target, and signed grids where heads are known."""
    made = []
    for i, (title, split) in enumerate(zip(result.titles, result.splits, strict=True)):
        after = f"_{i + 1}" if i else ""
        tokens, branches = np.asarray(split.tokens), np.asarray(split.branches)
        made.append(bars_of_tokens(f"over_tokens{after}", result.positions, result.texts, tokens, title))
        made.append(bars_of_layers(f"over_layers{after}", branches, title))
        if split.heads is not None:
            made.append(signed_branches(f"over_heads{after}", split, title))
        if split.branch_tokens is not None:
            name = f"over_heads_and_tokens{after}"
            made.append(signed_tokens(name, split, result.positions, result.texts, title))
    return made


def view_of(result: Attribution) -> View:
    """The pieces of the page: what each target is split into, and the certificates."""
    splits, titles, triplets = result.splits, result.titles, result.triplets
    tokens = tokens_of(result.labels)
    shades, cards = [], [card("certificate", result.holds, [check_line(check) for check in result.checks])]
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


def _table_of_directions(split: Split, svd: SVDResult) -> Table:
    held = "" if svd.holds else f"; certificate {verdict(svd.certificate)}"
    made = new_table(f"over singular directions{held}", "#", "σ", "contribution", "writes")
    for i, sum_ in enumerate(np.asarray(split.directions).sum(1)):
        made.add_row(str(i + 1), f"{float(svd.s[i]):.4g}", f"{sum_:+.4g}", spell(svd.outputs[i], WORDS))
    return made


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
