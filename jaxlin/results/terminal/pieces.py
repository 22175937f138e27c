"""What the screens of all verbs are made of."""

from __future__ import annotations

from collections.abc import Sequence

from rich.panel import Panel
from rich.text import Text

from jaxlin.analyses.decoding import TokenScore
from jaxlin.linear.certificate import Certificate, Check
from jaxlin.per_token.result import TokenCertificate


def panel(lines: Sequence[str], holds: bool, verdict: str) -> Panel:
    """A certificate, green or red."""
    return Panel(
        Text("\n".join(lines)),
        title=f"certificate: {verdict}",
        border_style="green" if holds else "red",
        expand=False,
    )


def check_line(check: Check, width: int = 15) -> str:
    """One figure beside its limit."""
    verdict = f"≤ {check.limit:.0e}" if check.holds else f"FAILS, limit {check.limit:.0e}"
    return f"{check.name:<{width}} {check.value:.1e}  {verdict}"


def verdict(certificate: Certificate | TokenCertificate, unit: str) -> str:
    """``holds``, or what does not."""
    if certificate.holds:
        return "holds"
    failed = [check.name for check in certificate.failed]
    missed = certificate.wanted - certificate.converged
    if missed:
        failed.insert(0, f"{missed} of {certificate.wanted} {unit} NOT converged")
    return "FAILS: " + ", ".join(failed)


def spell(tokens: Sequence[TokenScore]) -> str:
    """Tokens in a row, without their scores."""
    return "  ".join(visible(token.text) for token in tokens)


def visible(text: str) -> str:
    """A token as one word: its spaces as ▁, as tokenizers write them, line breaks and the like escaped."""
    return repr(text)[1:-1].replace(" ", "▁")
