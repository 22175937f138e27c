"""Does adding the map of "The Golden Gate" make a model write of it? Words that were listed are counted.

    python scripts/findings/steering.py --model demo-llama --prompts 2 --concepts 1 --layers 1

Ten neutral openings go on while the map of a concept prompt, from its embeddings to what leaves a layer, is
added to the residual stream there, at several layers and strengths (:mod:`jaxlin.analyses.steering`). A
continuation mentions the concept if one of its words below occurs in it as a whole word. The lists were
written before the first run and have not been changed since. Beside it stand the unsteered model, and a
random operator of the same spectrum at the same strengths. Perplexity is that of the continuations under
the unsteered model.
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
from common import COLOURS, Row, Rows, arguments, console, count, run, save_picture
from figures import rounded
from jaxtyping import Int
from rich.table import Table
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
    summaries = {}
    for name in asked.model:
        model = jaxlin.load(name)
        deep = [round(share * model.config.num_layers) for share in DEPTHS[: asked.layers]]
        items = {UNSTEERED: (None, 0)} | {
            f"{c}, layer {layer}": (c, layer) for layer in deep for c in concepts
        }
        one = partial(measure, model, chosen, samples=asked.samples, tokens=asked.tokens)
        found = rows.measure(name, items, one, progress)
        summaries[name] = summary_of(found, concepts, deep)
        rows.summarise(name, summaries[name])
        console().print(table_of(name, summaries[name]))
        console().print(examples(name, found, concepts[0], deep[0]))
    draw(asked.picture, summaries)


def measure(
    model: Model, openings: Sequence[str], item: tuple[str | None, int], *, samples: int, tokens: int
) -> Row:
    """Way -> strength -> what was written: by one concept at one layer, or without steering."""
    concept, layer = item
    batches = batches_of(model, openings, samples)
    go_on = partial(continuations, model, batches, tokens=tokens)
    greedy = partial(continued, model, np.asarray([model.tokenize(openings[0])]), tokens, temperature=0.0)
    if concept is None:
        return {UNSTEERED: {"0": go_on(None) | {"greedy": model.text(greedy(None)[0].tolist())}}}
    row: Row = {}
    for way, addition in additions(model, concept, layer, WAYS):
        row[way] = {}
        for strength in STRENGTHS:
            stronger = replace(addition, strength=jnp.asarray(strength))
            written = model.text(greedy(stronger)[0].tolist())
            row[way][str(strength)] = go_on(stronger) | {"greedy": written}
    return row


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
        surprises += surprise(model, ids.shape[1])(np.concatenate([ids, added], axis=1)).tolist()
    return {"texts": texts, "surprises": rounded(surprises)}


def mentions(texts: Sequence[str], concept: str) -> int:
    """How many texts have one of the concept's words, as a whole word in any case."""
    wanted = set(CONCEPTS[concept])
    return sum(bool(wanted & set(re.findall(r"[a-z]+", text.casefold()))) for text in texts)


def summary_of(rows: Mapping[str, Row], concepts: Sequence[str], deep: Sequence[int]) -> dict[str, Any]:
    """Mentions and perplexities, over all concepts together and by concept."""
    plain = rows[UNSTEERED][UNSTEERED]["0"]
    cells = [
        {
            "steered by": UNSTEERED,
            "layer": None,
            "strength": 0.0,
            "mentions": {concept: mentions(plain["texts"], concept) for concept in concepts},
            "continuations": len(plain["texts"]),
            "perplexity": perplexity(np.array(plain["surprises"])),
        }
    ]
    for way in WAYS:
        for layer in deep:
            for strength in STRENGTHS:
                each = {c: rows[f"{c}, layer {layer}"][way][str(strength)] for c in concepts}
                cells.append(
                    {
                        "steered by": way,
                        "layer": layer,
                        "strength": strength,
                        "mentions": {c: mentions(cell["texts"], c) for c, cell in each.items()},
                        "continuations": len(plain["texts"]),
                        "perplexity": perplexity(np.concatenate([c["surprises"] for c in each.values()])),
                    }
                )
    return {"cells": cells}


def share(cell: Mapping[str, Any]) -> float:
    """Of the continuations that mention their concept, over all concepts."""
    return sum(cell["mentions"].values()) / (cell["continuations"] * len(cell["mentions"]))


def table_of(name: str, summary: Mapping[str, Any]) -> Table:
    """Mentions and perplexity by way, layer and strength."""
    concepts = list(summary["cells"][0]["mentions"])
    title = f"{name}: of {summary['cells'][0]['continuations']} continuations, how many mention the concept"
    table = Table(title=title, title_justify="left")
    for column in ("steered by", "layer", "λ", *concepts, "all", "perplexity"):
        table.add_column(column, justify="left" if column == "steered by" else "right")
    for cell in summary["cells"]:
        table.add_row(
            cell["steered by"], "" if cell["layer"] is None else str(cell["layer"]), f"{cell['strength']:g}",
            *(str(number) for number in cell["mentions"].values()), f"{share(cell):.0%}",
            f"{cell['perplexity']:,.0f}",
        )  # fmt: skip
    return table


def examples(name: str, rows: Mapping[str, Row], concept: str, layer: int) -> Table:
    """How the first opening goes on, greedily, at every strength."""
    title = f"{name}: {OPENINGS[0]!r} goes on, layer {layer}, {concept!r}"
    table = Table("steered by", "λ", "greedily", title=title, title_justify="left")
    table.add_row(UNSTEERED, "0", repr(rows[UNSTEERED][UNSTEERED]["0"]["greedy"]))
    for way, by_strength in rows[f"{concept}, layer {layer}"].items():
        for strength, cell in by_strength.items():
            table.add_row(way, strength, repr(cell["greedy"]))
    return table


def draw(path: Path, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    """One panel for each model: mentions over perplexity."""
    panels: dict[str, Callable[[Any], None]] = {
        f"{name}: mentions and perplexity": partial(draw_one, summary["cells"])
        for name, summary in summaries.items()
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
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=7)


if __name__ == "__main__":
    run(study, parser())
