"""Does the map give back what the model says? In float64, detached against ordinary.

    python scripts/findings/reconstruction.py --json build/findings/reconstruction.json
    python scripts/findings/reconstruction.py --model demo-llama --prompts 3 --long 0

For every prompt, ‖J·x + c − y‖ / ‖y‖: x are the embeddings of the prompt, y is the last hidden state of the
ordinary forward pass, c the offset of the detached map (0 in models without biases on its linear path). J is

* ``detached, forward``: the detached Jacobian, J·x by its forward pass, which repeats the operations of the
  model itself on the recorded coefficients, so that even their rounding may be the same;
* ``detached, rows``: the same, some outputs of it by rows of J from its backward pass: for eight orthonormal
  random u, ⟨Jᵀu, x⟩ + ⟨u, c⟩ against ⟨u, y⟩, relative to the length of these;
* ``ordinary``: the derivative of the same pass, with nothing frozen, J·x by jvp.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from common import COLOURS, Row, Rows, Table, arguments, count, named, run, save_picture, shares
from jaxtyping import Float
from prompts import LONG, SHORT

import jaxlin
from jaxlin import Model
from jaxlin.runtime.progress import Progress

MAPS = ("detached, forward", "detached, rows", "ordinary")
#: Random outputs that are computed by rows.
OUTPUTS = 8
#: What the paper says of the detached map in float64.
PUBLISHED = 1e-13
#: Where an error of exactly 0 is drawn.
_ZERO = 1e-18


def main() -> None:
    """Measure, print the table, draw the picture."""
    parser = arguments(__doc__, "reconstruction", prompts=40)
    parser.add_argument("--long", type=count, default=1, help="how many long prompts")
    run(study, parser)


def study(asked: argparse.Namespace, progress: Progress) -> None:
    """One model after the other."""
    rows = Rows(asked.json, {"dtype": "float64", "outputs": OUTPUTS})
    texts = named((*SHORT[: asked.prompts], *LONG[: asked.long]))
    found: dict[str, Sequence[Row]] = {}
    for name in asked.model:
        load = cache(partial(jaxlin.load, name, dtype="float64"))
        found[name] = list(rows.measure(name, texts, partial(measure, load), progress).values())
        rows.summarise(name, summary_of(found[name]))
    for table in tables(found):
        table.show()
    panels = {f"{name}, {len(each)} prompts": partial(draw, each) for name, each in found.items()}
    save_picture(asked.picture, panels)


def tables(found: Mapping[str, Sequence[Row]]) -> list[Table]:
    """One table of all models."""
    lines = []
    for name, rows in found.items():
        lengths = [row["tokens"] for row in rows]
        errors = [shares([row[which] for row in rows]) for which in MAPS]
        lines.append((name, str(len(rows)), f"{min(lengths)} … {max(lengths)}", *errors))
    title = "‖J·x + c − y‖ / ‖y‖ in float64, median (least … most)"
    return [Table(title, ("model", "prompts", "tokens", *MAPS), lines)]


def measure(load: Callable[[], Model], text: str) -> Row:
    """Both errors at one prompt."""
    model = load()
    detached = model.jacobian(text)
    ordinary = model.jacobian(text, policy="none")
    x, y, c = (np.asarray(a, np.float64) for a in (ordinary.x, ordinary.y, detached.offset))
    u = np.linalg.qr(np.random.default_rng(0).standard_normal((len(y), OUTPUTS)))[0].T
    rows = np.asarray(detached.rmatmat(u), np.float64).reshape(OUTPUTS, -1)
    return {
        "tokens": len(detached.labels.ids),
        "detached, forward": distance(np.asarray(detached.matvec(x)) + c, y),
        "detached, rows": distance(rows @ x.ravel() + u @ c, u @ y),
        "ordinary": distance(np.asarray(ordinary.matvec(x)) + c, y),
    }


def distance(made: Float[np.ndarray, " m"], y: Float[np.ndarray, " m"]) -> float:
    """‖made − y‖ / ‖y‖."""
    return float(np.linalg.norm(made - y) / np.linalg.norm(y))


def summary_of(rows: Sequence[Row]) -> Mapping[str, Any]:
    """Ends and middles of the errors, and how many keep the published limit."""
    told: dict[str, Any] = {"prompts": len(rows)}
    for which in MAPS:
        errors = np.array([row[which] for row in rows])
        told[which] = {
            "least": float(errors.min()),
            "median": float(np.median(errors)),
            "most": float(errors.max()),
            f"below_{PUBLISHED:g}": int((errors < PUBLISHED).sum()),
        }
    return told


def draw(rows: Sequence[Row], axes: Any) -> None:
    """Errors over the length of the prompt; those that are exactly 0 lie at the bottom."""
    lengths = [row["tokens"] for row in rows]
    for which, colour in zip(MAPS, COLOURS, strict=False):
        errors = [max(row[which], _ZERO) for row in rows]
        axes.plot(lengths, errors, ".", color=colour, label=which, alpha=0.7)
    axes.axhline(PUBLISHED, color="lightgrey", zorder=0)
    axes.text(max(lengths), 1.5 * PUBLISHED, "the paper: below 1e-13", ha="right", color="grey", fontsize=8)
    axes.text(max(lengths), _ZERO, "exactly 0", ha="right", va="center", color="grey", fontsize=8)
    axes.set(xscale="log", yscale="log", xlabel="tokens of the prompt", ylabel="‖J·x + c − y‖ / ‖y‖")
    axes.legend(frameon=False, loc="center right")


if __name__ == "__main__":
    main()
