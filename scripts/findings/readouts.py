"""How much of a prediction the first directions name, and how much of it they carry, metric by metric.

    python scripts/findings/readouts.py --json build/findings/readouts.json
    python scripts/findings/readouts.py --model demo-qwen --prompts 5 --long 0

For every model and every prompt of ``prompts.py`` the map is decomposed, and its first directions are read:

* ``named``: the share of the model's own five most likely tokens that are among the first six tokens of
  each of the first four directions;
* ``carried``: what these four contribute to the centred logit of the predicted token (its logit minus the
  mean over the vocabulary), as a multiple of it: 1 is all of it;
* ``lead``: what all directions that were computed (16 at short prompts, 8 at long ones) contribute to the
  logit's lead over its strongest rival, likewise.

The directions are those of the metrics ``hidden`` and ``fisher`` by σ, those of ``hidden`` by contribution,
and two baselines from a fixed seed, each made orthonormal: ``random outputs``, which are Jᵀ·u of Gaussian u,
and so mixtures of the singular vectors in which large ones weigh more, and ``random inputs``, Gaussian in the
space of the embeddings. All are turned so that what they write is on the output's side, ⟨J·v, y⟩ ≥ 0. Maps of
short prompts are built and factorised whole; those of long ones go through Lanczos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from common import COLOURS, Row, Rows, Table, arguments, count, named, run, save_picture
from matrices import decomposed, matrix_of, stored, without_check_of_prediction
from prompts import LONG, SHORT

import jaxlin
from jaxlin import DetachedJacobian, Model, SVDResult
from jaxlin.analyses.weighing import weighed, with_images
from jaxlin.results.contributions import Contributions, contributions_of
from jaxlin.runtime.progress import Progress

#: The first directions, tokens of each, and tokens of the model that they are to name.
DIRECTIONS, TOKENS, PREDICTED = 4, 6, 5
VARIANTS = ("hidden", "hidden by contribution", "fisher", "random outputs", "random inputs")
#: Of a carried share that counts as all of it.
NEAR = 0.05
#: Directions that are computed of a map.
K = {"short": 16, "long": 8}
#: Shares beyond these are drawn at the edge.
_EDGES = (-0.5, 2.0)


def main() -> None:
    """Measure, print the table, draw the picture."""
    parser = arguments(__doc__, "readouts", prompts=len(SHORT))
    parser.add_argument("--long", type=count, default=len(LONG), help="how many long prompts")
    parser.add_argument("--seed", type=int, default=0, help="of the random directions")
    run(study, parser)


def study(asked: argparse.Namespace, progress: Progress) -> None:
    """All models, short prompts of all of them first."""
    settings = {"directions": DIRECTIONS, "tokens": TOKENS, "predicted": PREDICTED, "k": K}
    rows = Rows(asked.json, {**settings, "seed": asked.seed, "dtype": "float32"})
    loaded = cache(jaxlin.load)
    for kind, texts in (("short", SHORT[: asked.prompts]), ("long", LONG[: asked.long])):
        for name in asked.model:
            one = partial(measure, partial(loaded, name), kind, asked.seed)
            rows.measure(name, named(texts), one, progress)
    found = {name: list(rows.of(name).values()) for name in asked.model}
    panels: dict[str, Callable[[Any], None]] = {}
    for name, each in found.items():
        rows.summarise(name, {kind: summary_of(some) for kind, some in of_kinds(each)})
        for kind, some in of_kinds(each):
            panels[f"{name}, {len(some)} {kind} prompts"] = partial(draw, some)
    for table in tables(found):
        table.show()
    save_picture(asked.picture, panels, size=(5.4, 3.2))


def of_kinds(rows: Sequence[Row]) -> Iterator[tuple[str, Sequence[Row]]]:
    """The rows of each kind of prompts of which there are some."""
    for kind in K:
        if some := [row for row in rows if row["kind"] == kind]:
            yield kind, some


def measure(load: Callable[[], Model], kind: str, seed: int, text: str) -> Row:
    """The figures of one prompt, by variant."""
    model = load()
    operator = without_check_of_prediction(model.jacobian(text))
    if kind == "short":
        operator = stored(operator, matrix_of(operator))
    rows = model.metric_rows(operator.y, "fisher")
    hidden = solved(operator, kind)
    fisher = with_images(solved(weighed(operator, rows, "fisher"), kind), operator)
    prediction = operator.labels.predicted().tokens[:PREDICTED]
    ids = [token.id for token in prediction]
    assert hidden.split is not None
    assert fisher.split is not None
    found: Mapping[str, tuple[np.ndarray, Contributions, Sequence[int]]] = {
        "hidden": (hidden.lefts, hidden.split, range(len(hidden.s))),
        "hidden by contribution": (hidden.lefts, hidden.split, hidden.split.order),
        "fisher": (fisher.lefts, fisher.split, range(len(fisher.s))),
        **dict(zip(VARIANTS[3:], at_random(operator, seed), strict=True)),
    }
    return {
        "kind": kind,
        "tokens": len(operator.labels.ids),
        "predicts": {token.text: round(token.probability, 4) for token in prediction},
        "holds": hidden.holds and fisher.holds,
        "rows": len(rows),
        **{variant: figures(model, *parts, ids) for variant, parts in found.items()},
    }


def solved(operator: DetachedJacobian, kind: str) -> SVDResult:
    """The first triplets: of the stored matrix, or by Lanczos."""
    k = min(K[kind], *operator.shape)
    return decomposed(operator, k) if kind == "short" else jaxlin.svd(operator, k)


def at_random(
    operator: DetachedJacobian, seed: int
) -> Iterator[tuple[np.ndarray, Contributions, Sequence[int]]]:
    """What each kind of random directions writes, of length 1, what it contributes, and their numbers."""
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((DIRECTIONS, *operator.output_shape))
    inputs = rng.standard_normal((DIRECTIONS, *operator.input_shape))
    for started in (np.asarray(operator.rmatmat(jnp.asarray(outputs, operator.dtype)), np.float64), inputs):
        v = np.linalg.qr(started.reshape(DIRECTIONS, -1).T)[0].T.reshape(started.shape)
        images = np.asarray(operator.matmat(v), np.float64)
        split = contributions_of(
            v, operator.x, images, operator.y, operator.offset, operator.labels.scoring()
        )
        sides = np.sign(images @ np.asarray(operator.y, np.float64)) / np.linalg.norm(images, axis=1)
        yield images * sides[:, None], split, range(DIRECTIONS)


def figures(
    model: Model, lefts: np.ndarray, split: Contributions, order: Sequence[int], predicted: Sequence[int]
) -> dict[str, float | None]:
    """What the first directions of one variant name and carry."""
    first = list(order)[:DIRECTIONS]
    read = model.outputs(lefts[first], TOKENS)
    told = {token.id for tokens in read for token in tokens} & set(predicted)
    whole, rival = split.whole.logits
    mine = [split.directions[i].logits for i in first]
    every = np.sum([part.logits for part in split.directions], axis=0)
    return {
        "named": len(told) / len(predicted),
        "carried": float(sum(logits[0] for logits in mine)) / whole,
        "lead": float(every[0] - every[1]) / (whole - rival) if whole != rival else None,
    }


def summary_of(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Means and ranges over prompts, by variant."""
    told: dict[str, dict[str, Any]] = {}
    for name in VARIANTS:
        shares = np.array([row[name]["named"] for row in rows])
        carried = np.array([row[name]["carried"] for row in rows])
        leads = [row[name]["lead"] for row in rows if row[name]["lead"] is not None]
        told[name] = {
            "named": float(shares.mean()),
            "carried": {
                "mean": float(carried.mean()),
                "median": float(np.median(carried)),
                "least": float(carried.min()),
                "most": float(carried.max()),
                "near_1": int((np.abs(carried - 1) <= NEAR).sum()),
            },
            "lead_median": float(np.median(leads)),
            "prompts": len(rows),
            "certificate_holds": sum(row["holds"] for row in rows),
        }
    return told


