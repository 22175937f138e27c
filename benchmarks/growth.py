"""How the cost of our joint solve grows with the prompt and with k, and how near it is to the GEMM rate.

    python benchmarks/growth.py --json benchmarks/growth.json
    python benchmarks/growth.py --model gemma-3-4b --tokens 427 4096 16384 32768 -k 32

The published method is measured beside it for some steps, which all cost the same, and scaled to its 128.
The GEMM rate is measured during the solve, between its steps, and left out of its time: a fraction of it
counts the arithmetic of the linear path alone (values, outputs, up, down, P·V as a full product).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from common import Cost, MemoryMeter, gemm_shapes, gemms, seconds_of
from methods_joint import PUBLISHED_STEPS, Job, first_basis, ours_request, tridiagonal_step, warm_up
from rich.console import Console
from rich.table import Table
from subjects import Subject, subject

from jaxlin import DetachedJacobian
from jaxlin.runtime.environment import environment
from jaxlin.solvers.recover import recover
from jaxlin.solvers.svd import SOLVERS

#: Steps between two looks at the GEMM rate, and steps of the published method that are measured.
_A_LOOK, _STEPS = 8, 4


class Rates:
    """A progress that measures the GEMM rate between steps, and knows what that took."""

    def __init__(self, chosen: Subject) -> None:
        config = chosen.decoder.config
        self._shapes = gemm_shapes((len(chosen.ids), config.embed_dim, config.mlp_dim))
        self._products = gemms(self._shapes)
        self._calls, self.aside, self.rates = 0, Cost(), []
        self._look()
        self._calls, self.aside, self.rates = 0, Cost(), []

    def __call__(self, stage: str, done: int, total: int, note: str = "", left: float | None = None) -> None:
        """Called by the solver after every step."""
        self._calls += 1
        if self._calls % _A_LOOK == 1:
            start = Cost.now()
            self._look()
            self.aside += Cost.since(start)

    def _look(self) -> None:
        best = 0.0
        for name, product in self._products.items():
            best = max(best, 2 * math.prod(self._shapes[name]) / seconds_of(product))
        self.rates.append(best)


def measure(name: str, tokens: int | None, k: int, with_published: bool) -> dict[str, Any]:
    """One solve of ours, and some steps of the published method."""
    chosen = subject(name, tokens)
    job = Job(chosen, k, 1e-4, math.inf, None)
    operator, request = chosen.operator, ours_request(job, "lanczos", None)
    warm_up(operator, "lanczos", request)
    rates = Rates(chosen)
    request = ours_request(job, "lanczos", None, rates)
    meter, start = MemoryMeter(), Cost.now()
    found = next(SOLVERS["lanczos"](operator, request))
    recover(operator, found.u)
    cost = Cost.since(start) + rates.aside * -1
    figures = {
        "tokens": len(chosen.ids),
        "k": k,
        "passes": found.passes + k,
        "seconds": cost.seconds,
        "core_seconds": cost.cores,
        "bytes": meter.bytes(),
        "gemm_rate": statistics.median(rates.rates),
        "of_gemm_rate": chosen.flops() * (found.passes + k) / cost.seconds / statistics.median(rates.rates),
    }
    if with_published:
        step, pulled = published_step(chosen.closures)
        theirs = step * PUBLISHED_STEPS + pulled * k
        figures |= {"published_seconds": theirs.seconds, "published_core_seconds": theirs.cores}
    return figures


def published_step(closures: DetachedJacobian) -> tuple[Cost, Cost]:
    """Cost of one step of the published method, and of one right vector."""
    basis = first_basis(closures, PUBLISHED_STEPS)

    def cost(run: Callable[[], object]) -> Cost:
        jax.block_until_ready(run())
        start = Cost.now()
        for _ in range(_STEPS):
            jax.block_until_ready(run())
        return Cost.since(start) * (1 / _STEPS)

    return cost(lambda: tridiagonal_step(closures, basis, 0)), cost(lambda: closures.rmatvec(closures.y))


def main() -> None:
    """Measure, print the table, write the JSON."""
    options = _parser().parse_args()
    rows = []
    for tokens in options.tokens:
        rows.append(measure(options.model, tokens, options.k[-1], tokens <= options.published))
        print(rows[-1], flush=True)
    for k in options.k[:-1]:
        rows.append(measure(options.model, options.tokens[0], k, options.tokens[0] <= options.published))
        print(rows[-1], flush=True)
    columns = ("T", "k", "passes", "seconds", "core-s", "MB", "of the GEMM rate", "published s", "× ours")
    table = Table(*columns, title=f"{options.model}, {environment('float32')['device']}")
    for row in rows:
        theirs = row.get("published_seconds")
        table.add_row(
            str(row["tokens"]),
            str(row["k"]),
            str(row["passes"]),
            f"{row['seconds']:.3g}",
            f"{row['core_seconds']:.3g}",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['of_gemm_rate']:.0%}",
            "" if theirs is None else f"{theirs:.3g} (scaled from {_STEPS} of {PUBLISHED_STEPS} steps)",
            "" if theirs is None else f"{theirs / row['seconds']:.2f}",
        )
    Console().print(table)
    if options.json is not None:
        figures = {"model": options.model, **environment("float32"), "rows": rows}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="growth")
    parser.add_argument("--tokens", nargs="+", type=int, default=[64, 128, 256, 512, 1024, 2048, 4096])
    parser.add_argument("-k", nargs="+", type=int, default=[4, 8, 16, 64, 32], help="the last for every T")
    parser.add_argument("--published", type=int, default=1024, help="longest prompt it is measured at")
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
