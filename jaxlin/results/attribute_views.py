"""How an attribution is shown: as tables in a terminal, and as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jaxlin.errors import printable
from jaxlin.results.pictures import Picture, bars_of_layers, bars_of_tokens
from jaxlin.results.signed import signed_branches, signed_tokens
from jaxlin.results.split import Split, table_of_branches, table_of_layers, table_of_tokens
from jaxlin.results.svd import SVDResult
from jaxlin.results.tables import (
    WORDS,
    check_line,
    new_table,
    panel,
    spell,
    spell_map,
    verdict,
    verdict_of,
)

if TYPE_CHECKING:
    from jaxlin.results.attribute import Attribution

#: What the summary says of a target that nobody chose; older versions split the first of the two alone.
TWO_BEST = "the model's own two most likely next tokens"
MOST_LIKELY = "the model's own most likely next token"


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


def _table_of_directions(split: Split, svd: SVDResult) -> Table:
    held = "" if svd.holds else f"; certificate {verdict(svd.certificate)}"
    made = new_table(f"over singular directions{held}", "#", "σ", "contribution", "writes")
    for i, sum_ in enumerate(np.asarray(split.directions).sum(1)):
        made.add_row(str(i + 1), f"{float(svd.s[i]):.4g}", f"{sum_:+.4g}", spell(svd.outputs[i], WORDS))
    return made
