"""The screens of ``jaxlin compare``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxlin.analyses.comparison import Side
from jaxlin.analyses.decoding import TokenScore
from jaxlin.analyses.layers import LayersResult
from jaxlin.commands.options import Compare
from jaxlin.results.terminal.pieces import panel, spell, verdict

#: Directions and tokens on the screen; all of them are in the files.
_DIRECTIONS, _TOKENS = 4, 5


def show_policies(
    config: Compare,
    summary: dict[str, Any],
    sides: Mapping[str, Side],
    decoded: Mapping[str, list[tuple[TokenScore, ...]]],
) -> None:
    """Print the certificates, figures and directions of every map, then where the result lies."""
    console = Console()
    lines = [
        f"{name:<14} {verdict(side.result.certificate, 'triplets')}, worst residual "
        f"{side.result.certificate.worst_residual:.1e}·σ₁, {side.result.passes} passes"
        for name, side in sides.items()
    ]
    lines.append(f"{summary['model']} · {summary['tokens']} tokens · {summary['dtype']}")
    holds = all(side.result.certificate.holds for side in sides.values())
    console.print(panel(lines, holds, "holds" if holds else "FAILS"))
    console.print(_figures(sides))
    console.print(_directions(decoded))
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)


def _figures(sides: Mapping[str, Side]) -> Table:
    first = next(iter(sides))
    table = Table(pad_edge=False)
    table.add_column("")
    for name in sides:
        table.add_column(name, justify="right")

    def row(title: str, figure: Any) -> None:
        table.add_row(title, *(figure(side) for side in sides.values()))

    row("‖J·x + c − y‖ / ‖y‖", lambda side: f"{side.reconstruction:.1e}")
    row("σ₁", lambda side: f"{float(side.result.s[0]):.4g}")
    row("stable rank", lambda side: f"{side.dimensions.stable_rank:.2f}")
    row("captured energy", lambda side: f"{side.result.certificate.energy.captured:.1%}")
    for title, angles in (("left", "left_angles"), ("right", "right_angles")):
        row(
            f"{title} angles to {first}: least, median, largest",
            lambda side, angles=angles: _spread(getattr(side, angles)),
        )
    return table


def _spread(angles: np.ndarray) -> str:
    if angles.max() < math.radians(0.05):
        return "0°"
    return " ".join(f"{math.degrees(a):.0f}°" for a in (angles.min(), np.median(angles), angles.max()))


def _directions(decoded: Mapping[str, list[tuple[TokenScore, ...]]]) -> Table:
    table = Table(title="left vectors write", title_justify="left", pad_edge=False, show_lines=True)
    table.add_column("#", justify="right")
    for name in decoded:
        table.add_column(name, ratio=1)
    for i in range(min(_DIRECTIONS, *(len(each) for each in decoded.values()))):
        table.add_row(str(i + 1), *(Text(spell(each[i][:_TOKENS])) for each in decoded.values()))
    return table


def show_models(
    config: Compare,
    summaries: Mapping[str, dict[str, Any]],
    found: Mapping[str, tuple[LayersResult, Any]],
) -> None:
    """Print the certificates, then the models layer by layer, then where the result lies."""
    console = Console()
    lines = []
    for name, (result, _) in found.items():
        summary = summaries[name]
        lines.append(
            f"{name}: {'holds' if result.holds else 'FAILS'} at {len(result.layers)} layers, "
            f"{summary['tokens']} tokens, J is {summary['shape'][0]} × {summary['shape'][1]}"
        )
    holds = all(result.holds for result, _ in found.values())
    console.print(panel(lines, holds, "holds" if holds else "FAILS"))
    table = Table(title="embeddings → after the layer", title_justify="left", pad_edge=False)
    table.add_column("layer", justify="right")
    for name in found:
        table.add_column(f"{name}\nσ₁", justify="right")
        table.add_column("stable\nrank", justify="right")
        table.add_column("left vector 1 writes", ratio=1)
    for i in range(max(len(result.layers) for result, _ in found.values())):
        cells = [cell for result, decoded in found.values() for cell in _cells(i, result, decoded)]
        table.add_row(str(i), *cells)
    console.print(table)
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)


def _cells(i: int, result: LayersResult, decoded: Any) -> tuple[str, str, Text]:
    """A model's layer, or nothing where it has fewer."""
    if i >= len(result.layers):
        return "", "", Text()
    one = result.parts["cumulative"][i]
    tokens = decoded["cumulative"][i][0][:_TOKENS]
    return f"{one.s[0]:.4g}", f"{one.dimensions.stable_rank:.2f}", Text(spell(tokens))
