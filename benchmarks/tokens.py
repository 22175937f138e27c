"""Every position's own SVD against peers: ours, the published method, the built matrix.

    python benchmarks/tokens.py --model demo-llama -k 8 --json benchmarks/tokens.json

The published method (arXiv:2505.24293) runs Lanczos on J_t·J_tᵀ for each position, 128 steps, through jvp and
vjp of the detached function; all steps of all positions cost the same, so some are timed and scaled to
T · 128. σ errors are against the matrix built in float64 where ``--scratch`` holds one (see peers.py), as
multiples of the position's own σ₁, over the positions that were looked at.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import Cost
from methods_joint import PUBLISHED_STEPS
from numpy.typing import NDArray
from reference import matrix_of
from rich.console import Console
from rich.table import Table
from subjects import Subject, subject

import jaxlin
from jaxlin import DetachedJacobian
from jaxlin.runtime.environment import environment

#: Positions in one block of the published method, and blocks' steps that are timed.
_BLOCK = 8


@dataclass(frozen=True)
class TokenRow:
    """σ [positions, k] of the positions looked at, and the cost of all of them."""

    positions: NDArray
    s: NDArray
    passes: int
    cost: Cost
    note: str = ""


def ours(chosen: Subject, k: int, method: str) -> TokenRow:
    """jaxlin.tokens, its certificate included."""
    operator = chosen.operator
    jaxlin.tokens(operator, k, method=method)  # compiles
    start = Cost.now()
    found = jaxlin.tokens(operator, k, method=method)
    note = f"rank {found.rank}, certificate {'holds' if found.certificate.holds else 'DOES NOT HOLD'}"
    return TokenRow(np.arange(len(found.s)), np.asarray(found.s), found.passes, Cost.since(start), note)


def published(chosen: Subject, k: int) -> TokenRow:
    """A block of positions to its end, timed; the rest would cost the same."""
    closures = chosen.closures
    length, m = len(chosen.ids), closures.shape[0]
    steps = min(PUBLISHED_STEPS, m, closures.input_shape[-1])
    where = np.unique(np.linspace(0, length - 1, _BLOCK).astype(int))
    first = jax.random.normal(jax.random.key(0), (len(where), m), closures.dtype)
    basis = jnp.zeros((len(where), steps + 1, m), closures.dtype)
    basis = basis.at[:, 0].set(first / jnp.linalg.norm(first, axis=1, keepdims=True))
    step = partial(token_step, closures, jnp.asarray(where))
    jax.block_until_ready(step(basis, 0))
    alphas, betas, start = [], [], Cost.now()
    for j in range(steps):
        basis, alpha, beta = step(basis, j)
        alphas.append(np.asarray(alpha)), betas.append(np.asarray(beta))
    cost = Cost.since(start) * (length / len(where))
    s = np.stack(
        [
            np.sqrt(np.maximum(np.linalg.eigvalsh(_tridiagonal(a, b))[::-1][:k], 0))
            for a, b in zip(np.stack(alphas, 1), np.stack(betas, 1), strict=True)
        ]
    )
    note = f"scaled from {len(where)} of {length} positions; values alone"
    return TokenRow(where, s, 2 * steps * length, cost, note)


@jax.jit
def token_step(
    closures: DetachedJacobian, where: jax.Array, basis: jax.Array, j: int | jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One step of Lanczos on every J_t·J_tᵀ, t in ``where``, with full reorthogonalisation."""
    rows = jnp.arange(len(where))
    q = basis[:, j]
    pulled = closures.backward(closures.state, q.reshape(-1, *closures.output_shape))
    alone = jnp.zeros_like(pulled).at[rows, where].set(pulled[rows, where])
    w = closures.forward(closures.state, alone).reshape(q.shape)
    with jax.default_matmul_precision("highest"):
        alpha = jnp.einsum("pm,pm->p", q, w)
        for _ in range(2):
            w = w - jnp.einsum("psm,ps->pm", basis, jnp.einsum("psm,pm->ps", basis, w))
    beta = jnp.linalg.norm(w, axis=1)
    # Where the Krylov space has closed there is nothing to go on with.
    following = jnp.where(beta[:, None] > 0, w / jnp.where(beta > 0, beta, 1)[:, None], 0)
    return basis.at[:, j + 1].set(following), alpha, beta


