"""The screen of ``jaxlin layers``."""

from __future__ import annotations

from typing import Any

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jaxlin.analyses.decoding import TokenScore
from jaxlin.analyses.layers import PARTS, LayersResult
from jaxlin.commands.options import Layers
from jaxlin.results.terminal.pieces import panel, spell, verdict

#: Directions, and tokens of each, on the screen; all of them are in the files.
_DIRECTIONS, _TOKENS = 2, 4


def show(
    config: Layers,
    summary: dict[str, Any],
    result: LayersResult,
    decoded: dict[str, list[list[tuple[TokenScore, ...]]]],
) -> None:
    """Print the certificates in one panel, then a table for each part, then where the result lies."""
    console = Console()
    console.print(_certificates(summary, result))
    for part, tokens in decoded.items():
        console.print(_table(part, result, tokens))
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)


def _certificates(summary: dict[str, Any], result: LayersResult) -> Panel:
    every = [
        (f"{part} {layer}", one.certificate)
        for part, found in result.parts.items()
        for layer, one in zip(result.layers, found, strict=True)
    ]
    failed = [f"{name}: {verdict(one, 'triplets')}" for name, one in every if not one.holds]
    wanted = sum(one.wanted for _, one in every)
    converged = sum(one.converged for _, one in every)
    worst = max(one.worst_residual for _, one in every)
    norm = "through the final norm" if result.normed else "as they are in the residual stream"
    lines = [
        f"residuals  {converged} of {wanted} triplets of {len(every)} maps within "
        f"{every[0][1].tolerance:.0e}·σ₁, worst {worst:.1e}·σ₁",
        *failed,
        f"{summary['model']} · {summary['tokens']} tokens · outputs {norm} · policy {summary['policy']} · "
        f"{summary['dtype']} · peak {summary['peak_bytes'] / 2**30:.2f} GiB",
    ]
    return panel(
        lines, result.holds, "holds" if result.holds else f"FAILS in {len(failed)} of {len(every)} maps"
    )


def _table(part: str, result: LayersResult, tokens: list[list[tuple[TokenScore, ...]]]) -> Table:
    """One row a layer; the path is how much of the last layer's left space is there already."""
    path = result.path if part == "cumulative" else None
    table = Table(title=f"{part}: {PARTS[part]}", title_justify="left", pad_edge=False)
    for name in ("layer", "σ₁", "stable\nrank", "partici-\npation", *(["path"] if path is not None else [])):
        table.add_column(name, justify="right")
    for number in range(_DIRECTIONS):
        table.add_column(f"left vector {number + 1} writes", ratio=1)
    for i, (layer, one) in enumerate(zip(result.layers, result.parts[part], strict=True)):
        least, most = one.dimensions.participation
        participation = f"{least:.3g}" if most - least < 0.01 else f"{least:.3g}–{most:.3g}"
        shared = [] if path is None else [f"{np.square(path[i]).sum() / path.shape[1]:.0%}"]
        table.add_row(
            str(layer),
            f"{one.s[0]:.4g}",
            f"{one.dimensions.stable_rank:.2f}",
            participation,
            *shared,
            *(Text(spell(scores[:_TOKENS])) for scores in tokens[i][:_DIRECTIONS]),
        )
    return table
