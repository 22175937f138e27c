"""``jaxlin plan``: what jobs would cost, as a table, before anybody downloads a weight."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jaxlin_models as models
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from jaxlin.commands.options import Plan
from jaxlin.commands.output import tell
from jaxlin.errors import JaxlinError
from jaxlin.planning.abstract import Job
from jaxlin.planning.budget import Forecast, Solver, check_length, forecasts, refusal
from jaxlin.prompts.load import DTYPES
from jaxlin.runtime.offload import OFFLOADS
from jaxlin.runtime.sizes import parse_size, spell_size
from jaxlin.runtime.terminal import TerminalProgress
from jaxlin.solvers.choose import METHODS, free_bytes

#: In this order, unless --dtype says.
_TRIED = ("float32", "bfloat16")
#: Columns of the table, and whether they are words.
_COLUMNS = {
    "model": True, "tokens": False, "dtype": True, "attention": True, "gate": True, "method": True,
    "passes": False, "weights": False, "coeff.": False, "peak": False, "room": False, "TFLOP": False,
}  # fmt: skip
#: Where there is no terminal to be narrower.
_WIDTH = 128


@dataclass(frozen=True)
class Row:
    """One line of the answer: a model and a length, and how they fit or why not.

    ``forecast`` is of the smallest setting that was tried where nothing fits.
    """

    model: str
    tokens: int
    dtype: str
    forecast: Forecast
    refusal: str | None


def run(config: Plan) -> int:
    """Do what the command line asked for; returns the exit code."""
    _check(config)
    memory = free_bytes() if config.memory is None else parse_size(config.memory)
    if config.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    decoders = {name: models.find_config(name) for name in config.model}
    for name, decoder in decoders.items():
        for tokens in config.tokens:
            check_length(decoder, tokens, name)
    rows: list[Row] = []
    asked = [(name, tokens) for name in decoders for tokens in config.tokens]
    with TerminalProgress(config.progress) as progress:
        for name, tokens in asked:
            progress("compiling", len(rows), len(asked), f"{name} at {tokens} tokens")
            rows.append(plan_row(name, decoders[name], tokens, config, memory))
        progress("compiling", len(rows), len(asked), "done")
    figures = {
        "memory": memory,
        "backend": jax.default_backend(),
        "rows": [_plain(row) for row in rows],
    }
    tell(config, figures, lambda _: _show(rows, memory))
    return 0


def plan_row(name: str, decoder: models.DecoderConfig, tokens: int, config: Plan, memory: int) -> Row:
    """The first dtype and setting of the dial that fits, or the smallest that was tried."""
    solver = Solver(config.k, config.method)
    misfits = []
    for dtype in _TRIED if config.dtype is None else (config.dtype,):
        job = Job(decoder, tokens, dtype, config.precision, offload=config.offload)
        tried = list(
            forecasts(job, solver, memory, attention=config.attention, gate=config.gate, always_compile=True)
        )
        if tried[-1].peak <= memory:
            return Row(name, tokens, dtype, tried[-1], None)
        smallest = min(tried, key=lambda one: one.peak)
        misfits.append(Row(name, tokens, dtype, smallest, refusal(job, smallest, memory)))
    return misfits[-1]


def _check(config: Plan) -> None:
    if not config.model:
        raise JaxlinError("no model is given: name one or more after --model")
    if not config.tokens:
        raise JaxlinError("no length is given: name one or more after --tokens")
    choices = {"method": METHODS, "dtype": (None, *DTYPES), "offload": OFFLOADS}
    for option, known in choices.items():
        value = getattr(config, option)
        if value not in known:
            raise JaxlinError(
                f"unknown {option} {value!r}: choose one of {', '.join(name for name in known if name)}"
            )
    if config.k is not None and config.k < 1:
        raise JaxlinError(f"k is {config.k}: ask for at least 1 singular triplet")


def _show(rows: list[Row], memory: int) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    title = f"in {spell_size(memory)}, compiled for {jax.default_backend()}; sizes in GB"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column, words in _COLUMNS.items():
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row, memory))
    console.print(table)
    for row in rows:
        if row.refusal is not None:
            console.print(f"{row.model}, {row.tokens} tokens: {row.refusal}", highlight=False, soft_wrap=True)


def _cells(row: Row, memory: int) -> list[str]:
    found = row.forecast
    held = found.weights + found.coefficients
    peak, room = gigabytes(found.peak), gigabytes(memory - found.peak)
    if row.refusal is not None:
        peak, room = peak if found.phases else f"> {gigabytes(held)}", "does not fit"
    return [
        row.model,
        f"{row.tokens:,}",
        row.dtype,
        found.dial.attention,
        found.dial.gate,
        found.choice.method,
        str(found.passes),
        gigabytes(found.weights),
        gigabytes(found.coefficients),
        peak,
        room,
        teraflops(found.flops),
    ]


def gigabytes(count: int) -> str:
    """A size in GB, to three digits or a tenth."""
    return f"{count / 1e9:.1f}" if count >= 1e10 else f"{count / 1e9:.2f}"


def teraflops(count: int) -> str:
    """Operations in 10¹²."""
    return f"{count / 1e12:,.0f}" if count >= 1e13 else f"{count / 1e12:.2g}"


def _plain(row: Row) -> dict[str, Any]:
    found = row.forecast
    return {
        "model": row.model,
        "tokens": row.tokens,
        "dtype": row.dtype,
        "fits": row.refusal is None,
        "refusal": row.refusal,
        **asdict(found.dial),
        "method": found.choice.method,
        "method_reason": found.choice.reason,
        "k": found.k,
        "passes": found.passes,
        "weights_bytes": found.weights,
        "coefficients_bytes": found.coefficients,
        "host_bytes": found.host,
        "peak_bytes": found.peak if found.phases else None,
        "peak_in": found.bottleneck if found.phases else None,
        "phases": {phase.name: phase.bytes for phase in found.phases},
        "flops": found.flops,
    }
