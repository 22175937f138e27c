"""How many directions a map uses: spectra and stable rank, detached, ordinary, and of random weights.

    python scripts/findings/spectra.py --json build/findings/spectra.json
    python scripts/findings/spectra.py --model demo-llama --prompts 3

For every prompt the whole matrices of these maps are built, and all of their singular values computed:

* ``detached``: the detached Jacobian;
* ``without position 0``: the same, of all tokens but the first, which is an attention sink;
* ``ordinary``: the derivative of the same pass, with nothing frozen;
* ``random weights``: the detached Jacobian of a control, whose layers hold the same numbers: in each layer
  the entries of every weight matrix are put in a random order, so that size, mean, variance and every
  outlier are kept and what was learned is not. Embeddings, head and the gains of the norms stay as they are.

The stable rank is ‖J‖_F² / σ₁². The participation is (Σσ²)² / Σσ⁴: the number of equal singular values that
would give the same sums. ``first`` is the share of the squared singular values that the first, or the first
four, hold.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from common import COLOURS, Row, Rows, Table, arguments, named, run, save_picture, shares
from flax import nnx
from jaxtyping import Float
from matrices import matrix_of, vectorised
from prompts import SHORT

import jaxlin
from jaxlin import DetachedJacobian, JaxlinError, Model
from jaxlin.runtime.progress import Progress

MAPS = ("detached", "without position 0", "ordinary", "random weights")
FIGURES = ("stable_rank", "participation", "first", "first_4", "half_of_squares")
#: Singular values that are kept of each map; the sums are over all of them.
KEPT = 128
#: Of a probe through a built matrix and through a pass of the library's own: float32, and some hundred sums.
_AGREE = 1e-4


def main() -> None:
    """Measure, print the table, draw the picture."""
    parser = arguments(__doc__, "spectra", prompts=100)
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    run(study, parser)


def study(asked: argparse.Namespace, progress: Progress) -> None:
    """One model after the other."""
    rows = Rows(asked.json, {"maps": MAPS, "kept": KEPT, "seed": asked.seed, "dtype": "float32"})
    found: dict[str, Sequence[Row]] = {}
    for name in asked.model:
        load = cache(partial(jaxlin.load, name))
        one = partial(measure, load, cache(partial(shuffled, load, asked.seed)))
        found[name] = list(rows.measure(name, named(SHORT[: asked.prompts]), one, progress).values())
        rows.summarise(name, summary_of(found[name]))
    for table in tables(found):
        table.show()
    panels: dict[str, Callable[[Any], None]] = {}
    for name, each in found.items():
        panels[f"{name}, {len(each)} prompts: spectrum"] = partial(draw_spectra, each)
        panels[f"{name}, {len(each)} prompts: stable rank"] = partial(draw_ranks, each)
    save_picture(asked.picture, panels)


def measure(load: Callable[[], Model], control: Callable[[], Model], text: str) -> Row:
    """The figures of one prompt's three maps."""
    model = load()
    ids = model.tokenize(text)
    detached = model.jacobian(ids)
    matrix = checked_matrix(detached, detached)
    control_of_it = control().jacobian(ids)
    matrices = {
        "detached": matrix,
        "without position 0": matrix[:, 1:],
        "ordinary": checked_matrix(*both_ways(model.jacobian(ids, policy="none"))),
        "random weights": checked_matrix(control_of_it, control_of_it),
    }
    return {"tokens": len(ids), **{which: figures(spectrum_of(matrices[which])) for which in MAPS}}


def both_ways(operator: DetachedJacobian) -> tuple[DetachedJacobian, DetachedJacobian]:
    """A map that is to be built fast, and the one that it is to agree with."""
    return vectorised(operator), operator


def checked_matrix(fast: DetachedJacobian, operator: DetachedJacobian) -> Float[np.ndarray, "m t d"]:
    """The matrix, after a probe has gone through it and through the operator.

    Raises:
        JaxlinError: they differ.
    """
    matrix = matrix_of(fast)
    probe = np.random.default_rng(0).standard_normal(len(matrix))
    expected = np.asarray(operator.rmatvec(jnp.asarray(probe, operator.dtype)), np.float64)
    made = np.einsum("m,mtd->td", probe, matrix.astype(np.float64))
    error = np.linalg.norm(made - expected) / np.linalg.norm(expected)
    if not error <= _AGREE:
        raise JaxlinError(f"the matrix and a pass differ by {error:.1e}: compute in float64")
    return matrix


