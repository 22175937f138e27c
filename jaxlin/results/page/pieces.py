"""What the page's script reads of a result: plain numbers and words, small enough to embed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlin.results.labels import Labels, TokenScore
from jaxlin.results.prediction import NAMED, Prediction
from jaxlin.results.spelling import percent
from jaxlin.results.tables import Line, visible

#: What is embedded of a large result: directions, and output tokens of each.
DIRECTIONS, OUTPUTS = 16, 8
#: Numbers of shades in all, above which fewer directions are embedded: a number takes some seven bytes.
NUMBERS = 300_000

View = dict[str, Any]


def facts_of(summary: Mapping[str, Any]) -> list[list[str]]:
    """What a result was made from and what it cost, in words."""
    named = {
        "model": "model",
        "revision": "revision",
        "policy": "policy",
        "metric": "metric",
        "tokens": "tokens",
        "dtype": "stored in",
        "precision": "products in",
        "method": "method",
        "passes": "passes",
        "seconds": "seconds",
        "device": "device",
    }
    facts = [[title, _word(summary[key])] for key, title in named.items() if summary.get(key) is not None]
    if "shape" in summary:
        facts.insert(1, ["J", " × ".join(str(size) for size in summary["shape"])])
    return facts


def _word(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def predicted_tokens(prediction: Prediction) -> list[list[str]]:
    """The most likely next tokens and their probabilities, in words."""
    return [[visible(token.text), percent(token.probability)] for token in prediction.tokens[:NAMED]]


def card(title: str, holds: bool, lines: Sequence[Line]) -> View:
    """A certificate: green or red, with the reason."""
    plain = [{"name": line.name, "text": line.text, "holds": line.holds} for line in lines]
    return {"title": title, "holds": holds, "lines": plain}


def tokens_of(labels: Labels | None) -> list[list[Any]]:
    """The prompt, as positions and texts; empty where there is none."""
    if labels is None:
        return []
    return [[position, text] for position, text in zip(labels.positions, labels.texts, strict=True)]


def numbers(values: Any) -> list[float]:
    """Three significant digits, which is more than a shade shows."""
    return [float(f"{value:.3g}") if math.isfinite(value) else 0.0 for value in np.asarray(values).ravel()]


def shade(name: str, values: Any, label: str, *, outputs: Sequence[TokenScore] = (), **about: Any) -> View:
    """One way to shade the prompt: a value for each token, and what is to be said about it."""
    return {
        "name": name,
        "values": numbers(values),
        "label": label,
        "facts": [],
        "outputs": scores(outputs),
    } | about


def scores(outputs: Sequence[TokenScore], count: int = OUTPUTS) -> list[list[Any]]:
    """Tokens with their scores."""
    return [[score.text, float(f"{score.score:.3g}")] for score in outputs[:count]]


def words(outputs: Sequence[TokenScore], count: int) -> str:
    """The first tokens in a row."""
    return "  ".join(visible(score.text) for score in outputs[:count])


def few_enough(directions: int, tokens: int) -> int:
    """How many directions are embedded, at two numbers each for every token."""
    return max(1, min(directions, DIRECTIONS, NUMBERS // max(1, 2 * tokens)))


def chart(title: str, across: str, series: Sequence[View], *, log: bool, note: str = "", **more: Any) -> View:
    """Lines over a number, a layer or a position."""
    return {"title": title, "across": across, "series": list(series), "log": log, "note": note} | more


def line(name: str, values: Any, errors: Any = None) -> View:
    """One line of a chart, with error bars where there are errors."""
    return {"name": name, "values": numbers(values), "errors": None if errors is None else numbers(errors)}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> View:
    """A table of words."""
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def bars(title: str, rows: Sequence[tuple[str, float]], total: float) -> View:
    """Signed bars from one line, each with its number, and what they are together; places in percent."""
    finite = [value for _, value in rows if math.isfinite(value)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    unit = 100 / ((high - low) or 1.0)

    def of(name: str, value: float) -> View:
        known = value if math.isfinite(value) else 0.0
        return {
            "name": name,
            "text": f"{value:+.3g}",
            "side": "minus" if known < 0 else "plus",
            "start": round((min(known, 0.0) - low) * unit, 2),
            "width": round(abs(known) * unit, 2),
        }

    zero = round(-low * unit, 2)
    return {"title": title, "rows": [of(*row) for row in rows], "total": f"{total:+.4g}", "zero": zero}


def signed(title: str, rows: Sequence[str], columns: Sequence[str], values: Any, through: Any = None) -> View:
    """A grid of numbers, warm or cold by their signs; ``through`` has a shade of the prompt for each."""
    cells = [numbers(row) for row in np.asarray(values)]
    return {"title": title, "rows": list(rows), "columns": list(columns), "cells": cells, "through": through}
