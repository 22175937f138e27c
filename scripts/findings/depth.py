"""Where along depth a prediction emerges: by the state, by the map's first directions, and module by module.

    python scripts/findings/depth.py --model demo-llama --prompts 2

For every prompt and some layers, the map from the embeddings to what leaves the layer (through the final
norm, as in ``jaxlin layers``) is decomposed in the metrics ``hidden`` and ``fisher``. The token that the
whole model predicts is looked up at each of these layers: its rank among all tokens by the state itself,
and by what each of the first four directions writes, signed as the state has it. Random directions in the
row space of the same map stand beside them. ``carried`` is what the four directions together contribute to
the token's centred logit at that layer, of all of it. Then the lead of the predicted token over its
strongest rival, and its centred logit, are split over the attention heads and the MLP of every layer, as in
``jaxlin attribute``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from common import COLOURS, Row, Rows, Table, arguments, count, named, run, save_picture
from figures import rounded
from jaxtyping import Float
from perturbed import TOLERANCE
from prompts import SHORT

import jaxlin
from jaxlin import DetachedJacobian, JaxlinError, Model
from jaxlin.analyses.attribution import attribute
from jaxlin.analyses.layers import layers
from jaxlin.prompts.head import HeadAt
from jaxlin.prompts.text import Prompt
from jaxlin.results.layer import LayerSVD
from jaxlin.runtime.progress import Progress

METRICS = ("hidden", "fisher")
#: Directions of each map, and what the best of them is compared with.
DIRECTIONS = 4
READ = (*METRICS, "random")
#: Of layers, in the table of contributions.
GROUPS = 6


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = arguments(__doc__ or "", "depth", prompts=20)
    made.add_argument(
        "--layers", type=count, default=7, help="of how many layers the maps are decomposed; %(default)s"
    )
    made.add_argument("--dtype", default="float32", help="%(default)s")
    made.add_argument("--seed", type=int, default=0, help="of random directions; %(default)s")
    return made


def study(asked: argparse.Namespace, progress: Progress) -> None:
    """Measure, print the tables, draw the picture."""
    if asked.layers < 2:
        raise JaxlinError("the first layer and the last are two: give --layers 2 or more")
    rows = Rows(
        asked.json, {"dtype": asked.dtype, "seed": asked.seed, "layers": asked.layers, "tolerance": TOLERANCE}
    )
    found = {}
    for name in asked.model:
        model = jaxlin.load(name, dtype=asked.dtype)
        one = partial(measure, model, number=asked.layers, seed=asked.seed)
        found[name] = list(rows.measure(name, named(SHORT[: asked.prompts]), one, progress).values())
        rows.summarise(name, summary_of(found[name]))
    for table in tables(found):
        table.show()
    draw(asked.picture, found)


def measure(model: Model, prompt: Prompt, *, number: int, seed: int) -> Row:
    """All figures of one prompt."""
    recorded = model.record(prompt)
    # Without the second way to the prediction, which would read all tensors of the file for every prompt.
    recording = replace(recorded, labels=replace(recorded.labels, prediction=None))
    head = HeadAt(model, recording.y)
    best, rival = head.prediction.tokens[:2]
    last = recording.num_layers - 1
    at = sorted({round(share * last) for share in np.linspace(0, 1, number)})
    lenses = {"hidden": None, "fisher": head.metric("fisher")}
    found = {
        metric: layers(
            recording, DIRECTIONS, parts=("cumulative",), at=at, metric=lens, tolerance=TOLERANCE, seed=seed
        ).parts["cumulative"]
        for metric, lens in lenses.items()
    }
    rows = jnp.asarray([head.rows[0] - head.rows[1], head.rows[0]])
    splits = attribute(recording.stretch(0, last), recording, rows)
    row: Row = {
        "tokens": len(recording.x),
        "predicts": best.text,
        "probability": best.probability,
        "rival": rival.text,
        "holds": splits.holds and all(layer.certificate.holds for part in found.values() for layer in part),
        "at": at,
        "layers": [
            {
                "state": int(ranks(model, found["hidden"][i].output[None], best.id)[0]),
                "logit": float(head.rows[0] @ np.asarray(found["hidden"][i].output, np.float64)),
                **{metric: of_layer(model, found[metric][i], head.rows[0], best.id) for metric in METRICS},
                "random": {"ranks": ranks(model, random_images(recording.stretch(0, layer), seed), best.id)},
            }
            for i, layer in enumerate(at)
        ],
        **{
            what: {
                "value": float(split.value),
                "embedding": float(split.embedding),
                "heads": np.asarray(split.heads).tolist(),
                "branches": np.asarray(split.branches).tolist(),
            }
            for what, split in zip(("lead", "centred logit"), splits.splits, strict=True)
        },
    }
    return rounded(row)


def of_layer(
    model: Model, layer: LayerSVD, row: Float[np.ndarray, " d"], token: int
) -> dict[str, float | list[int]]:
    """How the directions of one map rank a token, and how much of its centred logit they carry."""
    written = np.asarray(layer.written, np.float64)
    along = np.asarray(layer.contributions, np.float64).sum(-1)
    if layer.images is not None:  # these are as long as σ makes them
        along = along / np.asarray(layer.s, np.float64)
    whole = float(row @ np.asarray(layer.output, np.float64))
    return {"ranks": ranks(model, written, token), "carried": float(along @ (written @ row)) / whole}


def ranks(model: Model, hidden: Float[np.ndarray, "n d"], token: int) -> list[int]:
    """The token's rank among all, 1 for the first, by the logits of some hidden states."""
    logits = np.asarray(model.logits(jnp.asarray(hidden)))
    found: list[int] = (1 + (logits > logits[:, token : token + 1]).sum(-1)).tolist()
    return found