def spectrum_of(matrix: Float[np.ndarray, "m t d"]) -> Float[np.ndarray, " m"]:
    """All singular values, from J·Jᵀ in float64: right to 1.5e-8·σ₁, and the matrix is in float32."""
    flat = matrix.reshape(len(matrix), -1).astype(np.float64)
    spectrum: np.ndarray = np.sqrt(np.maximum(np.linalg.eigvalsh(flat @ flat.T)[::-1], 0))
    return spectrum


def figures(s: Float[np.ndarray, " m"]) -> dict[str, Any]:
    """What one spectrum says."""
    squares = np.square(s)
    parts = np.cumsum(squares) / squares.sum()
    return {
        "frobenius": float(np.sqrt(squares.sum())),
        "stable_rank": float(squares.sum() / squares[0]),
        "participation": float(squares.sum() ** 2 / np.square(squares).sum()),
        "first": float(parts[0]),
        "first_4": float(parts[min(3, len(parts) - 1)]),
        "half_of_squares": int(np.searchsorted(parts, 0.5)) + 1,
        "s": [float(f"{value:.5g}") for value in s[:KEPT]],
    }


def shuffled(load: Callable[[], Model], seed: int) -> Model:
    """A model whose layers' weight matrices hold the same entries in a random order."""
    graphdef, state = nnx.split(load().decoder)
    rng = np.random.default_rng(seed)

    def mixed(path: tuple[Any, ...], leaf: Any) -> Any:
        values = np.asarray(leaf)
        if path[0] != "layers" or path[-1] != "kernel":
            return leaf
        flat = values.reshape(len(values), -1).copy()  # one row a layer
        for layer in flat:
            rng.shuffle(layer)
        return jnp.asarray(flat.reshape(values.shape))

    flat = {path: leaf.replace(mixed(path, leaf[...])) for path, leaf in nnx.to_flat_state(state)}
    return jaxlin.load(nnx.merge(graphdef, nnx.from_flat_state(flat)))


def summary_of(rows: Sequence[Row]) -> Mapping[str, Any]:
    """Medians and ends of every figure, by map."""

    def ends(values: Sequence[float]) -> dict[str, float]:
        return {"least": min(values), "median": float(np.median(values)), "most": max(values)}

    told: dict[str, Any] = {"prompts": len(rows)}
    for which in MAPS:
        told[which] = {figure: ends([row[which][figure] for row in rows]) for figure in FIGURES}
    return told


def tables(found: Mapping[str, Sequence[Row]]) -> list[Table]:
    """A table for each model, with a line for each map."""
    head = ("map", "stable rank", "participation", "first holds", "first 4 hold", "half of Σσ² in first")
    made = []
    for name, rows in found.items():
        lines = []
        for which in MAPS:
            known = {figure: [row[which][figure] for row in rows] for figure in FIGURES}
            middles = [f"{np.median(known[figure]):.2g}" for figure in FIGURES[2:]]
            lines.append((which, shares(known["stable_rank"]), shares(known["participation"]), *middles))
        made.append(Table(f"{name}, {len(rows)} prompts, median (least … most)", head, lines))
    return made


def draw_spectra(rows: Sequence[Row], axes: Any) -> None:
    """σ / σ₁ by number: the median over prompts, and where the middle half of them lies."""
    for which, colour in zip(MAPS, COLOURS, strict=False):
        falling = np.array([np.divide(row[which]["s"], row[which]["s"][0]) for row in rows])
        number = np.arange(1, falling.shape[1] + 1)
        low, middle, high = np.quantile(falling, (0.25, 0.5, 0.75), axis=0)
        axes.plot(number, middle, color=colour, label=which)
        axes.fill_between(number, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="number of the direction", ylabel="σ / σ₁")
    axes.legend(frameon=False)


def draw_ranks(rows: Sequence[Row], axes: Any) -> None:
    """Stable ranks of all prompts, sorted, by map."""
    for which, colour in zip(MAPS, COLOURS, strict=False):
        ranks = np.sort([row[which]["stable_rank"] for row in rows])
        axes.plot(np.arange(1, len(ranks) + 1) / len(ranks), ranks, color=colour, label=which)
    axes.set(yscale="log", xlabel="part of the prompts", ylabel="stable rank, at most")
    axes.set_yticks((1, 2, 5, 10, 20, 50), labels=("1", "2", "5", "10", "20", "50"))
    axes.set_yticks((), minor=True)
    axes.legend(frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, -0.4))


if __name__ == "__main__":
    main()
