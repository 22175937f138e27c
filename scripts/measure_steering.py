"""What steering does, counted: mentions of a concept, and how likely the steered text is to the model itself.

    python scripts/measure_steering.py --json benchmarks/steering.json

For each demo checkpoint and some countries, the map of the prompt "The capital of … is" is added at the
middle layer, or at the last, while neutral openings go on (sampled at temperature 1). A continuation mentions
the concept if one of the country's own words occurs in it: its name, capital, language, cities, landmarks.
Beside it stand the unsteered model, a random operator of the same spectrum at the same strength, the map of
rank 8, and the published variant. Perplexity is that of the continuations under the unsteered model. All rows
have the same openings.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import jax.numpy as jnp
import numpy as np
from demo_phrasings import PHRASINGS
from demo_world import FACTS, TOLD, tell
from findings.steered import additions, continued, perplexity, surprise
from rich.console import Console
from rich.table import Table

import jaxlin
from jaxlin.prompts.model import Model
from jaxlin.runtime.environment import environment

CONCEPTS = ("Japan", "Egypt", "Brazil", "Norway")
OPENINGS, OPENING_TOKENS, ADDED_TOKENS = 64, 24, 24
#: Country-wide relations whose answers are words of the country alone.
_OWN = ("capital", "language")


def words_of(country: str) -> frozenset[str]:
    """The country's name and what in the demo world belongs to it alone."""
    answers = {r: {f.answer for f in FACTS if f.relation == r and f.subject == country} for r in PHRASINGS}
    shared = {f.answer for f in FACTS if f.subject != country and f.relation in _OWN}
    cities = {f.subject for f in FACTS if f.relation in ("city", "capital_of") and f.answer == country}
    within = {
        f.answer for f in FACTS if f.relation in ("river", "bridge", "landmark") and f.subject in cities
    }
    within |= {f.subject for f in FACTS if f.relation in ("bridge", "landmark") and f.answer in cities}
    mountains = {f.subject for f in FACTS if f.relation == "mountain" and f.answer == country}
    return frozenset(
        {country, *cities, *within, *mountains, *set.union(*(answers[r] for r in _OWN)) - shared}
    )


def openings(model: Model, avoided: frozenset[str]) -> np.ndarray:
    """The last tokens of unrelated facts and the beginning of a sentence whose subject is still open."""
    rng = Random("neutral openings")
    starts = sorted(
        phrasing[: phrasing.index("{s}")].strip()
        for phrasings in PHRASINGS.values()
        for phrasing in phrasings
        if phrasing.index("{s}") > 12
    )
    rows = []
    while len(rows) < OPENINGS:
        facts = rng.choices(FACTS, k=4)
        passage = " ".join(tell(fact, rng.choice(TOLD[fact])) for fact in facts)
        if any(word in passage for word in avoided):
            continue
        ids = model.tokenize(f"{passage} {starts[len(rows) % len(starts)]}")
        if len(ids) >= OPENING_TOKENS:
            rows.append(ids[-OPENING_TOKENS:])
    return np.asarray(rows)


def measure(model: Model, name: str, layer: int, strengths: list[float]) -> list[dict[str, Any]]:
    """All rows of one layer: shares and perplexities over all concepts and openings."""
    found: dict[tuple[str, float], list[tuple[int, float]]] = {}
    for country in CONCEPTS:
        words = words_of(country)
        ids = openings(model, words)
        for title, addition in additions(model, f"The capital of {country} is", layer):
            for strength in strengths:
                key = (title if strength else "not steered", strength)
                if not strength and title != "whole map":
                    continue
                added = continued(model, ids, ADDED_TOKENS, replace(addition, strength=jnp.asarray(strength)))
                texts = [model.text(row) for row in added.tolist()]
                mentions = sum(any(word in text for word in words) for text in texts)
                whole = np.concatenate([ids, added], axis=1)
                found.setdefault(key, []).append(
                    (mentions, perplexity(surprise(model, whole, OPENING_TOKENS)))
                )
                print(name, layer, country, *key, mentions, flush=True)
    return [
        {
            "model": name,
            "layer": layer,
            "steered by": title,
            "strength": strength,
            "continuations": OPENINGS * len(CONCEPTS),
            "mentions": sum(count for count, _ in each),
            "perplexity": math.exp(float(np.mean([math.log(value) for _, value in each]))),
        }
        for (title, strength), each in found.items()
    ]


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", default=["demo-llama", "demo-gemma", "demo-qwen"])
    parser.add_argument("--strength", nargs="+", type=float, default=[0.0, 1.0, 1.5, 2.0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for name in options.model:
        model = jaxlin.load(name)
        for layer in (model.decoder.config.num_layers // 2, model.decoder.config.num_layers - 1):
            rows += measure(model, name, layer, options.strength)
    table = Table("model", "layer", "steered by", "λ", "mention it", "perplexity")
    for row in rows:
        share = f"{row['mentions'] / row['continuations']:.1%}"
        table.add_row(
            row["model"],
            str(row["layer"]),
            row["steered by"],
            f"{row['strength']:g}",
            share,
            f"{row['perplexity']:.1f}",
        )
    Console().print(table)
    if options.json is not None:
        about = {"concepts": CONCEPTS, "openings": OPENINGS, "added_tokens": ADDED_TOKENS}
        figures = about | environment("float32") | {"rows": rows}
        options.json.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
