"""What the page is made of: plain numbers and words, small enough to embed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxlin.results.direction_table import nothing_written
from jaxlin.results.labels import Labels, TokenScore
from jaxlin.results.prediction import NAMED, Prediction
from jaxlin.results.spelling import ending, file_name, percent
from jaxlin.results.tables import Line, visible

#: What is embedded of a large result: directions, and output tokens of each.
DIRECTIONS, OUTPUTS = 16, 8
#: Numbers of shades in all, above which fewer are embedded: a number takes some seven bytes.
NUMBERS = 300_000
#: Letters of the prompt's end beside what is predicted after it.
_LETTERS = 60
#: A cell that is a number, or empty.
_FIGURE = re.compile(r"([+-]?[\d.]+(e[+-]?\d+)?|nan|[+-]?inf|)")

View = dict[str, Any]


def facts_of(summary: Mapping[str, Any]) -> list[list[str]]:
    """What a result was made from and what it cost, in words; of a file its name, and not where it lay."""
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
    known = {**summary, **({"model": file_name(summary["model"])} if "model" in summary else {})}
    facts = [[title, _word(known[key])] for key, title in named.items() if known.get(key) is not None]
    if "shape" in summary:
        facts.insert(1, ["J", " × ".join(str(size) for size in summary["shape"])])
    return facts


def _word(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def predicted(prediction: Prediction | None, labels: Labels | None = None, of: str = "") -> list[View]:
    """The most likely next tokens and their probabilities after the prompt's end; nothing where nobody knows.

    Args:
        prediction: what is predicted.
        labels: the prompt, whose end is shown if the prediction comes right after it.
        of: whose prediction it is, where there are several.
    """
    if prediction is None:
        return []
    follows = labels is not None and labels.positions[-1] == labels.position
    after = ending("".join(labels.texts), _LETTERS) if labels is not None and follows else ""
    tokens = [
        {
            "text": visible(token.text),
            "chance": percent(token.probability),
            "width": _share(token.probability),
        }
        for token in prediction.tokens[:NAMED]
    ]
    return [{"of": of, "after": after, "tokens": tokens}]


def _share(part: float) -> float:
    return round(100 * min(max(part, 0.0), 1.0), 2) if math.isfinite(part) else 0.0


def card(title: str, holds: bool, lines: Sequence[Line]) -> View:
    """A certificate: whether it holds, and its figures with what each of them says."""
    plain = [
        {"name": line.name, "text": line.text, "meaning": line.meaning, "holds": line.holds} for line in lines
    ]
    # What is to be known even where all holds: of the zero map everything does, and says nothing.
    remark = next((line.text for line in lines if not line.holds), "") if holds else ""
    return {"title": title, "holds": holds, "lines": plain, "remark": remark}


def tokens_of(labels: Labels | None) -> list[list[Any]]:
    """The prompt, as positions and texts; empty where there is none."""
    if labels is None:
        return []
    return [[position, text] for position, text in zip(labels.positions, labels.texts, strict=True)]


def numbers(values: Any) -> list[float | None]:
    """Three significant digits, which is more than a shade shows; None for what is not finite."""
    flat = np.asarray(values).ravel().tolist()
    return [(float(f"{each:.3g}") or 0.0) if math.isfinite(each) else None for each in flat]  # and no −0


def number(value: float, digits: int = 7) -> float | None:
    """A number in so many digits, without the sign of a 0; None where it is not finite."""
    return (float(f"{value:.{digits}g}") or 0.0) if math.isfinite(value) else None


def measure(name: str, label: str, values: Any) -> View:
    """One number for each token of the prompt: what it is called, and what it is."""
    return {"name": name, "label": label, "values": numbers(values)}


def shade(
    name: str,
    key: Mapping[str, Any],
    measures: Sequence[View],
    *,
    facts: Sequence[Sequence[str]] = (),
    outputs: Sequence[TokenScore] = (),
    against: Sequence[TokenScore] = (),
) -> View:
    """One way to shade the prompt, and what is to be said about it.

    Args:
        name: as the page calls it.
        key: as the address of the page calls it: ``#direction=2``.
        measures: what tokens are shaded by, the first if nobody chooses.
        facts: names and figures.
        outputs, against: the tokens that it writes, and those that it writes against.
    """
    return {
        "name": name,
        "key": {part: str(value) for part, value in key.items()},
        "measures": list(measures),
        "facts": [list(fact) for fact in facts],
        "outputs": scores(outputs),
        "against": scores(against),
    }


def scores(outputs: Sequence[TokenScore], count: int = OUTPUTS) -> list[list[Any]]:
    """Tokens with their scores."""
    return [[score.text, float(f"{score.score:.3g}")] for score in outputs[:count]]


def scored(outputs: Sequence[TokenScore], count: int) -> list[View]:
    """The same in words, for a table."""
    return [{"text": visible(score.text), "score": f"{score.score:.2g}"} for score in outputs[:count]]


def words(outputs: Sequence[TokenScore], count: int) -> str:
    """The first tokens in a row, each with its score behind it; that none stands out where that is so."""
    return nothing_written(outputs) or "  ".join(
        f"{visible(score.text)}\N{NO-BREAK SPACE}{score.score:.2g}" for score in outputs[:count]
    )


def few_enough(directions: int, tokens: int) -> int:
    """How many directions are embedded, at two numbers each for every token."""
    return max(1, min(directions, DIRECTIONS, NUMBERS // max(1, 2 * tokens)))


def some_shade(count: int, whole: int, unit: str = "directions") -> list[str]:
    """A sentence where not all of them shade the prompt."""
    return [f"{count} of {whole} {unit} shade the prompt here"] if count < whole else []


def chart(title: str, across: str, series: Sequence[View], *, log: bool, note: str = "", **more: Any) -> View:
    """Lines over a number, a layer or a position; ``labels`` are what stands below the points."""
    return {"title": title, "across": across, "series": list(series), "log": log, "note": note} | more


def line(name: str, values: Any, errors: Any = None) -> View:
    """One line of a chart, with error bars where there are errors."""
    return {"name": name, "values": numbers(values), "errors": None if errors is None else numbers(errors)}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> View:
    """A table of words; columns of numbers stand on the right."""
    figures = [all(_FIGURE.fullmatch(cell) for cell in column) for column in zip(*rows, strict=True)]
    return {
        "title": title,
        "columns": list(columns),
        "rows": [list(row) for row in rows],
        "figures": figures or [False] * len(columns),
    }


def bars(title: str, rows: Sequence[tuple[str, float]], total: float) -> View:
    """Signed bars from one line, each with its number, and what they are together; places in percent."""
    finite = [value for _, value in rows if math.isfinite(value)]
    low, high = min([0.0, *finite]), max([0.0, *finite])
    unit = 100 / ((high - low) or 1.0)

    def of(name: str, value: float) -> View:
        known = value if math.isfinite(value) else 0.0
        return {
            "name": name,
            "value": value,
            "text": f"{value:+.3g}",
            "side": "minus" if known < 0 else "plus",
            "start": round((min(known, 0.0) - low) * unit, 2),
            "width": round(abs(known) * unit, 2),
        }

    zero = round(-low * unit, 2)
    return {"title": title, "rows": [of(*row) for row in rows], "total": f"{total:+.4g}", "zero": zero}


def signed(
    title: str,
    key: Mapping[str, Any],
    rows: Sequence[str],
    columns: Sequence[str],
    values: Any,
    through: Any = None,
) -> View:
    """A grid of numbers, warm or cold by their signs; ``through`` has a shade of the prompt for each.

    The address of a cell is that of the grid, ``key``, with its row and its column.
    """
    cells = [numbers(row) for row in np.asarray(values)]
    named = {part: str(value) for part, value in key.items()}
    about = {"title": title, "key": named, "rows": list(rows), "columns": list(columns)}
    return about | {"cells": cells, "through": through}
