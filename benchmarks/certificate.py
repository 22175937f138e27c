"""What the certificate costs on top of a solve: core-seconds with it over those without, in one run.

    python benchmarks/certificate.py --json benchmarks/certificate.json
    python benchmarks/certificate.py --model gemma-3-270m --tokens 445 -k 32 --only-warm

*Without*: the triplets by lanczos alone, with the k backward passes that recover its right vectors. *With*:
``jaxlin.svd``, in which these passes are half of the certificate. *Cold* is the first solve of a process with
nothing compiled, each in a process of its own; *warm* are later ones. Both are medians, taken in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import Cost
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin import DetachedJacobian
from jaxlin.linear.tolerance import default_tolerance
from jaxlin.runtime.environment import environment
from jaxlin.solvers.choose import choose_method
from jaxlin.solvers.lanczos import lanczos_svd
from jaxlin.solvers.recover import recover
from jaxlin.solvers.result import Request

#: Model, tokens of its own prompt (or of random ids where it has none so long), k.
SUBJECTS = (("demo-qwen", 437, 32), ("demo-qwen", 437, 8), ("demo-qwen", 24, 8), ("gemma-3-270m", 128, 32))


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", help="instead of the usual ones")
    parser.add_argument("--tokens", type=int, default=437)
    parser.add_argument("-k", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only-warm", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cold", choices=("with", "without"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cold:
        print(json.dumps(cold(options.model, options.tokens, options.k, options.cold)))
        return
    subjects = SUBJECTS if options.model is None else ((options.model, options.tokens, options.k),)
    rows = []
    for subject in subjects:
        rows.append(row(*subject, options.rounds, only_warm=options.only_warm))
        print(rows[-1], flush=True)
    show(rows)
    if options.json is not None:
        figures = {**environment(), "rows": rows}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def row(model: str, tokens: int, k: int, rounds: int, *, only_warm: bool) -> dict[str, Any]:
    """All figures of one subject."""
    figures: dict[str, Any] = {"model": model, "tokens": tokens, "k": k, **warm(model, tokens, k, rounds)}
    if only_warm:
        return figures
    command = [sys.executable, __file__, "--model", model, "--tokens", str(tokens), "-k", str(k)]
    surroundings = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "0"}
    spent: dict[str, list[float]] = {name: [] for name in RUNS}
    for _ in range(rounds):
        for which in RUNS:
            done = subprocess.run(
                [*command, "--cold", which], capture_output=True, text=True, check=True, env=surroundings
            )
            spent[which].append(json.loads(done.stdout.splitlines()[-1]))
    return figures | {f"cold_{which}": statistics.median(each) for which, each in spent.items()}


def operator_of(model: str, tokens: int) -> DetachedJacobian:
    """The map of a prompt of random tokens."""
    import jax
    import numpy as np

    loaded = jaxlin.load(model)
    ids = np.random.default_rng(0).integers(5, loaded.config.vocab_size - 5, tokens).tolist()
    operator = loaded.jacobian(ids).bare
    jax.block_until_ready((operator.state, operator.y))
    return operator


def without(operator: DetachedJacobian, k: int) -> int:
    """The triplets alone; passes."""
    block = choose_method(operator, k, "lanczos").block
    request = Request(k, default_tolerance(operator), 0, block, 2 * sum(operator.shape))
    found = next(lanczos_svd(operator, request))
    recover(operator, found.u)
    return found.passes + k


def with_certificate(operator: DetachedJacobian, k: int) -> int:
    """What a user gets; passes."""
    found = jaxlin.svd(operator, k, method="lanczos")
    assert found.certificate.holds, found.certificate
    return found.passes


RUNS = {"without": without, "with": with_certificate}


def cold(model: str, tokens: int, k: int, which: str) -> float:
    """Core-seconds of the first solve."""
    operator, start = operator_of(model, tokens), Cost.now()
    RUNS[which](operator, k)
    return Cost.since(start).cores


def warm(model: str, tokens: int, k: int, rounds: int) -> dict[str, Any]:
    """Core-seconds and passes of both, in turn."""
    operator = operator_of(model, tokens)
    passes = {name: run(operator, k) for name, run in RUNS.items()}
    spent: dict[str, list[float]] = {name: [] for name in RUNS}
    for _ in range(rounds):
        for name, run in RUNS.items():
            start = Cost.now()
            run(operator, k)
            spent[name].append(Cost.since(start).cores)
    ratios = [b / a for a, b in zip(spent["without"], spent["with"], strict=True)]
    return {
        "passes_without": passes["without"],
        "passes_with": passes["with"],
        "warm_without": statistics.median(spent["without"]),
        "warm_with": statistics.median(spent["with"]),
        "warm_ratio": statistics.median(ratios),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("model", "tokens", "k", "passes", "warm, core-s", "on top", "cold, core-s", "on top")
    for figures in rows:
        first, then = figures.get("cold_without"), figures.get("cold_with")
        table.add_row(
            figures["model"],
            str(figures["tokens"]),
            str(figures["k"]),
            f"{figures['passes_without']} → {figures['passes_with']}",
            f"{figures['warm_without']:.2f} → {figures['warm_with']:.2f}",
            f"{figures['warm_ratio'] - 1:.0%}",
            "" if first is None else f"{first:.2f} → {then:.2f}",
            "" if first is None else f"{then / first - 1:.0%}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