def random_images(operator: DetachedJacobian, seed: int) -> Float[np.ndarray, "k d"]:
    """J·v of random directions in the row space, signed as the output has them."""
    probes = np.random.default_rng(seed).standard_normal((DIRECTIONS, operator.shape[0]))
    pulled = operator.rmatmat(probes)
    images = np.asarray(operator.matmat(pulled), np.float64)
    signs = np.where(images @ np.asarray(operator.y, np.float64) < 0, -1, 1)
    signed: np.ndarray = signs[:, None] * images
    return signed


def summary_of(found: Sequence[Row]) -> dict[str, Any]:
    """Medians of ranks and means of contributions over prompts."""
    at = found[0]["at"]
    best = {
        "state": np.array([[layer["state"] for layer in row["layers"]] for row in found]),
        **{
            name: np.array([[min(layer[name]["ranks"]) for layer in row["layers"]] for row in found])
            for name in READ
        },
    }
    first = {
        f"{name}, first": np.array([[layer[name]["ranks"][0] for layer in row["layers"]] for row in found])
        for name in METRICS
    }
    told = {
        "prompts": len(found),
        "holds": sum(row["holds"] for row in found),
        "at": at,
        "median rank": {name: np.median(each, 0).tolist() for name, each in (best | first).items()},
        "first token": {name: (each == 1).mean(0).tolist() for name, each in (best | first).items()},
        "carried": {
            metric: np.median(
                [[layer[metric]["carried"] for layer in row["layers"]] for row in found], 0
            ).tolist()
            for metric in METRICS
        },
        "logit of the last": np.median(
            [[layer["logit"] / row["layers"][-1]["logit"] for layer in row["layers"]] for row in found], 0
        ).tolist(),
    }
    return told | {
        what: {
            "value": float(np.mean([row[what]["value"] for row in found])),
            "embedding": float(np.mean([row[what]["embedding"] for row in found])),
            "branches": np.mean([row[what]["branches"] for row in found], 0).tolist(),
            "positive": (np.array([row[what]["branches"] for row in found]) > 0).mean(0).tolist(),
        }
        for what in ("lead", "centred logit")
    }


