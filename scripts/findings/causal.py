"""Is what the map says true of the network, with nothing frozen? Directions are removed from its embeddings.

    python scripts/findings/causal.py --model demo-llama --prompts 2 --long 0

For every prompt the first j right directions are removed from the embeddings, E − Σ v⟨v, E⟩, and the
ordinary forward pass, in which nothing is frozen, is run again. The change of its logits is compared with
what was predicted by the detached map, W·J·δ, and by the ordinary Jacobian. Directions are the singular
ones of the metrics ``hidden`` and ``fisher``, random ones at equal length (isotropic, and in the row space
of the map), and those of gradient × input. Then the network goes along single directions by steps of
growing length, until a prediction is 10 % off (‖told − real‖ / ‖real‖ over all logits without their mean).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from causal_views import REMOVED, STEPS, TOKENS, draw, summary_of, tables
from common import Row, Rows, arguments, count, named, run
from figures import rounded
from perturbed import MAPS, TOLERANCE, Perturbed, compared, divergence, removal
from prompts import LONG, SHORT

import jaxlin
from jaxlin import JaxlinError, Model
from jaxlin.prompts.text import Prompt
from jaxlin.runtime.progress import Progress

#: What is removed: by which directions, and at whose length (their own if none is named).
KINDS: Mapping[str, tuple[str, str | None]] = {
    "hidden": ("hidden", None),
    "fisher": ("fisher", None),
    "row space, ‖hidden‖": ("row space", "hidden"),
    "row space, ‖fisher‖": ("row space", "fisher"),
    "isotropic, ‖hidden‖": ("isotropic", "hidden"),
    "isotropic, ‖fisher‖": ("isotropic", "fisher"),
    "gradient × input": ("gradient × input", None),
    "gradient × input, ‖fisher‖": ("gradient × input", "fisher"),
}


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = arguments(__doc__ or "", "causal", prompts=30)
    made.add_argument(
        "--long", type=count, default=3, help=f"prompts of {TOKENS} tokens and more; %(default)s"
    )
    made.add_argument("--dtype", default="float32", help="%(default)s")
    made.add_argument("--seed", type=int, default=0, help="of random directions; %(default)s")
    return made


def study(asked: argparse.Namespace, progress: Progress) -> None:
    """Measure, print the tables, draw the picture."""
    settings = {"dtype": asked.dtype, "seed": asked.seed, "steps": STEPS, "removed": REMOVED}
    rows = Rows(asked.json, settings | {"tolerance": TOLERANCE})
    found = {}
    for name in asked.model:
        model = jaxlin.load(name, dtype=asked.dtype)
        texts = named([*SHORT[: asked.prompts], *long_ones(model, asked.long)])
        one = partial(measure, model, seed=asked.seed)
        found[name] = list(rows.measure(name, texts, one, progress).values())
        rows.summarise(name, summary_of(found[name]))
    for table in tables(found):
        table.show()
    draw(asked.picture, found)


def long_ones(model: Model, number: int) -> list[str]:
    """The first long prompts that are long enough in this model's tokens."""
    found = [text for text in LONG if len(model.tokenize(text)) >= TOKENS][:number]
    if len(found) < number:
        raise JaxlinError(f"only {len(found)} prompts have {TOKENS} tokens: ask for fewer with --long")
    return found


def measure(model: Model, prompt: Prompt, *, seed: int) -> Row:
    """All figures of one prompt."""
    case = Perturbed(model, prompt)
    directions, holds = case.directions(max(REMOVED), seed)
    length = float(np.linalg.norm(case.x))
    best = case.head.prediction.tokens[0]
    row: Row = {
        "tokens": len(case.x),
        "predicts": best.text,
        "probability": best.probability,
        "centred logit": best.centred,
        "holds": holds,
        "first position": {
            kind: float(np.square(directions[kind][0, 0]).sum()) for kind in ("hidden", "fisher")
        },
        "removed": removed_from(case, directions, length),
        "steps": stepped_along(case, directions, length),
    }
    return rounded(row)


def removed_from(case: Perturbed, directions: Mapping[str, np.ndarray], length: float) -> dict[str, Any]:
    """Kind -> number of directions -> what the network does, and what each map told."""
    changes: dict[tuple[str, int], np.ndarray] = {}
    for kind, (of, as_long_as) in KINDS.items():
        for j in REMOVED:
            change = removal(directions[of][:j], case.x)
            if as_long_as is not None:
                change *= np.linalg.norm(changes[as_long_as, j]) / np.linalg.norm(change)
            changes[kind, j] = change
    every = np.stack(list(changes.values()))
    moved = case.logits_at(every) - case.logits
    told = {policy: case.told(every, policy) for policy in MAPS}
    best = int(np.argmax(case.logits))
    found: dict[str, Any] = {kind: {} for kind in KINDS}
    for i, (kind, j) in enumerate(changes):
        real = moved[i]
        found[kind][str(j)] = {
            "length": float(np.linalg.norm(every[i])) / length,
            "logit": float(real[best] - real.mean()),
            "kl": divergence(case.logits, case.logits + real),
            "kept": bool(np.argmax(case.logits + real) == best),
            **{policy: compared(case.logits, real, told[policy][i]) for policy in MAPS},
        }
    return found


def stepped_along(case: Perturbed, directions: Mapping[str, np.ndarray], length: float) -> dict[str, Any]:
    """First direction of a kind -> the error of each map at every step, by which less of it is left."""
    along = {kind: float(np.vdot(v[0], case.x)) for kind, v in directions.items()}
    units = np.stack([-np.sign(along[kind]) * v[0] for kind, v in directions.items()])
    told = {policy: case.told(units, policy) for policy in MAPS}
    found = {}
    for i, kind in enumerate(directions):
        steps = np.asarray(STEPS)[:, None, None] * length * units[i]
        real = case.logits_at(steps) - case.logits
        errors = {
            policy: [
                compared(case.logits, change, step * length * told[policy][i])["error"]
                for step, change in zip(STEPS, real, strict=True)
            ]
            for policy in MAPS
        }
        found[kind] = {"own part": abs(along[kind]) / length, **errors}
    return found


if __name__ == "__main__":
    run(study, parser())
