"""Does adding the map of "The Golden Gate" make a model write of it? Words that were listed are counted.

    python scripts/findings/steering.py --model demo-llama --prompts 2 --concepts 1 --layers 1

Ten neutral openings go on while the map of a concept prompt, from its embeddings to what leaves a layer, is
added to the residual stream there, at several layers and strengths (:mod:`jaxlin.analyses.steering`). A
continuation mentions the concept if one of its words below occurs in it as a whole word. The lists were
written before the first run and have not been changed since. Beside it stand the unsteered model, a random
operator of the same spectrum at the same strengths, and the maps of the other concepts: how many of their
continuations mention this one (the column "others'"). Perplexity is that of the continuations under the
unsteered model.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from common import COLOURS, Row, Rows, Table, arguments, count, run, save_picture
from figures import rounded
from jaxtyping import Int
from steered import additions, continued, perplexity, surprise

import jaxlin
from jaxlin import JaxlinError, Model
from jaxlin.runtime.progress import Progress

#: A concept prompt -> the words that count as a mention of it.
CONCEPTS: Mapping[str, tuple[str, ...]] = {
    "The Golden Gate": (
        "golden", "gate", "bridge", "bridges", "francisco", "bay", "california", "marin", "strait", "pacific",
        "cable", "cables", "tower", "towers",
    ),
    "The Eiffel Tower": (
        "eiffel", "tower", "towers", "paris", "france", "french", "seine", "iron", "parisian",
    ),
    "The Roman Empire": (
        "roman", "romans", "rome", "empire", "empires", "emperor", "emperors", "caesar", "italy", "latin",
        "legion", "legions",
    ),
    "The football match": (
        "football", "match", "matches", "game", "games", "team", "teams", "player", "players", "goal",
        "goals", "ball", "league", "stadium", "soccer",
    ),
    "The deep blue sea": (
        "sea", "seas", "ocean", "oceans", "blue", "deep", "water", "waters", "wave", "waves", "fish", "ship",
        "ships", "boat", "boats",
    ),
}  # fmt: skip
#: Each of eight words; what they go on with is open.
OPENINGS = (
    "The house at the top of the hill",
    "The man at the end of the table",
    "In the morning we went to the market",
    "My sister and her friends like to read",
    "The new teacher came into the room and",
    "When she was a child she wanted to",
    "The best thing about this book is the",
    "It was late when the train arrived and",
    "She opened the letter and began to read",
    "The company announced today that it will be",
)
WAYS = ("whole map", "random, same spectrum")
STRENGTHS = (0.5, 1.0, 2.0)
#: Where the layers lie, as shares of the depth; the first ones are those that are asked for.
DEPTHS = (2 / 3, 1 / 2, 1 / 3)
UNSTEERED = "not steered"
#: The concept by which the first opening is shown.
EXAMPLE = "The Golden Gate"


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    made = arguments(__doc__ or "", "steering", prompts=len(OPENINGS))
    made.add_argument("--concepts", type=count, default=len(CONCEPTS), help="how many; %(default)s")
    made.add_argument("--layers", type=count, default=len(DEPTHS), help="how many; %(default)s")
    made.add_argument("--samples", type=count, default=2, help="for each opening; %(default)s")
    made.add_argument("--tokens", type=count, default=16, help="of each continuation; %(default)s")
    return made


def study(asked: argparse.Namespace, progress: Progress) -> None:
    """Measure, print the tables, draw the picture."""
    for name in ("prompts", "concepts", "layers", "samples", "tokens"):
        if not getattr(asked, name):
            raise JaxlinError(f"--{name} is 0: ask for 1 or more")
    chosen = OPENINGS[: asked.prompts]
    settings = {"openings": chosen, "samples": asked.samples, "tokens": asked.tokens, "strengths": STRENGTHS}
    rows = Rows(asked.json, settings | {"words": CONCEPTS})
    concepts = list(CONCEPTS)[: asked.concepts]
    found = {}
    for name in asked.model:
        model = jaxlin.load(name)
        deep = [round(share * model.config.num_layers) for share in DEPTHS[: asked.layers]]
        items = {UNSTEERED: (None, 0)}
        items |= {f"{concept}, layer {layer}": (concept, layer) for layer in deep for concept in concepts}
        one = partial(measure, model, chosen, samples=asked.samples, tokens=asked.tokens)
        found[name] = list(rows.measure(name, items, one, progress).values())
        rows.summarise(name, {"cells": cells_of(found[name])})
    for table in tables(found):
        table.show()
    draw(asked.picture, found)


def measure(
    model: Model, openings: Sequence[str], item: tuple[str | None, int], *, samples: int, tokens: int
) -> Row:
    """Way -> strength -> what was written: by one concept at one layer, or without steering."""
    concept, layer = item
    batches = batches_of(model, openings, samples)
    go_on = partial(continuations, model, batches, tokens=tokens)
    greedy = partial(continued, model, np.asarray([model.tokenize(openings[0])]), tokens, temperature=0.0)
    if concept is None:
        plain = go_on(None) | {"greedy": model.text(greedy(None)[0].tolist())}
        return {"concept": None, "layer": 0, "written": {UNSTEERED: {"0": plain}}}
    row: Row = {}
    for way, addition in additions(model, concept, layer, WAYS):
        row[way] = {}
        for strength in STRENGTHS:
            stronger = replace(addition, strength=jnp.asarray(strength))
            row[way][str(strength)] = go_on(stronger)
            if concept == EXAMPLE:
                row[way][str(strength)]["greedy"] = model.text(greedy(stronger)[0].tolist())
    return {"concept": concept, "layer": layer, "written": row}


def batches_of(model: Model, openings: Sequence[str], samples: int) -> list[Int[np.ndarray, "b t"]]:
    """The openings in tokens, those of a length together, each as often as it is continued."""
    ids = [model.tokenize(opening) for opening in openings]
    lengths = dict.fromkeys(map(len, ids))
    return [np.repeat([row for row in ids if len(row) == length], samples, 0) for length in lengths]


def continuations(
    model: Model, batches: Sequence[Int[np.ndarray, "b t"]], addition: Any, *, tokens: int
) -> dict[str, Any]:
    """The sampled texts, and how surprising each is to the unsteered model, in nats for each token."""
    texts: list[str] = []
    surprises: list[float] = []
    for ids in batches:
        added = continued(model, ids, tokens, addition)
        texts += [model.text(row) for row in added.tolist()]
        surprises += surprise(model, np.concatenate([ids, added], axis=1), ids.shape[1]).tolist()
    return {"texts": texts, "surprises": rounded(surprises)}


def mentions(texts: Sequence[str], concept: str) -> int:
    """How many texts have one of the concept's words, as a whole word in any case."""
    wanted = set(CONCEPTS[concept])
    return sum(bool(wanted & set(re.findall(r"[a-z]+", text.casefold()))) for text in texts)


