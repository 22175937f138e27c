"""What weights that stay quantised take and cost: bytes held, peak memory, seconds a pass, and large models.

    python benchmarks/packed.py --json benchmarks/packed.json

Both pretrained models that are packages of the Python registry are held unpacked and packed, in float32 and
bfloat16. Bytes are those of the arrays, and the resident set of a process by itself that loads the model and
records a prompt. Passes of all ways are timed in turn within one run; a ratio is the median over the rounds
of what was measured side by side. Differences are of what the passes give, over the largest number. ``plan``
says what of the larger models fits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import side_by_side
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin import DetachedJacobian
from jaxlin.prompts.model import Model
from jaxlin.runtime.environment import environment, peak_bytes

MODELS = ("gemma-3-270m", "smollm2-135m")
LARGE = ("gemma-3-27b", "qwen3-32b", "llama-3.3-70b")
Way = tuple[str, str]
#: (weights, dtype), each against the first of its dtype.
WAYS = (("unpacked", "float32"), ("packed", "float32"), ("unpacked", "bfloat16"), ("packed", "bfloat16"))
#: Tokens of the prompt that a process by itself records.
RECORDED = 64
FORWARD, BACKWARD = jax.jit(DetachedJacobian.matmat), jax.jit(DetachedJacobian.rmatmat)


def prompt(tokens: int) -> list[int]:
    """Some ids that both vocabularies have."""
    return [int(i) for i in np.random.default_rng(0).integers(1000, 40_000, tokens)]


def memory_of(name: str, weights: str, dtype: str) -> dict[str, int]:
    """What this process holds and held at most, after one recording and one pass each way."""
    before = peak_bytes()
    model = jaxlin.load(name, weights=weights, dtype=dtype)
    loaded = peak_bytes()
    operator = model.jacobian(prompt(RECORDED))
    v = jnp.ones((1, *operator.input_shape), operator.dtype)
    jax.block_until_ready(BACKWARD(operator, FORWARD(operator, v)))
    return {
        "weights_bytes": model.held_bytes,
        "loaded": loaded - before,
        "passes": peak_bytes() - before,
    }


def ways() -> list[dict[str, str]]:
    """Each model in each way."""
    return [
        {"model": model, "weights": weights, "dtype": dtype} for model in MODELS for weights, dtype in WAYS
    ]


def in_another_process(model: str, weights: str, dtype: str) -> dict[str, int]:
    """The same of a process that does nothing else."""
    command = [sys.executable, __file__, "--alone", model, weights, dtype]
    found: dict[str, int] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def passes_of(loaded: Mapping[Way, Model], tokens: int, probes: int, rounds: int) -> list[dict[str, Any]]:
    """Seconds, ratios, scratch and differences of a forward and a backward pass in every way."""
    operators = {way: model.jacobian(prompt(tokens)) for way, model in loaded.items()}
    rng = np.random.default_rng(1)
    rows = []
    for direction, run in (("forward", FORWARD), ("backward", BACKWARD)):
        first = next(iter(operators.values()))
        shape = first.input_shape if direction == "forward" else first.output_shape
        probe = rng.standard_normal((probes, *shape))
        made: dict[str, Callable[[], jax.Array]] = {}
        scratch, given = {}, {}
        for way, operator in operators.items():
            values = jnp.asarray(probe, operator.dtype)
            compiled = run.lower(operator, values).compile()
            made["/".join(way)] = partial(compiled, operator, values)
            scratch[way] = compiled.memory_analysis().temp_size_in_bytes
            given[way] = np.asarray(compiled(operator, values), np.float64)
        seconds = side_by_side(made, rounds)
        for weights, dtype in WAYS:
            ours, base = (seconds[f"{kind}/{dtype}"] for kind in (weights, "unpacked"))
            expected = given["unpacked", dtype]
            difference = np.abs(given[weights, dtype] - expected).max() / np.abs(expected).max()
            rows.append(
                {
                    "model": loaded[weights, dtype].name, "tokens": tokens,
                    "probes": probes, "pass": direction,
                    "weights": weights, "dtype": dtype,
                    "seconds": statistics.median(ours),
                    "ratio": statistics.median(a / b for a, b in zip(ours, base, strict=True)),
                    "scratch": scratch[weights, dtype],
                    "difference": float(difference),
                }
            )  # fmt: skip
    return rows


def timed(tokens: list[int], probes: list[int], rounds: int) -> list[dict[str, Any]]:
    """All passes of both models."""
    rows = []
    for name in MODELS:
        loaded = {way: jaxlin.load(name, weights=way[0], dtype=way[1]) for way in WAYS}
        for length in tokens:
            for count in probes:
                rows += passes_of(loaded, length, count, rounds)
    return rows


def plans(tokens: list[int], memories: list[str]) -> list[dict[str, Any]]:
    """What ``plan`` says of larger models in codes."""
    rows = []
    for memory in memories:
        found = jaxlin.plan(LARGE, tokens, memory=memory, weights="packed", for_gpu=True).summary()
        rows += [{"memory": memory, **row} for row in found["rows"]]
    return rows


def show(found: dict[str, Any]) -> None:
    """All of it as tables."""
    console = Console(width=140)
    held = Table("model", "weights", "held, MB", "peak after loading, MB", "peak after passes, MB")
    for row in found.get("memory", ()):
        sizes = [f"{row[name] / 1e6:,.0f}" for name in ("weights_bytes", "loaded", "passes")]
        held.add_row(row["model"], f"{row['weights']}, {row['dtype']}", *sizes)
    console.print(held)
    timed = Table(
        "model", "tokens", "probes", "pass", "weights", "seconds", "ratio", "scratch, MB", "difference"
    )
    for row in found.get("passes", ()):
        timed.add_row(
            row["model"], str(row["tokens"]), str(row["probes"]), row["pass"],
            f"{row['weights']}, {row['dtype']}", f"{row['seconds']:.3f}", f"{row['ratio']:.2f}",
            f"{row['scratch'] / 1e6:.1f}", f"{row['difference']:.1e}",
        )  # fmt: skip
    console.print(timed)
    planned = Table("memory", "model", "tokens", "stored", "weights, GB", "peak, GB", "setting")
    for row in found.get("plans", ()):
        peak = f"{row['peak_bytes'] / 1e9:.1f}" if row["fits"] else "does not fit"
        planned.add_row(
            row["memory"], row["model"], str(row["tokens"]), f"{row['weights']}, {row['dtype']}",
            f"{row['weights_bytes'] / 1e9:.1f}", peak, f"{row['attention']}, {row['gate']}",
        )  # fmt: skip
    console.print(planned)


def main() -> None:
    """Measure, show, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--alone", nargs=3, help="memory of one way, in this process; for the script itself")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[16, 200], help="lengths of the timed prompt"
    )
    parser.add_argument("--probes", type=int, nargs="+", default=[1, 8], help="probes of a pass")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of timing")
    parser.add_argument(
        "--planned", type=int, nargs="+", default=[400, 4096], help="lengths that are planned"
    )
    parser.add_argument("--json", type=Path, help="where to save all figures")
    parser.add_argument(
        "--parts",
        nargs="+",
        default=["memory", "plans", "passes"],
        help="what to measure; the rest stays in the file",
    )
    given = parser.parse_args()
    if given.alone is not None:
        print(json.dumps(memory_of(*given.alone)))
        return
    found = json.loads(given.json.read_text()) if given.json is not None and given.json.exists() else {}
    measure: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "memory": lambda: [{**way, **in_another_process(**way)} for way in ways()],
        "plans": lambda: plans(given.planned, ["40GB", "80GB"]),
        "passes": lambda: timed(given.tokens, given.probes, given.rounds),
    }
    for part in given.parts:
        found |= {"environment": environment(), part: measure[part]()}
        if given.json is not None:
            given.json.write_text(json.dumps(found, indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
