"""The screen of ``jaxlin svd``."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jaxlin.analyses.decoding import Direction, InputPosition
from jaxlin.commands.options import Svd
from jaxlin.results.terminal.pieces import check_line, panel, spell, verdict, visible
from jaxlin.solvers.result import SVDResult


def show(config: Svd, summary: dict[str, Any], result: SVDResult, directions: list[Direction]) -> None:
    """Print the certificate first, then the table of directions, then where the result lies."""
    console = Console()
    console.print(_certificate_panel(summary, result))
    console.print(
        _table(result, directions) if config.target is None else _attribution(config, summary, directions[0])
    )
    if config.norms:
        console.print(_large_rows(summary))
        console.print(_large_columns(summary))
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)


def _certificate_panel(summary: dict[str, Any], result: SVDResult) -> Panel:
    certificate = result.certificate
    energy = certificate.energy
    lines = [
        f"residuals       {certificate.converged} of {certificate.wanted} triplets within "
        f"{certificate.tolerance:.0e}·σ₁, worst {certificate.worst_residual:.1e}·σ₁",
        *(check_line(check) for check in certificate.checks),
    ]
    if certificate.check("reconstruction") is None:
        lines.append("reconstruction  not tested: c is y − J·x by definition under this policy")
    lines += [
        f"captured energy {energy.captured:.1%}"
        + (f" ± {energy.error:.1%}" if energy.error else ", exactly"),
        f"{summary['model']} · {summary['tokens']} tokens · J is {summary['shape'][0]} × "
        f"{summary['shape'][1]} · policy {summary['policy']} · {summary['dtype']}",
        f"method {result.method}: {result.passes} passes, {result.seconds:.1f} s, "
        f"peak {summary['peak_bytes'] / 2**30:.2f} GiB",
    ]
    return panel(lines, certificate.holds, verdict(certificate, "triplets"))


def _table(result: SVDResult, directions: list[Direction]) -> Table:
    table = Table(pad_edge=False, show_lines=True)
    table.add_column("#", justify="right")
    table.add_column("σ", justify="right")
    table.add_column("residual", justify="right")
    table.add_column("left vector decodes to", ratio=2)
    table.add_column("right vector: position, token, weight (contribution) → nearest", ratio=3)
    for i, direction in enumerate(directions):
        flag = "" if bool(result.converged[i]) else " ✗"
        table.add_row(
            str(i + 1),
            f"{float(result.s[i]):.4g}",
            f"{float(result.residuals[i]):.0e}{flag}",
            Text(spell(direction.outputs[:6])),
            Text("\n".join(_input_line(place) for place in direction.inputs)),
        )
    return table


def _attribution(config: Svd, summary: dict[str, Any], direction: Direction) -> Table:
    """What the positions bring to the value of a target, the largest first, and what is left over."""
    table = Table(title=Text(str(config.target)), title_justify="left", pad_edge=False)
    for column in ("position", "token", "brings"):
        table.add_column(column, justify="left" if column == "token" else "right")
    for place in direction.inputs:
        table.add_row(str(place.position), Text(visible(place.text)), f"{place.contribution:+.4g}")
    value, offset = summary["target_value"], summary["target_offset"]
    rest = value - offset - sum(place.contribution for place in direction.inputs)
    table.add_section()
    table.add_row("", f"the other {summary['tokens'] - len(direction.inputs)} tokens", f"{rest:+.4g}")
    if offset:
        table.add_row("", "the offset c", f"{offset:+.4g}")
    table.add_row("", "together", f"{value:+.4g}")
    return table


def _large_rows(summary: dict[str, Any]) -> Table:
    table = Table(title="largest rows of J", title_justify="left", pad_edge=False)
    for column in ("output feature", "norm", "position", "token", "points at"):
        table.add_column(column, justify="left" if column in ("token", "points at") else "right")
    for row in summary["largest_rows"]:
        words = "  ".join(visible(score["text"]) for score in row["nearest"][:6])
        cells = f"{row['feature']}", f"{row['norm']:.4g}", f"{row['position']}"
        table.add_row(*cells, Text(visible(row["text"])), Text(words))
    return table


def _large_columns(summary: dict[str, Any]) -> Table:
    table = Table(title="largest columns of J", title_justify="left", pad_edge=False)
    for column in ("position", "token", "input feature", "norm", "writes"):
        table.add_column(column, justify="left" if column in ("token", "writes") else "right")
    for one in summary["largest_columns"]:
        words = "  ".join(visible(score["text"]) for score in one["outputs"][:6])
        table.add_row(
            f"{one['position']}",
            Text(visible(one["text"])),
            f"{one['feature']}",
            f"{one['norm']:.4g}",
            Text(words),
        )
    return table


def _input_line(place: InputPosition) -> str:
    return (
        f"{place.position} {visible(place.text)} {place.norm:.2f} ({place.contribution:+.3g}) → "
        f"{spell(place.nearest)}"
    )
