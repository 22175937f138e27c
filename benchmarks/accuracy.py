"""How exact the answers are: every demo checkpoint, float64 and float32, prompts of 400+ tokens.

    python benchmarks/accuracy.py --json benchmarks/accuracy.json

For each: the reconstruction ‖Σ J_t e_t + c − y‖ / ‖y‖ from the dense matrix and from a pass, the
adjoint test, and the top 16 of lanczos and of matfree against the dense SVD, values (relative to each σ) and
subspaces (sine of the largest principal angle). A figure beyond its bound is marked, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxlin_models.checkpoint import DEMOS
from numpy.typing import ArrayLike
from rich.console import Console
from rich.table import Table

import jaxlin

K = 16
#: What is promised, by figure and dtype.
BOUNDS = {
    "reconstruction, dense": {"float64": 1e-13, "float32": 2e-6},
    "reconstruction, pass": {"float64": 1e-13, "float32": 2e-6},
    "adjoint": {"float64": 1e-12, "float32": 1e-5},
    **{
        f"{figure} of {method}": {"float64": 1e-8, "float32": 1e-4}
        for method in ("lanczos", "matfree")
        for figure in ("σ", "left angle", "right angle")
    },
}
#: Residual asked of the methods, so that what is promised of them can be met.
TOLERANCE = {"float64": 1e-10, "float32": 1e-5}


def main() -> int:
    """Measure, print, write the JSON; 1 if a bound does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python benchmarks/accuracy.py"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    # float32 first: float64 switches the process over for good.
    runs = [(demo, dtype) for dtype in ("float32", "float64") for demo in DEMOS]
    figures = {f"{demo.removeprefix('demo-')} {dtype}": measure(demo, dtype) for demo, dtype in runs}
    table = Table("", *(f"{name}\n{row['tokens']} tokens" for name, row in figures.items()))
    broken = 0
    for figure, bounds in BOUNDS.items():
        cells = []
        for name, row in figures.items():
            holds = row[figure] <= bounds[name.split()[1]]
            broken += not holds
            cells.append(f"{row[figure]:.1e}{'' if holds else ' ✗'}")
        table.add_row(figure, *cells)
    for method in ("lanczos", "matfree", "dense"):
        table.add_row(f"passes of {method}", *(str(row[f"passes of {method}"]) for row in figures.values()))
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    return int(broken > 0)


def measure(demo: str, dtype: str) -> dict[str, float]:
    """The figures of one checkpoint in one dtype."""
    operator = jaxlin.load(demo, dtype=dtype).jacobian(
        (DEMOS[demo].parent / "prompt.txt").read_text().rstrip()
    )
    found = {
        method: jaxlin.svd(operator, K, method=method, tolerance=TOLERANCE[dtype])
        for method in ("dense", "lanczos", "matfree")
    }
    exact = found["dense"]
    arrays = (operator.dense(), operator.x, operator.offset, operator.y)
    matrix, x, c, y = (np.asarray(array, np.float64) for array in arrays)
    reconstructed = np.einsum("dte,te->d", matrix, x) + c
    checks = {check.name: check.value for check in exact.certificate.checks}
    figures = {
        "tokens": operator.input_shape[0],
        "reconstruction, dense": float(np.linalg.norm(reconstructed - y) / np.linalg.norm(y)),
        "reconstruction, pass": checks["reconstruction"],
        "adjoint": checks["adjoint"],
    }
    for method, result in found.items():
        figures[f"passes of {method}"] = result.passes
        if method != "dense":
            figures[f"σ of {method}"] = float(jnp.abs(result.s / exact.s - 1).max())
            figures[f"left angle of {method}"] = sine_of_largest_angle(result.U, exact.U)
            figures[f"right angle of {method}"] = sine_of_largest_angle(result.V, exact.V)
    return figures


def sine_of_largest_angle(a: ArrayLike, b: ArrayLike) -> float:
    """Between the spans of the rows of a and of b, each [k, …]; small angles keep their digits."""
    a, b = (np.linalg.qr(np.asarray(rows, np.float64).reshape(len(rows), -1).T)[0] for rows in (a, b))
    return float(np.linalg.norm(b - a @ (a.T @ b), 2))


if __name__ == "__main__":
    sys.exit(main())
