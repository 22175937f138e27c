"""What each storage and each matmul algorithm cost in accuracy: every demo checkpoint, 400+ tokens.

    python benchmarks/precision.py --json benchmarks/precision.json

For each setting, against the same checkpoint in float64: the worst error of the 16 largest singular values
(relative to σ₁, from the dense SVD), the reconstruction ‖Σ J_t e_t + c − y‖ / ‖y‖ of the setting's own dense
matrix and output, and its adjoint test. Where the device lacks an algorithm its operands are rounded as the
algorithm would round them, and the JSON says so.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
import numpy as np
from jaxlin_models import algorithm
from jaxlin_models.checkpoint import DEMOS
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin import DetachedJacobian
from jaxlin.linear.certificate import check_operator
from jaxlin.runtime.environment import environment

K = 16
#: Storage and precision, from the finest to the coarsest.
SETTINGS = (
    ("float64", "float64"),
    ("float32", "float32"),
    ("float32", "bf16x3"),
    ("float32", "tf32"),
    ("float32", "bfloat16"),
    ("bfloat16", "float32"),
    ("bfloat16", "bfloat16"),
)


def main() -> None:
    """Measure, print, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="example: python benchmarks/precision.py"
    )
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    rows: dict[str, dict] = {
        f"{dtype}, products {precision}": {
            "algorithm": algorithm(precision, jax.default_backend()),
            "demos": {},
        }
        for dtype, precision in SETTINGS
    }
    for demo in DEMOS:
        reference = None
        for row, (dtype, precision) in zip(rows.values(), SETTINGS, strict=True):
            figures, spectrum = measure(operator_of(demo, dtype, precision))
            reference = spectrum if reference is None else reference
            error = float(np.abs(spectrum - reference)[:K].max() / reference[0])
            row["demos"][demo] = figures | {"σ error": error}
    table = Table("storage, products", "σ error", "reconstruction", "adjoint", title="worst of the demos")
    for name, row in rows.items():
        worst = (
            max(figures[key] for figures in row["demos"].values())
            for key in ("σ error", "reconstruction", "adjoint")
        )
        table.add_row(name, *(f"{figure:.0e}" for figure in worst))
    Console().print(table)
    if options.json is not None:
        figures = environment("see settings") | {"k": K, "settings": rows}
        options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


def operator_of(demo: str, dtype: str, precision: str) -> DetachedJacobian:
    """A demo's map at its prompt."""
    prompt = (DEMOS[demo].parent / "prompt.txt").read_text().rstrip("\n")
    return jaxlin.load(demo, dtype=dtype, precision=precision).jacobian(prompt)


def measure(operator: DetachedJacobian) -> tuple[dict[str, float], np.ndarray]:
    """Reconstruction and adjoint test, and all singular values."""
    arrays = (operator.dense(), operator.x, operator.offset, operator.y)
    matrix, x, c, y = (np.asarray(array, np.float64) for array in arrays)
    off = np.einsum("dte,te->d", matrix, x) + c - y
    checks = {check.name: check.value for check in check_operator(operator, seed=0)}
    figures = {
        "reconstruction": float(np.linalg.norm(off) / np.linalg.norm(y)),
        "adjoint": checks["adjoint"],
    }
    return figures, np.linalg.svd(matrix.reshape(len(matrix), -1), compute_uv=False)


if __name__ == "__main__":
    main()