def tables(found: Mapping[str, Sequence[Row]]) -> list[Table]:
    """The rank of the predicted token along depth, for each model; what modules contribute, for each."""
    summaries = {name: summary_of(rows) for name, rows in found.items()}
    makers = (depth_table, module_table)
    return [make(name, summary) for make in makers for name, summary in summaries.items()]


def depth_table(name: str, summary: Mapping[str, Any]) -> Table:
    """Median ranks, and in how many prompts the token is first."""
    columns = ("state", "hidden", "hidden, first", "fisher", "fisher, first", "random")
    ranks, firsts = summary["median rank"], summary["first token"]
    lines = [
        (
            str(layer),
            *(f"{ranks[column][i]:,.0f} ({firsts[column][i]:.0%})" for column in columns),
            *(f"{summary['carried'][metric][i]:.2f}" for metric in METRICS),
        )
        for i, layer in enumerate(summary["at"])
    ]
    title = (
        f"{name}, {summary['prompts']} prompts: median rank of the predicted token (in how many it is first)"
    )
    return Table(title, ("layer", *columns, "carried: hidden", "fisher"), lines)


def module_table(name: str, summary: Mapping[str, Any]) -> Table:
    """Means over prompts, layers in groups."""
    parts = [summary[what] for what in ("lead", "centred logit")]
    lines = [("embedding", *(cell for part in parts for cell in (f"{part['embedding']:+.2f}", "")))]
    numbers = np.arange(len(parts[0]["branches"]))
    for group in np.array_split(numbers, min(GROUPS, len(numbers))):
        sums = [np.asarray(part["branches"])[group].sum(0) for part in parts]
        cells = [f"{share:+.2f}" for both in sums for share in both]
        lines.append((f"{group[0]} to {group[-1]}", *cells))
    lines.append(("together", *(cell for part in parts for cell in (f"{part['value']:+.2f}", ""))))
    head = ("layers", "to its lead: attention", "MLP", "to its centred logit: attention", "MLP")
    return Table(f"{name}: contributions, means over prompts", head, lines)


def draw(path: Path, found: Mapping[str, Sequence[Row]]) -> None:
    """Two panels for each model: ranks along depth, contributions of modules."""
    panels: dict[str, Callable[[Any], None]] = {}
    for name, rows in found.items():
        summary = summary_of(rows)
        panels[f"{name}: rank of the predicted token"] = partial(draw_ranks, summary)
        panels[f"{name}: contributions to its lead"] = partial(draw_modules, summary["lead"])
    save_picture(path, panels)


def draw_ranks(summary: Mapping[str, Any], axes: Any) -> None:
    """Medians over prompts, of the state and of the best of four directions."""
    series = {"the state": "state", "hidden, best of 4": "hidden", "fisher, best of 4": "fisher",
              "random, best of 4": "random"}  # fmt: skip
    for (label, name), colour in zip(series.items(), ("black", *COLOURS[:2], COLOURS[3]), strict=True):
        ranks = summary["median rank"][name]
        axes.plot(summary["at"], ranks, "o-", color=colour, markersize=3, linewidth=1, label=label)
    axes.set(xlabel="layer", ylabel="median rank", yscale="log")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=7)


def draw_modules(split: Mapping[str, Any], axes: Any) -> None:
    """Means over prompts, and their running sum."""
    branches = np.asarray(split["branches"])
    numbers = np.arange(len(branches))
    for shift, (label, shares) in zip(
        (-0.2, 0.2), zip(("attention", "MLP"), branches.T, strict=True), strict=True
    ):
        axes.bar(numbers + shift, shares, 0.4, label=label, color=COLOURS[shift > 0])
    running: Sequence[float] = split["embedding"] + np.cumsum(branches.sum(1))
    axes.plot(numbers, running, color="black", linewidth=1, label="sum up to here")
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set(xlabel="layer", ylabel="mean contribution (logits)")
    axes.locator_params(axis="x", integer=True)
    axes.legend(frameon=False, fontsize=7)


if __name__ == "__main__":
    run(study, parser())