def tables(found: Mapping[str, Sequence[Row]]) -> list[Table]:
    """A table for each model and kind of prompts, with a line for each variant."""
    head = ("directions", "named", "carried: mean", "median", "least", "most", "within 5 %", "lead")
    made = []
    for name, rows in found.items():
        for kind, some in of_kinds(rows):
            lines = []
            for variant, told in summary_of(some).items():
                carried = told["carried"]
                each = [f"{carried[key]:.2f}" for key in ("mean", "median", "least", "most")]
                near = f"{carried['near_1']} of {told['prompts']}"
                lines.append((variant, f"{told['named']:.2f}", *each, near, f"{told['lead_median']:.2f}"))
            made.append(Table(f"{name}, {len(some)} {kind} prompts", head, lines))
    return made


def draw(rows: Sequence[Row], axes: Any) -> None:
    """What four directions carry at every prompt, a line of points for each variant."""
    spread = np.random.default_rng(0).uniform(-0.25, 0.25, len(rows))
    axes.axvline(1, color="lightgrey", zorder=0)
    for place, (variant, colour) in enumerate(zip(reversed(VARIANTS), COLOURS, strict=False)):
        carried = np.clip([row[variant]["carried"] for row in rows], *_EDGES)
        axes.plot(carried, place + spread, ".", markersize=4, alpha=0.6, color=colour)
        axes.plot(np.median(carried), place, "|", markersize=22, color="black")
    names = [f"{v}\nnames {np.mean([row[v]['named'] for row in rows]):.2f}" for v in reversed(VARIANTS)]
    axes.set_yticks(range(len(VARIANTS)), names)
    axes.set(xlabel="part of the predicted token's centred logit that 4 directions carry")


if __name__ == "__main__":
    main()