def cells_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Mentions and perplexities by way, layer and strength, over all concepts; the unsteered model first."""
    plain = next(row["written"][UNSTEERED]["0"] for row in rows if row["concept"] is None)
    steered = [row for row in rows if row["concept"] is not None]
    concepts = list(dict.fromkeys(row["concept"] for row in steered))
    cells = [cell(UNSTEERED, None, 0.0, dict.fromkeys(concepts, plain))]
    for way in WAYS:
        for layer in sorted({row["layer"] for row in steered}):
            some = {row["concept"]: row["written"][way] for row in steered if row["layer"] == layer}
            for strength in STRENGTHS:
                each = {concept: written[str(strength)] for concept, written in some.items()}
                cells.append(cell(way, layer, strength, each))
    return cells


def cell(way: str, layer: int | None, strength: float, each: Mapping[str, Any]) -> dict[str, Any]:
    """What was written at one place, by concept."""
    return {
        "steered by": way,
        "layer": layer,
        "strength": strength,
        "mentions": {concept: mentions(written["texts"], concept) for concept, written in each.items()},
        "by the others": {
            concept: sum(mentions(each[other]["texts"], concept) for other in each if other != concept)
            for concept in each
        },
        "continuations": len(next(iter(each.values()))["texts"]),
        "perplexity": perplexity(np.concatenate([written["surprises"] for written in each.values()])),
    }


def share(cell: Mapping[str, Any]) -> float:
    """Of the continuations that mention their concept, over all concepts."""
    return sum(cell["mentions"].values()) / (cell["continuations"] * len(cell["mentions"]))


def share_of_others(cell: Mapping[str, Any]) -> str:
    """Of pairs of a continuation and a concept that is not its own, those that mention it; in words."""
    concepts = len(cell["mentions"])
    pairs = cell["continuations"] * concepts * (concepts - 1)
    return f"{sum(cell['by the others'].values()) / pairs:.0%}" if pairs else ""


def tables(found: Mapping[str, Sequence[Row]]) -> list[Table]:
    """Mentions and perplexities of each model; then how an opening goes on, greedily, for each."""
    makers = (count_table, examples)
    return [make(name, rows) for make in makers for name, rows in found.items()]


def count_table(name: str, rows: Sequence[Row]) -> Table:
    """Mentions and perplexity by way, layer and strength."""
    cells = cells_of(rows)
    lines = [
        (
            each["steered by"], "" if each["layer"] is None else str(each["layer"]), f"{each['strength']:g}",
            *(str(number) for number in each["mentions"].values()), f"{share(each):.0%}",
            share_of_others(each), f"{each['perplexity']:,.0f}",
        )
        for each in cells
    ]  # fmt: skip
    title = f"{name}: of {cells[0]['continuations']} continuations for each concept, how many mention it"
    return Table(
        title, ("steered by", "layer", "λ", *cells[0]["mentions"], "all", "others'", "perplexity"), lines
    )


def examples(name: str, rows: Sequence[Row]) -> Table:
    """How the first opening goes on without steering, and with one concept at every layer and strength."""
    shown = [row for row in rows if row["concept"] in (None, EXAMPLE)]
    lines = [
        (f"`{written['greedy']!r}`".replace("|", "¦"), "" if strength == "0" else str(row["layer"]), strength)
        for row in shown
        for way, by_strength in row["written"].items()
        if way in (UNSTEERED, WAYS[0])
        for strength, written in by_strength.items()
    ]
    title = f"{name}: “{OPENINGS[0]}” goes on, by “{EXAMPLE}”, greedily"
    return Table(title, ("continuation", "layer", "λ"), lines)


def draw(path: Path, found: Mapping[str, Sequence[Row]]) -> None:
    """One panel for each model: mentions over perplexity."""
    panels: dict[str, Callable[[Any], None]] = {
        f"{name}: mentions and perplexity": partial(draw_one, cells_of(rows)) for name, rows in found.items()
    }
    save_picture(path, panels)


def draw_one(cells: Sequence[Mapping[str, Any]], axes: Any) -> None:
    """Every layer a line from weak to strong, solid where the concept's map is added."""
    plain = cells[0]
    axes.plot(plain["perplexity"], share(plain), "*", color="black", markersize=10, label=UNSTEERED)
    deep = sorted({cell["layer"] for cell in cells[1:]})
    for way, line in zip(WAYS, ("o-", "x:"), strict=True):
        for layer, colour in zip(deep, COLOURS, strict=False):
            some = [cell for cell in cells if cell["steered by"] == way and cell["layer"] == layer]
            label = f"layer {layer}" if way == WAYS[0] else None
            x, y = [cell["perplexity"] for cell in some], [share(cell) for cell in some]
            axes.plot(x, y, line, color=colour, markersize=4, linewidth=0.9, label=label)
            if way == WAYS[0]:
                for cell in some:
                    axes.annotate(
                        f"{cell['strength']:g}", (cell["perplexity"], share(cell)), fontsize=6,
                        textcoords="offset points", xytext=(3, 3),
                    )  # fmt: skip
    axes.plot([], [], "x:", color="grey", markersize=4, linewidth=0.9, label=WAYS[1])
    axes.set(
        xlabel="perplexity under the unsteered model", ylabel="continuations that mention it", xscale="log"
    )
    axes.set_ylim(0, max(0.15, axes.get_ylim()[1]))
    axes.legend(frameon=False, fontsize=7)


if __name__ == "__main__":
    run(study, parser())
