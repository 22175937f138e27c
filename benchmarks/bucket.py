"""Prompts of one bucket through one recurrence, and one after the other: prompts a second, in one process.

    python benchmarks/bucket.py --json benchmarks/bucket.json

Both make the same results, certificates, predictions and files included; a first round compiles for both.
One after the other is what ``--block`` asks for; it is given the block that a prompt alone would have.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import Cost
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin.prompts.model import Model
from jaxlin.runtime.environment import environment
from jaxlin.solvers.choose import choose_method

#: Model, most tokens of a prompt.
SUBJECTS = (("gemma-3-270m", 16), ("gemma-3-270m", 32), ("gemma-3-270m", 64), ("demo-qwen", 64))


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [row(model, tokens, options.prompts, options.k, options.rounds) for model, tokens in SUBJECTS]
    show(rows)
    if options.json is not None:
        figures = {**environment(), "prompts": options.prompts, "k": options.k, "rows": rows}
        options.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def row(name: str, tokens: int, count: int, k: int, rounds: int) -> dict[str, Any]:
    """Seconds and core-seconds of both ways, in turn, after a round that compiles."""
    model = jaxlin.load(name)
    drawn = np.random.default_rng(0)
    lengths = drawn.integers(max(2, 3 * tokens // 4), tokens, count, endpoint=True)
    prompts = [drawn.integers(5, model.config.vocab_size - 5, length).tolist() for length in lengths]
    block = choose_method(model.jacobian(prompts[0], length=tokens).bare, k, "lanczos").block
    ways: dict[str, dict[str, Any]] = {"together": {}, "one by one": {"block": block}}
    spent: dict[str, list[Cost]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, options in ways.items():
            cost = run(model, prompts, k, options)
            spent[way] += [cost] if number else []
    print(name, tokens, {way: [cost.seconds for cost in costs] for way, costs in spent.items()}, flush=True)
    return {
        "model": name,
        "tokens": tokens,
        "block": block,
        **{
            way: {
                "seconds": statistics.median(cost.seconds for cost in costs),
                "cores": statistics.median(cost.cores for cost in costs),
            }
            for way, costs in spent.items()
        },
    }


def run(model: Model, prompts: list[list[int]], k: int, options: dict[str, Any]) -> Cost:
    """What all prompts cost, written to a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        start = Cost.now()
        done = model.svd_many(prompts, out=f"{folder}/out", k=k, method="lanczos", keep="norms", **options)
        cost = Cost.since(start)
        assert done.holds, done
    return cost


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table("model", "tokens", "one by one, s", "together, s", "×", "× in core-seconds")
    for figures in rows:
        alone, together = figures["one by one"], figures["together"]
        table.add_row(
            figures["model"],
            f"up to {figures['tokens']}",
            f"{alone['seconds']:.1f}",
            f"{together['seconds']:.1f}",
            f"{alone['seconds'] / together['seconds']:.2f}",
            f"{alone['cores'] / together['cores']:.2f}",
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
