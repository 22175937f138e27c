"""Power iteration against Lanczos: passes to the same tolerance, and what the tolerance is worth.

    python benchmarks/power.py --json benchmarks/power.json

Passes are all that were spent, those of the certificate included. Errors of σ are against the dense matrix in
float64.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin.runtime.environment import environment

PROMPT = Path(__file__).parent.parent / "models" / "jaxlin_models" / "demo" / "prompt.txt"
TOLERANCES = (1e-2, 1e-3, 1e-4)


def measure(name: str, k: int) -> list[dict[str, Any]]:
    """Both methods at every tolerance on one demo checkpoint."""
    prompt = PROMPT.read_text(encoding="utf-8").rstrip("\n")
    jax.config.update("jax_enable_x64", True)
    exact_operator = jaxlin.load(name, dtype="float64").jacobian(prompt)
    exact = np.asarray(jaxlin.svd(exact_operator, k, method="dense").s)
    operator = jaxlin.load(name).jacobian(prompt)
    rows = []
    for method in ("lanczos", "power"):
        for tolerance in TOLERANCES:
            found = jaxlin.svd(operator, k, method=method, tolerance=tolerance, max_passes=20_000)
            error = np.abs(np.asarray(found.s) - exact).max() / exact[0]
            rows.append(
                {
                    "model": name,
                    "k": k,
                    "method": method,
                    "tolerance": tolerance,
                    "passes": found.passes,
                    "worst_residual": found.certificate.worst_residual,
                    "sigma_error": float(error),
                    "holds": found.certificate.holds,
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["demo-llama", "demo-gemma", "demo-qwen"])
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [row for name in options.model for row in measure(name, options.k)]
    columns = ("model", "method", "tolerance", "passes", "worst_residual", "sigma_error", "holds")
    table = Table(*columns)
    for row in rows:
        table.add_row(*(f"{row[c]:.0e}" if isinstance(row[c], float) else str(row[c]) for c in columns))
    Console().print(table)
    if options.json is not None:
        figures = {**environment("float32"), "rows": rows}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
