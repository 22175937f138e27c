"""Joint top-k against peers: one run, same model, same prompt, same accuracy.

    python benchmarks/peers.py --model speed -k 32 --json benchmarks/peers.json
    python benchmarks/peers.py --model demo-llama demo-gemma demo-qwen -k 16 32
    python benchmarks/peers.py --model gemma-3-4b --tokens 427 --memory 40GB --reference float32

Every row is solved in a process of its own, row after row, round after round, so that rows are interleaved
and one row's memory is not another's. Seconds are medians over the rounds; compilation is left out by a
warm-up. On a shared machine the core-seconds, which are of this process alone, are the steadier measure.
Memory is the most held during the solve less what was held before it, with the model loaded and
everything compiled. Errors are against the matrix built in float64: the worst error of a σ, and the worst
residual √(‖Jv − σu‖² + ‖Jᵀu − σv‖²), both as multiples of σ₁. Passes are counted alike for every row, but
a pass of the closures computes the coefficients anew, and torch's is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_memory import fraction_of, memory_of_gpu

HERE = Path(__file__).parent
OURS = "ours lanczos"
_UNITS = {"KB": 1e3, "MB": 1e6, "GB": 1e9}


def main() -> None:
    """Measure, print the tables, write the JSON."""
    options = _parser().parse_args()
    if options.worker:
        work(options)
        return
    if options.memory:
        cap_memory(options.memory)
    folder = options.scratch or Path(tempfile.mkdtemp(prefix="peers-"))
    results = []
    for model in options.model:
        for tokens in options.tokens or [None]:
            for k in options.k:
                results.append(compare(model, tokens, k, options, folder))
                if options.json is not None:
                    options.json.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    if options.scratch is None:
        shutil.rmtree(folder)


def compare(
    model: str, tokens: int | None, k: int, options: argparse.Namespace, folder: Path
) -> dict[str, Any]:
    """All rows on one subject."""
    from methods_joint import ROWS

    names = options.rows or [*ROWS, *TORCH_ROWS]
    ask = {"model": model, "tokens": tokens, "k": k, "reference": options.reference, "limit": options.limit}
    ask["scratch"] = str(folder)
    if options.reference != "none":
        _child(ask | {"row": "reference"})
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            if number and "error" in rounds[name][-1]:
                continue
            rounds[name].append(_child(ask | {"row": name}))
            print(f"{model} k={k} round {number + 1}: {name}: {_brief(rounds[name][-1])}", flush=True)
    rows = {name: summary(runs) for name, runs in rounds.items()}
    about = _child(ask | {"row": "about"})
    result = about | {"k": k, "rounds": options.rounds, "rows": rows}
    show(result)
    return result


TORCH_ROWS = ("torch svds", "torch dense")


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One row from its rounds: medians of what varies, the worst of what must hold."""
    good = [run for run in runs if "error" not in run]
    if not good:
        return runs[0]
    return good[-1] | {
        "seconds": statistics.median(run["seconds"] for run in good),
        "core_seconds": statistics.median(run["core_seconds"] for run in good),
        "bytes": max(run["bytes"] for run in good),
        "sigma_error": max(run["sigma_error"] for run in good),
        "residual": max(run["residual"] for run in good),
        "every_round": [run["seconds"] for run in good],
    }


def show(result: dict[str, Any]) -> None:
    """Print one table."""
    from rich.console import Console
    from rich.table import Table

    spectrum = ", ".join(f"{s:.3g}" for s in result["spectrum"])
    table = Table(
        title=f"top {result['k']} of {result['model']}: J is {result['m']} × {result['n']} "
        f"({result['tokens']} tokens, float32), {result['device']}\n"
        f"σ 1, 2, 4, 8, 16, 32, 64 … over σ₁: {spectrum}",
        title_justify="left",
    )
    for name in (
        "",
        "passes",
        "seconds",
        "× ours",
        "core-s",
        "× ours",
        "MB",
        "σ error/σ₁",
        "residual/σ₁",
        "note",
    ):
        table.add_column(name, justify="left" if name in ("", "note") else "right")
    base = result["rows"].get(OURS)
    base = None if base is None or "error" in base else base
    for name, row in result["rows"].items():
        if "error" in row:
            table.add_row(name, *[""] * 8, row["error"])
            continue
        table.add_row(
            name,
            str(row["passes"]),
            f"{row['seconds']:.3g}",
            f"{row['seconds'] / base['seconds']:.2f}" if base else "",
            f"{row['core_seconds']:.3g}",
            f"{row['core_seconds'] / base['core_seconds']:.2f}" if base else "",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['sigma_error']:.0e}",
            f"{row['residual']:.0e}",
            row["note"],
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _brief(run: dict[str, Any]) -> str:
    if "error" in run:
        return run["error"]
    cost = f"{run['seconds']:.2f} s, {run['core_seconds']:.2f} core-s, {run['bytes'] / 1e6:.0f} MB"
    return f"{cost}, {run['passes']} passes, residual {run['residual']:.0e} {run['note']}"


