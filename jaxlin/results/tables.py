"""What the tables of all kinds are made of: certificates line by line, tokens as words, what a map is."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.panel import Panel
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from jaxlin.errors import printable
from jaxlin.linear.certificate import Certificate, Check
from jaxlin.linear.energy import Energy
from jaxlin.results.labels import TokenScore
from jaxlin.results.prediction import Prediction
from jaxlin.results.spelling import visible as visible
from jaxlin.runtime.sizes import spell_size

#: Output tokens of a direction in a table; all of them are in the files.
WORDS = 6
#: Said of a map that takes everything to 0, whose certificate holds and says nothing.
ZERO = "σ₁ is 0: THIS MAP IS ZERO, it takes every input to 0"
#: What two figures of a certificate say, as every check says of itself.
RESIDUALS = "√(‖Jv − σu‖² + ‖Jᵀu − σv‖²) of every triplet: each of them is one of this map"
_ENERGY = "Σσ² / ‖J‖²_F: how much of the map the triplets hold; the rest is in others"
#: Columns of text in a notebook.
_WIDTH = 120
#: Headers of columns that hold words and not numbers, which stand on the left.
_WORDS = ("", " ", "token", "writes", "points at")


@dataclass(frozen=True)
class Line:
    """One line of a certificate: what was checked, the figure in words, whether it holds, what it says."""

    name: str
    text: str
    holds: bool = True
    meaning: str = ""


def certificate_lines(certificate: Certificate, unit: str = "triplets") -> list[Line]:
    """Every figure of an SVD's certificate."""
    converged, wanted = certificate.converged, certificate.wanted
    residuals = (
        f"{converged} of {wanted} {unit} within {certificate.tolerance:.0e}·σ₁, "
        f"worst {certificate.worst_residual:.1e}·σ₁"
    )
    lines = [
        Line("residuals", residuals, converged == wanted, RESIDUALS),
        *map(check_line, certificate.checks),
    ]
    if certificate.check("reconstruction") is None:
        lines.append(Line("reconstruction", "not tested: c is y − J·x by definition for this map"))
    lines.append(Line("captured energy", spell_energy(certificate.energy), meaning=_ENERGY))
    return [Line("size", ZERO, holds=False), *lines] if certificate.zero else lines


def prediction_lines(prediction: Prediction | None) -> list[Line]:
    """What the model predicts, as the first line of a table; no line where nobody knows."""
    return [] if prediction is None else [Line("predicts", str(prediction))]


def check_line(check: Check) -> Line:
    """One figure beside its limit."""
    sign = "≤" if check.holds else "exceeds"
    return Line(check.name, f"{check.value:.1e} {sign} {check.limit:.0e}", check.holds, check.meaning)


def spell_energy(energy: Energy) -> str:
    """The captured energy with its error."""
    return f"{energy.captured:.1%}" + (f" ± {energy.error:.1%}" if energy.error else ", exactly")


@runtime_checkable
class Certified(Protocol):
    """A certificate of any kind."""

    @property
    def converged(self) -> int: ...

    @property
    def wanted(self) -> int: ...

    @property
    def failed(self) -> tuple[Check, ...]: ...

    @property
    def zero(self) -> bool: ...


def verdict(certificate: Certified, unit: str = "triplets") -> str:
    """``holds``, or what does not."""
    names = [check.name for check in certificate.failed]
    missed = certificate.wanted - certificate.converged
    said = verdict_of([f"{missed} of {certificate.wanted} {unit} NOT converged", *names] if missed else names)
    return f"{said}, but THE MAP IS ZERO" if certificate.zero else said


def verdict_of(failed: Sequence[str]) -> str:
    """The same from the names of what fails."""
    return f"FAILS: {', '.join(failed)}" if failed else "holds"


def panel(lines: Sequence[Line], verdict: str, *notes: str) -> Panel:
    """A certificate, green or red, with notes on the map below its lines."""
    holds = verdict == "holds"
    width = max((len(line.name) for line in lines), default=0)
    text = Text()
    for line in lines:
        text.append(printable(f"{line.name:<{width}}  {line.text}"), style="" if line.holds else "bold red")
        text.append("\n")
    text.append("\n".join(printable(note) for note in notes if note))
    text.rstrip()
    title = Text(f"certificate: {printable(verdict)}")
    return Panel(text, title=title, border_style="green" if holds else "red", expand=False)


def spell_map(summary: Mapping[str, Any], *more: str) -> str:
    """In one line what a map is of, as far as it is known, with ``more`` between."""
    what = [summary[name] for name in ("model",) if name in summary]
    what += [f"{summary['tokens']} tokens"] if "tokens" in summary else []
    what += more
    what += [f"policy {summary['policy']}"] if isinstance(summary.get("policy"), str) else []
    what += [summary[name] for name in ("dtype",) if name in summary]
    return " · ".join(what)


def spell_shape(shape: Sequence[int]) -> str:
    """How large the matrix is."""
    return f"J is {shape[0]} × {shape[1]}"


def spell_cost(summary: Mapping[str, Any], *more: str) -> str:
    """A method, its passes, its time and the memory of the process, with ``more`` before."""
    cost = [*more, f"{summary['passes']} passes", f"{summary['seconds']:.1f} s"]
    return f"method {summary['method']}: {', '.join(cost)}, peak {spell_size(summary['peak_bytes'])}"


def new_table(title: str | None, *columns: str, **settings: Any) -> Table:
    """An empty table; columns of numbers stand on the right."""
    name = None if title is None else Text(printable(title))
    table = Table(title=name, title_justify="left", **settings)
    for column in columns:
        table.add_column(Text(printable(column, keep="\n")), justify="left" if column in _WORDS else "right")
    return table


def spell(tokens: Iterable[TokenScore], count: int | None = None) -> Text:
    """Tokens in a row, without their scores; all of them, or the first ones."""
    return Text(spelled(tokens, count))


def spelled(tokens: Iterable[TokenScore], count: int | None = None, *, scores: bool = False) -> str:
    """The same as plain text; with ``scores`` behind the tokens."""
    return "  ".join(
        f"{visible(token.text)}·{token.score:.2g}" if scores else visible(token.text)
        for token in list(tokens)[:count]
    )


class Spelled:
    """Something to show, with whatever would act on a terminal spelled out and nothing taken for markup.

    Tables spell what they are made of themselves, so that their columns fit; this is for what they forget.
    """

    def __init__(self, shown: RenderableType) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._shown, options.update(markup=False)):
            text = segment.text if segment.control else printable(segment.text, keep="\n")
            yield Segment(text, segment.style, segment.control)


def as_html(renderable: RenderableType) -> str:
    """What a terminal would show, for a notebook."""
    console = Console(
        record=True, file=io.StringIO(), width=_WIDTH, force_jupyter=False, color_system="truecolor",
        markup=False, emoji=False,
    )  # fmt: skip
    console.print(Spelled(renderable))
    style = (
        "white-space:pre;overflow-x:auto;line-height:normal;font-family:Menlo,'DejaVu Sans Mono',monospace"
    )
    return console.export_html(inline_styles=True, code_format=f'<pre style="{style}">{{code}}</pre>')
