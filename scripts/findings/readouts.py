"""How much of a prediction the first directions name, and how much of it they carry, metric by metric.

    python scripts/findings/readouts.py --json build/findings/readouts.json
    python scripts/findings/readouts.py --model demo-qwen --prompts 5 --long 0

For every model and every prompt of ``prompts.py`` the map is decomposed, and its first directions are read:

* ``named``: the share of the model's own five most likely tokens that are among the first six tokens of
  each of the first four directions;
* ``carried``: what these four contribute to the centred logit of the predicted token (its logit minus the
  mean over the vocabulary), as a multiple of it: 1 is all of it;
* ``ahead``: likewise of its logit minus the mean over what is likely, all logits weighted by their
  probabilities: a common rise of all likely tokens counts in ``carried`` and not here;
* ``lead``: what all directions that were computed (16 at short prompts, 8 at long ones) contribute to the
  logit's lead over its strongest rival, likewise.

The directions are those of the metrics ``hidden`` and ``fisher`` by σ, those of ``hidden`` by contribution,
and two baselines from a fixed seed, each made orthonormal: ``random outputs``, which are Jᵀ·u of Gaussian u,
and so mixtures of the singular vectors in which large ones weigh more, and ``random inputs``, Gaussian in the
space of the embeddings. All are turned to the output's side, ⟨u, y⟩ ≥ 0, as the library does. Maps of short
prompts are built and factorised whole; those of long ones go through Lanczos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import numpy as np
from common import COLOURS, Row, Rows, Table, arguments, count, named, run, save_picture
from jaxtyping import Float
from matrices import decomposed, matrix_of, stored, without_check_of_prediction
from prompts import LONG, SHORT

import jaxlin
from jaxlin import DetachedJacobian, Model, SVDResult
from jaxlin.analyses.weighing import weighed, with_images
from jaxlin.prompts.head import HeadAt
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


@dataclass(frozen=True)
class Directions:
    """The directions of one variant, the first ones first.

    Attributes:
        writes: the hidden state that each writes.
        parts: what each contributes to the output, ⟨v, x⟩·J·v.
    """

    writes: Float[np.ndarray, "k d"]
    parts: Float[np.ndarray, "k d"]

    @classmethod
    def of(cls, v: Any, images: Any, operator: DetachedJacobian) -> Directions:
        """Of right vectors and J·v of each, which write as they are turned."""
        along = np.asarray(v, np.float64).reshape(len(v), -1) @ np.asarray(operator.x, np.float64).ravel()
        images = np.asarray(images, np.float64)
        return cls(images / np.linalg.norm(images, axis=1, keepdims=True), images * along[:, None])

    def by_contribution(self, row: Float[np.ndarray, " d"]) -> Directions:
        """The same, those first that contribute most to the score ⟨row, y⟩, whichever sign."""
        order = np.argsort(-np.abs(self.parts @ row), kind="stable")
        return Directions(self.writes[order], self.parts[order])


def measure(load: Callable[[], Model], kind: str, seed: int, text: str) -> Row:
    """The figures of one prompt, by variant."""
    model = load()
    operator = without_check_of_prediction(model.jacobian(text))
    if kind == "short":
        operator = stored(operator, matrix_of(operator))
    head = HeadAt(model, operator.y)
    metric = head.metric("fisher")
    hidden = solved(operator, kind)
    fisher = with_images(solved(weighed(operator, metric, "fisher"), kind), operator)
    by_sigma = Directions.of(hidden.V, np.asarray(hidden.s)[:, None] * np.asarray(hidden.U), operator)
    found = {
        "hidden": by_sigma,
        "hidden by contribution": by_sigma.by_contribution(head.rows[0]),
        "fisher": Directions.of(fisher.V, fisher.images, operator),
        **dict(zip(VARIANTS[3:], at_random(operator, seed), strict=True)),
    }
    return {
        "kind": kind,
        "tokens": len(operator.labels.ids),
        "predicts": {token.text: round(token.probability, 4) for token in head.prediction.tokens[:PREDICTED]},
        "holds": hidden.holds and fisher.holds,
        "rows": len(metric),
        **figures(model, head, found),
    }


def solved(operator: DetachedJacobian, kind: str) -> SVDResult:
    """The first triplets: of the stored matrix, or by Lanczos."""
    k = min(K[kind], *operator.shape)
    return decomposed(operator, k) if kind == "short" else jaxlin.svd(operator, k)


def at_random(operator: DetachedJacobian, seed: int) -> Iterator[Directions]:
    """The random directions of each kind."""
    rng = np.random.default_rng(seed)
    outputs = rng.standard_normal((DIRECTIONS, *operator.output_shape))
    inputs = rng.standard_normal((DIRECTIONS, *operator.input_shape))
    for started in (np.asarray(operator.rmatmat(outputs), np.float64), inputs):
        v = np.linalg.qr(started.reshape(DIRECTIONS, -1).T)[0].T.reshape(started.shape)
        found = Directions.of(v, operator.matmat(v), operator)
        sides = np.where(found.writes @ np.asarray(operator.y, np.float64) < 0, -1, 1)
        yield replace(found, writes=found.writes * sides[:, None])


def figures(
    model: Model, head: HeadAt, found: Mapping[str, Directions]
) -> dict[str, dict[str, float | None]]:
    """What the first directions of every variant name and carry, and what all of them do."""
    top, rival = (token.id for token in head.prediction.pair)
    predicted = {token.id for token in head.prediction.tokens[:PREDICTED]}
    sums = [part.sum(0) for each in found.values() for part in (each.parts[:DIRECTIONS], each.parts)]
    changes = head.changes(np.array(sums)).reshape(len(found), 2, -1)
    told: dict[str, dict[str, float | None]] = {}
    for (variant, each), (first, every) in zip(found.items(), changes, strict=True):
        read = model.outputs(each.writes[:DIRECTIONS], TOKENS)
        named = {token.id for tokens in read for token in tokens} & predicted

        def part(change: np.ndarray, mean: Callable[[np.ndarray], float]) -> float | None:
            whole = head.logits[top] - mean(head.logits)
            return None if whole == 0 else float((change[top] - mean(change)) / whole)

        told[variant] = {
            "named": len(named) / len(predicted),
            "carried": part(first, np.mean),
            "ahead": part(first, lambda logits: float(head.probabilities @ logits)),
            "lead": part(every, lambda logits: float(logits[rival])),
        }
    return told


def summary_of(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Means and ranges over prompts, by variant."""
    told: dict[str, dict[str, Any]] = {}
    for name in VARIANTS:
        told[name] = {
            "named": float(np.mean([row[name]["named"] for row in rows])),
            **{figure: ends([row[name][figure] for row in rows]) for figure in ("carried", "ahead", "lead")},
            "prompts": len(rows),
            "certificate_holds": sum(row["holds"] for row in rows),
        }
    return told


