"""The screen of ``jaxlin steer``."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxlin.commands.options import Steer


def show(config: Steer, summary: dict[str, Any]) -> None:
    """Print what steers and where, the continuations, and where the result lies."""
    console = Console()
    what = "the whole map" if summary["rank"] is None else f"rank {summary['rank']} of the map"
    where = f"the input of layer {summary['layer']}" if config.as_published else f"layer {summary['layer']}"
    certificate = summary["certificate"]
    held = "" if certificate is None else f", certificate {'holds' if certificate['holds'] else 'FAILS'}"
    console.print(
        Text(f"{what} of “{summary['concept']}” at {where} of {summary['layers']}{held}"), soft_wrap=True
    )
    table = Table(pad_edge=False, show_lines=True)
    table.add_column("λ", justify="right")
    table.add_column("continuation", ratio=1)
    for one in summary["continuations"]:
        text = Text(summary["prompt"], style="dim") + Text(one["text"])
        table.add_row(f"{one['strength']:g}", text)
    console.print(table)
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)