def _child(ask: dict[str, Any]) -> dict[str, Any]:
    """One row in a process of its own; what went wrong, if anything did."""
    environment = os.environ | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, str(HERE / "peers.py"), "--worker", json.dumps(ask)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        return {"error": f"not run: {last[:200]}"}
    return json.loads(done.stdout.splitlines()[-1])


def work(options: argparse.Namespace) -> None:
    """What the process of one row does."""
    ask = json.loads(options.worker)
    scratch = Path(ask["scratch"])
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(scratch / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from reference import make_reference

    folder = scratch / f"{ask['model']}-{ask['tokens']}"
    if ask["row"] == "reference":
        make_reference(ask["model"], ask["tokens"], ask["reference"], folder)
        print("{}")
        return
    figures = about(ask, folder) if ask["row"] == "about" else solve(ask, folder)
    print(json.dumps(figures))


def about(ask: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What was measured on."""
    from reference import values_of
    from subjects import subject

    from jaxlin.runtime.environment import environment

    chosen = subject(ask["model"], ask["tokens"])
    m, n = chosen.operator.shape
    known = ask["reference"] != "none"
    spectrum = values_of(folder) if known else []
    shown = [float(spectrum[2**i - 1] / spectrum[0]) for i in range(m.bit_length()) if known and 2**i <= m]
    figures = {"model": ask["model"], "tokens": len(chosen.ids), "m": m, "n": n, "spectrum": shown}
    return figures | {"flops_per_pass": chosen.flops(), **environment("float32")}


def solve(ask: dict[str, Any], folder: Path) -> dict[str, Any]:
    """One row, once."""
    import methods_joint
    from common import Cost, MemoryMeter
    from reference import errors
    from subjects import subject

    from jaxlin.linear.tolerance import default_tolerance

    rows = dict(methods_joint.ROWS)
    if ask["row"] in TORCH_ROWS:
        import torch_peer

        rows |= torch_peer.ROWS
    chosen = subject(ask["model"], ask["tokens"])
    known = ask["reference"] != "none"
    job = methods_joint.Job(
        chosen, ask["k"], default_tolerance(chosen.operator), ask["limit"], folder if known else None
    )
    began = time.perf_counter()
    run = rows[ask["row"]](job)
    prepared = time.perf_counter() - began
    meter, start = MemoryMeter(), Cost.now()
    found = run()
    cost = found.cost or Cost.since(start)
    held = meter.bytes() if found.held is None else found.held
    sigma_error, residual = errors(folder, found.u, found.s, found.v) if known else own_errors(chosen, found)
    return {
        "passes": found.passes,
        "seconds": cost.seconds,
        "core_seconds": cost.cores,
        "prepare_seconds": prepared,
        "bytes": held,
        "sigma_error": sigma_error,
        "residual": residual,
        "note": found.note,
    }


def own_errors(chosen: Any, found: Any) -> tuple[float, float]:
    """Without a reference: nothing about σ, and the residual by our own passes in the row's precision."""
    from jaxlin.solvers.examine import examine
    from jaxlin.solvers.result import Triplets

    triplets = Triplets(found.u, found.s, found.v, found.passes)
    return float("nan"), float(examine(chosen.operator, triplets, seed=0).residual.max() / found.s[0])


def cap_memory(size: str) -> None:
    """Let JAX take so much of the accelerator; said before any process starts it."""
    amount, unit = re.fullmatch(r"([\d.]+)\s*([KMG]B)", size).groups()
    memory = memory_of_gpu()
    if memory is None:
        print("--memory: no accelerator whose memory could be capped")
        return
    os.environ["XLA_CLIENT_MEM_FRACTION"] = fraction_of(float(amount) * _UNITS[unit], memory)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python benchmarks/peers.py --model speed -k 32"
    )
    parser.add_argument(
        "--model", nargs="+", default=["speed"], help="speed, growth, tiny, a demo, or one of models/configs"
    )
    parser.add_argument("--tokens", nargs="+", type=int, help="prompt lengths; the model's own if not given")
    parser.add_argument("-k", nargs="+", type=int, default=[32], help="how many triplets")
    parser.add_argument("--rows", nargs="+", help="only these rows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=300, help="seconds after which a row is scaled")
    parser.add_argument(
        "--reference",
        choices=("float64", "float32", "none"),
        default="float64",
        help="precision of its passes",
    )
    parser.add_argument("--memory", help="cap of the accelerator's memory, such as 40GB")
    parser.add_argument("--scratch", type=Path, help="folder that keeps the reference between runs")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
