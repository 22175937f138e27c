"""The screen of ``jaxlin tokens``."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxlin.commands.options import Tokens
from jaxlin.per_token.result import TokensResult
from jaxlin.results.terminal.pieces import check_line, panel, verdict, visible

#: Rows of the table of tokens; all of them are in the files.
_TOKENS_SHOWN = 12


def show(config: Tokens, summary: dict[str, Any], result: TokensResult) -> None:
    """Print the certificate first, then the positions of the largest σ₁, then where the result lies."""
    certificate = result.certificate
    bound = "" if certificate.confidence == 1 else f" with probability {certificate.confidence:.6f}"
    lines = [
        f"errors          σ of {certificate.converged} of {certificate.wanted} tokens within "
        f"{certificate.tolerance:.0e}·σ₁, "
        f"worst {certificate.worst_error:.1e}{bound}",
        f"spot residual   {certificate.spot_residual:.1e}",
        *(check_line(check) for check in certificate.checks),
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
            Text(visible(token["text"])),
            f"{token['s'][0]:.4g}",
            f"{token['norm']:.4g}",
            Text("  ".join(visible(score["text"]) for score in token["outputs"][:6])),
        )
    console = Console()
    console.print(panel(lines, certificate.holds, verdict(certificate, "tokens")))
    console.print(table)
    console.print(Text(f"wrote {config.out}"), soft_wrap=True)
