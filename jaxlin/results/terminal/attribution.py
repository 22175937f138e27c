"""The screen of ``jaxlin attribute``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxlin.analyses.attribution import Attribution
from jaxlin.commands.options import Attribute
from jaxlin.results.terminal.pieces import check_line, panel, visible
from jaxlin.solvers.result import SVDResult

#: Tokens on the screen; all of them are in the files.
_SHOWN = 12
#: Cells of the longest bar.
_BAR = 16


def show(config: Attribute, summary: dict[str, Any], found: Attribution, result: SVDResult | None) -> None:
    """Print the checks, what the tokens bring, what the layers bring, then where the result lies."""
    console = Console()
    lines = [check_line(check, 19) for check in found.checks]
    lines.append(
        f"{summary['model']} · {summary['tokens']} tokens · policy {summary['policy']} · {summary['dtype']}"
    )
    console.print(panel(lines, found.holds, "holds" if found.holds else "FAILS"))
    chosen = "" if config.target else ", the model's own most likely next token"
    console.print(Text(f"{summary['target']} = {found.value:.5g}{chosen}"), soft_wrap=True)
    console.print(_tokens(summary, found))
    console.print(_layers(found))
    if result is not None:
        console.print(_directions(summary))
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)


def _tokens(summary: dict[str, Any], found: Attribution) -> Table:
    order = np.argsort(-np.abs(found.tokens), kind="stable")[:_SHOWN]
    table = Table(title="over input tokens", title_justify="left", pad_edge=False)
    for column in ("position", "token", "brings", ""):
        table.add_column(column, justify="left" if column in ("token", "") else "right")
    largest = float(np.abs(found.tokens).max()) or 1.0
    for i in order:
        token = summary["per_token"][i]
        share = float(found.tokens[i])
        table.add_row(
            str(token["position"]), Text(visible(token["text"])), f"{share:+.4g}", _bar(share / largest)
        )
    table.add_section()
    others = len(found.tokens) - len(order)
    if others:
        rest = float(found.tokens.sum() - found.tokens[order].sum())
        table.add_row(
            "",
            "the other one" if others == 1 else f"the other {others} tokens",
            f"{rest:+.4g}",
            _bar(rest / largest),
        )
    if found.offset:
        table.add_row("", "the offset c", f"{found.offset:+.4g}", _bar(found.offset / largest))
    table.add_row("", "together", f"{found.value:+.4g}", "")
    return table


def _layers(found: Attribution) -> Table:
    table = Table(title="over what wrote to the residual stream", title_justify="left", pad_edge=False)
    for column in ("layer", "attention", "", "MLP", " "):
        table.add_column(column, justify="left" if not column.strip() else "right")
    largest = float(np.abs(found.branches).max()) or 1.0
    table.add_row("embedding", f"{found.embedding:+.4g}", "", "", "")
    for layer, (attention, mlp) in enumerate(found.branches):
        table.add_row(
            str(layer), f"{attention:+.4g}", _bar(attention / largest), f"{mlp:+.4g}", _bar(mlp / largest)
        )
    return table


def _directions(summary: dict[str, Any]) -> Table:
    table = Table(title="over singular directions", title_justify="left", pad_edge=False)
    for column in ("#", "σ", "brings", "left vector writes"):
        table.add_column(column, justify="left" if column.startswith("left") else "right")
    for number, direction in enumerate(summary["per_direction"], 1):
        words: Iterable[str] = (visible(score["text"]) for score in direction["outputs"][:6])
        table.add_row(
            str(number), f"{direction['s']:.4g}", f"{direction['contribution']:+.4g}", Text("  ".join(words))
        )
    return table


def _bar(share: float) -> str:
    """A bar as long as the share is large; negative ones are hollow."""
    return ("█" if share > 0 else "░") * round(min(abs(share), 1.0) * _BAR)
