"""What a person sees: progress while it runs, the certificate and the table when it is done."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from jaxlin.certificate import Certificate, Check
from jaxlin.decode import Direction, InputPosition, TokenScore
from jaxlin.environment import held_bytes
from jaxlin.options import Svd, Tokens
from jaxlin.svd.result import SVDResult
from jaxlin.tokens.result import TokenCertificate, TokensResult

#: Rows of the table of tokens; all of them are in the files.
_TOKENS_SHOWN = 12


class TerminalProgress:
    """A line per stage on stderr: a live bar on a terminal, one plain line at its end elsewhere."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:>4.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[memory]}"),
            console=self._console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalProgress:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        memory = f"{held_bytes() / 2**30:.2f} GiB"
        if not self._console.is_terminal:
            if done == total:
                line = f"{stage}: {done}/{total} {note} ({memory})"
                self._console.print(Text(line), soft_wrap=True)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=total, note=note, memory=memory)
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note, memory=memory)


def show(config: Svd, summary: dict[str, Any], result: SVDResult, directions: list[Direction]) -> None:
    """Print the certificate first, then the table of directions, then where the result lies."""
    console = Console()
    console.print(_certificate_panel(summary, result))
    console.print(
        _table(result, directions) if config.target is None else _attribution(config, summary, directions[0])
    )
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)


def show_tokens(config: Tokens, summary: dict[str, Any], result: TokensResult) -> None:
    """Print the certificate first, then the positions of the largest σ₁, then where the result lies."""
    certificate = result.certificate
    bound = "" if certificate.confidence == 1 else f" with probability {certificate.confidence:.6f}"
    lines = [
        f"errors          σ of {certificate.converged} of {certificate.wanted} tokens within "
        f"{certificate.tolerance:.0e}·σ₁, "
        f"worst {certificate.worst_error:.1e}{bound}",
        f"spot residual   {certificate.spot_residual:.1e}",
        *(_check_line(check) for check in certificate.checks),
        f"{summary['model']} · {summary['tokens']} tokens · each J_t is {result.U.shape[-1]} × "
        f"{result.V.shape[-1]} · policy {summary['policy']} · {summary['dtype']}",
        f"method {result.method}: {result.rank} left vectors, {result.passes} passes, "
        f"{result.seconds:.1f} s, peak {summary['peak_bytes'] / 2**30:.2f} GiB",
    ]
    table = Table(title="tokens of the largest σ₁", title_justify="left", pad_edge=False)
    for column in ("position", "token", "σ₁", "‖J_t‖_F", "writes"):
        table.add_column(column, justify="left" if column in ("token", "writes") else "right")
    tokens = sorted(summary["per_token"], key=lambda token: -token["s"][0])
    for token in tokens[:_TOKENS_SHOWN]:
        table.add_row(
            str(token["position"]),
            Text(_visible(token["text"])),
            f"{token['s'][0]:.4g}",
            f"{token['norm']:.4g}",
            Text("  ".join(_visible(score["text"]) for score in token["outputs"][:6])),
        )
    console = Console()
    console.print(_panel(lines, certificate.holds, _verdict(certificate, "tokens")))
    console.print(table)
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)


def _certificate_panel(summary: dict[str, Any], result: SVDResult) -> Panel:
    certificate = result.certificate
    energy = certificate.energy
    lines = [
        f"residuals       {certificate.converged} of {certificate.wanted} triplets within "
        f"{certificate.tolerance:.0e}·σ₁, worst {certificate.worst_residual:.1e}·σ₁",
        *(_check_line(check) for check in certificate.checks),
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
    return _panel(lines, certificate.holds, _verdict(certificate, "triplets"))


def _panel(lines: list[str], holds: bool, verdict: str) -> Panel:
    return Panel(
        Text("\n".join(lines)),
        title=f"certificate: {verdict}",
        border_style="green" if holds else "red",
        expand=False,
    )


def _check_line(check: Check) -> str:
    verdict = f"≤ {check.limit:.0e}" if check.holds else f"FAILS, limit {check.limit:.0e}"
    return f"{check.name:<15} {check.value:.1e}  {verdict}"


def _verdict(certificate: Certificate | TokenCertificate, unit: str) -> str:
    if certificate.holds:
        return "holds"
    failed = [check.name for check in certificate.failed]
    missed = certificate.wanted - certificate.converged
    if missed:
        failed.insert(0, f"{missed} of {certificate.wanted} {unit} NOT converged")
    return "FAILS: " + ", ".join(failed)


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
            Text(_spell(direction.outputs[:6])),
            Text("\n".join(_input_line(place) for place in direction.inputs)),
        )
    return table


def _attribution(config: Svd, summary: dict[str, Any], direction: Direction) -> Table:
    """What the positions bring to the value of a target, the largest first, and what is left over."""
    table = Table(title=Text(str(config.target)), title_justify="left", pad_edge=False)
    for column in ("position", "token", "brings"):
        table.add_column(column, justify="left" if column == "token" else "right")
    for place in direction.inputs:
        table.add_row(str(place.position), Text(_visible(place.text)), f"{place.contribution:+.4g}")
    value, offset = summary["target_value"], summary["target_offset"]
    rest = value - offset - sum(place.contribution for place in direction.inputs)
    table.add_section()
    table.add_row("", f"the other {summary['tokens'] - len(direction.inputs)} tokens", f"{rest:+.4g}")
    if offset:
        table.add_row("", "the offset c", f"{offset:+.4g}")
    table.add_row("", "together", f"{value:+.4g}")
    return table


def _input_line(place: InputPosition) -> str:
    return (
        f"{place.position} {_visible(place.text)} {place.norm:.2f} ({place.contribution:+.3g}) → "
        f"{_spell(place.nearest)}"
    )


def _spell(tokens: tuple[TokenScore, ...]) -> str:
    return "  ".join(_visible(token.text) for token in tokens)


def _visible(text: str) -> str:
    """A token as one word: its spaces as ▁, as tokenizers write them, line breaks and the like escaped."""
    return repr(text)[1:-1].replace(" ", "▁")