def _tridiagonal(alpha: NDArray, beta: NDArray) -> NDArray:
    return np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)


def dense(chosen: Subject, k: int, limit: float) -> TokenRow:
    """The built matrix and LAPACK's SVD of every block of it, as many as the limit allows."""
    operator = chosen.operator
    length = operator.input_shape[0]
    operator.rmatmat(jnp.zeros((operator.probes_per_pass, *operator.output_shape), operator.dtype))
    start = Cost.now()
    matrix = np.asarray(operator.dense()).reshape(operator.shape[0], length, -1)
    built, start = Cost.since(start), Cost.now()
    where = np.random.default_rng(0).permutation(length)
    values = []
    for t in where:
        values.append(np.linalg.svd(matrix[:, t], full_matrices=False)[1][:k])
        if Cost.since(start).seconds > limit:
            break
    cost = built + Cost.since(start) * (length / len(values))
    note = "" if len(values) == length else f"SVDs scaled from {len(values)} of {length}"
    return TokenRow(where[: len(values)], np.stack(values), operator.shape[0], cost, note)


def error(row: TokenRow, folder: Path | None, looked_at: int = 32) -> float:
    """Worst |σ − exact| over the position's σ₁."""
    if folder is None:
        return float("nan")
    matrix = matrix_of(folder)
    blocks = matrix.reshape(matrix.shape[0], -1, matrix.shape[0])
    worst = 0.0
    for i in np.unique(np.linspace(0, len(row.positions) - 1, looked_at).astype(int)):
        exact = np.linalg.svd(np.asarray(blocks[:, row.positions[i]], np.float64), compute_uv=False)
        worst = max(worst, float(np.abs(row.s[i] - exact[: row.s.shape[1]]).max() / exact[0]))
    return worst


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo-llama")
    parser.add_argument("--tokens", type=int)
    parser.add_argument("-k", type=int, default=8)
    parser.add_argument("--limit", type=float, default=60, help="seconds of SVDs of the dense row")
    parser.add_argument("--scratch", type=Path, help="where peers.py left its reference")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chosen, k = subject(options.model, options.tokens), options.k
    folder = options.scratch and options.scratch / f"{options.model}-{options.tokens}"
    rows: dict[str, Callable[[], TokenRow]] = {
        "ours exact": lambda: ours(chosen, k, "exact"),
        "ours shared": lambda: ours(chosen, k, "shared"),
        "published (128 steps)": lambda: published(chosen, k),
        "dense": lambda: dense(chosen, k, options.limit),
    }
    table = Table("", "passes", "seconds", "core-s", "× ours exact", "σ error", "note")
    table.title = f"top {k} of every J_t, {options.model}, {len(chosen.ids)} tokens"
    figures: dict[str, Any] = {"model": options.model, "k": k, **environment("float32"), "rows": {}}
    base = None
    for name, run in rows.items():
        row = run()
        base = base or row.cost
        wrong, ratio = error(row, folder), row.cost.seconds / base.seconds
        figures["rows"][name] = {
            "passes": row.passes,
            "seconds": row.cost.seconds,
            "core_seconds": row.cost.cores,
            "sigma_error": wrong,
            "note": row.note,
        }
        numbers = (f"{row.cost.seconds:.3g}", f"{row.cost.cores:.3g}", f"{ratio:.2f}", f"{wrong:.0e}")
        table.add_row(name, str(row.passes), *numbers, row.note)
    Console().print(table)
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
