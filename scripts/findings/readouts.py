"""How much of a prediction the first directions name, and how much of it they carry, metric by metric.

    python scripts/measure_readouts.py --model demo-qwen demo-gemma --json benchmarks/readouts.json

For every model and every prompt of ``readout_prompts.py`` the map is decomposed, and its first directions are
read:

* ``named``: the share of the model's own five most likely tokens that are among the first six tokens of
  each of the first four directions;
* ``carried``: what these four contribute to the centred logit of the predicted token (its logit minus the
  mean over the vocabulary), as a multiple of it: 1 is all of it;
* ``lead``: what all directions that were computed contribute to the logit's lead over its strongest rival,
  likewise.

The directions are those of the metrics ``hidden`` and ``fisher`` by σ, those of ``hidden`` by contribution,
and as a baseline random ones: orthonormal, in the row space of the map, from a fixed seed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from readout_prompts import LONG, SHORT
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin import DetachedJacobian, JaxlinError, Model
from jaxlin.analyses.weighing import weighed, with_images
from jaxlin.results.contributions import Contributions, contributions_of
from jaxlin.runtime.environment import environment

#: The first directions, tokens of each, and tokens of the model that they are to name.
DIRECTIONS, TOKENS, PREDICTED = 4, 6, 5
VARIANTS = ("hidden", "hidden by contribution", "fisher", "random")
#: Of a carried share that counts as all of it.
NEAR = 0.05


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", nargs="+", required=True, help="directories, hub ids or demos")
    parser.add_argument("--short", type=int, default=len(SHORT), help="how many short prompts")
    parser.add_argument("--long", type=int, default=len(LONG), help="how many long ones")
    parser.add_argument("-k", type=int, default=16, help="directions that are computed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    prompts = {"short": SHORT[: asked.short], "long": LONG[: asked.long]}
    console = Console()
    measured: dict[str, dict[str, Any]] = {}
    for name in asked.model:
        model = jaxlin.load(name, dtype=asked.dtype)
        measured[name] = {}
        for kind, texts in prompts.items():
            found = list(measure_all(model, texts, asked.k, asked.seed, console))
            if found:
                summary = summary_of(found)
                measured[name][kind] = {"summary": summary, "prompts": found}
                console.print(table_of(f"{name}, {len(found)} {kind} prompts", summary))
    if asked.json is not None:
        about = {"directions": DIRECTIONS, "tokens": TOKENS, "predicted": PREDICTED, "k": asked.k}
        told = {**about, "seed": asked.seed, "dtype": asked.dtype, **environment(), "models": measured}
        asked.json.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def measure_all(
    model: Model, texts: Sequence[str], k: int, seed: int, console: Console
) -> Iterator[dict[str, Any]]:
    """One row for every prompt; what does not fit into the model is named and left out."""
    for number, text in enumerate(texts):
        try:
            yield measure(model, text, k, seed)
        except JaxlinError as error:
            console.print(f"left out: {text[:40]!r} ({error})", markup=False)
        if (number + 1) % 10 == 0:
            console.print(f"{number + 1} of {len(texts)}")


def measure(model: Model, text: str, k: int, seed: int) -> dict[str, Any]:
    """The figures of one prompt, by variant."""
    operator = model.jacobian(text)
    k = min(k, *operator.shape)
    hidden = jaxlin.svd(operator, k, seed=seed)
    rows = model.metric_rows(operator.y, "fisher")
    fisher = jaxlin.svd(weighed(operator, rows, "fisher"), min(k, len(rows)), seed=seed)
    fisher = with_images(fisher, operator)
    by_sigma = range(k)
    assert hidden.split is not None
    assert fisher.split is not None
    v, images = random_directions(operator, min(DIRECTIONS, k), seed)
    scoring = operator.labels.scoring()
    at_random = contributions_of(v, operator.x, images, operator.y, operator.offset, scoring)
    predicted = [token.id for token in hidden.prediction.tokens[:PREDICTED]]  # type: ignore[union-attr]
    found: Mapping[str, tuple[np.ndarray, Contributions, Sequence[int]]] = {
        "hidden": (hidden.lefts, hidden.split, by_sigma),
        "hidden by contribution": (hidden.lefts, hidden.split, hidden.split.order),
        "fisher": (fisher.lefts, fisher.split, range(len(fisher.s))),
        "random": (images / np.linalg.norm(images, axis=1, keepdims=True), at_random, range(len(v))),
    }
    return {
        "prompt": text if len(text) < 200 else f"…{text[-100:]}",
        "tokens": len(operator.labels.ids),
        "predicts": [token.text for token in hidden.prediction.tokens[:PREDICTED]],  # type: ignore[union-attr]
        "holds": hidden.holds and fisher.holds,
        "passes": {"hidden": hidden.passes, "fisher": fisher.passes},
        "rows": len(rows),
        **{name: figures(model, *parts, predicted) for name, parts in found.items()},
    }


def random_directions(
    operator: DetachedJacobian, count: int, seed: int
) -> tuple[Float[np.ndarray, "k t d"], Float[np.ndarray, "k d"]]:
    """Orthonormal right vectors in the row space of J, and J·v of each."""
    probes = np.random.default_rng(seed).standard_normal((count, operator.shape[0]))
    pulled = np.asarray(operator.rmatmat(jnp.asarray(probes, operator.dtype)), np.float64)
    v = np.linalg.qr(pulled.reshape(count, -1).T)[0].T.reshape(pulled.shape)
    return v, np.asarray(operator.matmat(v), np.float64)


def figures(
    model: Model, lefts: np.ndarray, split: Contributions, order: Sequence[int], predicted: Sequence[int]
) -> dict[str, float]:
    """What the first directions of one variant name and carry."""
    first = list(order)[:DIRECTIONS]
    read = model.outputs(lefts[first], TOKENS)
    named = {token.id for tokens in read for token in tokens} & set(predicted)
    whole, rival = split.whole.logits
    mine = [split.directions[i].logits for i in first]
    every = np.sum([part.logits for part in split.directions], axis=0)
    return {
        "named": len(named) / len(predicted),
        "carried": float(sum(logits[0] for logits in mine)) / whole,
        "lead": float(every[0] - every[1]) / (whole - rival) if whole != rival else float("nan"),
    }


def summary_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Means and ranges over prompts, by variant."""
    told: dict[str, dict[str, Any]] = {}
    for name in VARIANTS:
        named, carried, lead = (
            np.array([row[name][key] for row in rows]) for key in ("named", "carried", "lead")
        )
        told[name] = {
            "named": float(named.mean()),
            "carried": {
                "mean": float(carried.mean()),
                "least": float(carried.min()),
                "most": float(carried.max()),
                "near_1": int((np.abs(carried - 1) <= NEAR).sum()),
            },
            "lead_median": float(np.nanmedian(lead)),
            "prompts": len(rows),
        }
    return told


def table_of(title: str, summary: Mapping[str, Mapping[str, Any]]) -> Table:
    """The summary of one model and one kind of prompts."""
    table = Table(title=title, title_justify="left")
    for column in ("directions", "named", "carried: mean", "least", "most", "within 5 %", "lead (median)"):
        table.add_column(column, justify="left" if column == "directions" else "right")
    for name, told in summary.items():
        carried = told["carried"]
        table.add_row(
            name, f"{told['named']:.2f}", *(f"{carried[key]:.2f}" for key in ("mean", "least", "most")),
            f"{carried['near_1']} of {told['prompts']}", f"{told['lead_median']:.2f}",
        )  # fmt: skip
    return table


if __name__ == "__main__":
    main()