def ends(values: Sequence[float | None]) -> dict[str, float]:
    """Middles and ends of shares, and how many are all of it; those of nothing are left out."""
    known = np.array([value for value in values if value is not None])
    return {
        "mean": float(known.mean()),
        "median": float(np.median(known)),
        "least": float(known.min()),
        "most": float(known.max()),
        "near_1": int((np.abs(known - 1) <= NEAR).sum()),
    }


def tables(found: Mapping[str, Sequence[Row]]) -> list[Table]:
    """A table for each model and kind of prompts, with a line for each variant."""
    near = f"within {NEAR:.0%}".replace("%", " %")
    head = ("directions", "named", "carried", "range", near, "ahead", "range", near, "lead")
    made = []
    for name, rows in found.items():
        for kind, some in of_kinds(rows):
            lines = []
            for variant, told in summary_of(some).items():
                cells = [f"{told['named']:.2f}"]
                for figure in ("carried", "ahead"):
                    each = told[figure]
                    range_ = f"{each['least']:.2f} … {each['most']:.2f}"
                    cells += [f"{each['median']:.2f}", range_, str(each["near_1"])]
                lines.append((variant, *cells, f"{told['lead']['median']:.2f}"))
            made.append(Table(f"{name}, {len(some)} {kind} prompts, medians", head, lines))
    return made


def draw(rows: Sequence[Row], axes: Any) -> None:
    """What four directions carry of the logit and of its lead over what is likely, at every prompt."""
    spread = np.random.default_rng(0).uniform(-0.15, 0.15, len(rows))
    axes.axvline(1, color="lightgrey", zorder=0)
    for figure, shift, colour in (("carried", 0.2, COLOURS[0]), ("ahead", -0.2, COLOURS[1])):
        for place, variant in enumerate(reversed(VARIANTS)):
            known = [row[variant][figure] for row in rows]
            drawn = np.clip(np.array(known, np.float64), *_EDGES)
            label = figure if place == 0 else None
            axes.plot(drawn, place + shift + spread, ".", markersize=3, alpha=0.5, color=colour, label=label)
            axes.plot(np.nanmedian(drawn), place + shift, "|", markersize=14, color="black")
    names = [f"{v}\nnames {np.mean([row[v]['named'] for row in rows]):.2f}" for v in reversed(VARIANTS)]
    axes.set_yticks(range(len(VARIANTS)), names)
    axes.set(xlabel="part that the first four directions contribute")
    axes.legend(frameon=False, loc="lower right", fontsize=8)


if __name__ == "__main__":
    main()
